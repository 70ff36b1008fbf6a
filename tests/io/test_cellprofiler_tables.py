"""Tables of CellProfiler: which are read, which image is which sample, where its files are, and cells in µm."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from spatialfm._errors import ArgumentError, InputFileError, TableError
from spatialfm.io._cellprofiler_tables import (
    file_by_template,
    file_of,
    frame_of_image,
    read_tables,
    same_files,
    sample_of_image,
)

IMAGES = {"ImageNumber": [1, 2], "FileName_DNA": ["a_1.tif", "b_1.tif"], "PathName_DNA": ["/run/one", "C:\\run\\two"]}
CELLS = {
    "ImageNumber": [1, 1, 2],
    "ObjectNumber": [1, 2, 1],
    "Location_Center_X": [3.0, 5.0, 0.0],
    "Location_Center_Y": [1.0, 2.0, 7.0],
    "Intensity_MeanIntensity_DNA": [0.1, 0.2, 0.3],
    "Intensity_MeanIntensity_CD3": [0.4, 0.5, 0.6],
    "AreaShape_Area": [9, 8, 7],
}


@pytest.fixture
def write(tmp_path):
    def make(images=None, prefix="", **others):
        pd.DataFrame(IMAGES | (images or {})).to_csv(tmp_path / f"{prefix}Image.csv", index=False)
        for name, table in (others or {"Cells": CELLS}).items():
            pd.DataFrame(table).to_csv(tmp_path / f"{prefix}{name}.csv", index=False)
        return tmp_path

    return make


def test_cells_are_preferred_and_other_objects_can_be_chosen(write):
    folder = write(Cells=CELLS, Nuclei=CELLS, Experiment={"x": [1]}, prefix="My_")
    assert read_tables(folder, None).objects == "Cells"
    tables = read_tables(folder, "Nuclei")
    assert tables.objects == "Nuclei"
    assert tables.image_names == ["DNA"]
    assert tables.images.index.tolist() == [1, 2]
    with pytest.raises(InputFileError, match="no table of 'Blobs', but of 'Cells', 'Nuclei'"):
        read_tables(folder, "Blobs")


def test_several_objects_without_a_usual_name_must_be_chosen(write):
    with pytest.raises(InputFileError, match="Say which are the cells"):
        read_tables(write(Rings=CELLS, Blobs=CELLS), None)


def test_numbers_that_occur_twice_and_objects_of_other_images_are_refused(write):
    with pytest.raises(TableError, match="has an ImageNumber more than once"):
        read_tables(write({"ImageNumber": [1, 1]}), None)
    with pytest.raises(TableError, match="objects of 1 image that .* lacks: 3"):
        read_tables(write(Cells=CELLS | {"ImageNumber": [1, 2, 3]}), None)


def test_folders_without_one_table_of_images_are_refused(write, tmp_path):
    with pytest.raises(InputFileError, match="has no table Image.csv"):
        read_tables(tmp_path, None)
    write()
    write(prefix="Other_")
    with pytest.raises(InputFileError, match="Pass a folder with the tables of one run"):
        read_tables(tmp_path, None)


@pytest.mark.parametrize(
    ("images", "key", "expected"),
    [
        ({"Metadata_Core": ["A 1", "A2"]}, "Metadata_Core", {1: "A_1", 2: "A2"}),
        ({"FileName_CD3": ["a_2.tif", "b_2.tif"]}, "sample", {1: "a", 2: "b"}),  # what names share
        ({"FileName_CD3": ["x.tif", "y.tif"]}, "sample", {1: "1", 2: "2"}),  # nothing
    ],
)
def test_samples_are_named_by_a_column_or_by_what_names_share(write, images, key, expected):
    tables = read_tables(write(images), None)
    names = [name for name in ("DNA", "CD3") if f"FileName_{name}" in tables.images]
    assert sample_of_image(tables, names, key) == expected


def test_a_column_that_names_two_images_alike_is_refused(write):
    with pytest.raises(InputFileError, match="does not name each image in its own way"):
        sample_of_image(read_tables(write({"Metadata_Core": ["A", "a"]}), None), ["DNA"], "Metadata_Core")


def test_files_are_found_below_the_folders_of_another_computer(write, tmp_path):
    tables = read_tables(write(), None)
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "b_1.tif").touch()
    assert file_of(tables, 2, "DNA", None, is_objects=False) == (tmp_path / "two" / "b_1.tif", "")
    found, problem = file_of(tables, 1, "DNA", None, is_objects=False)
    assert found is None
    assert "no file 'a_1.tif'" in problem
    assert file_of(tables, 1, "CD3", None, is_objects=False)[1] == "no file in column 'FileName_CD3'"


def test_one_file_for_two_images_of_different_folders_is_told(write, tmp_path):
    tables = read_tables(write({"FileName_DNA": ["a.tif", "a.tif"]}), None)
    (tmp_path / "a.tif").touch()
    files = {number: ([tmp_path / "a.tif"], None) for number in (1, 2)}
    (problem,) = same_files(tables, {1: "s1", 2: "s2"}, ["DNA"], files)
    assert "'DNA' of samples 's1' and 's2' is" in problem
    same = read_tables(write({"FileName_DNA": ["a.tif", "a.tif"], "PathName_DNA": ["x", "x"]}), None)
    assert same_files(same, {1: "s1", 2: "s2"}, ["DNA"], files) == []


def test_names_of_masks_are_made_of_columns(write, tmp_path):
    tables = read_tables(write({"Metadata_Core": ["A1", "A2"]}), None)
    (tmp_path / "A2_2.png").touch()
    assert file_by_template(tables, 2, "{Metadata_Core}_{ImageNumber}.png", None) == (tmp_path / "A2_2.png", "")
    assert file_by_template(tables, 1, "{Metadata_Core}.png", None)[0] is None
    with pytest.raises(ArgumentError, match="cannot be filled in"):
        file_by_template(tables, 1, "{Core}.png", None)


def test_cells_are_in_um_with_the_names_that_channels_get(write):
    tables = read_tables(write(), None)
    frame = frame_of_image(tables, 1, "s1", 0.5, {"DNA": "DAPI", "CD3": None})
    assert frame.ids.tolist() == [1, 2]
    assert frame.xy.tolist() == [[1.75, 0.75], [2.75, 1.25]]  # centres of pixels are half a pixel from their index
    assert frame.intensities.to_dict("list") == {"DAPI": [0.1, 0.2]}
    assert {"AreaShape_Area", "Intensity_MeanIntensity_CD3"} == set(frame.obs)
    with pytest.raises(TableError, match="would be one marker by channel_names="):
        frame_of_image(tables, 1, "s1", 0.5, {"DNA": "x", "CD3": "x"})


def test_positions_of_shapes_are_taken_where_there_are_no_others(write):
    cells = {name.replace("Location_", "AreaShape_"): values for name, values in CELLS.items()}
    frame = frame_of_image(read_tables(write(Cells=cells), None), 2, "s2", 1.0, {})
    np.testing.assert_allclose(frame.xy, [[0.5, 7.5]])
    del cells["AreaShape_Center_X"]
    with pytest.raises(TableError, match="has no columns 'Location_Center_X'"):
        frame_of_image(read_tables(write(Cells=cells), None), 2, "s2", 1.0, {})
