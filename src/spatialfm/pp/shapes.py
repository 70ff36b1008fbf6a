"""Shape of labelled cells from one pass over a label image, block by block; numbers as scikit-image defines them.

Moments, outline and extent of a cell are sums and bounds over its pixels: each block adds its part, in whole numbers,
so that neither the blocks nor their order change a digit. Every pixel is read once. What is kept besides the block are
a few lines of pixels along its upper and left sides, and the ends of the rows of cells that go on below.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from .._keys import SHAPE_COLUMNS
from .measure import loaded, plan_blocks, rows_of

if TYPE_CHECKING:
    from .pieces import LabelScan

_LENGTHS = ("perimeter", "axis_major_length", "axis_minor_length", "equivalent_diameter_area")
_HALO = 2  # pixels: a neighbour on the outline is known by its own neighbours


def shapes(labels, scan: LabelScan, length: float = 1.0) -> dict[str, np.ndarray]:
    """Shape of every cell of a scan, as `skimage.measure.regionprops` defines it.

    Parameters
    ----------
    labels
        Label image ``(y, x)``.
    scan
        Cells to measure.
    length
        Side of a label pixel in µm; lengths come in this unit.
    """
    from .shape_kernels import add_block, hull_areas

    n = scan.ids.size
    centre = np.rint(scan.centroid).astype(np.int64)  # sums around it are small, so that they stay exact
    sums, outline, hull = np.zeros((n, 6), np.int64), np.zeros((n, 3), np.int64), np.ones(n, np.int64)
    pending = _Rows.none()
    last = scan.box[:, 1]
    for window, (y0, x0), done in _windows(labels):
        rows = rows_of(scan.ids, window.ravel()).reshape(window.shape)
        pending.add(add_block(rows, y0, x0, centre, sums, outline))
        if done is not None:  # a row of blocks: what ends above is whole
            cell, y, low, high = pending.take(last <= done)
            first = np.flatnonzero(np.r_[True, cell[1:] != cell[:-1]][: cell.size])
            hull[cell[first]] = hull_areas(np.r_[first, cell.size], y, low, high)
    out = _ellipses(sums) | {"solidity": sums[:, 0] / hull, "perimeter": _perimeters(outline)}
    return {name: out[name] * (length if name in _LENGTHS else 1.0) for name in SHAPE_COLUMNS}


class _Rows:
    """First and last pixel of cells in each row that they reach, of cells that are not whole yet."""

    def __init__(self, parts: list[np.ndarray]) -> None:
        self.parts = parts  # (k, 4) each: cell, y, first x, last x

    @classmethod
    def none(cls) -> _Rows:
        return cls([np.empty((0, 4), np.int64)])

    def add(self, runs: np.ndarray) -> None:
        self.parts.append(runs)

    def take(self, whole: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Rows of the cells that are whole, by cell and downwards; the others stay."""
        cell, y, low, high = np.concatenate(self.parts).T
        order = np.lexsort([y, cell])
        cell, y = cell[order], y[order]
        first = np.flatnonzero(np.r_[True, (cell[1:] != cell[:-1]) | (y[1:] != y[:-1])][: cell.size])
        if first.size:
            low, high = np.minimum.reduceat(low[order], first), np.maximum.reduceat(high[order], first)
        cell, y = cell[first], y[first]
        ready = whole[cell]
        self.parts = [np.stack([cell, y, low, high], axis=1)[~ready]]
        return cell[ready], y[ready], low[ready], high[ready]


def _windows(labels) -> Iterator[tuple[np.ndarray, tuple[int, int], int | None]]:
    """Parts of a label image with `_HALO` pixels around each, zeros where the image ends.

    Yields window, first pixel of its core, and, with the last one of a row of blocks, the row where the cores end.
    Cores cover the image once. They lag behind the blocks that are read: what is below and to the right of a pixel
    has to be known.
    """
    height, width = labels.shape
    edges_y, edges_x = {}, {}
    for y0, y1, x0, x1 in plan_blocks(labels):
        edges_y[y0], edges_x[x0] = y1, x1
    above = np.zeros((_HALO, width + 2 * _HALO), labels.dtype)  # rows that are kept, with the image's margins
    for y0, y1 in edges_y.items():
        tail_y = _HALO if y1 == height else 0
        left = np.zeros((above.shape[0] + y1 - y0 + tail_y, _HALO), labels.dtype)
        below = np.zeros((left.shape[0], width + 2 * _HALO), labels.dtype)[-2 * _HALO :]
        core_y = y0 - (above.shape[0] - _HALO)
        for x0, x1 in edges_x.items():
            tail_x = _HALO if x1 == width else 0
            block = np.pad(loaded(labels[y0:y1, x0:x1]), ((0, tail_y), (0, tail_x)))
            columns = slice(x0 + _HALO, x1 + _HALO + tail_x)
            window = np.concatenate([left, np.concatenate([above[:, columns], block])], axis=1)
            core_x = x0 - (left.shape[1] - _HALO)
            below[:, columns] = window[-below.shape[0] :, left.shape[1] :]
            yield window, (core_y, core_x), (y1 - _HALO + tail_y if x1 == width else None)
            left = window[:, -2 * _HALO :]
        above = below


def _ellipses(sums: np.ndarray) -> dict[str, np.ndarray]:
    """Properties of the ellipse with the second moments of each cell, from sums of 1, y, x, yy, xx and yx."""
    area, sy, sx, syy, sxx, sxy = sums.T.astype(np.float64)
    yy, xx, xy = ((area * a - b * c) / area**2 for a, b, c in ((syy, sy, sy), (sxx, sx, sx), (sxy, sy, sx)))
    middle, spread = (yy + xx) / 2, np.hypot((yy - xx) / 2, xy)
    large, small = middle + spread, np.maximum(middle - spread, 0)
    ratio = np.divide(small, large, out=np.ones(area.size), where=large > 0)
    diagonal = np.where(xy > 0, np.pi / 4, -np.pi / 4)
    return {
        "eccentricity": np.sqrt(1 - ratio),
        "axis_major_length": 4 * np.sqrt(large),
        "axis_minor_length": 4 * np.sqrt(small),
        "orientation": np.where(xx == yy, diagonal, 0.5 * np.arctan2(2 * xy, yy - xx)),
        "equivalent_diameter_area": np.sqrt(4 * area / np.pi),
    }


def _perimeters(outline: np.ndarray) -> np.ndarray:
    """Perimeters from numbers of pixels of the outline that are a step, a diagonal and half of each."""
    return outline @ np.array([1, np.sqrt(2), (1 + np.sqrt(2)) / 2])
