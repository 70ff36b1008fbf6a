"""Cells as MCMICRO quantified them, found in their mask."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pandas as pd
import pytest

from spatialfm._errors import InputFileError, SpatialfmWarning, TableError
from spatialfm.io._mcmicro_cells import read_quantification

LABELS = np.zeros((10, 20), np.int32)
LABELS[1:4, 2:5], LABELS[6:9, 12:17], LABELS[1:4, 14:17] = 1, 2, 5
TABLE = pd.DataFrame(
    {
        "CellID": [1, 2, 5],
        "DNA_1": [1.0, 2, 3],
        "X_centroid": [3.0, 14, 15],
        "Y_centroid": [2.0, 7, 2],
        "Area": [9.0, 15, 9],
        "MajorAxisLength": [3.0, 5, 3],
        "Eccentricity": [0.1, 0.2, 0.3],
    }
)


@pytest.fixture
def read(tmp_path):
    def make(table=TABLE, names=None, **kwargs):
        table.to_csv(tmp_path / "a.csv", index=False)
        known = {"labels": da.from_array(LABELS), "mpp": 0.5, "mask": "cell"} | kwargs
        return read_quantification(tmp_path / "a.csv", "s", names or {"DNA_1": "DAPI"}, **known)

    return make


def test_positions_areas_and_lengths_are_in_um(read):
    frame = read()
    assert frame.xy.tolist() == [[1.75, 1.25], [7.25, 3.75], [7.75, 1.25]]
    assert frame.obs["area"].tolist() == [9 / 4, 15 / 4, 9 / 4]
    assert frame.obs["axis_major_length"].tolist() == [1.5, 2.5, 1.5]
    assert frame.obs["eccentricity"].tolist() == [0.1, 0.2, 0.3]
    assert frame.intensities.to_dict("list") == {"DAPI": [1, 2, 3]}


@pytest.mark.parametrize("ending", ["_cell", "_cellMask"])
def test_columns_may_end_with_the_name_of_the_mask(read, ending):
    assert read(TABLE.rename(columns={"DNA_1": f"DNA_1{ending}"})).intensities["DAPI"].tolist() == [1, 2, 3]
    with pytest.raises(TableError, match="has no column for 1 channel of the image: 'DNA_1'"):
        read(TABLE.rename(columns={"DNA_1": "DNA_1_nuclei"}))


def test_a_table_of_another_mask_is_refused(read):
    with pytest.raises(TableError, match="of 3 cells, 1 are at their position in the mask .* and 2 have another cell"):
        read(TABLE.assign(CellID=[1, 5, 2]))
    with pytest.raises(TableError, match="0 are at their position"):
        read(TABLE.assign(X_centroid=[0.0, 0, 0]))


def test_a_ring_may_have_its_centroid_in_its_hole(read):
    labels = LABELS.copy()
    labels[2, 3] = 0
    assert read(labels=da.from_array(labels)).ids.tolist() == [1, 2, 5]


def test_exchanged_positions_of_old_versions_are_noticed(read):
    old = TABLE.rename(columns={"X_centroid": "Y_position", "Y_centroid": "X_position"})
    with pytest.warns(SpatialfmWarning, match="are exchanged, and were taken the other way round"):
        frame = read(old)
    assert frame.xy.tolist() == [[1.75, 1.25], [7.25, 3.75], [7.75, 1.25]]


def test_a_core_without_cells_is_a_table_without_rows(read):
    frame = read(TABLE.iloc[:0])
    assert len(frame.ids) == 0
    assert list(frame.intensities) == ["DAPI"]


def test_tables_that_are_none_are_refused(read, tmp_path):
    with pytest.raises(TableError, match="has no column 'CellID'"):
        read(TABLE.drop(columns="CellID"))
    with pytest.raises(TableError, match="has no columns 'X_centroid' and 'Y_centroid'"):
        read(TABLE.drop(columns="X_centroid"))
    with pytest.raises(TableError, match="columns that are not numbers: 'DNA_1'"):
        read(TABLE.assign(DNA_1=["x", "y", "z"]))
    with pytest.raises(InputFileError, match="cannot be read as a table"):
        read_quantification(tmp_path / "absent.csv", "s", {}, da.from_array(LABELS), 1.0, "cell")
