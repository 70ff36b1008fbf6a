"""Groups that a cut of one cohort makes in another."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from spatialfm._errors import SpatialfmWarning, SurvivalError
from spatialfm.tl.survival.external_groups import group_scores, risk_cut

RISK = np.array([0.0, 1.0, 2.0, 9.0])


def source(**uns):
    return ad.AnnData(np.zeros((4, 1)), uns=uns)


def test_the_cut_is_of_the_source():
    assert risk_cut(source(), "risk", RISK, "median") == 1.5
    assert risk_cut(source(), "risk", RISK, 0.3) == 0.3
    found = {"cut": 0.7, "candidates": [], "params": {"score_key": "risk"}}
    assert risk_cut(source(mine=found), "risk", RISK, "mine") == 0.7
    assert risk_cut(source(median=found), "risk", RISK, "median") == 0.7  # a result of that name was meant


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        (np.nan, "is not a number"),
        ("other", 'is neither "median" nor a result of sfm.tl.cut_point'),
        ("cox", 'is neither "median" nor a result of sfm.tl.cut_point'),
        ("mine", "is a cut of 'age', and the risk is 'risk'"),
    ],
)
def test_cuts_that_say_nothing_of_the_risk(cut, message):
    found = {"cut": 0.7, "candidates": [], "params": {"score_key": "age"}}
    with pytest.raises(SurvivalError, match=message):
        risk_cut(source(mine=found, cox={"params": {}}), "risk", RISK, cut)


def test_groups_are_compared_with_the_first_that_has_patients():
    groups = pd.Series(pd.Categorical(["low"] * 8 + ["high"] * 8, ["empty", "low", "high"]))
    time = np.array([5, 6, 7, 8, 9, 10, 11, 12, 1, 2, 3, 4, 5.5, 6.5, 7.5, 13])
    event = np.array([1, 0, 1, 0, 1, 1, 0, 0, 1, 1, 1, 1, 1, 0, 1, 1])
    result = group_scores(groups, time, event, 0.05, 0)
    table = result["group_table"]
    assert table.index.tolist() == ["low", "high"]
    assert table["n"].tolist() == [8, 8]
    assert table["events"].tolist() == [4, 7]
    low, high = table.loc["low"], table.loc["high"]
    assert low[["hazard_ratio", "ci_low", "ci_high"]].isna().all()
    assert high["hazard_ratio"] > 1
    np.testing.assert_allclose(np.sqrt(high["ci_low"] * high["ci_high"]), high["hazard_ratio"])
    wider = group_scores(groups, time, event, 0.01, 0)["group_table"].loc["high"]
    ratio = np.log(wider["ci_high"] / wider["ci_low"]) / np.log(high["ci_high"] / high["ci_low"])
    np.testing.assert_allclose(ratio, 2.5758293 / 1.9599640, rtol=1e-6)
    assert 0 < result["p_value"] < 0.2
    assert result["test"] != "none"


def test_one_group_is_compared_with_nothing():
    groups = pd.Series(pd.Categorical(["low"] * 3, ["low", "high"]))
    with pytest.warns(SpatialfmWarning, match="All patients of the target are in group 'low'"):
        result = group_scores(groups, np.array([1.0, 2, 3]), np.array([1, 0, 1]), 0.05, 0)
    assert np.isnan(result["p_value"])
    assert result["test"] == "none"
    assert result["group_table"]["events"].tolist() == [2]
