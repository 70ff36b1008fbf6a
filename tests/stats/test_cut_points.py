"""Statistics of cuts by all permutations of the scores, and the published approximation."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from scipy.stats import norm

from spatialfm._errors import SurvivalError
from spatialfm.stats.cut_points import candidates, lausen_schumacher, permuted_maxima

VALUES, SCORES = np.array([3.0, 1, 2, 2, 5, 4, 9]), np.array([0.4, -1, 0.3, 0.8, -0.2, 1.1, -1.4])


def test_each_statistic_is_standardised_over_all_permutations():
    found = candidates(VALUES, SCORES, 0.2)
    np.testing.assert_allclose(found.cuts, [2.5, 3.5, 4.5])  # 1.5 and 7 leave one of seven on a side
    assert found.n_low.tolist() == [3, 4, 5]
    every = np.array(list(permutations(SCORES)))
    for n_low, cut, statistic in zip(found.n_low, found.cuts, found.statistic, strict=True):
        sums = every[:, :n_low].sum(axis=1)
        seen = SCORES[cut >= VALUES].sum()
        assert statistic == pytest.approx(-(seen - sums.mean()) / sums.std())
    best = found.cuts[np.abs(found.statistic).argmax()]
    np.testing.assert_array_equal(found.high, (best < VALUES).astype(int))


def test_the_least_share_may_be_met_exactly_and_equal_values_stay_together():
    assert candidates(np.arange(10.0), SCORES[[0, 1, 2, 3, 4, 5, 6, 0, 1, 2]], 0.3).n_low.tolist() == [3, 4, 5, 6, 7]
    with pytest.raises(SurvivalError, match="No cut of 'value' leaves 10 %"):
        candidates(np.ones(7), SCORES, 0.1)


def test_maxima_of_shuffled_scores_are_those_of_each():
    n_low = np.array([3, 4, 5])
    found = permuted_maxima(SCORES, n_low, 20, np.random.default_rng(0))
    drawn = np.random.default_rng(0).permuted(np.tile(SCORES, (20, 1)), axis=1)
    for maximum, scores in zip(found, drawn, strict=True):
        away = scores.cumsum()[n_low - 1] - n_low * SCORES.mean()
        error = np.sqrt(n_low * (7 - n_low) / 7 * SCORES.var(ddof=1))
        assert maximum == pytest.approx(np.abs(away / error).max())


def test_the_approximation_of_lausen_and_schumacher():
    b, share = 2.8, 0.1
    ratio = (1 - share) ** 2 / share**2
    expected = norm.pdf(b) * (b - 1 / b) * np.log(ratio) + 4 * norm.pdf(b) / b
    assert lausen_schumacher(b, share) == pytest.approx(expected)
    assert lausen_schumacher(0.9, share) == 1.0
