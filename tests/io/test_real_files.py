"""Every real image set: names, size, pixel size and number of cells, against what is stated of them."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import tifffile

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning

pytestmark = pytest.mark.real_data

# image, mask, shape, pixel type, µm per pixel in the file, cells, first channels
FILES = {
    "dcis_mibi": (
        "dcis_mibi/images/Point2203_pt1072_31606.ome.tif",
        "dcis_mibi/masks/Point2203_pt1072_31606_cellmask.tif",
        (39, 1024, 1024),
        "uint8",
        None,
        602,
        ["AR", "CD11c", "CD14"],
    ),
    "bnhl_56": (
        "bnhl_codex/images/crop501_56ch.ome.tif",
        "bnhl_codex/masks/crop501_cellmask.tif",
        (56, 501, 501),
        "uint8",
        0.377442,
        554,
        ["DAPI", "FADD", "BCL-2"],
    ),
    "bnhl_5": (
        "bnhl_codex/images/crop500_5ch_uint16.ome.tif",
        "bnhl_codex/masks/crop500_cellmask.tif",
        (5, 500, 500),
        "uint16",
        None,
        3640,
        ["Hoechst", "CD4", "CD8", "FOXP3", "BCL6"],
    ),
    "bnhl_small": (
        "bnhl_codex/images/crop101_5ch.ome.tif",
        "bnhl_codex/masks/crop101_cellmask.tif",
        (5, 101, 101),
        "uint8",
        0.377442,
        56,
        ["DAPI", "PAX5", "CD3", "CD4", "CD8"],
    ),
    "opal_mif": (
        "opal_mif/images/FIHC4_2.ome.tif",
        "opal_mif/masks/FIHC4_2_cell(nuc+cyto).tif",
        (5, 260, 348),
        "float32",
        0.4972,
        270,
        ["Alexa 594", "Cy3", "Cy5", "DAPI", "FITC"],
    ),
    "spleen_imc": (
        "spleen_imc/images/spleen315_r12.ome.tif",
        "spleen_imc/masks/spleen315_r12_cellmask.tif",
        (13, 501, 500),
        "uint16",
        1.0,
        2655,
        ["CD11b", "CD20", "CD3"],
    ),
    "imc_raw": (
        "imc_raw/img/20210305_NE_mockData2_001.tiff",
        "imc_raw/masks/20210305_NE_mockData2_001.tiff",
        (5, 87, 103),
        "float32",
        None,
        55,
        ["channel_0", "channel_1"],
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_file(name, real_data):
    image, mask, shape, dtype, mpp, n_cells, first = FILES[name]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SpatialfmWarning)
        sdata = sfm.io.read_tiff(real_data / image, real_data / mask)
    messages = [str(w.message) for w in caught if w.category is SpatialfmWarning]
    ((sample, record),) = sdata.attrs["spatialfm"]["samples"].items()
    array, labels = sdata.images[f"image_{sample}"], sdata.labels[f"cells_{sample}"]
    assert array.shape == shape
    assert array.dtype == dtype
    assert [str(c) for c in array.coords["c"].values][: len(first)] == first
    assert len(np.unique(labels.values)) - 1 == n_cells
    np.testing.assert_array_equal(array.values, tifffile.imread(real_data / image))
    assert (record["mpp"], record["mpp_source"]) == ((1.0, "assumed") if mpp is None else (mpp, "metadata"))
    assert any("1 µm per pixel is assumed" in message for message in messages) == (mpp is None)
    assert any("No channel names" in message for message in messages) == (name == "imc_raw")


def test_names_of_dcis_are_those_of_its_list(real_data):
    folder = real_data / "dcis_mibi"
    image = next((folder / "images").glob("Point2204*"))
    by_metadata = sfm.io.read_tiff(image, mpp=0.5)
    by_list = sfm.io.read_tiff(image, mpp=0.5, channel_names=folder / "channels.txt")
    names = [next(iter(s.images.values())).coords["c"].values.tolist() for s in (by_metadata, by_list)]
    assert names[0] == names[1]
    assert len(names[0]) == 39


def test_names_of_imc_from_its_panel(real_data):
    panel = pd.read_csv(real_data / "imc_raw/panel.csv")
    sdata = sfm.io.read_tiff(
        real_data / "imc_raw/img/20210305_NE_mockData2_002.tiff", channel_names=panel["name"], mpp=1.0
    )
    (image,) = sdata.images.values()
    assert image.coords["c"].values.tolist() == ["Ag107", "Cytokeratin 5", "Laminin", "YBX1", "H3K27Ac"]


def test_pancreas_as_a_cohort(real_data):
    table = pd.DataFrame({"sample": ["E34", "G01", "J02"], "patient": ["1", "2", "3"]})
    for column, part in (("image", "imc"), ("labels", "mask")):
        table[column] = [f"pancreas_imc/{name}_{part}.tiff" for name in table["sample"]]
    with pytest.warns(SpatialfmWarning, match="No channel names in the metadata"):
        sdata = sfm.io.read_cohort(table, base_path=real_data, mpp=1.0)
    assert sdata["table"].n_obs == 362
    assert sdata["table"].n_vars == 5
    assert all(image.shape == (5, 100, 100) for image in sdata.images.values())


def test_dcis_clinical_table_as_a_cohort(real_data, count_decoding):
    """All 79 fields by the published clinical table, with its own column names."""
    folder = real_data / "dcis_mibi"
    fields = pd.read_csv(folder / "fovs.csv")[["fov"]].merge(pd.read_csv(folder / "clinical_core.csv"), how="left")
    fields["image"] = "images/" + fields["fov"] + ".ome.tif"
    fields["mask"] = [
        f"masks/{fov}_cellmask.tif" if (folder / f"masks/{fov}_cellmask.tif").exists() else None
        for fov in fields["fov"]
    ]
    options = {"library_key": "fov", "labels_column": "mask", "base_path": folder, "mpp": 0.5}
    lacking = fields["Patient_ID"].isna()
    if lacking.any():
        with pytest.raises(sfm._errors.InputFileError, match="no patient in column 'Patient_ID'"):
            sfm.io.read_cohort(fields, patient_key="Patient_ID", **options)
    fields = fields[~lacking]
    sdata = sfm.io.read_cohort(fields, patient_key="Patient_ID", cell_table=False, **options)
    assert count_decoding == {"segments": 0, "raw": 0}
    assert len(sdata.images) == len(fields)
    assert list(sdata.labels) == ["cells_Point2203_pt1072_31606"]
    obs = sdata["samples"].obs
    assert obs.loc["Point2203_pt1072_31606", "patient"] == "1072"
    assert obs.loc["Point2203_pt1072_31606", "Status"] == "nonprogressor"
    assert len(sdata.attrs["spatialfm"]["panel"]["union"]) == 39
