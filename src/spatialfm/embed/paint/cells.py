"""Means of pixels over cells, read region by region."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ..._squares import squares_of
from ...pp.measure import compact, rows_of

if TYPE_CHECKING:
    from ..pixels.reader import SampleReader
    from ..windows.cells import Cells

Box = tuple[int, int, int, int]
SIDE = 512  # model pixels that are read at a time
_AT_ONCE = 4  # channels that are held at a time


def cell_means(
    reader: SampleReader, ids: np.ndarray, centers: np.ndarray, read: Callable[[Box, list[int]], np.ndarray], n: int
) -> np.ndarray:
    """Mean of each channel over each cell's pixels, float64 ``(cells, n)``.

    A cell that no model pixel hits takes the pixel at its centre.

    Parameters
    ----------
    reader
        Labels on the model's grid.
    ids
        Label of each cell, ``(cells,)``.
    centers
        Centre (y, x) of each cell in model pixels, ``(cells, 2)``.
    read
        Gives pixels ``(k, h, w)`` of a box ``(y0, y1, x0, x1)`` and of channels by their number.
    n
        Channels.
    """
    order = np.argsort(ids, kind="stable")
    ascending, counts, sums = ids[order], np.zeros(len(ids), np.int64), np.zeros((len(ids), n))
    groups = [list(range(first, min(first + _AT_ONCE, n))) for first in range(0, n, _AT_ONCE)]
    for box in squares_of(reader.shape, SIDE):
        rows = rows_of(ascending, reader.label_image(*box).ravel())
        index = np.flatnonzero(rows >= 0)
        if not index.size:
            continue  # without cells nothing is read
        rows_here, local = compact(rows[index])
        counts[rows_here] += np.bincount(local)
        for channels in groups:
            for channel, pixels in zip(channels, read(box, channels), strict=True):
                values = pixels.ravel()[index].astype(np.float64)
                sums[rows_here, channel] += np.bincount(local, weights=values)
    means = sums / np.maximum(counts, 1)[:, None]
    height, width = reader.shape
    for row in np.flatnonzero(counts == 0):
        y, x = np.clip(np.floor(centers[order[row]]).astype(int), 0, (height - 1, width - 1))
        means[row] = read((y, y + 1, x, x + 1), list(range(n)))[:, 0, 0]
    out = np.empty_like(means)
    out[order] = means
    return out


def means_of_cells(
    readers: list[SampleReader],
    ratios: np.ndarray,
    cells: Cells,
    read: Callable[[int, Box, list[int]], np.ndarray],
    n: int,
) -> np.ndarray:
    """The same of the cells of all samples, in their order; `read` takes the number of the sample first."""
    means = np.empty((len(cells.rows), n))
    for number, reader in enumerate(readers):
        own = np.flatnonzero(cells.sample == number)
        if len(own):
            centers = cells.centers[own] / ratios[number]
            means[own] = cell_means(reader, cells.labels[own], centers, partial(read, number), n)
    return means
