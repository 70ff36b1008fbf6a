"""Plots. They draw what the tools wrote and compute nothing that others would need; nothing is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "_annotation_scores": ["annotation_scores"],
        "_attention": ["attention"],
        "_calibration": ["calibration"],
        "_cell_gallery": ["cell_gallery"],
        "_cells": ["cells"],
        "_cluster_tree": ["cluster_tree"],
        "_compare_composition": ["compare_composition"],
        "_compare_enrichment": ["compare_enrichment"],
        "_composition": ["composition"],
        "_concordance": ["concordance"],
        "_contributions": ["contributions"],
        "_cumulative_incidence": ["cumulative_incidence"],
        "_decision_curve": ["decision_curve"],
        "_forest": ["forest"],
        "_kaplan_meier": ["kaplan_meier"],
        "_label_report": ["label_report"],
        "_marker_attention": ["marker_attention"],
        "_neighborhood_contrast": ["neighborhood_contrast"],
        "_panel_curve": ["panel_curve"],
        "_reconstruction": ["reconstruction"],
        "_reconstruction_scores": ["reconstruction_scores"],
        "_positivity": ["positivity"],
        "_power": ["power"],
        "_search_results": ["search_results"],
        "_segmentation": ["segmentation"],
        "_shift": ["shift"],
        "_signatures": ["signatures", "signature_scores"],
        "_style": ["style"],
        "_surprise": ["surprise"],
        "_survival_auc": ["survival_auc"],
        "_tile_map": ["tile_map"],
        "_tissue": ["tissue"],
    },
)

if TYPE_CHECKING:
    from ._annotation_scores import annotation_scores
    from ._attention import attention
    from ._calibration import calibration
    from ._cell_gallery import cell_gallery
    from ._cells import cells
    from ._cluster_tree import cluster_tree
    from ._compare_composition import compare_composition
    from ._compare_enrichment import compare_enrichment
    from ._composition import composition
    from ._concordance import concordance
    from ._contributions import contributions
    from ._cumulative_incidence import cumulative_incidence
    from ._decision_curve import decision_curve
    from ._forest import forest
    from ._kaplan_meier import kaplan_meier
    from ._label_report import label_report
    from ._marker_attention import marker_attention
    from ._neighborhood_contrast import neighborhood_contrast
    from ._panel_curve import panel_curve
    from ._positivity import positivity
    from ._power import power
    from ._reconstruction import reconstruction
    from ._reconstruction_scores import reconstruction_scores
    from ._search_results import search_results
    from ._segmentation import segmentation
    from ._shift import shift
    from ._signatures import signature_scores, signatures
    from ._style import style
    from ._surprise import surprise
    from ._survival_auc import survival_auc
    from ._tile_map import tile_map
    from ._tissue import tissue
