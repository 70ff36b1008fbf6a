"""The formulas of `classical`, cell by cell on the pixels of a block: no window is cut, and nothing outside is touched.

The same numbers as `classical.shape_features` and `classical.marker_features` of a window, to the rounding of single
precision. Compiled when first called.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from .._compiled import compiled

_HELD = 2**21  # pixels of cells that are sorted at a time


def measure_cells(
    region: np.ndarray,
    labels: np.ndarray,
    cells: np.ndarray,
    starts: np.ndarray,
    sides: np.ndarray,
    std: np.ndarray,
    formula: tuple,
    levels: Sequence[float],
) -> np.ndarray:
    """Features ``(n, 7 + 8 M)`` float32 of cells, as `ClassicalEncoder.measure_cells` takes them.

    Parameters
    ----------
    region, labels, cells, starts, sides, std
        As there.
    formula
        `lengths` to `floor` of `measure`.
    levels
        The three quantiles.
    """
    columns = 7 + 8 * np.arange(len(region))
    out = np.empty((len(cells), 7 + 8 * len(region)), np.float32)
    sizes = np.maximum(cell_sizes(labels, cells, starts, sides), 1)
    scale = np.asarray(std, np.float32)
    for rows in _of_like_size(sizes, _HELD // max(len(region), 1)):
        values = np.empty((rows.size, len(region), sizes[rows].max()), np.float32)
        values_of = np.empty((rows.size, out.shape[1]))
        measure(region, labels, cells[rows], starts[rows], sides[rows], scale, *formula, values, values_of)
        values.sort(axis=2)  # several values at once
        for number, level in enumerate(levels, 1):
            values_of[:, columns + number] = np.arcsinh(_quantile(values, sizes[rows], level))
        out[rows] = values_of
    return out


@compiled
def cell_sizes(labels: np.ndarray, cells: np.ndarray, starts: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Number of pixels ``(n,)`` of cells within squares ``(n,)`` of labels ``(h, w)`` from their first ``(n, 2)``."""
    sizes = np.zeros(cells.size, np.int64)
    for b in range(cells.size):
        for y in range(starts[b, 0], starts[b, 0] + sides[b]):
            for x in range(starts[b, 1], starts[b, 1] + sides[b]):
                sizes[b] += labels[y, x] == cells[b]
    return sizes


@compiled
def _place(labels: np.ndarray, cell: int, y0: int, x0: int, side: int, place: np.ndarray, at: np.ndarray) -> int:
    """Positions of a cell's pixels in `at`, their number in `place` ``(side + 2, side + 2)``, whose rim stays empty."""
    place[: side + 2, : side + 2] = -1
    n = 0
    for y in range(side):
        for x in range(side):
            if labels[y0 + y, x0 + x] == cell:
                place[y + 1, x + 1] = n
                at[n, 0], at[n, 1] = y, x
                n += 1
    if n == 0:  # a cell so thin that no pixel hits it keeps the one at its centroid
        at[0, 0] = at[0, 1] = side // 2
        place[side // 2 + 1, side // 2 + 1] = 0
        n = 1
    return n


@compiled
def _depths(place: np.ndarray, side: int, depth: np.ndarray) -> None:
    """Chessboard distance of every pixel to the nearest one that is not the cell's, outside of the square included."""
    depth[: side + 2, : side + 2] = 0
    for y in range(1, side + 1):
        for x in range(1, side + 1):
            if place[y, x] >= 0:
                depth[y, x] = 1 + min(depth[y - 1, x - 1], depth[y - 1, x], depth[y - 1, x + 1], depth[y, x - 1])
    for y in range(side, 0, -1):
        for x in range(side, 0, -1):
            if place[y, x] >= 0:
                below = min(depth[y + 1, x - 1], depth[y + 1, x], depth[y + 1, x + 1], depth[y, x + 1])
                depth[y, x] = min(depth[y, x], 1 + below)


@compiled
def _shape(
    place: np.ndarray, at: np.ndarray, n: int, side: int, lengths: np.ndarray, mpp: float, out: np.ndarray
) -> None:
    """The columns of `SHAPE_FEATURES`."""
    my, mx = 0.0, 0.0
    rows, columns = np.zeros(side, np.bool_), np.zeros(side, np.bool_)
    for i in range(n):
        my += at[i, 0]
        mx += at[i, 1]
        rows[at[i, 0]] = True
        columns[at[i, 1]] = True
    my, mx = my / n, mx / n
    yy, xx, yx, perimeter = 0.0, 0.0, 0.0, 0.0
    for i in range(n):
        y, x = at[i, 0] + 1, at[i, 1] + 1
        dy, dx = at[i, 0] - my, at[i, 1] - mx
        yy += dy * dy
        xx += dx * dx
        yx += dy * dx
        if _is_outline(place, y, x):
            code = 1
            for j in range(-1, 2):
                for k in range(-1, 2):
                    if (j != 0 or k != 0) and place[y + j, x + k] >= 0 and _is_outline(place, y + j, x + k):
                        code += 10 if j != 0 and k != 0 else 2
            perimeter += lengths[code]
    yy, xx, yx = yy / n, xx / n, yx / n
    spread = math.sqrt((yy - xx) ** 2 + 4 * yx**2)
    large, small = (yy + xx + spread) / 2, max((yy + xx - spread) / 2, 0.0)
    out[0] = math.log1p(n * mpp**2)
    out[1] = math.log1p(perimeter * mpp)
    out[2] = math.sqrt(max(1 - small / large, 0.0)) if large > 0 else 0.0
    out[3] = math.log1p(4 * math.sqrt(large) * mpp)
    out[4] = math.log1p(4 * math.sqrt(small) * mpp)
    out[5] = n / (rows.sum() * columns.sum())
    out[6] = 4 * math.pi * n / perimeter**2 if perimeter > 0 else 0.0


@compiled
def _is_outline(place: np.ndarray, y: int, x: int) -> bool:
    return place[y - 1, x] < 0 or place[y + 1, x] < 0 or place[y, x - 1] < 0 or place[y, x + 1] < 0


@compiled
def measure(
    region: np.ndarray,
    labels: np.ndarray,
    cells: np.ndarray,
    starts: np.ndarray,
    sides: np.ndarray,
    scale: np.ndarray,
    lengths: np.ndarray,
    mpp: float,
    whole: int,
    part: float,
    step: int,
    floor: float,
    values: np.ndarray,
    out: np.ndarray,
) -> None:
    """Everything but quantiles of some cells.

    Parameters
    ----------
    region, labels
        Pixels ``(M, h, w)`` and labels ``(h, w)`` of a block.
    cells, starts, sides
        Labels ``(n,)``; first pixel ``(n, 2)`` and side ``(n,)`` of the square in which each is looked for.
    scale
        ``(M,)`` float32 that pixels are divided by.
    lengths
        ``(50,)`` what a pixel of the outline counts, by its neighbours on it.
    mpp, whole, part, step, floor
        Length of a pixel; width of the rim, pixels and part of one; distance of compared pixels; noise.
    values
        ``(n, M, k)`` room for the pixels of each cell, filled with infinity where there are fewer than `k`.
    out
        ``(n, 7 + 8 M)``, written, but the three columns of quantiles of each marker.
    """
    largest, most = sides.max(), values.shape[2]
    place, depth = np.empty((largest + 2, largest + 2), np.int32), np.empty((largest + 2, largest + 2), np.int32)
    at = np.empty((most, 2), np.int64)
    core, right, down = np.empty(most, np.float64), np.empty(most, np.int64), np.empty(most, np.int64)
    for b in range(cells.size):
        y0, x0, side = starts[b, 0], starts[b, 1], sides[b]
        n = _place(labels, cells[b], y0, x0, side, place, at)
        _depths(place, side, depth)
        _shape(place, at, n, side, lengths, mpp, out[b])
        in_core = 0.0
        n_right, n_down, n_corner = 0, 0, 0
        for i in range(n):
            y, x = at[i, 0] + 1, at[i, 1] + 1
            core[i] = (1 - part) * (depth[y, x] > whole) + part * (depth[y, x] > whole + 1)
            in_core += core[i]
            right[i] = place[y, x + step] if x + step <= side else -1
            down[i] = place[y + step, x] if y + step <= side else -1
            n_right += right[i] >= 0
            n_down += down[i] >= 0
            n_corner += right[i] >= 0 and down[i] >= 0
        in_rim = n - in_core
        for m in range(region.shape[0]):
            pixels = values[b, m]
            mean, inner = 0.0, 0.0
            for i in range(n):
                value = region[m, y0 + at[i, 0], x0 + at[i, 1]] / scale[m]
                pixels[i] = value
                mean += value
                inner += core[i] * value
            outer = (mean - inner) / in_rim if in_rim > 0 else 0.0
            inner = inner / in_core if in_core > 0 else 0.0
            mean /= n
            variance, gradient, difference = 0.0, 0.0, 0.0
            for i in range(n):
                value = np.float64(pixels[i])
                variance += (value - mean) ** 2
                across, below = 0.0, 0.0
                if right[i] >= 0:
                    across = (pixels[right[i]] - value) ** 2
                if down[i] >= 0:
                    below = (pixels[down[i]] - value) ** 2
                difference += across + below
                if right[i] >= 0 and down[i] >= 0:
                    gradient += math.sqrt(across + below)
            variance /= n
            gradient /= max(n_corner, 1)
            difference /= max(n_right + n_down, 1)
            column = 7 + 8 * m
            out[b, column] = math.asinh(mean)
            out[b, column + 4] = math.asinh(math.sqrt(variance))
            ratio = math.log((max(inner, 0.0) + floor) / (max(outer, 0.0) + floor))
            out[b, column + 5] = ratio if in_core > 0 else 0.0
            out[b, column + 6] = math.asinh(gradient / (step * mpp))
            out[b, column + 7] = (difference / 2 + floor**2) / (variance + floor**2)
            pixels[n:] = np.inf


def _of_like_size(sizes: np.ndarray, limit: int) -> Iterator[np.ndarray]:
    """Rows by ascending size, in groups that hold `limit` values when each is as large as the largest."""
    order = np.argsort(sizes, kind="stable")
    first = 0
    while first < order.size:
        held = sizes[order[first:]] * np.arange(1, order.size - first + 1)
        stop = first + max(1, int(np.searchsorted(held, limit, side="right")))
        yield order[first:stop]
        first = stop


def _quantile(values: np.ndarray, sizes: np.ndarray, level: float) -> np.ndarray:
    """Quantile ``(n, M)`` of the first `sizes` ``(n,)`` of ascending values ``(n, M, k)``."""
    place = np.float32(level) * (sizes - 1).astype(np.float32)  # single precision, as windows have it
    low = np.floor(place).astype(np.int64)
    rows = np.arange(sizes.size)
    below, above = (values[rows, :, at].astype(np.float64) for at in (low, np.minimum(low + 1, sizes - 1)))
    return below + (above - below) * (place - low)[:, None]
