"""Keys, positions and numbers of tables of cells."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from spatialfm._errors import InputFileError, SpatialfmWarning, TableError
from spatialfm.io._cell_columns import (
    cells_frame,
    check_distances,
    key_column,
    names_of_columns,
    need_columns,
    number_columns,
)

FRAME = pd.DataFrame({"patient": [1, 1, 2], "image": ["001", "2", "001"], "CD3": [0.5, None, 3], "on": [True] * 3})


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".feather"])
def test_a_table_is_the_same_from_any_file(tmp_path, suffix):
    path = tmp_path / f"cells{suffix}"
    if suffix in (".csv", ".tsv"):
        FRAME.to_csv(path, index=False, sep="," if suffix == ".csv" else "\t")
    else:
        getattr(FRAME, f"to_{suffix[1:]}")(path)
    assert names_of_columns(path) == list(FRAME)
    found, source = cells_frame(path, ["image"])
    assert source == f"'{path}'"
    assert found["image"].tolist() == ["001", "2", "001"]
    np.testing.assert_array_equal(found["CD3"], [0.5, np.nan, 3])


@pytest.mark.parametrize(("name", "message"), [("a.csv", "No file"), ("a.h5", "is not one of .csv")])
def test_files_that_are_no_table(tmp_path, name, message):
    if name != "a.csv":
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InputFileError, match=message):
        cells_frame(tmp_path / name, [])


def test_tables_that_are_refused():
    with pytest.raises(TableError, match="The table of cells has no rows"):
        cells_frame(FRAME[:0], [])
    with pytest.raises(TableError, match="several columns called 'CD3'"):
        cells_frame(pd.concat([FRAME, FRAME["CD3"]], axis=1), [])
    with pytest.raises(TableError, match="T has no columns 'x', 'y'; it has .* Correct x=, y="):
        need_columns(FRAME, {"x": "x", "y": "y", "CD3": "markers"}, "t")
    with pytest.raises(TableError, match="1 column of t should be numbers, but hold other things: 'image'"):
        number_columns(FRAME, ["CD3", "image"], "t")
    with pytest.raises(TableError, match="'on'"):
        number_columns(FRAME, ["on"], "t")
    with pytest.raises(TableError, match="'patient' of t is empty in 1 row"):
        key_column(pd.DataFrame({"patient": [1, None]}), "patient", "t")


def test_several_columns_name_a_sample():
    assert key_column(FRAME, "patient", "t").tolist() == ["1", "1", "2"]
    assert key_column(FRAME, ["patient", "image"], "t").tolist() == ["1_001", "1_2", "2_001"]


@pytest.mark.parametrize(("spacing", "is_odd"), [(0.01, True), (1.0, True), (6.0, False), (40.0, False), (400.0, True)])
def test_cells_are_some_micrometers_apart(recwarn, spacing, is_odd):
    grid = np.stack(np.meshgrid(np.arange(6.0), np.arange(6.0)), axis=-1).reshape(-1, 2) * spacing
    check_distances([("a", grid), ("b", grid[:5])], "Pass another.")
    said = [str(one.message) for one in recwarn if one.category is SpatialfmWarning]
    assert len(said) == is_odd
    if is_odd:
        assert f"sample 'a' are {spacing:.3g} µm apart" in said[0]


def test_names_of_several_columns_that_would_meet_are_refused():
    frame = pd.DataFrame({"patient": ["1_2", "1", "1"], "image": ["3", "2_3", "2_3"]})
    with pytest.raises(TableError, match=r"\('1_2', '3'\) and \('1', '2_3'\) in columns .* would both be '1_2_3'"):
        key_column(frame, ["patient", "image"], "t")
