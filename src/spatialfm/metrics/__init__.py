"""Measures of embeddings: retrieval, agreement, batch effect, classification and survival with intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "_batch_effect": ["batch_effect"],
        "_classification": ["classification"],
        "_compare": ["compare_representations"],
        "_cross_modal": ["cross_modal"],
        "_retrieval": ["retrieval"],
        "_survival": ["survival"],
    },
)

if TYPE_CHECKING:
    from ._batch_effect import batch_effect
    from ._classification import classification
    from ._compare import compare_representations
    from ._cross_modal import cross_modal
    from ._retrieval import retrieval
    from ._survival import survival
