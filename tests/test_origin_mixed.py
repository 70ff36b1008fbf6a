"""Sums, products and ratios of remembered columns, and which of the columns they need, as they were made."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from spatialfm import _origin_mixed as mixed
from spatialfm._origin import Origin, Reference, name_hashes, numbers_of
from spatialfm._origin_match import rows_of

N = 40
NAMES = [f"P{i}" for i in range(N)]
ONE, TWO, THREE, AGE, SIZE = np.random.default_rng(0).normal(size=(5, N))
NONE = np.empty((N, 0))
SEX = (np.arange(N) % 2).astype(float)
ROWS = rows_of(pd.Index(NAMES), [])


def reference(values, names=NAMES, origin="coxnet", how="held out", **more):
    column = pd.Series(values, index=names)
    numbers, groups, texts = numbers_of(column)
    return Reference(Origin(origin, how, ("time", "event")), name_hashes(names), None, numbers, groups, texts, **more)


def stack(*columns):
    return np.column_stack(columns)


def needed(values, made, others=NONE, made_points=NONE, other_points=NONE):
    return mixed._needed(values, made, others, made_points, other_points)


def test_a_sum_needs_the_columns_that_it_was_made_of():
    made = stack(ONE, TWO, THREE)
    assert needed(2 * ONE - 3 * THREE + 7, made) == [0, 2]
    assert needed(TWO + 0.5 * AGE, made, stack(AGE)) == [1]
    assert needed(AGE + SIZE, made, stack(AGE, SIZE)) == []  # the others suffice
    assert mixed._summands(AGE + SIZE, stack(AGE + SIZE), stack(AGE, SIZE)) == []
    assert needed(2 * ONE + 0.001 * np.sin(np.arange(N)), made) == []  # a remainder of a thousandth
    assert needed(np.full(N, 3.0), made) == []


def test_columns_that_are_nearly_as_many_as_rows_prove_nothing():
    few = 10  # eight more than the constant and one column
    rng = np.random.default_rng(1)
    assert mixed._summands(rng.normal(size=few), rng.normal(size=(few, few - 1)), np.empty((few, 0))) == []
    made = rng.normal(size=(few, 1))
    assert mixed._summands(3 * made[:, 0] + 1, made, np.empty((few, 0))) == [0]
    assert mixed._summands(3 * made[:-1, 0] + 1, made[:-1], np.empty((few - 1, 0))) == []


def test_few_rows_are_enough_for_a_sum_of_some_of_many():
    """Of 17 rows eight are spare, so that eight of 30 remembered columns are tried together: four at a time."""
    rng = np.random.default_rng(2)
    made, age = rng.normal(size=(17, 30)), rng.normal(size=17)
    assert mixed._summands(made[:, 20] - 2 * made[:, 21] + 1, made, np.empty((17, 0))) == [20, 21]
    assert mixed._summands(made[:, 28] + age, made, age[:, None]) == [28]
    assert mixed._summands(rng.normal(size=17), made, age[:, None]) == []


def test_products_and_ratios_need_both_factors():
    made = stack(ONE, TWO)
    assert needed(ONE / TWO, made) == [0, 1]
    assert needed(ONE**2, made) == [0]
    assert needed((ONE + 1) * (TWO - 2), made) == [0, 1]
    assert needed((TWO + 1) * (AGE + 60), made, stack(AGE)) == [1]
    assert needed((SIZE + 1) * (AGE + 60), made, stack(AGE, SIZE)) == []


def test_points_of_groups_are_summands():
    assert needed(5 * SEX + AGE, stack(ONE), stack(AGE), made_points=stack(SEX)) == [1]  # behind the numbers
    assert needed(ONE + 3 * SEX, stack(ONE, TWO), other_points=stack(SEX)) == [0]
    assert needed(ONE + 3 * SEX, stack(ONE, TWO)) == []


def test_points_are_one_column_a_level_but_the_first():
    codes = np.array([2.0, 0.0, np.nan, 1.0, 2.0])
    one, two = mixed._points(codes)
    np.testing.assert_array_equal(one, [0, 0, np.nan, 1, 0])
    np.testing.assert_array_equal(two, [1, 0, np.nan, 0, 1])


def test_logarithms_are_of_sizes_and_none_of_zero():
    found = mixed._logarithms(np.array([[-np.e], [1.0], [np.nan]]))
    assert found[:2, 0] == pytest.approx([1, 0])
    assert mixed._logarithms(np.array([[0.0], [1.0]])) is None
    assert mixed._logarithms(np.empty((3, 0))) is None


def test_values_are_brought_to_the_rows_by_name():
    rows = rows_of(pd.Index(["b", "z", "a", "b"]), [])
    found = mixed.aligned(rows, reference([1.5, 2.5, 3.5], ["a", "b", "c"]))
    np.testing.assert_array_equal(found, [2.5, np.nan, 1.5, np.nan])  # the second of a name is another's


def test_what_was_calculated_is_remembered_with_what_no_tool_made_as_exempt():
    columns = {
        "obs:age": pd.Series(AGE, index=NAMES),
        "obs:score": pd.Series(ONE * 3 + AGE, index=NAMES),
        "obs:height": pd.Series(SIZE, index=NAMES),
    }
    (found,) = mixed.calculated(columns, ROWS, [reference(ONE)])
    assert found.calculated
    assert found.origin.function == "coxnet"
    np.testing.assert_array_equal(found.values, ONE * 3 + AGE)
    np.testing.assert_array_equal(found.exempt, AGE[:, None])
    del columns["obs:age"]
    assert mixed.calculated(columns, ROWS, [reference(ONE)]) == []
    assert mixed.calculated(columns, ROWS, []) == []


def test_made_columns_are_the_latest_first_once_each_and_of_outcomes():
    other = Reference(Origin("umap", "composition"), name_hashes(NAMES), None, THREE, False)
    constant, part = reference(np.ones(N)), reference(ONE[:10], NAMES[:10])
    references = [reference(ONE), reference(TWO), reference(ONE, origin="again"), other, part, constant]
    found = [(one.origin.function, values[0]) for values, one in mixed._made(ROWS, references)]
    assert found == [("again", ONE[0]), ("coxnet", TWO[0])]


def test_columns_of_few_levels_may_split_and_remembered_groups_come_first():
    frame = pd.DataFrame({"sex": list("fm") * 20, "id": NAMES, "one": "x", "level": np.arange(N) % 12}, index=NAMES)
    made = reference(list("ab") * 10 + list("bc") * 10, origin="stratify", how="selected")
    first, *others = mixed.splits_of(frame, ROWS, [made, reference(ONE)])
    assert len(set(first)) == 3
    assert [len(set(codes)) for codes in others] == [2, 12]


def test_two_numbers_divide_groups_by_a_plane_or_do_not():
    corners = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    assert mixed._by_a_plane(corners, np.array([False, False, False, True]))
    assert not mixed._by_a_plane(corners, np.array([False, True, True, False]))  # exclusive or


def test_a_cut_of_a_sum_is_perhaps_made_of_both():
    references = [reference(ONE), reference(TWO, origin="survival_forest")]
    high = pd.Series(np.where(ONE + 2 * TWO > 0.1, "high", "low"), index=NAMES)
    found = mixed.divided(high, ROWS, references)
    assert {(one.origin.function, one.n, one.sure) for one in found} == {
        ("coxnet", N, False), ("survival_forest", N, False),
    }  # fmt: skip
    assert mixed.divided(high, ROWS, references[:1]) == []
    either = pd.Series(np.where(ONE * TWO > 0, "a", "b"), index=NAMES)
    assert mixed.divided(either, ROWS, references) == []
    three = pd.Series(list("abcd") * 10, index=NAMES)
    assert mixed.divided(three, ROWS, references) == []


def test_groups_that_a_models_own_feature_explains_are_not_its_cut():
    names = ("coxnet", "survival_forest")
    age = ONE + 2 * TWO
    references = [
        reference(part, origin=name, exempt=age[:, None]) for part, name in zip((ONE, TWO), names, strict=True)
    ]
    old = pd.Series(np.where(age > 0.1, "old", "young"), index=NAMES)
    assert mixed._explained(ROWS, references[0], numbers_of(old)[0])
    other = pd.Series(np.where(ONE + TWO > 0, "a", "b"), index=NAMES)
    assert not mixed._explained(ROWS, references[0], numbers_of(other)[0])
    assert mixed.divided(old, ROWS, references) == []
    assert len(mixed.divided(other, ROWS, references)) == 2
