"""One value of each patient, for all who read one."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest

from spatialfm._errors import ClinicalError, SurvivalError, TableError
from spatialfm.cohort.one_value import differs, leave_out, value_of_each

CODES, NAMES = np.array([1, 0, 1, 0]), ["A", "B"]


def test_values_come_in_the_order_of_the_codes_and_keep_their_kind():
    column = pd.Series(pd.Categorical(["x", "y", "x", "y"], ["y", "x"]), name="arm", index=list("abcd"))
    found = value_of_each(column, CODES, NAMES)
    assert found.to_dict() == {"A": "y", "B": "x"}
    assert list(found.cat.categories) == ["y", "x"]
    assert value_of_each(pd.Series([1.5, np.nan, 1.5, np.nan]), CODES, NAMES).isna().to_dict() == {
        "A": True,
        "B": False,
    }


@pytest.mark.parametrize(
    ("values", "options", "error", "message"),
    [
        (["x", "y", "z", "y"], {}, ClinicalError, r"1 patient has .*obs\['arm'\], first 'B': 'x', 'z'. An outcome"),
        (["x", "y", None, "y"], {}, ClinicalError, "first 'B': 'x', 'missing'"),
        (["x", "y", "z", "w"], {"unit": "sample"}, ClinicalError, "2 samples have more than one value"),
        (["x", "y", "z", "y"], {"error": SurvivalError, "remedy": "Pass {unit}s."}, SurvivalError, "Pass patients.$"),
        (["x", "y", "z", "y"], {"argument": "block_key"}, ClinicalError, r"obs\['arm'\] \(block_key=\), first"),
    ],
)
def test_two_values_are_refused(values, options, error, message):
    with pytest.raises(error, match=message):
        value_of_each(pd.Series(values, name="arm"), CODES, NAMES, **options)


def test_numbers_that_differ_are_found_where_they_are():
    assert differs(pd.Series([1, 2, 1, 3]), CODES).tolist() == [False, False, False, True]


def test_who_has_no_value_is_refused_or_told(caplog):
    missing = np.array([False, True, True])
    with pytest.raises(TableError, match=r"2 of 3 samples have no value in obs\['x'\]: 'b', 'c'.*on_missing=\"drop\""):
        leave_out(missing, list("abc"), "obs['x']", "raise", "sample")
    with caplog.at_level(logging.INFO, logger="spatialfm"):
        leave_out(missing, list("abc"), "obs['x']", "drop")
        leave_out(np.zeros(3, bool), list("abc"), "obs['x']", "raise")
    assert [record.getMessage() for record in caplog.records] == ["2 patients without obs['x'] left out: 'b', 'c'"]
