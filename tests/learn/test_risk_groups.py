"""Clusters by size and by risk, by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from spatialfm.cohort.outcome import Outcome
from spatialfm.learn.risk_groups import adjusted_test, adjusted_z, kmeans_by_size, merge_by_risk, trend_z
from spatialfm.stats.adjusted_logrank import AdjustedLogrank
from spatialfm.stats.logrank import trend_statistic
from spatialfm.stats.null_outcomes import NullOutcomes


def test_the_largest_cluster_is_the_first_and_of_equal_ones_the_one_that_appears_first():
    values = np.array([[5.0], [0.0], [9.0], [0.1], [5.1], [0.2], [9.1]])
    assert kmeans_by_size(values, 3).tolist() == [1, 0, 2, 0, 1, 0, 2]
    weights = np.array([1.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0])
    assert kmeans_by_size(values, 3, weights=weights).tolist() == [1, 0, 2, 0, 1, 0, 2]


def test_merge_by_risk_by_hand():
    observed, expected = np.array([4, 1, 9, 2]), np.array([4.0, 4.0, 3.0, 5.0])  # ratios 1, 0.25, 3, 0.4
    assert merge_by_risk(observed, expected, 4).tolist() == [2, 0, 3, 1]
    assert merge_by_risk(observed, expected, 2).tolist() == [1, 0, 1, 0]


def test_a_trend_of_two_groups_is_the_log_rank_statistic():
    """Two at risk, then one of the group that lives longer: O - E = -1/2 with variance 1/4, then 0."""
    assert trend_z(np.array([1.0, 2.0]), np.array([True, True]), np.array([0, 1])) == -1.0
    assert trend_z(np.array([1.0, 2.0]), np.array([True, True]), np.array([0, 0])) == 0.0


def test_a_trend_at_equal_covariates_is_the_score_of_statsmodels():
    from statsmodels.duration.hazard_regression import PHReg

    rng = np.random.default_rng(0)
    x, codes = rng.normal(size=(60, 1)), rng.integers(0, 3, 60)
    time, event = np.ceil(4 * rng.exponential(np.exp(-x[:, 0]))), rng.random(60) < 0.8
    entry = 0.5 * time * rng.random(60)
    options = {"status": event.astype(float), "ties": "efron", "entry": entry}
    params = np.append(0.0, PHReg(time, x, **options).fit(disp=0).params)
    full = PHReg(time, np.column_stack([codes, x]).astype(float), **options)
    expected = full.score(params)[0] * np.sqrt(np.linalg.inv(-full.hessian(params))[0, 0])
    others = rng.permutation(60)  # each outcome has its own groups
    found = adjusted_z(x, np.array([time[others], time]), np.array([event[others], event]), np.tile(codes, (2, 1)))
    late = adjusted_z(x, time[None], event[None], codes[None], entry)
    assert late == pytest.approx(expected, rel=1e-4)
    plain = AdjustedLogrank(x, time, event).parts(codes)
    assert found[1] ** 2 == pytest.approx(trend_statistic(plain)[0])
    assert abs(found[0] - found[1]) > 1e-3
    assert adjusted_z(codes[:, None], time[None], event[None], codes[None]) == 0  # the covariate tells the groups


def test_outcomes_are_drawn_and_groups_are_placed_again_each_time():
    """The p-value counts trends of groups that the drawn outcomes made."""
    rng = np.random.default_rng(1)
    x, clusters = rng.normal(size=(40, 1)), rng.integers(0, 2, 40)
    time, event = rng.exponential(np.exp(-x[:, 0])), rng.random(40) < 0.8

    def place(time: np.ndarray, event: np.ndarray, entry: np.ndarray | None = None) -> np.ndarray:
        longer = time[clusters == 0].mean() > time[clusters == 1].mean()
        return clusters if longer else 1 - clusters

    rows, outcome = np.arange(40), Outcome(time, event, pd.DataFrame(), 0, pd.Index(range(40)))
    codes = place(time, event)
    test = adjusted_test(place, codes, rows, outcome, x, 30, 7)
    (statistic,) = adjusted_z(x, time[None], event[None], codes[None])
    assert test["statistic"] == statistic
    drawn = zip(*NullOutcomes(x, time, event).draw(30, np.random.default_rng((7, 1))), strict=True)
    null = [adjusted_z(x, one[None], seen[None], place(one, seen)[None])[0] for one, seen in drawn]
    assert test["p_value"] == pytest.approx((1 + np.sum(np.array(null) >= test["statistic"])) / 31)
    assert (test["null_mean"], test["null_sd"]) == pytest.approx((np.mean(null), np.std(null)))
