"""One HTML file of what a SpatialData or an AnnData holds: read, drawn, and explained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(__name__, submod_attrs={"_report": ["report"]})

if TYPE_CHECKING:
    from ._report import report
