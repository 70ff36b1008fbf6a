"""Where to look: cells on the model's pixel grid, and the blocks in which they are read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..._errors import ModelError


@dataclass(frozen=True)
class CellBlock:
    """A part of one image with the cells whose centroid is in it.

    Attributes
    ----------
    sample
        Number of the sample.
    cells
        Positions of the cells in the run (rows of the result), ascending.
    y0, y1, x0, x1
        Region in model pixels that covers all windows of those cells; may leave the image.
    """

    sample: int
    cells: np.ndarray
    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def n_windows(self) -> int:
        """Windows to encode."""
        return len(self.cells)

    @property
    def n_rows(self) -> int:
        """Cells."""
        return len(self.cells)


def window_starts(centers: np.ndarray, window: int) -> np.ndarray:
    """First row and column of the window around each centre ``(n, 2)``, in model pixels.

    Pixel ``i`` covers ``[i, i + 1)``. The window is cut as the official pipeline of KRONOS does it: around the pixel
    ``i`` that holds the centre, from ``i - window // 2`` on. In pixel indices (centre of pixel ``i`` = ``i``) this is
    the centroid rounded to the nearest, halves up.

    Examples
    --------
    >>> import numpy as np
    >>> window_starts(np.array([[32.0, 40.4], [32.9, 41.0]]), 64)
    array([[0, 8],
           [0, 9]])
    """
    return center_pixels(centers) - window // 2


def center_pixels(centers: np.ndarray) -> np.ndarray:
    """Row and column of the pixel that holds each centre ``(n, 2)``.

    A millionth of a pixel is added: a centroid between two pixels must not fall back by what a transformation rounds.
    """
    return np.floor(np.asarray(centers) + 1e-6).astype(np.int64)


def needed_sides(centers: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Side of the smallest even window around each centre ``(n, 2)`` that holds its cell, ``(n,)``.

    Parameters
    ----------
    centers
        Centre (y, x) in pixels.
    boxes
        Edges (y0, y1, x0, x1) of the cell, ``(n, 4)``.

    Examples
    --------
    >>> import numpy as np
    >>> needed_sides(np.array([[10.5, 10.5]]), np.array([[8, 13, 9, 12]]))  # rows 8 to 12 around pixel 10
    array([6.])
    """
    pixel = center_pixels(centers)
    low, high = np.floor(boxes[:, [0, 2]] + 1e-6), np.ceil(boxes[:, [1, 3]] - 1e-6)
    return 2.0 * np.maximum(pixel - low, high - pixel).max(axis=1, initial=0)


def plan_blocks(sample: int, cells: np.ndarray, starts: np.ndarray, window: int, block: int) -> list[CellBlock]:
    """Group the cells of one sample into square blocks of side `block`, row by row.

    Parameters
    ----------
    sample
        Number of the sample.
    cells
        Positions of its cells in the run, ``(n,)``.
    starts
        Window starts, ``(n, 2)``.
    window, block
        Sides in model pixels.
    """
    tiles = np.floor_divide(starts + window // 2, block)
    order = np.lexsort((cells, tiles[:, 1], tiles[:, 0]))
    boundaries = np.flatnonzero(np.any(np.diff(tiles[order], axis=0) != 0, axis=1)) + 1
    blocks = []
    for members in np.split(order, boundaries):
        if not len(members):
            continue
        (y0, x0), (y1, x1) = starts[members].min(axis=0), starts[members].max(axis=0) + window
        blocks.append(CellBlock(sample, cells[members], int(y0), int(y1), int(x0), int(x1)))
    return blocks


def fitting_window(extents: np.ndarray, largest: int) -> int:
    """Side that holds all cells, a multiple of 8, at most `largest`.

    Examples
    --------
    >>> import numpy as np
    >>> fitting_window(np.array([11.0, 37.0]), 256)
    40
    """
    return int(np.clip(8 * np.ceil(extents.max(initial=8) / 8), 8, largest))


def choose_window(
    asked: int | None,
    patch_size: int | None,
    extents: np.ndarray,
    *,
    argument: str = "window",
) -> int:
    """Side of the window in model pixels.

    Parameters
    ----------
    asked
        What the recipe or the user gives; None: as large as the largest cell.
    patch_size
        Side of a token; the window is a multiple of it.
    extents
        Side that each cell needs, ``(n,)``.
    argument
        What the user calls it.
    """
    if asked is not None and asked < 1:
        raise ModelError(f"{argument}={asked} is too small. Pass a number of pixels.")
    window = asked
    if window is None:
        window = fitting_window(extents, 256)
    if patch_size is not None and (window < patch_size or window % patch_size):
        raise ModelError(
            f"{argument}={window} is not a multiple of the model's patch of {patch_size} pixels. Pass "
            f"{argument}={max(patch_size, round(window / patch_size) * patch_size)}, for example."
        )
    return int(window)
