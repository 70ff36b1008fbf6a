"""Squares that cover an image."""

from __future__ import annotations

import numpy as np
import pytest

from spatialfm._squares import squares_of


@pytest.mark.parametrize("shape", [(7, 11), (8, 8), (1, 3), (0, 5)])
def test_each_pixel_is_in_one_square(shape):
    seen, last = np.zeros(shape, int), (-1, -1)
    for y0, y1, x0, x1 in squares_of(shape, 4):
        assert last < (y0, x0)
        assert 0 < y1 - y0 <= 4
        assert 0 < x1 - x0 <= 4
        seen[y0:y1, x0:x1] += 1
        last = y0, x0
    assert (seen == 1).all()
