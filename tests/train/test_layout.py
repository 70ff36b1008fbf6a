from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from spatialfm.train.layout import strata_of, text_of


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("p1", "p1"),
        (7, "7"),
        (7.0, "7"),
        (np.float32(7), "7"),
        (7.5, "7.5"),
        (np.nan, None),
        (None, None),
        (pd.NA, None),
    ],
)
def test_one_patient_has_one_name_whatever_type_its_column_has(value, text):
    assert text_of(value) == text


def test_strata_are_the_combinations_that_occur():
    table = pd.DataFrame({"tissue": ["b", "a", "b", "a"], "machine": ["x", "x", "y", "x"]})
    assert strata_of(table, []) is None
    assert [one.tolist() for one in strata_of(table, ["tissue"])] == [[1, 3], [0, 2]]
    assert [one.tolist() for one in strata_of(table, ["tissue", "machine"])] == [[1, 3], [0], [2]]
