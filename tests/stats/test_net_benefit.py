"""Net benefit by counting where all are seen, and by Kaplan-Meier estimates of lifelines where not."""

from __future__ import annotations

import numpy as np
import pytest
from lifelines import KaplanMeierFitter

from spatialfm.stats.net_benefit import net_benefit


def test_without_censoring_it_is_counting():
    rng = np.random.default_rng(0)
    predicted, time = rng.random(50), rng.uniform(0, 10, 50)
    thresholds = np.array([0.1, 0.3, 0.6, 0.999])
    found, everyone = net_benefit(predicted, time, np.ones(50, bool), 5.0, thresholds)
    had = time <= 5
    for i, threshold in enumerate(thresholds):
        treated, odds = predicted >= threshold, threshold / (1 - threshold)
        assert found[0, i] == pytest.approx(((treated & had).sum() - (treated & ~had).sum() * odds) / 50)
        assert everyone[0, i] == pytest.approx((had.sum() - (~had).sum() * odds) / 50)


def test_under_censoring_the_share_is_one_less_kaplan_meier():
    rng = np.random.default_rng(1)
    predicted, time, event = rng.random(80), rng.uniform(0, 10, 80), rng.random(80) < 0.5
    (found,), _ = net_benefit(predicted, time, event, 4.0, np.array([0.4]))
    treated = predicted >= 0.4
    risk = 1 - KaplanMeierFitter().fit(time[treated], event[treated]).predict(4.0)
    assert found[0] == pytest.approx(treated.mean() * (risk - (1 - risk) * 0.4 / 0.6))


def test_who_is_not_drawn_is_not_treated():
    weights = np.array([[0.0, 0.0, 2.0, 2.0]])
    found, _ = net_benefit(
        np.array([0.9, 0.8, 0.1, 0.1]), np.array([1.0, 2, 1, 9]), np.ones(4, bool), 5.0, np.array([0.5]), weights
    )
    assert found.tolist() == [[0.0]]
