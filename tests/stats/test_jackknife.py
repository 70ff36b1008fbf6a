"""The jackknife against the closed form for a mean, and Student's limits against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from spatialfm.stats.jackknife import jackknife_variance, t_limits


def test_the_variance_of_a_mean_is_its_squared_standard_error():
    x = np.random.default_rng(0).exponential(size=9)
    without = [np.delete(x, i).mean() for i in range(9)]
    assert jackknife_variance(without) == pytest.approx(x.var(ddof=1) / 9, rel=1e-12)
    assert jackknife_variance([*without, np.nan]) == pytest.approx(x.var(ddof=1) / 9, rel=1e-12)
    assert np.isnan(jackknife_variance([1.0]))


def test_limits_are_those_of_a_t_test():
    x = np.random.default_rng(1).normal(3, 2, 8)
    expected = stats.ttest_1samp(x, 0).confidence_interval(0.9)
    assert t_limits(x.mean(), x.var(ddof=1) / 8, 7, 0.9) == pytest.approx([expected.low, expected.high], rel=1e-12)
    assert np.isnan(t_limits(1.0, 1.0, 0)).all()
    assert np.isnan(t_limits(1.0, np.nan, 5)).all()
