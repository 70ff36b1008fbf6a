"""Tools: embeddings, neighbourhoods, compositions and survival. They write into the AnnData or return a copy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "_annotate": ["annotate"],
        "_cluster_agreement": ["cluster_agreement"],
        "_composition": ["composition"],
        "_concordance": ["concordance"],
        "_cox": ["cox"],
        "_embed_cells": ["embed_cells"],
        "_embed_tiles": ["embed_tiles"],
        "_evaluate_annotation": ["evaluate_annotation"],
        "_kaplan_meier": ["kaplan_meier"],
        "_leiden_sweep": ["leiden_sweep"],
        "_logrank": ["logrank"],
        "_neighborhood_composition": ["neighborhood_composition"],
        "_neighborhood_contrast": ["neighborhood_contrast"],
        "_niches": ["niches"],
        "_search": ["build_index", "search"],
        "_search_samples": ["search_samples"],
        "_stratify": ["stratify"],
        "_tissue_clusters": ["tissue_clusters"],
        "_transfer_labels": ["transfer_labels"],
    },
)

if TYPE_CHECKING:
    from ._annotate import annotate
    from ._cluster_agreement import cluster_agreement
    from ._composition import composition
    from ._concordance import concordance
    from ._cox import cox
    from ._embed_cells import embed_cells
    from ._embed_tiles import embed_tiles
    from ._evaluate_annotation import evaluate_annotation
    from ._kaplan_meier import kaplan_meier
    from ._leiden_sweep import leiden_sweep
    from ._logrank import logrank
    from ._neighborhood_composition import neighborhood_composition
    from ._neighborhood_contrast import neighborhood_contrast
    from ._niches import niches
    from ._search import build_index, search
    from ._search_samples import search_samples
    from ._stratify import stratify
    from ._tissue_clusters import tissue_clusters
    from ._transfer_labels import transfer_labels
