"""Predictions for another cohort as a table."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from spatialfm.tl.survival.external_validation import AppliedResult

NAMES = pd.Index(["a", "b", "c"])
KEEP = np.array([True, False, True])


@pytest.fixture
def model():
    return SimpleNamespace(risk=np.array([1.0, 2, 3]), survival=lambda times: np.exp(-np.outer([1.0, 2, 3], times)))


def test_patients_that_were_left_out_have_no_prediction(model):
    groups = pd.Series(pd.Categorical(["low", "high", "high"], ["low", "high"]), index=NAMES)
    table = AppliedResult("cox", model, 1.5, groups, KEEP, ~KEEP, []).predictions(NAMES, np.array([0.5, 12]))
    assert list(table) == ["risk", "group", "survival_0.5", "survival_12"]
    assert table["risk"].isna().tolist() == table["group"].isna().tolist() == [False, True, False]
    np.testing.assert_allclose(table["survival_0.5"], [np.exp(-0.5), np.nan, np.exp(-1.5)])
    np.testing.assert_allclose(table["survival_12"], [np.exp(-12), np.nan, np.exp(-36)])


def test_a_grouping_has_no_risk_and_a_model_without_a_cut_no_group(model):
    groups = pd.Series(pd.Categorical(["low", "high", "high"]), index=NAMES)
    assert list(AppliedResult("stratify", None, np.nan, groups, KEEP, ~KEEP, []).predictions(NAMES, np.array([]))) == [
        "group"
    ]
    assert list(AppliedResult("cox", model, np.nan, None, KEEP, ~KEEP, []).predictions(NAMES, np.array([]))) == ["risk"]
