"""Measures of embeddings: retrieval, agreement, batch effect, classification and survival with intervals."""

from __future__ import annotations

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "_classification": ["classification"],
        "_retrieval": ["retrieval"],
        "_cross_modal": ["cross_modal"],
        "_batch_effect": ["batch_effect"],
        "_compare": ["compare_representations"],
        "_survival": ["survival"],
    },
)
