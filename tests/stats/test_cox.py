"""Cox's partial likelihood against lifelines and scikit-survival; R's values are in ``tests/tl``."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter
from sksurv.linear_model import CoxPHSurvivalAnalysis

from spatialfm._errors import SurvivalError
from spatialfm.stats.cox import Likelihood, RiskSets, _lifelines, baseline_hazard, fit_cox, partial_log_likelihoods


@pytest.fixture
def cohort():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 2))
    time = np.ceil(6 * rng.exponential(np.exp(-0.6 * x[:, 0])))  # many ties
    return x, time, rng.random(80) < 0.7


def frame(x, time, event, **more):
    return pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "time": time, "event": event.astype(int), **more})


def test_efron_is_that_of_lifelines(cohort):
    x, time, event = cohort
    found = fit_cox(x, time, event)
    theirs = CoxPHFitter().fit(frame(x, time, event), "time", "event", fit_options={"precision": 1e-10})
    np.testing.assert_allclose(found.coef, theirs.params_, atol=1e-6)
    np.testing.assert_allclose(found.variance, theirs.variance_matrix_, atol=1e-6)
    assert found.log_likelihood == pytest.approx(theirs.log_likelihood_, abs=1e-6)


def test_breslow_is_that_of_scikit_survival(cohort):
    x, time, event = cohort
    y = np.array(list(zip(event, time, strict=True)), dtype=[("e", bool), ("t", float)])
    theirs = CoxPHSurvivalAnalysis(ties="breslow", tol=1e-12).fit(x, y)
    np.testing.assert_allclose(fit_cox(x, time, event, ties="breslow").coef, theirs.coef_, atol=1e-6)


def test_strata_and_late_entry_are_those_of_lifelines(cohort):
    x, time, event = cohort
    strata, entry = np.arange(80) % 3, np.where(np.arange(80) % 2, time - 1, 0.0)
    entry = np.where(entry >= time, 0.0, entry)
    data = frame(x, time, event, s=strata, entry=entry)
    options = {"fit_options": {"precision": 1e-10}}
    theirs = CoxPHFitter().fit(data.drop(columns="entry"), "time", "event", strata=["s"], **options)
    np.testing.assert_allclose(fit_cox(x, time, event, strata=strata).coef, theirs.params_, atol=5e-6)
    theirs = CoxPHFitter().fit(data.drop(columns="s"), "time", "event", entry_col="entry", **options)
    np.testing.assert_allclose(fit_cox(x, time, event, entry=entry).coef, theirs.params_, atol=5e-6)


def test_robust_variance_of_single_rows_is_that_of_lifelines(cohort):
    x, _, event = cohort
    time = np.random.default_rng(3).permutation(np.arange(1.0, 81))  # without ties
    found = fit_cox(x, time, event, clusters=np.arange(80))
    theirs = CoxPHFitter().fit(frame(x, time, event), "time", "event", robust=True, fit_options={"precision": 1e-10})
    np.testing.assert_allclose(np.sqrt(np.diag(found.robust_variance)), theirs.standard_errors_, rtol=1e-4)


def test_jackknife_variance_is_near_that_of_refits(cohort):
    """One Newton step from all estimates is close to a fit without each row: (n - 1) / n of the summed squares."""
    x, time, event = cohort
    found = fit_cox(x, time, event, clusters=np.arange(80), jackknife=True)
    without = np.array([fit_cox(*(np.delete(part, i, axis=0) for part in cohort)).coef for i in range(80)])
    away = without - found.coef
    np.testing.assert_allclose(np.diag(found.jackknife_variance), 79 / 80 * (away**2).sum(axis=0), rtol=0.03)


def test_a_covariate_that_separates_is_refused():
    x = np.repeat([0.0, 1.0], 10)[:, None]
    with pytest.raises(SurvivalError, match="did not converge"):
        fit_cox(x, np.arange(1.0, 21), x[:, 0] == 0)


def test_likelihoods_of_many_predictors_and_the_baseline(cohort):
    x, time, event = cohort
    etas = np.column_stack([x[:, 0], np.zeros(80), np.full(80, np.nan)])
    found = partial_log_likelihoods(etas, time, event)
    by_hand = 0.0
    for i in np.flatnonzero(event):
        by_hand += x[i, 0] - np.log(np.exp(x[time >= time[i], 0]).sum())
    assert found[0] == pytest.approx(by_hand)
    assert found[2] == -np.inf
    times, hazard = baseline_hazard(np.zeros(80), time, event)
    jumps = [event[time == t].sum() / (time >= t).sum() for t in times]  # Nelson and Aalen's
    np.testing.assert_allclose(hazard, np.cumsum(jumps), atol=1e-12)


@pytest.mark.parametrize("more", [{}, {"penalizer": 0.1}, {"strata": True}, {"entry": True}])
def test_lifelines_and_newton_reach_one_maximum(cohort, more):
    """Each from its own start: lifelines alone, without the step that confirms it."""
    x, time, event = cohort
    given = {"strata": np.arange(80) % 3, "entry": np.maximum(time - 1 - np.arange(80) % 4, 0)}
    options = {name: given.get(name, value) for name, value in more.items()}
    found, alone = fit_cox(x, time, event, by_lifelines=True, **options), fit_cox(x, time, event, **options)
    np.testing.assert_allclose(found.coef, alone.coef, atol=1e-10)
    np.testing.assert_allclose(found.variance, alone.variance, atol=1e-10)
    scale = x.std(axis=0, ddof=1)
    z = (x - x.mean(axis=0)) / scale
    sets = RiskSets(time, event, options.get("strata"), "efron", options.get("entry"))
    start = _lifelines(Likelihood(sets, z[sets.order], np.zeros(2)), options.get("penalizer", 0.0))
    np.testing.assert_allclose(start.beta / scale, alone.coef, atol=1e-9)


def test_without_a_maximum_lifelines_is_not_believed():
    x, time = np.repeat([0.0, 1.0], 10)[:, None], np.r_[np.arange(11.0, 21), np.arange(1.0, 11)]
    with pytest.raises(SurvivalError, match="did not converge"):
        fit_cox(x, time, np.repeat([False, True], 10), by_lifelines=True)
