"""Plots. They draw what the tools wrote and compute nothing that others would need; nothing is written."""

from __future__ import annotations

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "_cells": ["cells"],
        "_cell_gallery": ["cell_gallery"],
        "_composition": ["composition"],
        "_forest": ["forest"],
        "_kaplan_meier": ["kaplan_meier"],
        "_cumulative_incidence": ["cumulative_incidence"],
        "_cluster_tree": ["cluster_tree"],
        "_tile_map": ["tile_map"],
        "_segmentation": ["segmentation"],
        "_tissue": ["tissue"],
        "_neighborhood_contrast": ["neighborhood_contrast"],
        "_search_results": ["search_results"],
        "_marker_attention": ["marker_attention"],
        "_shift": ["shift"],
        "_compare_composition": ["compare_composition"],
        "_compare_enrichment": ["compare_enrichment"],
        "_concordance": ["concordance"],
        "_positivity": ["positivity"],
        "_panel_curve": ["panel_curve"],
        "_reconstruction": ["reconstruction"],
        "_reconstruction_scores": ["reconstruction_scores"],
        "_surprise": ["surprise"],
        "_annotation_scores": ["annotation_scores"],
        "_label_report": ["label_report"],
        "_power": ["power"],
        "_attention": ["attention"],
        "_contributions": ["contributions"],
        "_survival_auc": ["survival_auc"],
        "_calibration": ["calibration"],
        "_decision_curve": ["decision_curve"],
        "_style": ["style"],
        "_sample_scores": ["sample_scores"],
        "_signatures": ["signatures", "signature_scores"],
    },
)
