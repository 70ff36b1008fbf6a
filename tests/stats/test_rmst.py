"""Restricted means against lifelines, and against the mean of times where nobody is censored."""

from __future__ import annotations

import numpy as np
import pytest
from lifelines import KaplanMeierFitter
from lifelines.utils import restricted_mean_survival_time

from spatialfm.stats.rmst import permuted_differences, pseudo_values, restricted_means


@pytest.fixture
def cohort():
    rng = np.random.default_rng(0)
    return rng.integers(1, 20, 50).astype(float), rng.random(50) < 0.6


@pytest.mark.parametrize("horizon", [7.0, 12.5])
def test_the_area_is_that_of_lifelines(cohort, horizon):
    time, event = cohort
    masks = np.vstack([np.ones(50, bool), np.arange(50) % 2 == 0])
    means, _ = restricted_means(time, event, masks, horizon)
    for mean, mask in zip(means, masks, strict=True):
        curve = KaplanMeierFitter().fit(time[mask], event[mask])
        assert mean == pytest.approx(restricted_mean_survival_time(curve, t=horizon), abs=1e-9)


def test_without_censoring_mean_and_variance_are_those_of_the_times():
    """Greenwood's variance of an uncensored mean is that of the sample, divided by n; the last time is the horizon."""
    time = np.array([1.0, 3.0, 4.0, 9.0, 10.0])
    (mean,), (variance,) = restricted_means(time, np.ones(5, bool), np.ones((1, 5), bool), 10.0)
    assert mean == pytest.approx(time.mean())
    assert variance == pytest.approx(time.var() / 5)
    (at_an_event,), (variance,) = restricted_means(time, np.ones(5, bool), np.ones((1, 5), bool), 4.0)
    assert at_an_event == pytest.approx(np.minimum(time, 4).mean())
    assert variance == pytest.approx(np.minimum(time, 4).var() / 5)


def test_late_entry_by_hand():
    """At 2 two are at risk (the third enters then), at 4 two: S is 1, 1/2, 1/4; the area to 5 is 2 + 1 + 1/4."""
    time, entry = np.array([2.0, 6.0, 4.0]), np.array([0.0, 0.0, 2.0])
    (mean,), _ = restricted_means(time, np.array([1, 0, 1], bool), np.ones((1, 3), bool), 5.0, entry)
    assert mean == pytest.approx(3.25)


def test_all_ways_of_dealing_two_groups():
    time, event, codes = np.arange(1.0, 7), np.ones(6, bool), np.array([0, 0, 0, 1, 1, 1])
    found, exact = permuted_differences(time, event, codes, 6.0, 100, np.random.default_rng(0))
    assert exact
    assert len(found) == 20
    np.testing.assert_allclose(np.sort(found), -np.sort(-found)[::-1])
    np.testing.assert_allclose(np.sort(found), np.sort(-found), atol=1e-12)  # the two groups may change places


def test_pseudo_values_without_censoring_are_the_times():
    time = np.array([2.0, 5.0, 9.0, 4.0])
    codes = np.array([0, 0, 1, 1])
    np.testing.assert_allclose(pseudo_values(time, np.ones(4, bool), codes, 6.0), [2, 5, 6, 4])
