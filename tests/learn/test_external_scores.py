"""Calibration, discrimination and net benefit in another cohort, against lifelines and by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter, KaplanMeierFitter

from spatialfm.learn.external_scores import (
    Scored,
    calibration_slope,
    calibration_tables,
    decision_table,
    score_tables,
    smooth_calibration,
)
from spatialfm.stats.calibration import restricted_spline


@pytest.fixture(scope="module")
def scored():
    rng = np.random.default_rng(0)
    n = 120
    log_risk = rng.normal(size=n)
    time = rng.exponential(10 / np.exp(log_risk))
    censored = rng.exponential(15, n)
    event, time = time <= censored, np.minimum(time, censored)
    expected = time / 10 * np.exp(log_risk)
    survival = np.exp(-np.array([2.0, 5.0]) / 10 * np.exp(log_risk)[:, None])
    return Scored(time, event, np.exp(log_risk), log_risk, expected, event & (time < 20), survival, np.arange(n) % 2)


def test_the_slope_is_the_coefficient_of_lifelines_with_its_interval(scored):
    table = pd.DataFrame({"x": scored.log_risk, "t": scored.time, "e": scored.event.astype(int), "s": scored.stratum})
    fit = CoxPHFitter(alpha=0.1).fit(table, "t", "e", strata="s", fit_options={"precision": 1e-10})
    expected = [fit.params_["x"], *fit.confidence_intervals_.loc["x"]]
    np.testing.assert_allclose(calibration_slope(scored.log_risk, scored, 0.1), expected, rtol=1e-5)


def test_predictions_that_do_not_differ_have_no_slope(scored):
    assert np.isnan(calibration_slope(np.full(120, 0.3), scored, 0.05)).all()


def test_observed_over_expected_counts_events_within_the_sources_follow_up(scored):
    one = replace(scored, seen=scored.event & (scored.time < 3))
    table = score_tables(one, np.array([2.0, 5.0]), 100, 0.05, 0)["scores"]
    assert table.loc["observed_expected", "value"] == pytest.approx(one.seen.sum() / one.expected.sum())
    assert list(table.index[:2]) == ["calibration_slope", "observed_expected"]


def test_groups_are_compared_with_kaplan_meier(scored):
    tables = calibration_tables(scored, np.array([2.0, 5.0]), 3, 0.05)
    table = tables["calibration"]
    assert table["group"].tolist() == [1, 2, 3, 1, 2, 3]
    predicted = 1 - scored.survival[:, 1]
    order = np.argsort(predicted)
    for k, row in enumerate(table.iloc[3:].itertuples()):
        part = order[40 * k : 40 * (k + 1)]
        curve = KaplanMeierFitter().fit(scored.time[part], scored.event[part])
        assert row.predicted == pytest.approx(predicted[part].mean())
        assert row.observed == pytest.approx(1 - curve.predict(5.0))
        assert row.at_risk == (scored.time[part] >= 5).sum()
        assert row.events == (scored.event[part] & (scored.time[part] <= 5)).sum()
    large = tables["calibration_large"].iloc[1]
    assert large["ratio"] == pytest.approx(
        (1 - KaplanMeierFitter().fit(scored.time, scored.event).predict(5.0)) / predicted.mean()
    )


def test_the_smooth_curve_is_a_cox_regression_of_splines(scored):
    predicted = 1 - scored.survival[:, 1]
    at = np.sort(scored.time[scored.event])[50]  # lifelines interpolates between events
    (grid, observed), of_patients = smooth_calibration(predicted, scored.time, scored.event, at)
    x = np.log(-np.log(1 - predicted))
    basis = restricted_spline(x, np.quantile(x, [0.1, 0.5, 0.9]))
    table = pd.DataFrame({"a": basis[:, 0], "b": basis[:, 1], "t": scored.time, "e": scored.event.astype(int)})
    fit = CoxPHFitter().fit(table, "t", "e", fit_options={"precision": 1e-10})
    expected = 1 - fit.predict_survival_function(table, times=[at]).to_numpy()[0]
    np.testing.assert_allclose(of_patients, expected, atol=1e-5)
    assert grid[[0, -1]].tolist() == [predicted.min(), predicted.max()]
    assert observed[0] == pytest.approx(of_patients[predicted.argmin()])


def test_few_events_or_equal_predictions_bend_no_curve(scored):
    predicted = 1 - scored.survival[:, 1]
    at = np.sort(scored.time[scored.event])[18]  # 19 events until then
    assert smooth_calibration(predicted, scored.time, scored.event, at) is None
    assert smooth_calibration(np.full(120, 0.4), scored.time, scored.event, 5.0) is None
    tables = calibration_tables(scored, np.array([at]), 2, 0.05)
    assert tables["calibration_smooth"].empty
    assert np.isnan(tables["calibration_large"]["ici"].iloc[0])


def test_net_benefit_and_gain_by_hand(scored):
    """Four patients who are all seen to the horizon: at 0.5 two are treated, at 0.2 three, one in vain each."""
    four = replace(scored, time=np.array([1.0, 9.0, 2.0, 9.0]), event=np.array([True, False, True, False]))
    predicted = np.array([0.9, 0.6, 0.2, 0.1])
    table = decision_table(predicted, four, 5.0, np.array([0.5, 0.2, 0.95]), 50, 0.05, 0)
    assert table["n_above"].tolist() == [2, 3, 0]
    np.testing.assert_allclose(table["net_benefit"], [1 / 4 - 1 / 4, 2 / 4 - 1 / 4 * 0.25, 0])
    np.testing.assert_allclose(table["treat_all"], [2 / 4 - 2 / 4, 2 / 4 - 2 / 4 * 0.25, 2 / 4 - 2 / 4 * 19])
    # against the better of treating all and none
    np.testing.assert_allclose(table["gain"], [0, 0.4375 - 0.375, 0], atol=1e-12)
    assert (table["ci_low"] <= table["net_benefit"]).all()
    assert np.isnan(decision_table(predicted, four, 5.0, np.array([0.5]), 0, 0.05, 0)["ci_low"]).all()
