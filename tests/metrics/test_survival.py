from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from sksurv.datasets import load_gbsg2, load_whas500
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.metrics import brier_score as sksurv_brier_score
from sksurv.metrics import (
    concordance_index_censored,
    concordance_index_ipcw,
    cumulative_dynamic_auc,
    integrated_brier_score,
)
from sksurv.util import Surv

import spatialfm as sfm
from spatialfm import _origin
from spatialfm._errors import SpatialfmWarning, SurvivalError
from spatialfm._origin import Origin
from spatialfm.stats.survival_scores import ScoredPatients, brier, concordance_of, dynamic_auc


def cohort(seed: int, n: int = 90, effect: float = 0.8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times and risks with ties; the longest time is a censored one, as scikit-survival asks for."""
    rng = np.random.default_rng(seed)
    risk = rng.normal(size=n).round(1)
    time = np.ceil(rng.exponential(10 / np.exp(effect * risk)))
    censored = np.ceil(rng.exponential(15, n))
    event, time = time <= censored, np.minimum(time, censored)
    time[0], event[0] = time.max() + 1, False
    return time, event, risk


@pytest.mark.parametrize("seed", range(5))
def test_equals_scikit_survival(seed):
    time, event, risk = cohort(seed)
    y = Surv.from_arrays(event, time)
    times = np.array([2.0, 5.0, 9.0])
    survival = np.exp(-np.exp(risk)[:, None] * times / 12)
    result = sfm.metrics.survival(time, event, risk, times=times, survival=survival, n_bootstrap=0)
    value, curves = result["scores"]["value"], result["curves"]
    assert value["harrell"] == pytest.approx(concordance_index_censored(event, time, risk)[0], abs=1e-12)
    assert value["uno"] == pytest.approx(concordance_index_ipcw(y, y, risk)[0], abs=1e-12)
    auc, mean = cumulative_dynamic_auc(y, y, risk, times)
    np.testing.assert_allclose(curves["auc"], auc, atol=1e-12)
    assert value["mean_auc"] == pytest.approx(mean, abs=1e-12)
    np.testing.assert_allclose(curves["brier"], sksurv_brier_score(y, y, survival, times)[1], atol=1e-12)
    assert value["integrated_brier"] == pytest.approx(integrated_brier_score(y, y, survival, times), abs=1e-12)
    assert curves["at_risk"].tolist() == [(time >= t).sum() for t in times]
    assert curves["events"].tolist() == [(event & (time <= t)).sum() for t in times]
    assert result["scores"][["ci_low", "ci_high"]].isna().all(axis=None)


@pytest.mark.parametrize("load", [load_gbsg2, load_whas500])
def test_equals_scikit_survival_on_patients(load):
    x, y = load()
    x = x.select_dtypes("number")
    event, time = (y[name] for name in y.dtype.names)
    model = CoxPHSurvivalAnalysis().fit(x, y)
    risk = model.predict(x)
    result = sfm.metrics.survival(time, event, risk, n_bootstrap=0)
    times = result["curves"]["time"].to_numpy()
    np.testing.assert_allclose(times, np.unique(np.quantile(time[event], np.arange(0.1, 0.95, 0.1), method="lower")))
    survival = np.array([f(times) for f in model.predict_survival_function(x)])
    result = sfm.metrics.survival(time, event, risk, times=times, survival=survival, n_bootstrap=0)
    auc, mean = cumulative_dynamic_auc(y, y, risk, times)
    np.testing.assert_allclose(result["curves"]["auc"], auc, atol=1e-10)
    value = result["scores"]["value"]
    assert value["harrell"] == pytest.approx(concordance_index_censored(event, time, risk)[0], abs=1e-10)
    assert value["uno"] == pytest.approx(concordance_index_ipcw(y, y, risk, tau=time.max())[0], abs=1e-10)
    assert value["mean_auc"] == pytest.approx(mean, abs=1e-10)
    assert value["integrated_brier"] == pytest.approx(integrated_brier_score(y, y, survival, times), abs=1e-10)
    assert value["integrated_brier"] < value["integrated_brier_kaplan_meier"] < 0.25


def test_weights_equal_repeated_rows():
    """A bootstrap draw through weights is scikit-survival's score of the drawn patients."""
    time, event, risk = cohort(3)
    rng = np.random.default_rng(0)
    weights = rng.multinomial(90, np.full(90, 1 / 90), size=20).astype(float)
    weights[:, 0] = 1  # who is seen longest is in every draw
    patients = ScoredPatients(time, event, risk, np.zeros(90, int))
    times = np.array([2.0, 5.0, 9.0])
    survival = np.exp(-np.exp(risk)[:, None] * times / 12)
    harrell, uno = concordance_of(patients, weights)
    auc, mean = dynamic_auc(patients, weights, times)
    errors = brier(patients, weights, times, survival)
    for i, weight in enumerate(weights.astype(int)):
        rows = np.repeat(np.arange(90), weight)
        y = Surv.from_arrays(event[rows], time[rows])
        assert harrell[i] == pytest.approx(concordance_index_censored(event[rows], time[rows], risk[rows])[0])
        assert uno[i] == pytest.approx(concordance_index_ipcw(y, y, risk[rows])[0])
        expected, expected_mean = cumulative_dynamic_auc(y, y, risk[rows], times)
        np.testing.assert_allclose(auc[i], expected)
        assert mean[i] == pytest.approx(expected_mean)
        np.testing.assert_allclose(errors[i], sksurv_brier_score(y, y, survival[rows], times)[1])


def test_folds_compare_within():
    """Concordance within folds is the mean over folds, weighted by their pairs; an offset of a fold has no effect."""
    time, event, risk = cohort(1)
    folds = np.arange(90) % 3
    right = pairs = 0
    for fold in range(3):
        mine = folds == fold
        _, concordant, discordant, tied, _ = concordance_index_censored(event[mine], time[mine], risk[mine])
        right, pairs = right + concordant + tied / 2, pairs + concordant + discordant + tied
    plain = sfm.metrics.survival(time, event, risk, folds=folds, n_bootstrap=0)
    assert plain["scores"]["value"]["harrell"] == pytest.approx(right / pairs)
    shifted = sfm.metrics.survival(time, event, risk + 7 * folds, folds=folds, n_bootstrap=0)
    np.testing.assert_allclose(shifted["scores"]["value"], plain["scores"]["value"])
    np.testing.assert_allclose(shifted["curves"]["auc"], plain["curves"]["auc"])
    named = sfm.metrics.survival(time, event, risk, folds=np.array(["a", "b", "c"])[folds], n_bootstrap=0)
    np.testing.assert_array_equal(named["scores"], plain["scores"])


def test_uno_does_not_depend_on_censoring():
    """A score with crossing effects: heavy censoring moves Harrell's concordance, and much less Uno's."""
    rng = np.random.default_rng(0)
    n = 1500
    risk = rng.normal(size=n)
    early = rng.random(n) < 0.5  # the risk matters among those who die early, and not among others
    time = np.where(early, rng.exponential(np.exp(-1.5 * risk)), 1 + rng.exponential(5, n))
    tau = 4.0
    full = concordance_index_censored(time < tau, np.minimum(time, tau), risk)[0]
    censored = rng.uniform(0, 4.5, n)
    seen = np.minimum(np.minimum(time, censored), tau)
    event = (time <= censored) & (time < tau)
    value = sfm.metrics.survival(seen, event, risk, n_bootstrap=0)["scores"]["value"]
    assert abs(value["uno"] - full) < 0.5 * abs(value["harrell"] - full)
    assert abs(value["harrell"] - full) > 0.03


def test_interval_covers_the_truth():
    """With a useless score, 0.5 is inside the intervals about 95 % of the time."""
    inside = {"harrell": 0, "uno": 0, "mean_auc": 0}
    for seed in range(60):
        time, event, risk = cohort(seed, n=60, effect=0)
        scores = sfm.metrics.survival(time, event, risk, times=[3, 6], n_bootstrap=200)["scores"]
        for name in inside:
            inside[name] += scores.loc[name, "ci_low"] <= 0.5 <= scores.loc[name, "ci_high"]
    assert min(inside.values()) >= 50


def test_seed_and_ends():
    time, event, risk = cohort(0)
    one, same = (sfm.metrics.survival(time, event, risk, n_bootstrap=200) for _ in range(2))
    other = sfm.metrics.survival(time, event, risk, n_bootstrap=200, random_state=1)
    for name in ("scores", "curves"):
        assert one[name].equals(same[name])
        assert not one[name].equals(other[name])
    perfect = sfm.metrics.survival(time, event, event / 2 - time, n_bootstrap=100)["scores"]  # events before censoring
    assert perfect.loc["harrell"].tolist() == [1, 1, 1]
    constant = sfm.metrics.survival(time, event, np.zeros(90), n_bootstrap=100)["scores"]
    np.testing.assert_allclose(constant, 0.5)
    last = sfm.metrics.survival([1, 2, 3], [0, 1, 1], [0, 1, 2], n_bootstrap=0)  # the longest time is an event
    assert last["scores"]["value"]["harrell"] == 0
    two = sfm.metrics.survival([1, 2], [1, 0], [1, 0], n_bootstrap=100)  # most draws hold no pair
    assert two["scores"].loc["uno"].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"event": np.zeros(90)}, r"No event among 90 patients"),
        ({"event": np.full(90, 2)}, r"event= holds .*only 0, 1"),
        ({"risk": np.ones(4)}, r"time has 90 entries, but \{'risk': 4\}"),
        ({"risk": np.r_[np.ones(89), np.nan]}, r"risk= holds 1 values that are missing.*position 89"),
        ({"time": np.full(90, -1.0)}, r"time= holds 90 negative times"),
        ({"time": np.full(90, 3.0), "event": np.ones(90)}, r"No two patients are comparable"),
        ({"folds": np.arange(90)}, r"No two patients are comparable.*in the same fold"),
        ({"folds": [None] * 90}, r"90 patients have no fold"),
        ({"times": [5, 3]}, r"times= are not numbers that rise"),
        ({"times": [5, 1e9]}, r"times= 1e\+09 are outside of what was seen"),
        ({"survival": np.ones((90, 2))}, r"survival= is \(90, 2\), times= is not given"),
        ({"survival": np.ones((90, 2)), "times": [3]}, r"times= has 1 entries"),
        ({"survival": np.full((90, 1), 1.5), "times": [3]}, r"not probabilities"),
        ({"survival": np.tile([0.2, 0.9], (90, 1)), "times": [3, 5]}, r"survival= rises with time"),
        ({"n_bootstrap": 10}, r"n_bootstrap=10 gives no interval"),
        ({"time": [], "event": [], "risk": []}, r"There are no patients"),
    ],
)
def test_refusals(change, message):
    time, event, risk = cohort(0)
    with pytest.raises(SurvivalError, match=message):
        sfm.metrics.survival(**{"time": time, "event": event, "risk": risk, **change})


def test_intervals_do_not_hang_on_the_order_of_patients():
    rng = np.random.default_rng(0)
    time, event, risk = rng.exponential(5, 40).round(1), rng.random(40) < 0.7, rng.normal(size=40)
    order = rng.permutation(40)
    one = sfm.metrics.survival(time, event, risk, n_bootstrap=200)["scores"]
    two = sfm.metrics.survival(time[order], event[order], risk[order], n_bootstrap=200)["scores"]
    np.testing.assert_allclose(one.to_numpy(), two.to_numpy(), atol=1e-12)


def test_a_risk_that_the_outcome_made_is_said():
    """By its values, as arrays have no record; one that was predicted in folds is what the function is for."""
    rng = np.random.default_rng(0)
    names = [f"P{i}" for i in range(40)]
    time, event, score = rng.exponential(10, 40), np.ones(40), pd.Series(rng.normal(size=40), index=names)
    _origin.forget()
    _origin.remember(None, Origin("score_signatures", "selected", ("time", "event")), score, place="obs:score")
    with pytest.warns(SpatialfmWarning, match="risk= was made by sfm.tl.score_signatures .*optimistic"):
        sfm.metrics.survival(time, event, score, n_bootstrap=0)
    _origin.forget()
    _origin.remember(None, Origin("coxnet", "held out", ("time", "event")), score, place="obs:score")
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpatialfmWarning)
        sfm.metrics.survival(time, event, score, n_bootstrap=0)
        sfm.metrics.survival(time, event, rng.normal(size=40), n_bootstrap=0)
