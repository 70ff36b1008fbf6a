"""Straight lines at which many cells end: borders of tiles of a segmentation that was not stitched."""

from __future__ import annotations

import numpy as np

from .measure import loaded, plan_blocks

NEARBY = 15  # lines on either side that a line is compared with
TIMES = 3.0  # as many pixels at which a cell ends as the median of the lines nearby
SIGMAS = 12.0  # and that many standard deviations (of counts) above it
_FEW = 4  # cells: two that touch along a straight line are not a seam
_SHARE = 0.4  # of the side of a square of a cell's area, along which a cell that was cut ends at the line


def ends_on_lines(labels) -> tuple[np.ndarray, np.ndarray]:
    """Pixels at which a cell ends, for each line between two rows ``(h - 1,)`` and two columns ``(w - 1,)``."""
    height, width = labels.shape
    rows, columns = np.zeros(max(height - 1, 0), np.int64), np.zeros(max(width - 1, 0), np.int64)
    for y0, y1, x0, x1 in plan_blocks(labels):
        block = loaded(labels[y0 : y1 + 1, x0 : x1 + 1])
        across = block[:-1, : x1 - x0] != block[1:, : x1 - x0]
        along = block[: y1 - y0, :-1] != block[: y1 - y0, 1:]
        rows[y0 : y0 + len(across)] += across.sum(axis=1)
        columns[x0 : x0 + along.shape[1]] += along.sum(axis=0)
    return rows, columns


def seams(ends: np.ndarray) -> np.ndarray:
    """Lines (index of the pixel before) at which far more cells end than at the lines nearby.

    Examples
    --------
    >>> ends = np.full(100, 30)
    >>> ends[63] = 200
    >>> seams(ends).tolist()
    [63]
    """
    if ends.size <= 2 * NEARBY:
        return np.empty(0, np.int64)
    padded = np.pad(ends.astype(np.float64), NEARBY, mode="reflect")
    around = np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * NEARBY + 1), axis=1)
    return np.flatnonzero((ends > TIMES * around) & (ends > around + SIGMAS * np.sqrt(around + 1)))


def cut_cells(labels, ids: np.ndarray, area: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which cells ``(n,)`` end at a seam along a good part of their side; the seams between rows, between columns."""
    cut, seams_of_axis = np.zeros(ids.size, bool), []
    for axis, ends in enumerate(ends_on_lines(labels)):
        lines = []
        for line in seams(ends):
            pair = loaded(labels[line : line + 2] if axis == 0 else labels[:, line : line + 2].T)
            differ = pair[0] != pair[1]
            on_line = np.zeros(ids.size, bool)
            for side in pair:
                numbers, counts = np.unique(side[differ & (side > 0)], return_counts=True)
                place = np.searchsorted(ids, numbers)
                on_line[place] |= counts > _SHARE * np.sqrt(area[place])
            if on_line.sum() >= _FEW:
                lines.append(line)
                cut |= on_line
        seams_of_axis.append(np.array(lines, np.int64))
    return cut, seams_of_axis[0], seams_of_axis[1]
