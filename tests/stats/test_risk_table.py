"""Numbers at risk and what follows from them, against lifelines."""

from __future__ import annotations

import numpy as np
import pytest
from lifelines import KaplanMeierFitter, NelsonAalenFitter

from spatialfm.stats.risk_table import greenwood_parts, martingale_residuals, product_limit, risk_table


@pytest.fixture(params=["ties", "no ties"])
def cohort(request):
    rng = np.random.default_rng(3)
    time = rng.exponential(8, 60) + 0.5
    time = np.ceil(time) if request.param == "ties" else time
    event = rng.random(60) < 0.6
    # all have entered before anybody leaves, so that the estimate stays above 0
    return time, event, np.minimum(rng.uniform(0, 2, 60), time * 0.9)


@pytest.mark.parametrize("late", [False, True])
def test_estimates_are_those_of_lifelines(cohort, late):
    time, event, entry = cohort
    entry = entry if late else None
    table = risk_table(time, event, entry)
    survival = KaplanMeierFitter().fit(time, event, entry=entry).survival_function_.iloc[:, 0]
    hazard = NelsonAalenFitter(nelson_aalen_smoothing=False).fit(time, event, entry=entry).cumulative_hazard_.iloc[:, 0]
    np.testing.assert_allclose(table.survival, survival.loc[table.time], atol=1e-12)
    np.testing.assert_allclose(table.hazard, hazard.loc[table.time], atol=1e-12)
    found = table.at(table.survival, np.array([0.0, 5.5]), 1.0)
    np.testing.assert_allclose(found, [1.0, survival.asof(5.5)], atol=1e-12)


def test_weights_repeat_rows(cohort):
    time, event, entry = cohort
    weights = np.random.default_rng(4).integers(0, 3, (2, 60))
    found = risk_table(time, event, entry, weights=weights)
    for i, n in enumerate(weights):
        rows = np.repeat(np.arange(60), n)
        one = risk_table(time[rows], event[rows], entry[rows], times=found.time)
        for name in ("at_risk", "events", "leaving", "survival", "hazard", "greenwood"):
            np.testing.assert_allclose(getattr(found, name)[i], getattr(one, name), atol=1e-12)


def test_rows_are_at_risk_after_their_entry_and_up_to_their_time():
    table = risk_table(np.array([2.0, 3.0, 3.0]), np.array([True, True, False]), np.array([0.0, 2.0, 1.0]))
    assert table.at_risk.tolist() == [2, 2]  # at 2 the one who enters then is not among them
    assert table.events.tolist() == [1, 1]
    assert table.leaving.tolist() == [1, 2]
    assert table.before(table.survival, np.array([2.0, 3.0]), 1.0).tolist() == [1.0, 0.5]


def test_where_nobody_is_at_risk_nothing_falls():
    assert product_limit(np.array([0, 1]), np.array([0, 2])).tolist() == [1.0, 0.5]
    assert greenwood_parts(np.array([2, 0]), np.array([2, 0])).tolist() == [0.0, 0.0]


def test_residuals_add_up_to_nothing(cohort):
    time, event, entry = cohort
    assert martingale_residuals(time, event, entry).sum() == pytest.approx(0, abs=1e-12)
    weights = np.random.default_rng(5).integers(0, 2, (3, 60))
    found = martingale_residuals(time, event, weights=weights)
    assert found.sum(axis=1) == pytest.approx(0, abs=1e-12)
    assert not found[weights == 0].any()


def test_survival_just_before():
    time, event = np.array([1.0, 2.0, 2.0, 3.0]), np.array([1, 1, 0, 1], bool)
    table = risk_table(time, event)
    curve = KaplanMeierFitter().fit(time, event)
    np.testing.assert_allclose(
        table.before(table.survival, np.array([1.0, 2.0, 3.0]), 1.0), [1, 0.75, curve.predict(2.5)]
    )
