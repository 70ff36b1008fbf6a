"""Columns of text: what is taken as a whole is what each value by itself is."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from spatialfm.pp.table_columns import _convert, _plain_numbers, converted

VALUES = [
    "0",
    "1",
    "-7",
    "+3",
    "007",
    "-07",
    "1.5",
    ".5",
    "5.",
    "1e3",
    "1E-2",
    "inf",
    "-Inf",
    "1e999",
    "1_000",
    "1.000",
    "1,5",
]
VALUES += [
    "",
    "NA",
    "x",
    "TRUE",
    "false",
    "e5",
    "+",
    ".",
    "1-2",
    "0x1",
    "123456789012345",
    "1234567890123456",
    "١",
    "nan",
]


@pytest.mark.parametrize("dots_are_thousands", [False, True])
@pytest.mark.parametrize("separator", [",", ";"])
def test_columns_are_what_their_values_are_one_by_one(separator, dots_are_thousands):
    rng = np.random.default_rng(0)
    plain = 0
    for _ in range(1500):
        some = rng.choice(VALUES, rng.integers(1, 4), replace=False)
        values = list(rng.choice(some, rng.integers(1, 12)))
        expected, why = _convert(values, Counter(values), separator, dots_are_thousands)
        column, reason = converted(values, separator, dots_are_thousands)
        pd.testing.assert_series_equal(column, expected)
        assert reason == why
        numbers = _plain_numbers(values, dots_are_thousands)
        if numbers is not None:
            pd.testing.assert_series_equal(pd.Series(numbers), expected)
            plain += 1
    assert plain > 150


def test_how_many_values_are_no_numbers_counts_rows():
    _, reason = converted(["1", "2", "2", "2", "n.d.", "n.d.", "x"], ",", False)
    assert reason == "'n.d.', 'x' among 4 numbers"
    _, reason = converted(["1", "n.d.", "n.d."], ",", False)
    assert reason == ""
