"""Keys that must find each other: numbers, text, categories."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from spatialfm._errors import ClinicalError, SpatialfmWarning, TableError
from spatialfm.pp.joins import (
    add_columns,
    case_clash,
    column_name,
    match_cells,
    not_canonical,
    same_values,
    storable,
    storable_frame,
    text_keys,
    whole_numbers,
)


@pytest.mark.parametrize(
    "values",
    [[7, 12], [7.0, 12.0], ["7", "12"], ["7.0", "12"], pd.Categorical([7, 12]), pd.Categorical(["7", "12"]),
     pd.array([7, 12], dtype="Int64"), np.array([7, 12], np.uint64)],
)  # fmt: skip
def test_label_ids_of_every_kind(values):
    found = whole_numbers(pd.Series(values), "x")
    assert found.dtype == np.int64
    assert found.tolist() == [7, 12]


@pytest.mark.parametrize(
    ("dtype", "largest", "exact"),
    [("float64", 2**53 - 1, True), ("float64", 2**53, False), ("float32", 2**24 - 1, True), ("float32", 2**24, False)],
)
def test_floats_up_to_where_they_tell_numbers_apart(dtype, largest, exact):
    values = pd.Series(np.array([1, largest], dtype))
    if exact:
        assert whole_numbers(values, "x").tolist() == [1, largest]
    else:
        with pytest.raises(TableError, match="1 row of 2 cannot be read as such"):
            whole_numbers(values, "x")


@pytest.mark.parametrize("values", [[1.5, 2], [np.nan, 2], [np.inf, 2], ["a", "2"], [True, False]])
def test_what_is_no_label_id(values):
    with pytest.raises(TableError):
        whole_numbers(pd.Series(values), "x")


@pytest.mark.parametrize(
    ("values", "text", "numeric"),
    [([7, 12], ["7", "12"], True), ([7.0, None], ["7", None], True), (["7", "b"], ["7", "b"], False),
     (pd.Categorical(["a", None]), ["a", None], False), (pd.Series([7, "b"], dtype=object), ["7", "b"], False)],
)  # fmt: skip
def test_keys_as_text(values, text, numeric):
    found, is_numeric = text_keys(pd.Series(values), "x", ClinicalError)
    assert (found.tolist(), is_numeric) == (text, numeric)


def test_keys_that_are_none():
    with pytest.raises(ClinicalError, match="numbers that are not whole"):
        text_keys(pd.Series([1.5]), "x", ClinicalError)
    with pytest.raises(ClinicalError, match="keys must be text"):
        text_keys(pd.Series([True]), "x", ClinicalError)
    assert not_canonical(pd.Series(["7", "007", "7.0", "0", "-3", "a", None])) == ["007", "7.0"]


def test_columns_that_say_the_same():
    assert same_values(pd.Series(["a", None]), pd.Series(pd.Categorical(["a", None])))
    assert not same_values(pd.Series(["a", None]), pd.Series(["a", "b"]))
    obs, new = pd.DataFrame({"a": [1, 2]}), pd.DataFrame({"a": [1, 2], "b": [3, 4]})
    assert list(add_columns(obs, new, "x", "", TableError)) == ["a", "b"]
    with pytest.raises(TableError, match="with other values"):
        add_columns(obs, new + 1, "x", "", TableError)
    assert case_clash(["Age"], ["age", "x"]) == ("Age", "age")
    assert case_clash(["Age"], ["Age"]) is None


def test_columns_that_a_store_takes():
    assert storable(pd.Series(["a", None]), "x", TableError).isna().tolist() == [False, True]
    assert isinstance(storable(pd.Series(["a", "b"]), "x", TableError).dtype, pd.CategoricalDtype)
    assert storable(pd.Series([True, None], dtype=object), "x", TableError).dtype == "boolean"
    with pytest.warns(SpatialfmWarning, match="Column 'age' holds 20 different numbers, and in 1 row '>90'"):
        storable(pd.Series([*range(70, 90), ">90"]), "'age'", TableError)
    with pytest.raises(TableError, match="holds dates"):
        storable(pd.Series(pd.to_datetime(["2020-01-01"])), "x", TableError)
    assert column_name("Area (µm²)") == "Area_µm²"
    assert column_name("__x") == "_x"
    assert column_name("(%)") == "unnamed"
    with pytest.raises(TableError, match="would get the same name"):
        storable_frame(pd.DataFrame({"a b": [1], "a_b": [2]}), "x", TableError)


def match(cells, drop=False, ids=None):
    ids = ids or {"s": np.array([1, 2, 3])}
    return match_cells(cells, ids, library_key="sample", instance_key="id", drop=drop)


def test_rows_and_labels_find_each_other():
    cells = pd.DataFrame({"sample": ["s", "s", "s"], "id": [3, 1, 2]})
    in_ids, in_cells, lonely_rows, lonely_labels = match(cells)
    np.testing.assert_array_equal(cells["id"].to_numpy()[in_cells["s"]], np.array([1, 2, 3])[in_ids["s"]])
    assert (lonely_rows, lonely_labels) == (0, 0)
    odd = cells.assign(id=[3, 1, 9])
    with pytest.raises(TableError, match=r"1 row without label \('s_9'\) and 1 label without row \('s_2'\)"):
        match(odd)
    assert match(odd, drop=True)[2:] == (1, 1)
    with pytest.raises(TableError, match="1 row more than one for the same sample and label"):
        match(cells.assign(id=[3, 3, 1]))


@pytest.mark.parametrize(("step", "said"), [(-1, "one lower"), (1, "one higher")])
@pytest.mark.parametrize("drop", [False, True])
@pytest.mark.parametrize("labels", [[1, 2, 3, 4], [2, 5, 9]])
def test_rows_numbered_by_one_apart_are_no_cells_of_their_number(step, said, drop, labels):
    labels = np.array(labels)
    cells = pd.DataFrame({"sample": "s", "id": labels[::-1] + step})
    with pytest.raises(TableError, match=f"numbers the cells of sample 's' {said} than the labels"):
        match(cells, drop=drop, ids={"s": labels})
    cells["id"] -= step
    assert match(cells, ids={"s": labels})[2:] == (0, 0)


def test_a_row_or_a_label_that_is_missing_is_no_other_numbering():
    assert match(pd.DataFrame({"sample": "s", "id": [2, 3]}), drop=True)[2:] == (0, 1)
    assert match(pd.DataFrame({"sample": "s", "id": [1, 2, 9]}), drop=True)[2:] == (1, 1)
    both = pd.DataFrame({"sample": ["a", "a", "b", "b"], "id": [1, 2, 0, 1]})
    with pytest.raises(TableError, match=r"of sample 'b' one lower"):
        match(both, drop=True, ids={"a": np.array([1, 2]), "b": np.array([1, 2])})
