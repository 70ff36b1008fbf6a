"""A part of one image, as the run, its bar and its workers know it."""

from __future__ import annotations

from typing import Protocol


class Block(Protocol):
    """A part of one image, read at once; the region may leave the image."""

    sample: int
    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def n_windows(self) -> int:
        """Windows to encode."""

    @property
    def n_rows(self) -> int:
        """Cells (or tiles of a grid) that it stands for on the bar."""
