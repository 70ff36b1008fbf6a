"""Loops over pixels, compiled when they are first called and kept on disk for the next session."""

from __future__ import annotations

import numpy as np

from .._compiled import compiled


@compiled
def measure_parts(local, n):
    """First pixel (flat), number of pixels, sums of y and x, and box ``(y0, y1, x0, x1)`` of the parts 1 to `n`."""
    first, area = np.full(n, -1, np.int64), np.zeros(n, np.int64)
    total, box = np.zeros((n, 2), np.int64), np.zeros((n, 4), np.int64)
    height, width = local.shape
    for y in range(height):
        for x in range(width):
            i = local[y, x] - 1
            if i < 0:
                continue
            if first[i] < 0:
                first[i] = y * width + x
                box[i, 0], box[i, 2] = y, x
            area[i] += 1
            total[i, 0] += y
            total[i, 1] += x
            box[i, 1] = y + 1
            box[i, 2] = min(box[i, 2], x)
            box[i, 3] = max(box[i, 3], x + 1)
    return first, area, total, box


# what a pixel of the outline counts by 2 * straight + 10 * diagonal neighbours on it, less 1: a step, a diagonal, the
# mean of both (Benkrid and Crookes), or nothing
_KIND = np.full(50, -1, np.int64)
_KIND[[5, 7, 15, 17, 25, 27]] = 0
_KIND[[21, 33]] = 1
_KIND[[13, 23]] = 2


@compiled
def add_block(rows, y0, x0, centre, sums, outline):
    """Add moments and outline of a window's pixels to those of their cells, and return where cells begin and end.

    Parameters
    ----------
    rows
        ``(h + 4, w + 4)`` row of the cell of every pixel, -1 for none; a margin of two pixels around the core.
    y0, x0
        The core's first pixel in the image.
    centre
        ``(n, 2)`` whole numbers, around which moments are taken.
    sums, outline
        ``(n, 6)`` and ``(n, 3)`` int64, added to: number of pixels, y, x, yy, xx, yx; steps, diagonals, means.

    Returns
    -------
    ``(k, 4)`` cell, y, first and last x of each run of pixels in a row.
    """
    height, width = rows.shape
    border = np.zeros(rows.shape, np.bool_)
    n_runs = 0
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            r = rows[y, x]
            if r >= 0:
                border[y, x] = rows[y - 1, x] != r or rows[y + 1, x] != r or rows[y, x - 1] != r or rows[y, x + 1] != r
                if 2 <= y < height - 2 and 2 <= x < width - 2 and (x == 2 or rows[y, x - 1] != r):
                    n_runs += 1
    runs = np.empty((n_runs, 4), np.int64)
    k = -1
    for y in range(2, height - 2):
        for x in range(2, width - 2):
            r = rows[y, x]
            if r < 0:
                continue
            if x == 2 or rows[y, x - 1] != r:
                k += 1
                runs[k, 0], runs[k, 1], runs[k, 2] = r, y - 2 + y0, x - 2 + x0
            runs[k, 3] = x - 2 + x0
            dy, dx = y - 2 + y0 - centre[r, 0], x - 2 + x0 - centre[r, 1]
            sums[r, 0] += 1
            sums[r, 1] += dy
            sums[r, 2] += dx
            sums[r, 3] += dy * dy
            sums[r, 4] += dx * dx
            sums[r, 5] += dy * dx
            if border[y, x]:
                code = 1
                for i in range(-1, 2):
                    for j in range(-1, 2):
                        if (i != 0 or j != 0) and border[y + i, x + j] and rows[y + i, x + j] == r:
                            code += 10 if i != 0 and j != 0 else 2
                if _KIND[code] >= 0:
                    outline[r, _KIND[code]] += 1
    return runs


@compiled
def _sum_of_ends(y, ends, at, value):
    """Sum over rows of the first pixel of the hull's left side; of its right side with `ends` negated.

    Everything is doubled, so that the corners of a pixel's diamond, its centre half a pixel up, down and to the left,
    are whole numbers. `at` and `value` are room for the chain of corners.
    """
    top = -1
    for i in range(y.size):
        for step in range(-1, 2):
            t, v = 2 * y[i] + step, 2 * ends[i] - (1 if step == 0 else 0)
            if top >= 0 and at[top] == t:
                if value[top] <= v:
                    continue
                top -= 1
            while top >= 1 and (value[top] - value[top - 1]) * (t - at[top - 1]) >= (v - value[top - 1]) * (
                at[top] - at[top - 1]
            ):
                top -= 1
            top += 1
            at[top], value[top] = t, v
    total, edge = 0, 0
    for row in range(y[0], y[-1] + 1):
        while at[edge + 1] < 2 * row:
            edge += 1
        long = at[edge + 1] - at[edge]
        up = value[edge] * long + (value[edge + 1] - value[edge]) * (2 * row - at[edge])
        total -= (-up) // (2 * long)  # the next whole number above
    return total


@compiled
def hull_areas(starts, y, low, high):
    """Pixels whose centres are in or on the convex hull of each cell.

    As `skimage.morphology.convex_hull_image`, a pixel is a diamond: its centre half a pixel up, down, left and right.
    All is done in whole numbers.

    Parameters
    ----------
    starts
        ``(n + 1,)`` first row of every cell, and the number of all.
    y, low, high
        Row, first and last pixel of the cell in it; rows ascend within a cell.

    Examples
    --------
    >>> y, low, high = np.array([[0, 0, 3], [1, 0, 0], [2, 0, 3]]).T  # a C: the two rows of four, and what is between
    >>> hull_areas(np.array([0, 3]), y, low, high)
    array([12])
    """
    area = np.empty(starts.size - 1, np.int64)
    longest = 0
    for i in range(area.size):
        longest = max(longest, starts[i + 1] - starts[i])
    at, value = np.empty(3 * longest + 1, np.int64), np.empty(3 * longest + 1, np.int64)
    for i in range(area.size):
        a, b = starts[i], starts[i + 1]
        ends = _sum_of_ends(y[a:b], low[a:b], at, value) + _sum_of_ends(y[a:b], -high[a:b], at, value)
        area[i] = y[b - 1] - y[a] + 1 - ends
    return area
