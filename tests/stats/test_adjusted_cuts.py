"""Statistics of cuts at equal covariates: against statsmodels, the test of two groups, and plain loops."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter

from spatialfm._errors import SurvivalError
from spatialfm.stats.adjusted_cuts import AdjustedCuts
from spatialfm.stats.adjusted_logrank import AdjustedLogrank
from spatialfm.stats.logrank import LogrankTest, chi_squared
from spatialfm.stats.null_outcomes import NullOutcomes


def cohort(n: int = 50, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Two covariates, a value that follows the first, times and events."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    time, limit = rng.exponential(np.exp(-x[:, 0])), rng.exponential(2, n)
    return x, x[:, 0] + rng.normal(size=n), np.minimum(time, limit), time <= limit


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("ties", [False, True])
def test_each_cut_is_the_score_of_statsmodels_at_the_covariates_own_fit(ties, late):
    from statsmodels.duration.hazard_regression import PHReg

    x, values, time, event = cohort()
    time = np.ceil(5 * time) if ties else time
    entry = np.random.default_rng(1).uniform(0, 0.9, 50) * time if late else None
    found = AdjustedCuts(x, values, 0.2, entry).candidates(time, event)
    assert found.n_low.tolist() == list(range(10, 41))
    options = {"status": event.astype(float), "ties": "efron", "entry": entry}
    params = np.append(0.0, PHReg(time, x, **options).fit(disp=0).params)
    for cut, statistic in zip(found.cuts, found.statistic, strict=True):
        full = PHReg(time, np.column_stack([values > cut, x]).astype(float), **options)
        score, information = full.score(params), -full.hessian(params)
        assert statistic == pytest.approx(score[0] * np.sqrt(np.linalg.inv(information)[0, 0]), rel=1e-4, abs=1e-5)


def test_a_cut_in_plain_loops_at_the_coefficient_of_lifelines():
    x, values, time, event = cohort(30)
    x = x[:, :1]
    found = AdjustedCuts(x, values, 0.3).candidates(time, event)
    table = pd.DataFrame({"time": time, "event": event, "x": x[:, 0]})
    beta = CoxPHFitter().fit(table, "time", "event", fit_options={"precision": 1e-12}).params_["x"]
    for cut, statistic in zip(found.cuts, found.statistic, strict=True):
        side, score, of_side, of_both, of_x = (values > cut).astype(float), 0.0, 0.0, 0.0, 0.0
        for i in np.flatnonzero(event):
            share = np.where(time >= time[i], np.exp(beta * x[:, 0]), 0)
            share /= share.sum()
            mean, mean_x = share @ side, share @ x[:, 0]
            score += side[i] - mean
            of_side += share @ side**2 - mean**2
            of_both += share @ (side * x[:, 0]) - mean * mean_x
            of_x += share @ x[:, 0] ** 2 - mean_x**2
        assert statistic == pytest.approx(score / np.sqrt(of_side - of_both**2 / of_x), abs=1e-5)


def test_without_covariates_each_cut_is_a_logrank_test():
    _, values, time, event = cohort()
    found = AdjustedCuts(np.zeros((50, 0)), values, 0.2).candidates(time, event)
    for cut, statistic in zip(found.cuts, found.statistic, strict=True):
        parts = LogrankTest(time, event).parts((values > cut).astype(int))
        assert statistic**2 == pytest.approx(chi_squared(parts)[0])
        assert np.sign(statistic) == np.sign(parts.difference[1])


def test_maxima_are_those_of_each_drawn_outcome(monkeypatch):
    """By the test of two groups, cut by cut, of the same draws; also where they come in parts."""
    x, values, time, event = cohort(30, 2)
    cuts = AdjustedCuts(x, values, 0.3)
    null = NullOutcomes(x, time, event)
    found = cuts.maxima(null, 12, np.random.default_rng(0))
    for maximum, one, seen in zip(found, *null.draw(12, np.random.default_rng(0)), strict=True):
        test = AdjustedLogrank(x, one, seen)
        every = [chi_squared(test.parts((values > cut).astype(int)))[0] for cut in cuts.cuts]
        assert maximum == pytest.approx(np.sqrt(max(every)), abs=1e-6)
    monkeypatch.setattr("spatialfm.stats.adjusted_cuts.AT_ONCE", 30 * 5)
    assert cuts.maxima(null, 12, np.random.default_rng(0)).shape == (12,)


def test_covariates_that_tell_a_side_are_told():
    x, values, time, event = cohort()
    assert not AdjustedCuts(x, values, 0.2).told().any()
    side = (values > np.sort(values)[24:26].mean()).astype(float)
    cuts = AdjustedCuts(np.column_stack([x, side]), values, 0.2)
    assert np.flatnonzero(cuts.told()).tolist() == np.flatnonzero(cuts.n_low == 25).tolist()
    assert cuts.candidates(time, event).statistic[cuts.told()] == pytest.approx(0)
    with pytest.raises(SurvivalError, match="No cut of 'share'"):
        AdjustedCuts(x, np.ones(50), 0.2, key="share")


def test_a_covariate_that_separates_leaves_finite_numbers():
    """All events are of the second half; no coefficient is finite, in a draw as here."""
    time, event = np.arange(1.0, 21), np.arange(20) % 2 == 1
    x = (event[:, None]).astype(float)
    statistic = AdjustedCuts(x, np.random.default_rng(0).normal(size=20), 0.2).candidates(time, event).statistic
    assert np.isfinite(statistic).all()
