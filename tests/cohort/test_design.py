"""Design matrices of covariates: numbers as they are or standardised, categories against one of theirs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from spatialfm._errors import SpatialfmWarning, SurvivalError
from spatialfm.cohort.design import check_clusters, check_design, design_matrix, read_clusters
from spatialfm.cohort.survival_record import describe_columns

COLUMNS = pd.DataFrame({"age": [40.0, 50.0, 60.0], "stage": ["II", "I", "III"], "old": [False, True, True]})


def test_categories_are_held_against_their_first_or_the_one_that_is_named():
    design, terms = design_matrix(COLUMNS, {})
    assert list(design) == ["age", "stage[II]", "stage[III]", "old"]
    np.testing.assert_array_equal(design, [[40, 1, 0, 0], [50, 0, 0, 1], [60, 0, 1, 1]])
    assert terms.loc["stage[II]"].tolist() == ["stage", "II", "I"]
    design, terms = design_matrix(COLUMNS, {"stage": "III"})
    assert [name for name in design if "stage" in name] == ["stage[I]", "stage[II]"]
    np.testing.assert_array_equal(design[["stage[I]", "stage[II]"]], [[0, 1], [1, 0], [0, 0]])
    assert terms.loc["stage[I]", "reference"] == "III"


def test_numbers_may_be_levels_and_truth_is_not_standardised():
    design, _ = design_matrix(COLUMNS, {"age": "50.0"}, standardize=True)
    assert list(design)[:2] == ["age[40.0]", "age[60.0]"]
    design, _ = design_matrix(COLUMNS[["age", "old"]], {}, standardize=True)
    np.testing.assert_allclose(design["age"], [-1, 0, 1])
    np.testing.assert_array_equal(design["old"], [0, 1, 1])


def test_numbers_that_a_word_beside_them_made_levels_are_said(recwarn):
    ages = pd.Series([*map(str, range(41, 61)), "unknown"], dtype=object)
    with pytest.warns(SpatialfmWarning, match="Covariate 'age' holds 20 different numbers, and in 1 row 'unknown'"):
        design_matrix(pd.DataFrame({"age": ages}), {})
    recwarn.clear()
    design_matrix(pd.DataFrame({"age": ages}), {"age": "unknown"})  # who names a level means levels
    design_matrix(pd.DataFrame({"age": pd.Categorical([41.5, *range(42, 48)])}), {})
    assert not recwarn


def test_numbers_in_a_column_of_objects_are_numbers_and_no_levels():
    """As joins of tables with missing values leave them."""
    objects = COLUMNS.astype({"age": object})
    for standardize in (False, True):
        for part in (0, 1):
            expected = design_matrix(COLUMNS, {}, standardize)[part]
            pd.testing.assert_frame_equal(design_matrix(objects, {}, standardize)[part], expected)
        assert describe_columns(objects, {}, standardize) == describe_columns(COLUMNS, {}, standardize)
    assert list(design_matrix(pd.DataFrame({"grade": [1, 2, 3]}, dtype=object), {"grade": "1"})[0]) == [
        "grade[2]", "grade[3]",
    ]  # fmt: skip
    assert list(design_matrix(pd.DataFrame({"grade": ["1", "2"]}), {})[0]) == ["grade[2]"]


@pytest.mark.parametrize(
    ("columns", "reference", "message"),
    [
        (COLUMNS, {"sex": "f"}, "reference= names 'sex'"),
        (COLUMNS, {"stage": "IV"}, "has no level 'IV'"),
        (pd.DataFrame({"x": ["a", "a"]}), {}, "has one level"),
        (pd.DataFrame({"x": [1.0, np.inf]}), {}, "infinite"),
    ],
)
def test_what_is_no_covariate(columns, reference, message):
    with pytest.raises(SurvivalError, match=message):
        design_matrix(columns, reference)


def test_terms_that_cannot_be_told_apart():
    a, b = np.array([1.0, 0, 0, 1]), np.array([0.0, 1, 0, 0])
    check_design(pd.DataFrame({"a": a, "b": b}), 0.0)
    whole = pd.DataFrame({"a": a, "b": b, "c": 1 - a - b})
    with pytest.raises(SurvivalError, match="3 terms 'a', 'b', 'c' are collinear"):
        check_design(whole, 0.0)
    check_design(whole, 0.1)
    with pytest.raises(SurvivalError, match="'c' are constant"):
        check_design(pd.DataFrame({"a": a, "c": np.ones(4)}), 0.1)


def test_clusters_hold_whole_patients():
    obs = pd.DataFrame({"site": ["x", "x", "y"], "patient": ["a", "a", "b"], "time": [1, 1, 2], "event": [1, 1, 0]})
    obs.index = ["1", "2", "3"]
    assert read_clusters(AnnData(obs=obs), "site", "patient", "time", "event").tolist() == ["x", "x", "y"]
    with pytest.raises(SurvivalError, match="1 patient is in several clusters"):
        read_clusters(AnnData(obs=obs.assign(site=["x", "y", "y"])), "site", "patient", "time", "event")
    with pytest.raises(SurvivalError, match=r"more than one value in obs\['time'\]"):
        read_clusters(AnnData(obs=obs.assign(time=[1, 2, 2])), "site", "patient", "time", "event")
    check_clusters(np.array([0, 1, 2]), "site", 2)
    with pytest.raises(SurvivalError, match="2 clusters"):
        check_clusters(np.array([0, 1, 1]), "site", 2)
