"""A part of one image, as the run, its bar and its workers use it."""

from __future__ import annotations

from typing import Protocol


class Block(Protocol):
    """A part of one image, read at once; the region may leave the image."""

    @property
    def sample(self) -> int:
        """Number of the image."""

    @property
    def y0(self) -> int:
        """First row."""

    @property
    def y1(self) -> int:
        """Row behind the last."""

    @property
    def x0(self) -> int:
        """First column."""

    @property
    def x1(self) -> int:
        """Column behind the last."""

    @property
    def n_windows(self) -> int:
        """Windows to encode."""

    @property
    def n_rows(self) -> int:
        """Cells (or tiles of a grid) that it counts for on the bar."""
