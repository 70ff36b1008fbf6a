"""Chance of a hit by counting all draws."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import hypergeom

from spatialfm.stats.random_hits import chance_of_any, draw_rows


def test_chance_is_the_share_of_all_draws_with_a_right_one():
    for n, right, k in [(6, 2, 1), (6, 2, 3), (7, 0, 2), (5, 4, 2), (4, 1, 4)]:
        draws = list(combinations(range(n), k))
        expected = np.mean([min(draw) < right for draw in draws])
        assert chance_of_any(np.array([n]), np.array([right]), k)[0] == pytest.approx(expected, abs=1e-12)


def test_many_rows_no_rows_and_fewer_rows_than_hits():
    assert chance_of_any(np.array([10_000]), np.array([30]), 50)[0] == pytest.approx(hypergeom.sf(0, 10_000, 30, 50))
    assert np.isnan(chance_of_any(np.array([0]), np.array([0]), 3)[0])
    assert chance_of_any(np.array([2, 2]), np.array([1, 0]), 5).tolist() == [1.0, 0.0]


@pytest.mark.parametrize(("n", "k"), [(8, 3), (500, 3), (3, 9)])
def test_rows_are_drawn_without_replacement_and_alike(n, k):
    drawn = draw_rows(n, 4000, k, np.random.default_rng(0))
    width = min(n, k)
    assert drawn.shape == (4000, width)
    assert all(len(set(row)) == width for row in drawn.tolist())
    counts = np.bincount(drawn.ravel(), minlength=n)
    expected = 4000 * width / n
    assert (abs(counts - expected) < 5 * np.sqrt(expected)).all()
