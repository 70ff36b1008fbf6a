"""Tools: embeddings, neighbourhoods, compositions and survival. They write into the AnnData or return a copy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "_added_value": ["added_value"],
        "_annotate": ["annotate"],
        "_cell_states": ["cell_states"],
        "_classify_samples": ["classify_samples"],
        "_cluster_agreement": ["cluster_agreement"],
        "_compare_composition": ["compare_composition"],
        "_compare_concordance": ["compare_concordance"],
        "_compare_enrichment": ["compare_enrichment"],
        "_composition": ["composition"],
        "_concordance": ["concordance"],
        "_correct_together": ["correct_together"],
        "_cox": ["cox"],
        "_cumulative_incidence": ["cumulative_incidence"],
        "_cut_point": ["cut_point"],
        "_detect_artifacts": ["detect_artifacts"],
        "_discover_signatures": ["discover_signatures"],
        "_distribution_shift": ["distribution_shift"],
        "_embed_cells": ["embed_cells"],
        "_embed_tiles": ["embed_tiles"],
        "_evaluate_annotation": ["evaluate_annotation"],
        "_few_shot_samples": ["few_shot_samples"],
        "_fine_gray": ["fine_gray"],
        "_kaplan_meier": ["kaplan_meier"],
        "_leiden_sweep": ["leiden_sweep"],
        "_logrank": ["logrank"],
        "_marker_attention": ["marker_attention"],
        "_mil": ["mil"],
        "_neighborhood_composition": ["neighborhood_composition"],
        "_neighborhood_contrast": ["neighborhood_contrast"],
        "_niches": ["niches"],
        "_paint_tiles": ["paint_tiles"],
        "_power": ["power"],
        "_predict_survival": ["predict_survival"],
        "_risk_ratio": ["risk_ratio"],
        "_rmst": ["rmst"],
        "_score_signatures": ["score_signatures"],
        "_search": ["build_index", "search"],
        "_search_samples": ["search_samples"],
        "_segment_regions": ["segment_regions"],
        "_stratify": ["stratify"],
        "_survival_models": ["coxnet", "survival_forest"],
        "_tissue_clusters": ["tissue_clusters"],
        "_transfer_labels": ["transfer_labels"],
        "_transfer_signatures": ["transfer_signatures"],
    },
)

if TYPE_CHECKING:
    from ._added_value import added_value
    from ._annotate import annotate
    from ._cell_states import cell_states
    from ._classify_samples import classify_samples
    from ._cluster_agreement import cluster_agreement
    from ._compare_composition import compare_composition
    from ._compare_concordance import compare_concordance
    from ._compare_enrichment import compare_enrichment
    from ._composition import composition
    from ._concordance import concordance
    from ._correct_together import correct_together
    from ._cox import cox
    from ._cumulative_incidence import cumulative_incidence
    from ._cut_point import cut_point
    from ._detect_artifacts import detect_artifacts
    from ._discover_signatures import discover_signatures
    from ._distribution_shift import distribution_shift
    from ._embed_cells import embed_cells
    from ._embed_tiles import embed_tiles
    from ._evaluate_annotation import evaluate_annotation
    from ._few_shot_samples import few_shot_samples
    from ._fine_gray import fine_gray
    from ._kaplan_meier import kaplan_meier
    from ._leiden_sweep import leiden_sweep
    from ._logrank import logrank
    from ._marker_attention import marker_attention
    from ._mil import mil
    from ._neighborhood_composition import neighborhood_composition
    from ._neighborhood_contrast import neighborhood_contrast
    from ._niches import niches
    from ._paint_tiles import paint_tiles
    from ._power import power
    from ._predict_survival import predict_survival
    from ._risk_ratio import risk_ratio
    from ._rmst import rmst
    from ._score_signatures import score_signatures
    from ._search import build_index, search
    from ._search_samples import search_samples
    from ._segment_regions import segment_regions
    from ._stratify import stratify
    from ._survival_models import coxnet, survival_forest
    from ._tissue_clusters import tissue_clusters
    from ._transfer_labels import transfer_labels
    from ._transfer_signatures import transfer_signatures
