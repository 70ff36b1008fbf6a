"""A model of one cohort for another's patients, by hand: coefficients, baseline hazards and strata are planted."""

from __future__ import annotations

import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from spatialfm._errors import SurvivalError
from spatialfm.learn.transferred import _strata, apply_groups, apply_model, cut_groups, read_record


@pytest.fixture
def source():
    return ad.AnnData(obs=pd.DataFrame(index=["s0", "s1"]))


@pytest.fixture
def target():
    obs = pd.DataFrame(
        {"age": [70.0, 50.0, np.nan, 60.0], "sex": ["f", "m", "f", None], "site": ["x", "y", "x", "y"]},
        index=[f"t{i}" for i in range(4)],
    )
    return ad.AnnData(np.array([[0.0, 1], [2, 1], [3, 9], [0, 0]]), obs=obs, var=pd.DataFrame(index=["B", "A"]))


def cox(strata):
    columns = {
        "age": {"mean": 60.0, "sd": 10.0, "scaled": True, "low": 40.0, "high": 80.0},
        "sex": {"levels": ["f", "m"], "reference": "f"},
    }
    baseline = pd.DataFrame({"stratum": [0, 0, 1], "time": [1.0, 3.0, 2.0], "hazard": [0.1, 0.4, 0.2]})
    model = {
        "kind": "cox", "columns": json.dumps(columns), "coef": np.array([0.5, 1.0]), "center": 0.25,
        "baseline": baseline if strata else baseline.iloc[:2], "risk": np.zeros(2), "time": np.array([1.0, 3.0]),
        "strata": json.dumps([["x"], ["y"]] if strata else []),
    }  # fmt: skip
    return {"model": model, "params": {"layer": "", "strata": ["site"] if strata else []}}


def test_risk_is_the_linear_predictor_less_the_sources_centre(source, target):
    found = apply_model(source, target, "cox", cox(False), "cox")
    # 0.5 (age - 60) / 10 + 1 (sex is m) - 0.25
    np.testing.assert_allclose(found.risk, [0.25, 0.25, np.nan, np.nan])
    assert found.steps.tolist() == [1, 3]
    np.testing.assert_allclose(found.survival(np.array([0.5, 1.0, 2.9, 3.0]))[0], np.exp(
        -np.array([0, 0.1, 0.1, 0.4]) * np.exp(0.25)))  # fmt: skip
    np.testing.assert_allclose(found.hazard_until(np.array([0.9, 3.0, 1.0, 1.0]))[:2], [0, 0.4 * np.exp(0.25)])
    assert np.isnan(found.survival(np.array([2.0]))[2:]).all()


def test_each_stratum_has_its_own_baseline_and_end_of_follow_up(source, target):
    found = apply_model(source, target, "cox", cox(True), "cox")
    assert found.stratum.tolist() == [0, 1, 0, 1]
    assert found.last.tolist() == [3, 2, 3, 2]
    hazard = found.hazard_until(np.array([2.0, 2.0, 2.0, 2.0])) / np.exp(0.25)
    np.testing.assert_allclose(hazard[:2], [0.1, 0.2])


def test_a_stratum_that_the_source_has_not_is_refused(target):
    target.obs["site"] = ["x", "y", None, "y"]
    levels = [["x", "f"], ["x", "m"], ["y", "f"]]
    with pytest.raises(
        SurvivalError, match=r"1 patients of the target are in a stratum .* first y and m \(site, sex\)"
    ):
        _strata(target, ["site", "sex"], levels)
    assert _strata(target, ["site"], [["x"], ["y"]]).tolist() == [0, 1, -1, 1]
    assert _strata(target, [], []).tolist() == [0] * 4


def test_features_of_an_elastic_net_are_scaled_as_in_the_source(source, target):
    model = {
        "kind": "coxnet", "features": json.dumps(["A", "B"]), "n_covariates": 0, "columns": "{}",
        "scale": pd.DataFrame({"mean": [1.0, 2.0], "sd": [2.0, 1.0], "low": [0.0, 0.0], "high": [9.0, 9.0]}),
        "coef": np.array([1.0, -0.5]), "baseline": pd.DataFrame({"stratum": 0, "time": [1.0], "hazard": [0.5]}),
        "risk": np.zeros(2), "time": np.array([1.0, 2.0]),
    }  # fmt: skip
    record = {"model": model, "params": {"layer": "", "use_rep": "X", "covariates": []}}
    found = apply_model(source, target, "coxnet", record, "coxnet")
    a, b = np.array([1, 1, 9, 0]), np.array([0, 2, 3, 0])  # columns are found by their names
    np.testing.assert_allclose(found.risk, (a - 1) / 2 - 0.5 * (b - 2))


def test_groups_are_those_of_the_nearest_centre(source, target):
    model = {
        "features": json.dumps(["A", "B"]), "centers": np.array([[0.0, 0.0], [1.0, 2.0], [9.0, 3.0]]),
        "names": json.dumps(["low", "high"]), "group": np.array([1, 0, 0]),
    }  # fmt: skip
    found = apply_groups(source, target, model, {"layer": "X", "uses_outcome": True})
    assert found.tolist() == ["high", "low", "low", "high"]
    assert found.cat.ordered


def test_a_value_at_the_cut_is_low():
    groups = cut_groups(np.array([1.0, 2.0, 2.1, np.nan]), 2.0, pd.Index(list("abcd")))
    assert groups.iloc[:3].tolist() == ["low", "low", "high"]
    assert groups.isna().tolist() == [False, False, False, True]


def test_records_without_a_model_are_refused(source):
    with pytest.raises(SurvivalError, match="No result 'cox' in uns of the source"):
        read_record(source, "cox")
    source.uns |= {"old": {"params": {}}, "cut": {"cut": 1.0, "candidates": []}, "cox": {"model": {"kind": "cox"}}}
    with pytest.raises(SurvivalError, match=r"uns\['old'\] of the source contains no model to apply"):
        read_record(source, "old")
    assert read_record(source, "cut")[1] == "cut_point"
    assert read_record(source, "cox")[1] == "cox"
