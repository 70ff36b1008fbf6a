"""Phenotypes as tables have them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from spatialfm._errors import SpatialfmWarning, TableError
from spatialfm.io._phenotypes import phenotype_column

FLAGS = {"phenotype_ck": [1, 0, 0, 0], "phenotype_cd4": [0, 1, 1, 0], "phenotype_foxp3": [0, 0, 1, 0]}


@pytest.mark.parametrize(
    "kind",
    [
        bool,
        int,
        float,
        lambda column: np.where(column, "+", "-"),
        lambda column: np.where(column, "CD8+", "CD8-"),
        lambda column: np.where(column, "Positive", "negative"),
        lambda column: pd.Categorical(np.where(column, "yes", "no")),
    ],
)
def test_flags_are_named_together(kind):
    frame = pd.DataFrame(
        {name: kind(np.array(v)) if not isinstance(kind, type) else np.array(v, kind) for name, v in FLAGS.items()}
    )
    found = phenotype_column(frame, list(frame), "t")
    assert found.tolist() == ["ck", "cd4", "cd4 + foxp3", "none"]
    assert list(found.cat.categories) == ["ck", "cd4 + foxp3", "cd4", "none"]
    named = {"phenotype_ck": "tumor", "phenotype_cd4": "T cell", "phenotype_foxp3": "T cell"}
    found = phenotype_column(frame, named, "t")
    assert found.tolist() == ["tumor", "T cell", "T cell", "none"]
    assert list(found.cat.categories) == ["tumor", "T cell", "none"]


def test_names_of_flags_are_kept_where_they_would_meet():
    frame = pd.DataFrame({"CD4+": [True], "CD4": [False], "x": [1]})
    assert phenotype_column(frame, ["CD4+", "CD4"], "t").tolist() == ["CD4+"]
    assert phenotype_column(frame, ["CD4+", "x"], "t").tolist() == ["CD4 + x"]
    assert phenotype_column(frame, "CD4+", "t").tolist() == ["CD4"]


def test_a_column_of_types():
    frame = pd.DataFrame({"type": ["B", None, "T", "B"], "code": [3, 1, 3, 1]})
    found = phenotype_column(frame, "type", "t")
    assert found.isna().tolist() == [False, True, False, False]
    assert list(found.cat.categories) == ["B", "T"]
    assert phenotype_column(frame, "code", "t").tolist() == ["3", "1", "3", "1"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, 0, None, 1], "'b' of t is empty in 1 row"),
        ([1, 0, 2, 1], "'b' of t holds .*which are not yes and no"),
        (["B", "T", "B", "B"], "'b' of t holds 'B', 'T', which are not yes and no"),
    ],
)
def test_what_is_no_flag_is_refused(values, message):
    frame = pd.DataFrame({"a": [1, 0, 1, 0], "b": values})
    with pytest.raises(TableError, match=message):
        phenotype_column(frame, ["a", "b"], "t")


def test_columns_that_are_absent_and_too_many_combinations():
    frame = pd.DataFrame(np.random.default_rng(0).random((200, 6)) < 0.5, columns=list("abcdef"))
    with pytest.raises(TableError, match="no column 'g' for phenotypes; it has 'a', 'b'"):
        phenotype_column(frame, ["a", "g"], "t")
    with pytest.warns(SpatialfmWarning, match=r"6 flags of t make \d\d phenotypes"):
        phenotype_column(frame, list("abcdef"), "t")


def test_only_words_that_say_flag_are_cut_from_names():
    frame = pd.DataFrame({"PD-1": [1, 0], "PD-L1": [1, 1], "is_PD-1": [1, 0], "is_PD-L1": [1, 1]})
    assert phenotype_column(frame, ["PD-1", "PD-L1"], "t").tolist() == ["PD-1 + PD-L1", "PD-L1"]
    assert phenotype_column(frame, ["is_PD-1", "is_PD-L1"], "t").tolist() == ["PD-1 + PD-L1", "PD-L1"]


def test_types_that_end_with_a_sign_are_no_flags():
    frame = pd.DataFrame({"a": ["CD4-CD8+", "CD4+CD8-"], "b": [1, 0]})
    with pytest.raises(TableError, match="'a' of t holds 'CD4.CD8-', 'CD4-CD8.', which are not yes and no"):
        phenotype_column(frame, ["a", "b"], "t")
