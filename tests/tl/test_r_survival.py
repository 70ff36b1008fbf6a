"""Kaplan-Meier, log-rank, Cox and cut points against R's survival and maxstat packages.

``r_survival.json`` holds R's values for data sets that lifelines and scikit-survival ship, and for the lung cancer
table; no row of a patient is in it. It is made by

    python tests/tl/test_r_survival.py FOLDER && Rscript tests/tl/r_survival.R FOLDER > tests/tl/r_survival.json
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import spatialfm as sfm
from spatialfm.stats.cut_points import lausen_schumacher

# real covariates, whose hazards are not all proportional; one data set has 18 clusters
pytestmark = pytest.mark.filterwarnings("ignore:The hazards of", "ignore:18 clusters", "ignore:One cluster has")

HERE = Path(__file__).resolve().parent
COLUMNS = ["time", "event", "group", "stratum", "cluster", "x1", "x2", "x3"]
SHIPPED = ["gbsg2", "lung", "rossi", "veteran", "whas500"]
TOLERANCE = {"rtol": 1e-6, "atol": 1e-9}


def rossi() -> pd.DataFrame:
    from lifelines.datasets import load_rossi

    data = load_rossi()
    group = pd.cut(data["prio"], [-1, 0, 2, 5, 99], labels=False)
    return pd.DataFrame(
        {"time": data["week"], "event": data["arrest"], "group": group, "stratum": data["wexp"], "cluster": data["age"],
         "x1": data["age"], "x2": data["fin"], "x3": data["prio"]}
    )  # fmt: skip


def lung() -> pd.DataFrame:
    from lifelines.datasets import load_lung

    data = load_lung()[["time", "status", "ph.ecog", "sex", "inst", "age", "ph.karno", "wt.loss"]].dropna()
    data.columns = COLUMNS
    return data.assign(group=data["group"].clip(upper=2), event=data["event"].astype(int))


def veteran() -> pd.DataFrame:
    from sksurv.datasets import load_veterans_lung_cancer

    x, y = load_veterans_lung_cancer()
    group = pd.cut(x["Karnofsky_score"], [0, 40, 60, 100], labels=False)
    return pd.DataFrame(
        {"time": y["Survival_in_days"], "event": y["Status"].astype(int), "group": group,
         "stratum": x["Celltype"].astype(str), "cluster": x["Months_from_Diagnosis"], "x1": x["Karnofsky_score"],
         "x2": x["Age_in_years"], "x3": (x["Treatment"] == "test").astype(int)}
    )  # fmt: skip


def whas500() -> pd.DataFrame:
    from sksurv.datasets import load_whas500

    x, y = load_whas500()
    group = pd.cut(x["age"], [0, 60, 70, 80, 200], labels=False)
    return pd.DataFrame(
        {"time": y["lenfol"], "event": y["fstat"].astype(int), "group": group, "stratum": x["gender"].astype(str),
         "cluster": x["los"], "x1": x["bmi"], "x2": x["age"], "x3": x["hr"]}
    )  # fmt: skip


def gbsg2() -> pd.DataFrame:
    from sksurv.datasets import load_gbsg2

    x, y = load_gbsg2()
    group = x["tgrade"].astype(str).map({"I": 1, "II": 2, "III": 3})
    return pd.DataFrame(
        {"time": y["time"], "event": y["cens"].astype(int), "group": group, "stratum": x["menostat"].astype(str),
         "cluster": x["tsize"], "x1": x["pnodes"], "x2": x["age"], "x3": x["progrec"]}
    )  # fmt: skip


def nsclc(folder: Path) -> pd.DataFrame:
    """153 patients with lung cancer (Johnson et al. 2021); x1 is the share of cells that are CD8 T cells."""
    patients = pd.read_csv(folder / "nsclc_table" / "patients.csv").set_index("patient_id")
    cells = pd.read_parquet(folder / "nsclc_table" / "cells.parquet", columns=["patient_id", "phenotype_cd8"])
    share = cells["phenotype_cd8"].astype(float).groupby(cells["patient_id"]).mean()
    data = patients.assign(share=share)[
        ["survival_days", "survival_status", "stage", "gender", "age", "share", "age", "stage"]
    ]
    data.columns = COLUMNS
    return data.dropna().astype({"event": int, "group": int, "cluster": int})


def load(name: str, real: Path | None = None) -> pd.DataFrame:
    return nsclc(real) if name == "nsclc" else globals()[name]()


@pytest.fixture(scope="module")
def reference_values() -> dict:
    return json.loads((HERE / "r_survival.json").read_text())["results"]


@pytest.fixture(params=[*SHIPPED, pytest.param("nsclc", marks=pytest.mark.real_data)])
def case(request, reference_values) -> tuple[AnnData, dict]:
    """Patients, and what R found for them."""
    real = request.getfixturevalue("real_data") if request.param == "nsclc" else None
    if real is not None and not (real / "nsclc_table" / "cells.parquet").is_file():
        pytest.skip("no lung cancer table")
    obs = load(request.param, real).reset_index(drop=True)
    obs["stratum"] = obs["stratum"].astype(str)
    obs.index = [f"P{i}" for i in range(len(obs))]
    expected = reference_values[request.param]
    assert (len(obs), obs["event"].sum()) == (expected["n"], expected["events"])
    return AnnData(obs=obs), expected


def numbers(values) -> np.ndarray:
    return np.array(values, dtype=float)  # null becomes NaN


@pytest.mark.parametrize("interval", ["log-log", "plain", "log"])
def test_kaplan_meier(case, interval):
    samples, expected = case
    result = sfm.tl.kaplan_meier(samples, "group", interval=interval, copy=True)
    for group, curve in expected[f"km_{interval.replace('-', '')}"].items():
        table = result["table"]
        mine = table[table["group"].astype(float) == float(group)].set_index("time").loc[curve["time"]]
        assert mine["at_risk"].tolist() == curve["at_risk"]
        for ours, theirs in {"survival": "survival", "ci_low": "low", "ci_high": "high"}.items():
            np.testing.assert_allclose(mine[ours], numbers(curve[theirs]), **TOLERANCE)
        groups = result["groups"].set_axis(result["groups"].index.astype(float))
        medians = groups.loc[float(group), ["median", "median_ci_low", "median_ci_high"]]
        np.testing.assert_array_equal(medians.to_numpy(float), numbers(curve["median"]))


@pytest.mark.parametrize("strata", [None, "stratum"])
def test_logrank(case, strata):
    samples, expected = case
    result = sfm.tl.logrank(samples, "group", strata=strata, trend=True, copy=True)
    suffix = "" if strata is None else "_strata"
    reference = expected[f"logrank{suffix}"]
    np.testing.assert_allclose(result["statistic"], reference["statistic"], **TOLERANCE)
    np.testing.assert_allclose(result["groups"]["observed"], reference["observed"])
    np.testing.assert_allclose(result["groups"]["expected"], reference["expected"], **TOLERANCE)
    np.testing.assert_allclose(result["trend"]["statistic"], reference["trend"], **TOLERANCE)
    # the score test of a Cox regression with the exact likelihood of ties
    np.testing.assert_allclose(result["trend"]["statistic"], expected[f"trend_exact{suffix}"], **TOLERANCE)


@pytest.mark.parametrize(
    ("ties", "strata", "se_cluster_key"),
    [
        ("efron", None, None),
        ("breslow", None, None),
        ("efron", "stratum", None),
        ("breslow", "stratum", None),
        ("efron", None, "cluster"),
        ("breslow", None, "cluster"),
        ("efron", "stratum", "cluster"),
    ],
)
def test_cox(case, ties, strata, se_cluster_key):
    samples, expected = case
    name = ties + ("_strata" if strata else "") + ("_cluster" if se_cluster_key else "")
    result = sfm.tl.cox(samples, ["x1", "x2", "x3"], ties=ties, strata=strata, se_cluster_key=se_cluster_key,
                         cluster_se="sandwich", copy=True)  # fmt: skip
    table, reference = result["table"], expected[name]
    np.testing.assert_allclose(table["coef"], reference["coef"], **TOLERANCE)
    np.testing.assert_allclose(table["se"], reference["se"], **TOLERANCE)
    np.testing.assert_allclose(result["log_likelihood"], reference["loglik"][1], **TOLERANCE)
    np.testing.assert_allclose(result["wald_statistic"], reference["wald"], **TOLERANCE)
    np.testing.assert_allclose(result["concordance"], reference["concordance"], **TOLERANCE)
    np.testing.assert_allclose([*table["ph_p_value"], result["ph_global_p_value"]], reference["zph_p"], **TOLERANCE)
    if se_cluster_key:
        np.testing.assert_allclose(table["se_naive"], expected[name.removesuffix("_cluster")]["se"], **TOLERANCE)
        assert np.isnan(result["lr_statistic"])
        assert result["n_clusters"] == samples.obs["cluster"].nunique()
    else:
        np.testing.assert_allclose(result["lr_statistic"], reference["lr"], **TOLERANCE)
        np.testing.assert_allclose(result["score_statistic"], reference["score"], **TOLERANCE)


def test_ridge(case):
    """R's ``ridge(scale=TRUE, theta=n * penalizer)``."""
    samples, expected = case
    result = sfm.tl.cox(samples, ["x1", "x2", "x3"], penalizer=0.1, copy=True)
    np.testing.assert_allclose(result["table"]["coef"], expected["ridge"]["coef"], **TOLERANCE)
    np.testing.assert_allclose(result["table"]["se"], expected["ridge"]["se"], **TOLERANCE)
    np.testing.assert_allclose(result["lr_dof"], expected["ridge"]["df"], **TOLERANCE)
    np.testing.assert_allclose(result["log_likelihood"], expected["ridge"]["loglik"], **TOLERANCE)


def test_cut_point(case):
    """maxstat takes tied times as they come: here, as there, they are drawn apart first."""
    samples, expected = case
    obs = samples.obs.sort_values(["time", "event"], ascending=[True, False], kind="stable")
    obs["time"] = np.arange(1, len(obs) + 1)
    result = sfm.tl.cut_point(AnnData(obs=obs), "x1", min_share=0.2, n_permutations=2000, copy=True)
    reference = expected["maxstat"]
    np.testing.assert_allclose(result["statistic"], reference["statistic"], **TOLERANCE)
    table = result["candidates"]
    i = table["statistic"].abs().argmax()
    at_most = obs["x1"].sort_values().iloc[table["n_low"].iloc[i] - 1]  # R cuts at a value, not between two
    assert at_most == pytest.approx(reference["cut"])
    np.testing.assert_allclose(result["p_value_lausen_schumacher"], reference["p"], **TOLERANCE)
    ours = [lausen_schumacher(b, 0.1) for b in (1.5, 2, 2.5, 3, 4)]
    np.testing.assert_allclose(ours, np.minimum(reference["lausen"], 1), **TOLERANCE)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    folder = Path(os.environ.get("SPATIALFM_DATA", HERE.parents[2] / "shared" / "data"))
    for each in [*SHIPPED, "nsclc"]:
        load(each, folder)[COLUMNS].to_csv(target / f"{each}.csv", index=False)
