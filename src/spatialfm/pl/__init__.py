"""Plots. They draw what the tools wrote and compute nothing that others would need; nothing is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "_cells": ["cells"],
        "_cluster_tree": ["cluster_tree"],
        "_composition": ["composition"],
        "_forest": ["forest"],
        "_kaplan_meier": ["kaplan_meier"],
        "_tile_map": ["tile_map"],
    },
)

if TYPE_CHECKING:
    from ._cells import cells
    from ._cluster_tree import cluster_tree
    from ._composition import composition
    from ._forest import forest
    from ._kaplan_meier import kaplan_meier
    from ._tile_map import tile_map
