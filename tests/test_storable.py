"""Values that one store or another refuses or changes, brought to a form that comes back from both."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from spatialfm._errors import TableError
from spatialfm._storable import (
    check_key,
    default_key,
    named_table,
    storable,
    storable_column,
    storable_names,
    write_obsm,
    write_uns,
)

INDEX = list("abc")
COLUMNS = {
    "objects of truth": ([True, False, True], [True, False, True]),
    "truth with a gap": ([True, None, False], [True, pd.NA, False]),
    "objects of integers": (np.array([1, 2, 3], dtype=object), [1, 2, 3]),
    "objects of numbers": (np.array([1, 2.5, None], dtype=object), [1, 2.5, np.nan]),
    "nothing at all": ([None] * 3, [np.nan] * 3),
    "text": (["x", "y", "z"], ["x", "y", "z"]),
    "text with a gap": (["x", None, "y"], ["x", np.nan, "y"]),
    "text with NaN": (["x", np.nan, "y"], ["x", np.nan, "y"]),
    "mixed": (["x", 1, 2.5], ["x", "1", "2.5"]),
    "lists": ([[1, 2], ("a",), {"b": 1}], ["[1, 2]", '["a"]', '{"b": 1}']),
    "days": (pd.to_timedelta([1, 2, 3], "D"), ["1 days 00:00:00", "2 days 00:00:00", "3 days 00:00:00"]),
    "dates": (pd.to_datetime(["2020-01-01"] * 3), ["2020-01-01 00:00:00"] * 3),
    "Int64": (pd.array([1, None, 3], dtype="Int64"), [1, pd.NA, 3]),
    "Float64": (pd.array([1.5, None, 3], dtype="Float64"), [1.5, np.nan, 3.0]),
    "boolean": (pd.array([True, None, False], dtype="boolean"), [True, pd.NA, False]),
    "string": (pd.array(["x", None, "y"], dtype="string"), ["x", np.nan, "y"]),
    "ordered": (pd.Categorical(["lo", "hi", None], ["lo", "hi", "never"], ordered=True), ["lo", "hi", np.nan]),
    "categories of numbers": (pd.Categorical([3, 1, 3], [3, 1]), [3, 1, 3]),
    "intervals": (pd.cut([1, 2, 3], [0, 1, 5]), ["(0, 1]", "(1, 5]", "(1, 5]"]),
    "categories of both": (pd.Categorical(np.array([1, "1", "b"], dtype=object)), ["1", "1", "b"]),
}


def stored(table: ad.AnnData, kind: str, folder) -> ad.AnnData:
    path = folder / f"a.{kind}"
    getattr(table, f"write_{kind}")(path)
    return ad.read_h5ad(path) if kind == "h5ad" else ad.read_zarr(path)


def table() -> ad.AnnData:
    return ad.AnnData(np.zeros((3, 1), np.float32), obs=pd.DataFrame(index=INDEX))


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
@pytest.mark.parametrize("name", COLUMNS)
def test_columns_come_back(name, kind, tmp_path):
    given, expected = COLUMNS[name]
    adata = table()
    column = pd.Series(given, index=INDEX, dtype=object if isinstance(given, list) else None)
    write_uns(adata, "k", {"t": pd.DataFrame({"x": column})})
    adata.obs["x"] = storable_column(column)
    back = stored(adata, kind, tmp_path)
    for found in (adata.uns["k"]["t"]["x"], back.uns["k"]["t"]["x"], back.obs["x"]):
        gaps = pd.isna(pd.Series(expected, dtype=object)).to_numpy()
        assert found.isna().tolist() == gaps.tolist()
        assert found[~gaps].tolist() == [value for value, gap in zip(expected, gaps, strict=True) if not gap]
    if name == "ordered":
        assert list(back.uns["k"]["t"]["x"].cat.categories) == ["lo", "hi", "never"]
        assert back.uns["k"]["t"]["x"].cat.ordered


VALUES = {
    "nothing": (None, ""),
    "tuple": (("a", "b"), ["a", "b"]),
    "mixed list": (["a", 1, None], '["a", 1, null]'),
    "empty list": ([], []),
    "nested": ([[1, 2], [3]], "[[1, 2], [3]]"),
    "set": ({"b", "a"}, ["a", "b"]),
    "truth of numpy": (np.bool_(True), True),
    "number of numpy": (np.float32(0.5), 0.5),
    "array of text": (np.array(["a", "b"]), ["a", "b"]),
    "array of both": (np.array(["a", 1.5], dtype=object), ["a", "1.5"]),
    "interval": (pd.Interval(0, 1), "(0, 1]"),
    "duration": (pd.Timedelta(1, "D"), "1 days 00:00:00"),
    "series": (pd.Series([1, 2]), [1, 2]),
    "array": (np.eye(2), [[1.0, 0.0], [0.0, 1.0]]),
}


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_values_come_back(kind, tmp_path):
    adata = table()
    write_uns(adata, "k", {name: given for name, (given, _) in VALUES.items()})
    back = stored(adata, kind, tmp_path)
    for record in (adata.uns["k"], back.uns["k"]):
        for name, (_, expected) in VALUES.items():
            found = record[name]
            assert (found.tolist() if isinstance(found, np.ndarray) else found) == expected, name


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_names_of_columns_keys_and_indices_come_back(kind, tmp_path):
    names = ["Mac/Mono", "mac_mono", "CD8 T", "γδ T", ".", "..", "", "_index", "__categories", "A", "a"]
    frame = pd.DataFrame(np.arange(33.0).reshape(3, 11), index=INDEX, columns=names)
    adata = table()
    write_obsm(adata, "k_probability", frame)
    by_number = pd.DataFrame({1: [1.0], 2: [2.0]}, index=pd.Index(["Mac/Mono"], name="a/b"))
    pairs = pd.DataFrame({"x": [1, 2]}, index=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)]))
    write_uns(adata, "k", {"t": frame, "by/number": by_number, "pairs": pairs, 3: {"a/b": 1}})
    back = stored(adata, kind, tmp_path)
    for each in (adata, back):
        for found in (named_table(each, "k_probability"), named_table(each, "k", "t")):
            assert list(found.columns) == names
            assert np.array_equal(found, frame)
        assert list(each.uns["k"]["by_number"].columns) == ["1", "2"]
        assert list(each.uns["k"]["by_number"].index) == ["Mac/Mono"]
        assert list(each.uns["k"]["pairs"].index) == ["a | 1", "b | 2"]
        assert each.uns["k"]["3"] == {"a_b": 1}
    write_obsm(adata, "k_probability", frame[["CD8 T"]])  # no name is left over
    assert list(named_table(adata, "k_probability").columns) == ["CD8 T"]
    assert "k_probability_columns" not in adata.uns["spatialfm"]
    with pytest.raises(TableError, match=r"No table in uns\['k'\]\['other'\]; there are 't', 'by_number', 'pairs'"):
        named_table(adata, "k", "other")


def test_names_are_apart_on_every_file_system():
    names = storable_names(["a/b", "a_b", "A_B", "A_B_2", "", "_", "x"])
    assert len({name.casefold() for name in names}) == len(names)
    assert names[0] == "a_b"
    assert names[-1] == "x"
    assert not any("/" in name or name in ("", ".", "..", "_index") for name in names)


def test_what_is_storable_stays_as_it_is():
    frame = pd.DataFrame(
        {"a": [1, 2, 3], "b": pd.Categorical(["x", "y", "x"])}, index=pd.Index([0.1, 0.2, 0.3], name="r")
    )
    pd.testing.assert_frame_equal(storable(frame), frame)
    assert storable(["a", "b"]) == ["a", "b"]
    assert storable({"x": {"y": 1.5}}) == {"x": {"y": 1.5}}


def test_keys():
    adata = table()
    check_key(adata, "my key")  # h5ad takes it
    check_key(adata, None)
    adata.uns["spatialdata_attrs"] = {}
    with pytest.raises(TableError, match=r"sdata.write refuses.*Pass for example key_added='my_key'"):
        check_key(adata, "my key")
    with pytest.raises(TableError, match=r"no store can hold. Pass for example key_added='a_b'"):
        check_key(adata, "a/b")
    assert default_key("γδ T/NK_group") == "γδ_T_NK_group"
    assert default_key("x-1.5_a") == "x-1.5_a"
