"""Tools: embeddings, neighbourhoods, compositions and survival. They write into the AnnData or return a copy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "_annotate": ["annotate"],
        "_composition": ["composition"],
        "_concordance": ["concordance"],
        "_cox": ["cox"],
        "_evaluate_annotation": ["evaluate_annotation"],
        "_embed_cells": ["embed_cells"],
        "_embed_tiles": ["embed_tiles"],
        "_kaplan_meier": ["kaplan_meier"],
        "_logrank": ["logrank"],
        "_neighborhood_composition": ["neighborhood_composition"],
        "_stratify": ["stratify"],
    },
)

if TYPE_CHECKING:
    from ._annotate import annotate
    from ._composition import composition
    from ._concordance import concordance
    from ._cox import cox
    from ._embed_cells import embed_cells
    from ._embed_tiles import embed_tiles
    from ._evaluate_annotation import evaluate_annotation
    from ._kaplan_meier import kaplan_meier
    from ._logrank import logrank
    from ._neighborhood_composition import neighborhood_composition
    from ._stratify import stratify
