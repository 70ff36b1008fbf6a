"""Tables of inForm: fields, compartments, places and phenotypes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from spatialfm._errors import SpatialfmWarning, TableError
from spatialfm.io._inform_table import InformCells, frame_of_field, read_fields

TABLE = {
    "Sample Name": ["a.im3", "a.im3", "b.im3"],
    "Cell ID": [1, 2, 1],
    "Cell X Position": [2.0, 4.0, 6.0],
    "Cell Y Position": [1.0, 3.0, 5.0],
    "Nucleus DAPI Mean": [1.0, 2.0, 3.0],
    "Entire Cell DAPI Mean": [10.0, 20.0, 30.0],
    "Entire Cell DAPI Max": [11.0, 21.0, 31.0],
    "Confidence": ["97.5%", "50 %", "1%"],
    "Phenotype": ["T", "B", "T"],
}


@pytest.fixture
def write(tmp_path):
    def make(**columns):
        pd.DataFrame(TABLE | columns).to_csv(tmp_path / "x_cell_seg_data.txt", sep="\t", index=False)
        return tmp_path / "x_cell_seg_data.txt"

    return make


def frame(cells, mpp=0.5, shape=(20, 20), names=None, compartment=None):
    return frame_of_field("s", cells, mpp, shape, names or {}, compartment)


def test_a_merged_table_has_several_fields_and_a_single_one_is_named_after_its_file(write):
    fields = read_fields(write())
    assert [(one.called, len(one.rows)) for one in fields] == [("a", 2), ("b", 1)]
    (one,) = read_fields(write(**{"Sample Name": ["a.im3"] * 3}))
    assert one.called == "x"
    path = write()
    pd.read_csv(path, sep="\t").drop(columns="Cell X Position").to_csv(path, sep="\t", index=False)
    with pytest.raises(TableError, match="has no column 'Cell X Position'"):
        read_fields(path)


def test_positions_are_in_um_and_intensities_of_one_compartment(write):
    found = frame(read_fields(write())[0], names={"DAPI": "DNA"})
    assert found.xy.tolist() == [[1, 0.5], [2, 1.5]]
    assert found.intensities.to_dict("list") == {"DNA": [10, 20]}  # of the entire cell, where there is one
    assert frame(read_fields(write())[0], compartment="nucleus").intensities["DAPI"].tolist() == [1, 2]
    assert found.obs["phenotype"].tolist() == ["T", "B"]
    assert found.obs["Confidence (percent)"].tolist() == [97.5, 50]
    assert not [name for name in found.obs if "DAPI" in name]
    with pytest.raises(TableError, match="has no mean of the compartment 'Membrane', but of 'Nucleus', 'Entire Cell'"):
        frame(read_fields(write())[0], compartment="Membrane")


def test_channels_that_a_panel_leaves_out_are_no_intensities(write):
    assert frame(read_fields(write())[0], names={"DAPI": None}).intensities.shape == (2, 0)


def test_um_of_the_slide_are_brought_to_the_corner_of_the_field():
    """A field of 20 x 40 pixels of half µm around (100, 50): its corner is at (90, 45)."""
    rows = pd.DataFrame({"Cell ID": [1], "Cell X Position": [93.0], "Cell Y Position": [46.0]})
    cells = InformCells("Set 1_[100,50]_cells", rows, "'x'", True)
    assert frame(cells, shape=(20, 40)).xy.tolist() == [[3, 1]]
    with pytest.raises(TableError, match="1 cell of 1 outside of the image"):
        frame(InformCells("Set 1_[300,50]", rows, "'x'", True), shape=(20, 40))
    with pytest.raises(TableError, match="Are table and image of one field"):
        frame(InformCells("Set 1", rows, "'x'", True), shape=(20, 40))
    assert frame(cells, shape=None).xy.tolist() == [[93, 46]]


def test_cells_without_a_phenotype_are_told():
    rows = pd.DataFrame(
        {"Cell ID": [1, 2], "Cell X Position": [1.0, 2], "Cell Y Position": [1.0, 2], "Phenotype": ["T", None]}
    )
    with pytest.warns(SpatialfmWarning, match="1 cell of 'x' have no phenotype"):
        found = frame(InformCells("a", rows, "'x'", False))
    assert found.obs["phenotype"].isna().tolist() == [False, True]


def test_a_column_for_each_phenotype_is_one_column():
    rows = pd.DataFrame(
        {
            "Cell ID": [1, 2],
            "Cell X Position": [1.0, 2],
            "Cell Y Position": [1.0, 2],
            "Phenotype-CD8": ["CD8+", "CD8-"],
            "Phenotype-CK": ["CK-", "CK+"],
        }
    )
    found = frame(InformCells("a", rows, "'x'", False)).obs["phenotype"]
    assert len(set(found)) == 2
    assert not np.asarray(found == found[::-1].to_numpy()).any()
