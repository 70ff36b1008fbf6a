"""Spatial-proteomics foundation models for SpatialData and scverse.

The namespaces are loaded when first touched, so that ``import spatialfm`` costs neither torch nor scanpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader as _lazy

from ._settings import settings
from ._version import __version__

if TYPE_CHECKING:
    from . import datasets, get, io, metrics, models, pl, pp, tl, train
    from .embed.call import Elements, Panel, Reduce, Run
    from .models.recipe import Recipe
    from .reporting._report import report

_SUBMODULES = ["datasets", "get", "io", "metrics", "models", "pl", "pp", "tl", "train"]
_RECORDS = ["Elements", "Panel", "Recipe", "Reduce", "Run"]  # arguments of the functions that embed
__getattr__, _, _ = _lazy.attach(
    __name__,
    submodules=_SUBMODULES,
    submod_attrs={
        "embed.call": [name for name in _RECORDS if name != "Recipe"],
        "models.recipe": ["Recipe"],
        "reporting._report": ["report"],
    },
)
__all__ = [*_SUBMODULES, *_RECORDS, "report", "settings", "__version__"]


def __dir__() -> list[str]:
    return sorted(__all__)
