"""Errors of scores over folds by the formula written out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from spatialfm.stats.fold_scores import paired_p, t_interval


def test_the_interval_allows_for_folds_that_share_training_cells():
    values, one = np.array([0.6, 0.7, 0.9, 0.8]), np.zeros(4)
    error = np.sqrt((1 / 4 + 1 / 3) * values.var(ddof=1))
    half = stats.t.ppf(0.975, 3) * error
    assert t_interval(values, one) == pytest.approx((0.75 - half, 0.75 + half))
    assert paired_p(values, one) == pytest.approx(2 * stats.t.sf(0.75 / error, 3))


def test_several_partitions_add_how_far_their_means_are_apart():
    values, partition = np.array([0.6, 0.8, 0.5, 0.9, 0.7, 0.9]), np.repeat([0, 1, 2], 2)
    variances = [values[partition == i].var(ddof=1) for i in range(3)]
    means = [values[partition == i].mean() for i in range(3)]
    error = np.sqrt((1 / 2 + 1) * np.mean(variances) + np.var(means, ddof=1))
    low, high = t_interval(values, partition)
    assert (high - low) / 2 == pytest.approx(stats.t.ppf(0.975, 1) * error)
    assert paired_p(np.zeros(4), np.zeros(4)) == 1.0
    assert np.isnan(paired_p(np.ones(4), np.zeros(4)))
