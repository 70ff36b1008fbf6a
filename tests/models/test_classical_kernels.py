"""Parts of the compiled formulas: groups of like size, and quantiles of cells of different size."""

from __future__ import annotations

import numpy as np
import pytest

from spatialfm.models.classical_kernels import _of_like_size, _quantile, cell_sizes


@pytest.mark.parametrize("level", [0.1, 0.5, 0.9])
def test_quantiles_are_those_of_each_cell_alone(level):
    rng = np.random.default_rng(0)
    sizes = np.array([1, 4, 7])
    values = np.full((3, 2, 7), np.inf)
    for row, size in enumerate(sizes):
        values[row, :, :size] = np.sort(rng.normal(size=(2, size)), axis=1)
    expected = [np.quantile(values[row, :, :size], level, axis=1) for row, size in enumerate(sizes)]
    np.testing.assert_allclose(_quantile(values, sizes, level), expected, atol=1e-6)


def test_cells_of_like_size_are_held_together():
    sizes = np.array([5, 1, 3, 1, 20])
    groups = [rows.tolist() for rows in _of_like_size(sizes, 6)]
    # 1, 1 (2 values); 3 of 3 each would be 9; one that is larger than the limit is alone
    assert groups == [[1, 3], [2], [0], [4]]
    assert [rows.tolist() for rows in _of_like_size(sizes, 9)] == [[1, 3, 2], [0], [4]]
    assert list(_of_like_size(np.array([], int), 6)) == []


def test_pixels_are_counted_within_the_square():
    labels = np.array([[1, 1, 0], [2, 1, 0], [2, 0, 1]])
    count = getattr(cell_sizes, "py_func", cell_sizes)
    starts, sides = np.array([[0, 0], [0, 0], [1, 0]]), np.array([3, 2, 2])
    assert count(labels, np.array([1, 1, 2]), starts, sides).tolist() == [4, 3, 2]
