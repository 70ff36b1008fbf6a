"""One p-value for all permutation tests."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from spatialfm.stats.permutation import permutation_p, shuffled_order


def differences(values: np.ndarray, n_first: int) -> np.ndarray:
    """Absolute differences of means of all ways to form two groups."""
    ways = [list(way) for way in combinations(range(values.size), n_first)]
    return np.array([abs(values[way].mean() - np.delete(values, way).mean()) for way in ways])


def test_all_arrangements_are_those_of_scipy():
    one, two = np.array([1.0, 4.0, 2.5]), np.array([3.0, 6.0, 5.5, 7.0])

    def statistic(a, b, axis):
        return np.abs(a.mean(axis=axis) - b.mean(axis=axis))

    expected = stats.permutation_test((one, two), statistic, vectorized=True, n_resamples=np.inf, alternative="greater")
    null = differences(np.concatenate([one, two]), 3)
    assert permutation_p(null, statistic(one, two, 0), exact=True) == pytest.approx(expected.pvalue)


def test_random_arrangements_count_the_one_that_was_seen():
    assert permutation_p(np.zeros(99), 1.0) == 1 / 100
    assert permutation_p(np.r_[np.zeros(98), 1.0], 1.0) == 2 / 100
    assert permutation_p(np.r_[np.zeros(98), 1.0], 1.0, exact=True) == 1 / 99


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_a_tie_that_rounding_broke_is_a_tie(scale):
    seen = (0.1 + 0.2) * scale  # above 0.3 by rounding
    assert permutation_p(np.array([0.3 * scale, 0.0]), seen, exact=True) == 0.5
    assert permutation_p(np.array([0.3 * scale - 1e-6 * (1 + scale), 0.0]), seen, exact=True) == 0


@pytest.mark.filterwarnings("error")
def test_arrangements_without_a_statistic_are_left_out():
    assert permutation_p(np.array([np.nan, 0.0, 2.0]), 1.0) == 2 / 3
    assert permutation_p(np.array([np.inf, 0.0]), np.inf, exact=True) == 0.5
    assert np.isnan(permutation_p(np.array([]), 1.0))
    assert np.isnan(permutation_p(np.array([np.nan]), 1.0))
    assert np.isnan(permutation_p(np.array([1.0]), np.nan))


def test_columns_have_each_their_own():
    null, seen = np.array([[0.0, 3.0], [2.0, np.nan], [0.0, 0.0]]), np.array([1.0, 2.0])
    np.testing.assert_allclose(permutation_p(null, seen), [2 / 4, 2 / 3])


def test_one_null_serves_several_statistics():
    best = np.array([0.1, 0.4, 0.7, 0.2])
    # 1, 2 and 4 of the four are as large, and the one that was seen counts as another
    np.testing.assert_allclose(permutation_p(best[:, None], np.array([0.7, 0.4, 0.0])), [2 / 5, 3 / 5, 5 / 5])


def test_units_change_places_within_blocks_as_often_as_with_each_other():
    blocks = np.array([0, 1, 0, 1, 1])
    places = np.zeros((5, 5))
    for seed in range(3000):
        order = shuffled_order(5, np.random.default_rng(seed), blocks)
        assert sorted(order) == list(range(5))
        places[np.arange(5), order] += 1 / 3000
    same = blocks[:, None] == blocks
    assert not places[~same].any()
    expected = same / same.sum(axis=1, keepdims=True)  # a half among two, a third among three
    np.testing.assert_allclose(places, expected, atol=0.04)  # four standard errors
