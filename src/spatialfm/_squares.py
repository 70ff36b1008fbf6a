"""Squares that cover an image."""

from __future__ import annotations

from collections.abc import Iterator


def squares_of(shape: tuple[int, int], side: int) -> Iterator[tuple[int, int, int, int]]:
    """Squares ``(y0, y1, x0, x1)`` that cover an image, row by row; the last ones are smaller.

    Examples
    --------
    >>> list(squares_of((2, 3), 2))
    [(0, 2, 0, 2), (0, 2, 2, 3)]
    """
    for y0 in range(0, shape[0], side):
        for x0 in range(0, shape[1], side):
            yield y0, min(y0 + side, shape[0]), x0, min(x0 + side, shape[1])
