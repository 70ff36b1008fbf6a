"""Means over draws of the same cases: the formula written out, and a t-test where draws share nothing."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from spatialfm.stats.draws import mean_above_zero, variance_of_mean


def test_variance_has_a_part_that_more_draws_do_not_take_away():
    assert variance_of_mean(10, 0.25) == pytest.approx(1 / 10 + 2 * 0.25)
    assert variance_of_mean(4, 9.0) == pytest.approx(1 / 4 + 1)  # few-shot: one variance is the most
    assert variance_of_mean(5, 0.0) == pytest.approx(1 / 5)


def test_without_shared_cases_it_is_students_test():
    x = np.random.default_rng(0).normal(0.5, 1, 12)
    assert mean_above_zero(x, 0.0, 11) == pytest.approx(
        stats.ttest_1samp(x, 0, alternative="greater").pvalue, rel=1e-10
    )
    assert mean_above_zero(x, 0.25, 11) > mean_above_zero(x, 0.0, 11)


def test_draws_without_spread():
    assert mean_above_zero(np.zeros(5), 0.2, 4) == 0.5
    assert np.isnan(mean_above_zero(np.ones(5), 0.2, 4))
