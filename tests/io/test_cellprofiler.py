"""Tables and label images of CellProfiler."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import tifffile
from reading import measured
from reading_cellprofiler import NAMES, in_table, read_cellprofiler, write_cellprofiler

import spatialfm as sfm
from spatialfm._errors import ArgumentError, InputFileError, SpatialfmError, SpatialfmWarning, TableError


@pytest.fixture
def run(tmp_path):
    write_cellprofiler(tmp_path)
    return tmp_path


def test_columns_go_where_they_belong(tmp_path):
    truth = measured(write_cellprofiler(tmp_path))
    sdata = read_cellprofiler(tmp_path)
    table = sdata["table"]
    np.testing.assert_allclose(table.obsm["spatial"], truth[["x", "y"]])
    assert list(table.var_names) == list(NAMES)
    assert {"AreaShape_Area", "Intensity_MaxIntensity_CD3"} <= set(table.obs)
    assert not {"ImageNumber", "ObjectNumber", "Number_Object_Number", "Location_Center_X"} & set(table.obs)
    samples = sdata["samples"].obs
    assert samples.index.tolist() == ["A1", "A2"]
    assert samples["patient"].tolist() == ["p1", "p2"]
    assert samples["time"].tolist() == [10.0, 20.0]
    assert table.obs["time"].tolist() == [10.0] * 6 + [20.0] * 6


def test_no_pixel_of_an_image_is_read_before_it_is_asked_for(run, monkeypatch):
    import spatialfm.io._reader as reader

    files, inner = [], reader.read_page
    monkeypatch.setattr(
        reader, "read_page", lambda level, page, *rest: files.append(page.path) or inner(level, page, *rest)
    )
    sdata = read_cellprofiler(run)
    assert files
    assert all(one.endswith("_cells.tiff") for one in files)
    sdata["image_A1"][0, :1, :1].values  # noqa: B018
    assert files[-1].endswith("A1_CD3.tiff")


def test_one_call_to_the_survival_curve(run):
    in_table(lambda t: t.assign(CD3_high=np.arange(12) % 3 == 0, CD8_high=np.arange(12) % 2 == 0))(run)
    flags = {"CD3_high": "CD3", "CD8_high": "CD8"}
    sdata = read_cellprofiler(run, phenotype=flags)
    assert sdata["table"].obs["phenotype"].tolist() == ["CD3 + CD8", "none", "CD8", "CD3", "CD8", "none"] * 2
    patients = sfm.tl.composition(sdata["table"], "phenotype", library_key="sample", patient_key="patient")
    patients.obs["arm"] = ["a", "b"]
    sfm.tl.kaplan_meier(patients, "arm")
    assert patients.uns["kaplan_meier"]["groups"]["events"].tolist() == [1, 0]


def test_samples_are_named_by_a_column_their_files_or_their_number(run):
    assert list(read_cellprofiler(run)["samples"].obs.index) == ["A1", "A2"]  # A1_CD3.tiff, A1_CD8.tiff, ...
    table = read_cellprofiler(run, library_key="Metadata_Core", clinical=None)["samples"].obs
    assert list(table.index) == ["A1", "A2"]
    in_table(lambda t: t.assign(Metadata_Core=["x 1", "x 2"]), "Image")(run)
    clinical = pd.DataFrame({"Metadata_Core": ["x 2", "x 1"], "grade": [2, 1]})
    table = read_cellprofiler(run, library_key="Metadata_Core", clinical=clinical)["samples"].obs
    assert table["grade"].to_dict() == {"x_1": 1, "x_2": 2}
    in_table(lambda t: t.assign(Metadata_Core="x"), "Image")(run)
    with pytest.raises(InputFileError, match="'Metadata_Core' .* does not name each image in its own way"):
        read_cellprofiler(run, library_key="Metadata_Core")


def test_objects_are_chosen(run):
    with pytest.raises(TableError, match="1 id occurs more than once"):
        read_cellprofiler(run, objects="Nuclei", labels="Cells")
    with pytest.raises(InputFileError, match="no table of 'Cytoplasm', but of 'Cells', 'Nuclei'"):
        read_cellprofiler(run, objects="Cytoplasm")
    (run / "MyExpt_Cells.csv").rename(run / "MyExpt_Tumor.csv")
    (run / "MyExpt_Nuclei.csv").rename(run / "MyExpt_Stroma.csv")
    with pytest.raises(InputFileError, match="tables of 'Stroma', 'Tumor'. Say which are the cells: objects="):
        read_cellprofiler(run)
    assert read_cellprofiler(run, objects="Tumor", labels="Cells")["table"].n_obs == 12


@pytest.mark.parametrize("labels", ["CellLabels", "masks/{Metadata_Core}_cells.tiff"])
def test_label_images_under_another_name(run, labels):
    expected = read_cellprofiler(run)
    in_table(
        lambda t: t.rename(
            columns={"ObjectsFileName_Cells": "FileName_CellLabels", "ObjectsPathName_Cells": "PathName_CellLabels"}
        ),
        "Image",
    )(run)
    options = {} if labels == "CellLabels" else {"images": list(NAMES)}
    sdata = read_cellprofiler(run, labels=labels, **options)
    assert sdata["image_A1"].coords["c"].values.tolist() == list(NAMES)
    for name in ("cells_A1", "cells_A2"):
        np.testing.assert_array_equal(sdata[name].values, expected[name].values)
    with pytest.raises(
        InputFileError, match="names no file for labels='Cells'; it has images 'CD3', 'CD8', 'DNA', 'CellL"
    ):
        read_cellprofiler(run, labels="Cells")
    with pytest.raises(ArgumentError, match="cannot be filled in: 'Core'"):
        read_cellprofiler(run, labels="{Core}.tiff", **options)
    with pytest.raises(InputFileError, match="'A1': no file '.*A1.png'"):
        read_cellprofiler(run, labels="{Metadata_Core}.png", images=list(NAMES))


def test_positions_alone_are_points(run):
    expected = read_cellprofiler(run)["table"]
    in_table(lambda t: t.drop(columns=["ObjectsFileName_Cells", "ObjectsPathName_Cells"]), "Image")(run)
    sdata = read_cellprofiler(run)
    np.testing.assert_allclose(sdata.points["cells_A2"].compute()[["x", "y"]], expected[6:].obsm["spatial"])
    sdata = read_cellprofiler(run, images=[], library_key="Metadata_Core", clinical=None)
    assert list(sdata.images) == []
    np.testing.assert_allclose(sdata["table"].obsm["spatial"], expected.obsm["spatial"])


@pytest.mark.parametrize("column", ["Channel", "Frame"])
def test_files_with_several_channels(run, column):
    expected = read_cellprofiler(run)
    for core in ("A1", "A2"):
        planes = [tifffile.imread(run / "img" / f"{core}_{name}.tiff") for name in NAMES]
        tifffile.imwrite(run / "img" / f"{core}_stack.tiff", np.stack(planes[::-1]), photometric="minisblack")
    in_table(
        lambda t: t.assign(**{f"FileName_{name}": [f"{core}_stack.tiff" for core in ("A1", "A2")] for name in NAMES}),
        "Image",
    )(run)
    with pytest.raises(InputFileError, match="has 3 channels, and the table does not say which of them 'CD3' is"):
        read_cellprofiler(run, library_key="Metadata_Core", clinical=None)
    in_table(lambda t: t.assign(**{f"Channel_{name}": 0 for name in NAMES}), "Image")(run)
    in_table(lambda t: t.assign(**{f"{column}_{name}": 2 - i for i, name in enumerate(NAMES)}), "Image")(run)
    sdata = read_cellprofiler(run, library_key="Metadata_Core", clinical=None)
    for core in ("A1", "A2"):
        np.testing.assert_array_equal(sdata[f"image_{core}"].values, expected[f"image_{core}"].values)


def test_one_stack_whose_columns_are_numbered(run):
    for core in ("A1", "A2"):
        planes = [tifffile.imread(run / "img" / f"{core}_{name}.tiff") for name in NAMES]
        tifffile.imwrite(run / "img" / f"{core}_CD3.tiff", np.stack(planes), photometric="minisblack")
    expected = pd.read_csv(run / "MyExpt_Cells.csv")
    in_table(
        lambda t: t.drop(columns=["FileName_CD8", "FileName_DNA"]).rename(
            columns=lambda name: name.replace("CD3", "Stack")
        ),
        "Image",
    )(run)
    renamed = {
        f"Intensity_MeanIntensity_{name}": f"Intensity_MeanIntensity_Stack_c{i + 1}" for i, name in enumerate(NAMES)
    }
    in_table(lambda t: t.rename(columns=renamed))(run)
    sdata = read_cellprofiler(run, channel_names=list(NAMES), library_key="Metadata_Core", clinical=None)
    np.testing.assert_allclose(sdata["table"].to_df()[list(NAMES)], expected[list(renamed)])


def test_channels_are_named_anew_and_markers_follow(run):
    sdata = read_cellprofiler(run, channel_names={"DNA": "DAPI"})
    assert sdata["image_A1"].coords["c"].values.tolist() == list(sdata["table"].var_names) == ["CD3", "CD8", "DAPI"]
    tifffile.imwrite(run / "img" / "A1_CD8.tiff", np.zeros((9, 9), np.uint16))
    with pytest.raises(InputFileError, match="images differ in size .'CD3: 20 x 28', 'CD8: 9 x 9'"):
        read_cellprofiler(run)


def test_files_where_the_table_has_them_and_elsewhere(run, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("disk")
    for name in ("img", "masks"):
        (run / name).rename(elsewhere / name)
    with pytest.raises(InputFileError, match=r"(?s)8 problems.*no file 'A1_CD3.tiff' in .*pass base_path="):
        read_cellprofiler(run)
    assert read_cellprofiler(run, base_path=elsewhere)["table"].n_obs == 12
    columns = {f"PathName_{name}": str(elsewhere / "img") for name in NAMES}
    in_table(lambda t: t.assign(ObjectsPathName_Cells=str(elsewhere / "masks"), **columns), "Image")(run)
    assert read_cellprofiler(run)["table"].n_obs == 12


def test_objects_without_a_row_are_said_and_images_without_objects_stay(run):
    in_table(lambda t: t[1:6])(run)
    with pytest.warns(SpatialfmWarning, match=r"no row in the table of measurements.*A1_cells.tiff' \(1 cell: 1\)"):
        sdata = read_cellprofiler(run)
    assert sdata["table"].n_obs == 5
    assert list(sdata.images) == ["image_A1", "image_A2"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: (run / "MyExpt_Image.csv").unlink(), "has no table Image.csv"),
        (lambda run: (run / "Image.csv").write_text("ImageNumber\n1\n"), "has 'Image.csv', 'MyExpt_Image.csv'"),
        (in_table(lambda t: t.drop(columns="ObjectNumber")), "no column 'ObjectNumber'"),
        (
            in_table(lambda t: t.drop(columns=["Location_Center_X"])),
            "no columns 'Location_Center_X', 'Location_Center_Y'",
        ),
        (in_table(lambda t: t.assign(ImageNumber=1), "Image"), "has an ImageNumber more than once"),
    ],
)
def test_folders_and_tables_that_are_refused(run, damage, message):
    damage(run)
    with pytest.raises((InputFileError, TableError), match=message):
        read_cellprofiler(run)


def test_the_pixel_size_is_assumed_with_a_warning(run):
    with pytest.warns(SpatialfmWarning, match="1 µm per pixel is assumed"):
        read_cellprofiler(run, mpp=None)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpatialfmWarning)
        read_cellprofiler(run)
    with pytest.raises(InputFileError, match="is not a folder"):
        sfm.io.read_cellprofiler(run / "MyExpt_Image.csv")


@pytest.mark.parametrize("is_stack", [False, True])
def test_channels_that_a_panel_leaves_out_do_not_shift_the_others(tmp_path, is_stack):
    planes = np.stack([np.full((20, 30), value, np.uint16) for value in (10, 20, 30)])
    images = {"ImageNumber": [1]}
    if is_stack:
        tifffile.imwrite(tmp_path / "a.tif", planes, photometric="minisblack")
        images["FileName_Stack"] = ["a.tif"]
    for name, plane in zip("PQR", () if is_stack else planes, strict=False):
        tifffile.imwrite(tmp_path / f"a_{name}.tif", plane)
        images[f"FileName_{name}"] = [f"a_{name}.tif"]
    called = [f"Stack_c{i}" for i in (1, 2, 3)] if is_stack else list("PQR")
    cells = {"ImageNumber": [1], "ObjectNumber": [1], "Location_Center_X": [4.0], "Location_Center_Y": [5.0]}
    cells |= {f"Intensity_MeanIntensity_{name}": [value] for name, value in zip(called, (0.1, 0.2, 0.3), strict=True)}
    pd.DataFrame(images).to_csv(tmp_path / "Image.csv", index=False)
    pd.DataFrame(cells).to_csv(tmp_path / "Cells.csv", index=False)
    panel = pd.DataFrame({"name": ["DNA", "empty", "CD3"], "keep": [1, 0, 1]})
    sdata = sfm.io.read_cellprofiler(tmp_path, channel_names=panel, mpp=1)
    assert sdata["table"].to_df().iloc[0].to_dict() == {"DNA": np.float32(0.1), "CD3": np.float32(0.3)}
    (image,) = sdata.images.values()
    assert dict(zip(image.coords["c"].values, image.values[:, 0, 0], strict=True)) == {"DNA": 10, "CD3": 30}


def test_a_clinical_table_means_samples_not_numbers_of_images(tmp_path):
    cells = {"ImageNumber": [1, 2], "ObjectNumber": 1, "Location_Center_X": 4.0, "Location_Center_Y": 5.0}
    pd.DataFrame(cells).to_csv(tmp_path / "Cells.csv", index=False)
    pd.DataFrame({"ImageNumber": [1, 2], "core": [2, 3]}).to_csv(tmp_path / "Image.csv", index=False)
    clinical = pd.DataFrame({"core": [1, 3], "patient": ["of core 1", "of core 3"]})
    with (
        pytest.warns(SpatialfmWarning, match="samples that are not among the files: '1'"),
        pytest.raises(SpatialfmError, match="no row for 1 sample: '2'"),
    ):
        sfm.io.read_cellprofiler(tmp_path, library_key="core", clinical=clinical, mpp=1)
    pd.DataFrame({"ImageNumber": [1, 2], "core": ["a", None]}).to_csv(tmp_path / "Image.csv", index=False)
    with pytest.raises(InputFileError, match="does not name each image"):
        sfm.io.read_cellprofiler(tmp_path, library_key="core", mpp=1)


def test_images_of_one_name_in_two_folders_are_not_one_file(tmp_path):
    cells = {"ImageNumber": [1, 2], "ObjectNumber": 1, "Location_Center_X": 4.0, "Location_Center_Y": 5.0}
    pd.DataFrame(cells).to_csv(tmp_path / "Cells.csv", index=False)
    images = {"ImageNumber": [1, 2], "FileName_CD3": "a.tif", "PathName_CD3": [r"D:\run\b1", r"D:\run\b2"]}
    pd.DataFrame(images).to_csv(tmp_path / "Image.csv", index=False)
    tifffile.imwrite(tmp_path / "a.tif", np.full((20, 30), 1, np.uint16))
    with pytest.raises(InputFileError, match="'CD3' of samples '1' and '2' is .*a.tif' for both, and in different"):
        sfm.io.read_cellprofiler(tmp_path, mpp=1)
    for i in (1, 2):
        (tmp_path / f"b{i}").mkdir()
        tifffile.imwrite(tmp_path / f"b{i}" / "a.tif", np.full((20, 30), 10 * i, np.uint16))
    sdata = sfm.io.read_cellprofiler(tmp_path, mpp=1)
    assert [image.values[0, 0, 0] for image in sdata.images.values()] == [10, 20]
