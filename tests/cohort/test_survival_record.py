"""What a model leaves behind is enough to apply it: the design, the risk and the baseline come back."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from spatialfm.cohort.design import design_matrix
from spatialfm.cohort.survival_record import cohort_digest, cox_record, describe_columns, features_record, groups_record
from spatialfm.cohort.transferred_columns import covariate_design, level_codes, tell_shift


@pytest.fixture
def columns():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {"age": rng.normal(60, 10, 30), "stage": rng.choice(["I", "II", "III"], 30), "old": rng.random(30) < 0.5}
    )


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("reference", [{}, {"stage": "II"}])
def test_the_design_of_the_same_columns_comes_back(columns, standardize, reference):
    design, _ = design_matrix(columns, reference, standardize)
    described = describe_columns(columns, reference, standardize)
    np.testing.assert_allclose(covariate_design(columns, described), design.to_numpy(), atol=1e-12)
    part = columns.iloc[:4]  # with the scale and levels of all
    np.testing.assert_allclose(covariate_design(part, described), design.to_numpy()[:4], atol=1e-12)


def test_missing_and_unknown_levels(columns):
    assert level_codes(pd.Series(["II", None, "I"]), ["I", "II"], "stage").tolist() == [1, -1, 0]
    with pytest.raises(Exception, match="'stage' of the target holds 'IV' .1 patient."):
        level_codes(pd.Series(["IV"]), ["I", "II"], "stage")
    described = describe_columns(columns, {})
    holes = columns.astype({"stage": object}).iloc[:2].assign(stage=[None, "I"])
    assert np.isnan(covariate_design(holes, described)[0]).sum() == 2


def test_the_baseline_is_breslows_of_each_stratum(columns):
    """Without covariates' effect: events over those at risk."""
    time, event = np.arange(1.0, 31), np.ones(30, bool)
    design, strata = columns[["age"]].to_numpy(), np.arange(30) % 2
    found = cox_record(design, np.zeros(1), "{}", time, event, None, strata, pd.DataFrame({"s": strata.astype(str)}))
    assert json.loads(found["strata"]) == [["0"], ["1"]]
    first = found["baseline"].query("stratum == 1")
    np.testing.assert_allclose(first["hazard"], np.cumsum(1 / np.arange(15, 0, -1)))
    np.testing.assert_array_equal(first["time"], time[1::2])
    shifted = cox_record(design, np.array([0.1]), "{}", time, event, None, None, None)
    np.testing.assert_allclose(shifted["risk"], 0.1 * (design[:, 0] - design[:, 0].mean()))


def test_features_groups_and_digests():
    x = np.array([[1.0, 5.0], [3.0, 5.0]])
    scale = features_record(["a", "b"], 0, x, "{}")["scale"]
    np.testing.assert_array_equal(scale, [[2, 1, 1, 3], [5, 1, 5, 5]])  # a constant is divided by one
    groups = groups_record(np.array([[0.0], [2.0], [9.0]]), np.array([1, 1, 0]), np.array([4, 4, 2]), ["x"], ["f"])
    np.testing.assert_array_equal(groups["centers"], [[9.0], [1.0]])
    assert groups["group"].tolist() == [2, 4]
    time, event = np.array([1.0, 2.0]), np.array([True, False])
    assert cohort_digest(["p", "q"], x, time, event) == cohort_digest(["q", "p"], x[::-1], time[::-1], event[::-1])
    assert cohort_digest(["p", "q"], x, time, event) != cohort_digest(["p", "q"], x + 1, time, event)


@pytest.mark.parametrize(
    ("values", "said"), [([1.0, 2.0, 3.0, 9.0], False), ([1.0, 2.0, 9.0, 9.0], True), ([2.0] * 4, False)]
)
def test_patients_outside_of_the_sources_range_are_said(recwarn, values, said):
    scale = pd.DataFrame({"mean": [2.0], "sd": [50.0], "low": [1.0], "high": [3.0]})
    assert bool(tell_shift(["f"], np.array(values)[:, None], scale)) is said
