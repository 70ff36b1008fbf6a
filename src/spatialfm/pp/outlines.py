"""Whether a label image holds the outlines of cells instead of their pixels."""

from __future__ import annotations

import numpy as np

from .label_findings import FEW, Finding
from .measure import loaded
from .pieces import Pieces

_EXTENT = 0.7  # of its box, that a line around a cell covers at most; an ellipse covers 0.785
_HOLLOW = 1.25  # times its own area, that a line and what it encloses have at least
_CORE = 0.05  # share of a line's pixels with none but its own around them, at most
_SMALLEST = 8  # pixels: the line around one pixel
_LOOKED_AT = 48
_CROP = 512  # pixels to a side


def find_outlines(labels, pieces: Pieces) -> list[Finding]:
    """The finding that most pieces are lines of one or two pixels around a hole; empty where they are not.

    For most label images the boxes alone show that pieces are filled. Only if they do not, some of the pieces are read.

    Parameters
    ----------
    labels
        Label image ``(y, x)``, anything that can be sliced.
    pieces
        Its pieces.
    """
    large = np.flatnonzero(pieces.area >= _SMALLEST)
    y0, y1, x0, x1 = pieces.box[large].T
    open_ones = large[pieces.area[large] < _EXTENT * (y1 - y0) * (x1 - x0)]
    if 2 * open_ones.size <= large.size:
        return []
    rows = open_ones[np.unique(np.linspace(0, open_ones.size - 1, _LOOKED_AT).astype(int))]
    n = sum(is_outline(_crop(labels, pieces.box[row]) == pieces.ids[row]) for row in rows)
    if 2 * n <= rows.size:
        return []
    n_pixels = pieces.first.size
    text = (
        f"holds the outlines of cells and not their pixels: {n} of {rows.size} pieces looked at are lines of one or "
        "two pixels around a hole, and what is measured would be measured on these lines"
    )
    return [
        Finding(
            "outlines", "error" if n_pixels < FEW else "warning", n_pixels, n_pixels, pieces.ids[pieces.first], text
        )
    ]


def is_outline(piece: np.ndarray) -> bool:
    """Whether a piece is a thin line around something.

    Examples
    --------
    >>> line = np.zeros((9, 9), bool)
    >>> line[1:8, 1:8] = True
    >>> line[2:7, 2:7] = False
    >>> is_outline(line), is_outline(np.ones((9, 9), bool))
    (True, False)
    """
    from scipy.ndimage import binary_erosion, binary_fill_holes

    area = np.count_nonzero(piece)
    core = np.count_nonzero(binary_erosion(piece, np.ones((3, 3), bool)))
    return core <= _CORE * area and bool(np.count_nonzero(binary_fill_holes(piece)) >= _HOLLOW * area)


def _crop(labels, box: np.ndarray) -> np.ndarray:
    """Labels in a box, or in the middle of a large one."""
    y, x = (
        slice(max(start, (start + stop - _CROP) // 2), min(stop, (start + stop + _CROP) // 2))
        for start, stop in (box[:2], box[2:])
    )
    return loaded(labels[y, x])
