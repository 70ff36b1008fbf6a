from __future__ import annotations

import numpy as np
import pytest
from lifelines import KaplanMeierFitter

from spatialfm.stats.calibration import observed_risk, quantile_groups, restricted_spline, survival_at
from spatialfm.stats.net_benefit import net_benefit


def test_weighted_rows_are_repeated_rows():
    rng = np.random.default_rng(0)
    time, event = rng.integers(1, 8, 30).astype(float), rng.random(30) < 0.6
    weights = rng.integers(0, 4, (3, 30)).astype(float)
    at = np.array([2.0, 4.5, 7.0])
    found = survival_at(time, event, at, weights)[0]
    for row, counts in zip(found, weights.astype(int), strict=True):
        fitter = KaplanMeierFitter().fit(np.repeat(time, counts), np.repeat(event, counts))
        assert row == pytest.approx(fitter.predict(at).to_numpy())


def test_behind_the_last_patient_nothing_is_known():
    time, event = np.array([1.0, 2.0]), np.array([True, False])
    assert np.isnan(observed_risk(time, event, np.array([3.0]))).all()
    assert observed_risk(time, event, np.array([2.0]))[0, 0] == 0.5
    assert observed_risk(time, ~event, np.array([3.0]))[0, 0] == 1.0


def test_no_event_leaves_the_exact_upper_limit():
    """0 of 30: 1 - 0.025 ** (1 / 30)."""
    risk = observed_risk(np.full(30, 9.0), np.zeros(30, bool), np.array([5.0]))[0]
    assert risk == pytest.approx([0, 0, 1 - 0.025 ** (1 / 30)])


def test_net_benefit_by_hand():
    """10 patients without censoring, threshold 0.25: 3 of 5 treated have the event, 2 are treated in vain."""
    predicted = np.array([0.9, 0.8, 0.5, 0.3, 0.25, 0.2, 0.1, 0.1, 0.05, 0.01])
    time = np.array([1, 9, 2, 3, 9, 4, 9, 9, 9, 9], float)
    event = time < 9
    treat, everyone = net_benefit(predicted, time, event, 5.0, np.array([0.25, 0.95]))
    assert treat[0] == pytest.approx([3 / 10 - 2 / 10 * (1 / 3), 0.0])
    assert everyone[0] == pytest.approx([4 / 10 - 6 / 10 * (1 / 3), 4 / 10 - 6 / 10 * 19])


def test_net_benefit_of_censored_patients():
    rng = np.random.default_rng(1)
    predicted, time, event = rng.random(80), rng.exponential(5, 80), rng.random(80) < 0.5
    treat, _ = net_benefit(predicted, time, event, 4.0, np.array([0.4]))
    mine = predicted >= 0.4
    risk = 1 - KaplanMeierFitter().fit(time[mine], event[mine]).predict(4.0)
    assert treat[0, 0] == pytest.approx(mine.mean() * (risk - (1 - risk) * 0.4 / 0.6))


def test_equal_predictions_stay_together():
    codes = quantile_groups(np.r_[np.zeros(60), np.linspace(1, 2, 40)], 5)
    assert len(set(codes[:60])) == 1
    assert np.bincount(codes).tolist() == [60, 20, 20]


def test_a_restricted_spline_is_a_line_outside():
    knots = np.array([0.0, 1.0, 3.0])
    for ends in (np.array([-3.0, -2.0, -1.0]), np.array([4.0, 5.0, 6.0])):
        assert np.diff(restricted_spline(ends, knots)[:, 1], 2) == pytest.approx(0, abs=1e-9)
    assert abs(np.diff(restricted_spline(np.array([0.5, 1.0, 1.5]), knots)[:, 1], 2)) > 0.01
