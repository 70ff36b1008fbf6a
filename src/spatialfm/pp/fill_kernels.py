"""Pixels of outlines, discs and points, compiled when they are first called and kept on disk for the next session.

A pixel belongs to an outline if its centre is inside, by the even-odd rule; a centre on an edge belongs to the outline
on its right or below, so that outlines with a common edge share no pixel and leave none out.
"""

from __future__ import annotations

import numpy as np

from .._compiled import compiled


@compiled
def flips_of(top, bottom, left, right, first_ring, last_ring, ring_start, xy):
    """Where a row enters or leaves an outline ``(bottom - top, right - left)``: the first pixel behind each edge."""
    flips = np.zeros((bottom - top, right - left), np.bool_)
    for ring in range(first_ring, last_ring):
        for p in range(ring_start[ring], ring_start[ring + 1] - 1):
            xa, ya, xb, yb = xy[p, 0], xy[p, 1], xy[p + 1, 0], xy[p + 1, 1]
            if ya > yb:  # one direction for both outlines of a common edge: they round alike
                xa, ya, xb, yb = xb, yb, xa, ya
            first, last = max(top, int(np.ceil(ya - 0.5))), min(bottom, int(np.ceil(yb - 0.5)))
            for row in range(first, last):
                x = xa + (row + 0.5 - ya) * (xb - xa) / (yb - ya)
                column = max(left, int(np.ceil(x - 0.5)))
                if column < right:
                    flips[row - top, column - left] = not flips[row - top, column - left]
    return flips


@compiled
def fill_outlines(out, y0, x0, cells, numbers, boxes, ring_of, ring_start, xy):
    """Write the numbers of outlines into the pixels of a block that are 0; the first of two keeps a pixel.

    Parameters
    ----------
    out
        ``(h, w)`` int64, of which the first pixel is ``y0, x0``.
    cells
        ``(k,)`` which outlines, ascending.
    numbers, boxes
        ``(n,)`` number and ``(n, 4)`` box of every outline.
    ring_of, ring_start, xy
        First ring of each outline ``(n + 1,)``, first point of each ring, and points ``(m, 2)``; rings are closed.

    Returns
    -------
    Pixels of each outline in the block, whether another has them or not ``(k,)``.
    """
    height, width = out.shape
    counts = np.zeros(cells.size, np.int64)
    for q in range(cells.size):
        k = cells[q]
        top, bottom = max(boxes[k, 0], y0), min(boxes[k, 1], y0 + height)
        left, right = max(boxes[k, 2], x0), min(boxes[k, 3], x0 + width)
        if top >= bottom or left >= right:
            continue
        flips = flips_of(top, bottom, left, right, ring_of[k], ring_of[k + 1], ring_start, xy)
        for row in range(bottom - top):
            inside = False
            for column in range(right - left):
                inside = inside != flips[row, column]
                if inside:
                    counts[q] += 1
                    if out[row + top - y0, column + left - x0] == 0:
                        out[row + top - y0, column + left - x0] = numbers[k]
    return counts


@compiled
def fill_discs(out, y0, x0, cells, numbers, boxes, centers, to_disc, radii):
    """The same for discs, which a transformation may have made ellipses.

    Parameters
    ----------
    centers, radii
        ``(n, 2)`` x, y in pixels, and ``(n,)`` in the units of the discs.
    to_disc
        ``(2, 2)``, from differences of pixels (x, y) to those units.
    """
    height, width = out.shape
    counts = np.zeros(cells.size, np.int64)
    for q in range(cells.size):
        k = cells[q]
        for row in range(max(boxes[k, 0], y0), min(boxes[k, 1], y0 + height)):
            for column in range(max(boxes[k, 2], x0), min(boxes[k, 3], x0 + width)):
                x, y = column + 0.5 - centers[k, 0], row + 0.5 - centers[k, 1]
                across, down = to_disc[0, 0] * x + to_disc[0, 1] * y, to_disc[1, 0] * x + to_disc[1, 1] * y
                if across * across + down * down < radii[k] * radii[k]:
                    counts[q] += 1
                    if out[row - y0, column - x0] == 0:
                        out[row - y0, column - x0] = numbers[k]
    return counts


@compiled
def fill_points(out, y0, x0, cells, numbers, boxes):
    """The same for points, each of which has the pixel that holds it."""
    height, width = out.shape
    counts = np.zeros(cells.size, np.int64)
    for q in range(cells.size):
        k = cells[q]
        row, column = boxes[k, 0] - y0, boxes[k, 2] - x0
        if 0 <= row < height and 0 <= column < width:
            counts[q] = 1
            if out[row, column] == 0:
                out[row, column] = numbers[k]
    return counts
