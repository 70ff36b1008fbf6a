"""Competing risks, late entry, weighted log-rank, restricted means, jackknife: R's survival and cmprsk packages.

``r_competing.json`` holds R's values for data sets that scikit-survival ships, some with causes and entries that are
made up by rule; no row of a patient is in it. It is made by

    python tests/tl/test_r_competing.py FOLDER && Rscript tests/tl/r_competing.R FOLDER > tests/tl/r_competing.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import spatialfm as sfm

# real covariates, whose hazards are not all proportional; few events; few clusters; causes other than the first
pytestmark = pytest.mark.filterwarnings("ignore::spatialfm._errors.SpatialfmWarning")

HERE = Path(__file__).resolve().parent
NAMES = ["cgvhd", "veteran", "whas500"]


def cgvhd() -> pd.DataFrame:
    """100 patients after a transplant, with three causes (Pintilie 2006): few ties, and few patients per group."""
    from sksurv.datasets import load_cgvhd

    x, y = load_cgvhd()
    time, cause = (np.array([row[i] for row in y]) for i in (1, 0))
    return _frame(time, cause, x["tx"].astype(str), x["dx"].astype(str), x["age"], x["extent"].astype(str) == "L", 1.5)


def veteran() -> pd.DataFrame:
    """137 patients, causes by rule; whole days, so that many are tied."""
    from sksurv.datasets import load_veterans_lung_cancer

    x, y = load_veterans_lung_cancer()
    time, event = np.ceil(y["Survival_in_days"] / 7), y["Status"]
    cause = np.where(event, 1 + (np.arange(len(x)) % 3 == 0), 0)
    return _frame(time, cause, x["Celltype"].astype(str), x["Treatment"].astype(str), x["Karnofsky_score"] / 10,
                  x["Age_in_years"] / 10, 1.0)  # fmt: skip


def whas500() -> pd.DataFrame:
    """500 patients, 4 groups by age, causes by rule, much censoring."""
    from sksurv.datasets import load_whas500

    x, y = load_whas500()
    cause = np.where(y["fstat"], 1 + (np.arange(len(x)) % 4 > 1), 0)
    group = pd.cut(x["age"], [0, 60, 70, 80, 200], labels=["50s", "60s", "70s", "80s"]).astype(str)
    return _frame(y["lenfol"], cause, group, x["gender"].astype(str), x["bmi"] / 5, x["hr"] / 20, 2.0)


def _frame(time, cause, group, stratum, x1, x2, unit) -> pd.DataFrame:
    n = len(time)
    time = np.asarray(time, float)
    return pd.DataFrame(
        {"time": time, "entry": time * (np.arange(n) % 5) / 10, "cause": np.asarray(cause, int),
         "group": np.asarray(group), "stratum": np.asarray(stratum), "cluster": np.arange(n) % 25,
         "x1": np.asarray(x1, float), "x2": np.asarray(x2, float), "x3": np.sin(np.arange(n) * unit)}
    )  # fmt: skip


TOLERANCE = {"rtol": 1e-6, "atol": 1e-9}


@pytest.fixture(scope="module")
def reference_values() -> dict:
    return json.loads((HERE / "r_competing.json").read_text())["results"]


@pytest.fixture(params=NAMES)
def case(request, reference_values) -> tuple[AnnData, dict]:
    """Patients, and what R found for them."""
    obs = globals()[request.param]()
    expected = reference_values[request.param]
    assert [len(obs), *np.bincount(obs["cause"])] == [expected["n"], *expected["causes"]]
    obs["event"] = obs["cause"] > 0
    return AnnData(obs=obs.set_axis([f"P{i}" for i in range(len(obs))])), expected


def numbers(values) -> np.ndarray:
    return np.array(values, dtype=float)  # null becomes NaN


def test_curves_with_late_entry(case):
    samples, expected = case
    result = sfm.tl.kaplan_meier(samples, "group", entry_key="entry", copy=True)
    for group, curve in expected["km_late"].items():
        table = result["table"]
        mine = table[table["group"] == group].set_index("time").loc[curve["time"]]
        assert mine["at_risk"].tolist() == curve["at_risk"]
        for ours, theirs in {"survival": "survival", "ci_low": "low", "ci_high": "high"}.items():
            np.testing.assert_allclose(mine[ours], numbers(curve[theirs]), **TOLERANCE)


def test_logrank_with_late_entry(case):
    """The score test of a Cox regression with the exact likelihood of ties; of untied times, for R's sake."""
    samples, expected = case
    samples = samples[~samples.obs["time"].duplicated()].copy()
    for strata, name in ((None, "logrank_late"), ("stratum", "logrank_late_strata")):
        result = sfm.tl.logrank(samples, "group", entry_key="entry", strata=strata, copy=True)
        np.testing.assert_allclose(result["statistic"], expected[name], **TOLERANCE)


def test_fleming_harrington(case):
    """R's survdiff with rho of 0.5 and 1."""
    samples, expected = case
    for rho, strata, name in ((0.5, None, "half"), (1, None, "one"), (1, "stratum", "one_strata")):
        result = sfm.tl.logrank(samples, "group", strata=strata, weights=(rho, 0), copy=True)
        np.testing.assert_allclose(result["statistic"], expected["rho"][name], **TOLERANCE)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("efron", {}),
        ("breslow", {"ties": "breslow"}),
        ("efron_strata", {"strata": "stratum"}),
        ("efron_cluster", {"se_cluster_key": "cluster", "cluster_se": "sandwich"}),
    ],
)
def test_cox_with_late_entry(case, name, arguments):
    samples, expected = case
    result = sfm.tl.cox(samples, ["x1", "x2", "x3"], entry_key="entry", **arguments, copy=True)
    table, reference = result["table"], expected[name]
    np.testing.assert_allclose(table["coef"], reference["coef"], **TOLERANCE)
    np.testing.assert_allclose(table["se"], reference["se"], **TOLERANCE)
    np.testing.assert_allclose(result["log_likelihood"], reference["loglik"][1], **TOLERANCE)
    np.testing.assert_allclose([*table["ph_p_value"], result["ph_global_p_value"]], reference["zph"], **TOLERANCE)
    np.testing.assert_allclose(result["concordance"], reference["concordance"], **TOLERANCE)
    if name != "efron_cluster":
        np.testing.assert_allclose(result["score_statistic"], reference["score"], **TOLERANCE)


def test_jackknife(case):
    """R's coxph without each cluster, after one step from the estimates of all."""
    samples, expected = case
    result = sfm.tl.cox(samples, ["x1", "x2", "x3"], se_cluster_key="cluster", copy=True)
    np.testing.assert_allclose(result["table"]["se"], expected["jackknife_one"]["se"], rtol=1e-6)


def test_cumulative_incidence(case):
    """cmprsk's cuminc: estimates and Aalen's variances, of each cause and group."""
    from spatialfm.stats.competing_risks import incidence_of

    samples, expected = case
    reference = expected["incidence"]
    table = sfm.tl.cumulative_incidence(samples, "group", event_key="cause", copy=True)["table"]
    for name, values, variances in zip(reference["curve"], reference["est"], reference["var"], strict=True):
        group, cause = name.rsplit(" ", 1)
        mine = table[(table["group"] == group) & (table["event"] == cause)]
        at = np.searchsorted(mine["time"], reference["time"], side="right") - 1
        known = np.isfinite(numbers(values))
        np.testing.assert_allclose(mine["incidence"].to_numpy()[at][known], numbers(values)[known], **TOLERANCE)
        obs = samples.obs[samples.obs["group"] == group]
        curve = incidence_of(obs["time"].to_numpy(), obs["cause"].to_numpy(), int(cause))
        np.testing.assert_allclose(curve.variance[at][known], numbers(variances)[known], **TOLERANCE)


def test_gray(case):
    samples, expected = case
    result = sfm.tl.cumulative_incidence(samples, "group", event_key="cause", n_permutations=999, copy=True)["tests"]
    np.testing.assert_allclose(result["statistic"], expected["incidence"]["gray"], **TOLERANCE)
    np.testing.assert_allclose(result["p_value_chi_squared"], expected["incidence"]["gray_p"], **TOLERANCE)
    strata = {"strata": "stratum", "n_permutations": 999, "copy": True}
    result = sfm.tl.cumulative_incidence(samples, "group", event_key="cause", **strata)["tests"]
    np.testing.assert_allclose(result["statistic"], expected["incidence"]["gray_strata"], **TOLERANCE)


def test_cumulative_incidence_with_late_entry(case):
    """Multi-state curves of survival's survfit."""
    samples, expected = case
    result = sfm.tl.cumulative_incidence(samples, event_key="cause", event_value=1, entry_key="entry", copy=True)
    curve = result["table"].query("event == '1'").set_index("time")
    np.testing.assert_allclose(curve["incidence"].loc[expected["states"]["time"]], expected["states"]["est"], rtol=1e-6)


def test_fine_gray_with_late_entry(case):
    """finegray of (start, stop], whose weights also know who had entered, and coxph."""
    samples, expected = case
    result = sfm.tl.fine_gray(
        samples, ["x1", "x2", "x3"], event_key="cause", event_value=1, se="sandwich", entry_key="entry", copy=True
    )
    np.testing.assert_allclose(result["table"]["coef"], expected["finegray"]["late"]["coef"], **TOLERANCE)
    np.testing.assert_allclose(result["table"]["se"], expected["finegray"]["late"]["se"], **TOLERANCE)


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_fine_gray(case, ties):
    """finegray and coxph; cmprsk's crr has the ties of Breslow and variances with another term of censoring."""
    samples, expected = case
    options = {"event_key": "cause", "event_value": 1, "ties": ties, "copy": True}
    result = sfm.tl.fine_gray(samples, ["x1", "x2", "x3"], se="sandwich", **options)
    reference = expected["finegray"][ties]
    np.testing.assert_allclose(result["table"]["coef"], reference["coef"], **TOLERANCE)
    np.testing.assert_allclose(result["table"]["se"], reference["se"], **TOLERANCE)
    np.testing.assert_allclose(result["log_likelihood"], reference["loglik"][1], **TOLERANCE)
    ours = sfm.tl.fine_gray(samples, ["x1", "x2", "x3"], **options)["table"]  # the default: never below these
    np.testing.assert_allclose(ours["coef"], reference["coef"], **TOLERANCE)
    assert (ours["se"] >= np.array(reference["se"]) * (1 - 1e-6)).all()
    if ties == "breslow":
        np.testing.assert_allclose(result["table"]["coef"], expected["finegray"]["crr"]["coef"], rtol=0.01)
        np.testing.assert_allclose(result["table"]["se"], expected["finegray"]["crr"]["se"], rtol=0.01)


@pytest.mark.parametrize(("key", "entry_key"), [("rmst", None), ("rmst_late", "entry")])
def test_restricted_means(case, key, entry_key):
    """survfit's rmean and se(rmean), up to the default horizon."""
    samples, expected = case
    result = sfm.tl.rmst(samples, "group", entry_key=entry_key, n_permutations=999, copy=True)
    assert result["horizon"] == expected[key]["tau"]
    np.testing.assert_allclose(result["groups"]["rmst"], expected[key]["rmean"], **TOLERANCE)
    np.testing.assert_allclose(result["groups"]["se"], expected[key]["se"], **TOLERANCE)


if __name__ == "__main__":
    for name in NAMES:
        globals()[name]().to_csv(Path(sys.argv[1]) / f"{name}.csv", index=False)
