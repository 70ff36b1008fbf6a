"""A page of a TIFF file: where its strips or tiles are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Page:
    """Where the segments (strips or tiles) of one page are; `raw` is the offset of a page that is one plain array."""

    path: str
    offsets: np.ndarray
    counts: np.ndarray
    raw: int | None
    jpegtables: bytes | None = None
