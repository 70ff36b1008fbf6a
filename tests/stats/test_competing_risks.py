"""Cumulative incidence against scikit-survival and by hand; Gray's test against R's cmprsk is in ``tests/tl``."""

from __future__ import annotations

import numpy as np
import pytest
from lifelines import KaplanMeierFitter
from sksurv.nonparametric import cumulative_incidence_competing_risks

from spatialfm.stats.competing_risks import _gray_stratum, gray_test, incidence_of, log_log_interval
from spatialfm.stats.logrank import logrank_parts


@pytest.fixture
def cohort():
    rng = np.random.default_rng(0)
    return rng.uniform(0, 5, 70), rng.integers(0, 3, 70), np.arange(70) % 2


def test_curves_and_variances_are_those_of_scikit_survival(cohort):
    time, cause, _ = cohort
    times, curves, limits = cumulative_incidence_competing_risks(cause, time, conf_type="log-log", var_type="Aalen")
    for which in (1, 2):
        found = incidence_of(time, cause, which)
        assert found.time[0] == 0.0
        np.testing.assert_allclose(found.incidence[1:], curves[which], atol=1e-12)
        low, high = log_log_interval(found.incidence, found.variance)
        known = found.incidence[1:] > 0
        np.testing.assert_allclose(low[1:][known], limits[which, 0][known], rtol=1e-6)
        np.testing.assert_allclose(high[1:][known], limits[which, 1][known], rtol=1e-6)


def test_causes_and_survival_add_up_to_one(cohort):
    time, cause, _ = cohort
    one, two = (incidence_of(time, cause, which).incidence for which in (1, 2))
    survival = KaplanMeierFitter().fit(time, cause > 0).predict(np.r_[0.0, np.sort(time)]).to_numpy()
    np.testing.assert_allclose(one + two + survival, 1, atol=1e-12)


def test_late_entry_by_hand():
    """At 1 one of two is at risk of cause 1 and dies of it; the third enters at 1.5: at 2 one of two has cause 2."""
    found = incidence_of(np.array([1.0, 2.0, 3.0]), np.array([1, 2, 0]), 1, np.array([0.0, 0.0, 1.5]))
    at = dict(zip(found.time.tolist(), found.at_risk.tolist(), strict=True))
    assert (at[1.0], at[2.0], at[3.0]) == (2, 2, 1)
    assert found.incidence[-1] == 0.5
    second = incidence_of(np.array([1.0, 2.0, 3.0]), np.array([1, 2, 0]), 2, np.array([0.0, 0.0, 1.5]))
    assert second.incidence[-1] == 0.25


def test_interval_ends_where_the_curve_does():
    low, high = log_log_interval(np.array([0.0, 0.4, 1.0]), np.array([0.0, 0.01, 0.0]))
    assert low[0] == 0.0
    assert np.isnan([high[0], low[2], high[2]]).all()
    assert low[1] < 0.4 < high[1]


def test_gray_of_groups_with_the_same_rows_and_of_one_group_apart(cohort):
    time, cause, codes = cohort
    twice = np.concatenate([time, time]), np.concatenate([cause, cause]), np.repeat([0, 1], 70)
    assert gray_test(*twice)[0] == pytest.approx(0, abs=1e-12)
    statistic, p, freedom = gray_test(np.where(codes == 1, time / 4, time), np.where(codes == 1, 1, cause), codes)
    assert statistic > 20
    assert p < 1e-4
    assert freedom == 1


def test_another_event_keeps_its_patient_in_the_risk_set(cohort):
    """Without censoring the score is the log-rank test's of times at which those with the other event never leave.

    That is so up to where a group has nobody left: one of each has the event at the last time.
    """
    time, _, codes = cohort
    cause = 1 + (np.arange(70) % 3 == 0)
    time[[1, 2]], cause[[1, 2]] = 50.0, 1
    score, _ = _gray_stratum(time, cause, codes, 1, 2)
    expected = logrank_parts(np.where(cause == 1, time, 99.0), cause == 1, codes).difference
    np.testing.assert_allclose(score, expected, atol=1e-10)
