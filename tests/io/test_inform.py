"""Exports of inForm."""

from __future__ import annotations

import shutil
import warnings

import numpy as np
import pandas as pd
import pytest
import reading_inform
import tifffile
from reading import blobs
from reading_inform import (
    FIELDS,
    NAMES,
    TISSUE,
    parts,
    read_inform,
    segmentation,
    table_of,
    tissue_of,
    write_inform,
    write_maps,
    write_pages,
)
from scipy import ndimage
from skimage.segmentation import find_boundaries

import spatialfm as sfm
from spatialfm._errors import InputFileError, PixelSizeError, SpatialfmWarning, TableError
from spatialfm.io._inform_maps import WHOLE, cells_of, open_maps, whole_cells
from spatialfm.io._inform_table import read_fields

FIRST = "Set 1_[100,200]"


def test_columns_go_where_they_belong(tmp_path):
    write_inform(tmp_path)
    table = read_inform(tmp_path)["table"]
    assert table.obs["phenotype"].tolist() == ["CD8+", "CK+", "Other"] * 4
    assert (
        table.obs["Tissue_Category"].tolist() == np.where(table.obsm["spatial"][:, 0] < 7, "Tumor", "Stroma").tolist()
    )
    assert table.obs["Confidence_percent"].tolist() == [97.57] * 12
    assert table.obs["Nucleus_Area_percent"].tolist() == [0.17] * 12
    assert not {"Path", "Category_Region_ID", "inForm_2.4.6781.17769"} & set(table.obs)
    assert table.obs["time"].tolist() == [10.0] * 6 + [20.0] * 6
    nuclei = read_inform(tmp_path, compartment="Nucleus")["table"]
    assert list(nuclei.var_names) == list(NAMES)
    assert (nuclei.X == -1).all()
    with pytest.raises(TableError, match="no mean of the compartment 'Membrane', but of 'Nucleus', 'Entire Cell'"):
        read_inform(tmp_path, compartment="Membrane")


def test_the_tissue_map_is_held_against_the_cells(tmp_path):
    (sample, _) = write_inform(tmp_path)
    sdata = read_inform(tmp_path)
    tissue = tissue_of(sample.labels.shape)
    np.testing.assert_array_equal(sdata["regions_Set_1__100_200"].values, np.where(tissue == 255, 0, tissue + 1))
    assert sdata.attrs["spatialfm"]["maps"]["regions_Set_1__100_200"] == {
        "table": "table",
        "key": "Tissue_Category",
        "categories": ["Tumor", "Stroma"],
    }
    table = table_of(FIRST, sample).replace({"Tissue Category": {"Tumor": "Stroma", "Stroma": "Tumor"}})
    table.to_csv(tmp_path / f"{FIRST}_cell_seg_data.txt", sep="\t", index=False)
    with pytest.warns(SpatialfmWarning, match=r"contradict the tissue categories .*\(0% of the cells are where"):
        sdata = read_inform(tmp_path)
    assert [name for name in sdata.labels if name.startswith("regions")] == ["regions_Set_2__900_700"]


def test_no_pixel_of_an_image_is_read_before_it_is_asked_for(tmp_path, monkeypatch):
    import spatialfm.io._reader as reader

    write_inform(tmp_path)
    files, inner = [], reader.read_page
    monkeypatch.setattr(
        reader, "read_page", lambda level, page, *rest: files.append(page.path) or inner(level, page, *rest)
    )
    sdata = read_inform(tmp_path)
    assert files
    assert not [one for one in files if "component_data" in one]
    sdata["image_Set_1__100_200"][0, :1, :1].values  # noqa: B018
    assert "component_data" in files[-1]


def test_one_call_to_the_survival_curve(tmp_path):
    write_inform(tmp_path)
    patients = sfm.tl.composition(
        read_inform(tmp_path)["table"], "phenotype", library_key="sample", patient_key="patient"
    )
    patients.obs["arm"] = ["a", "b"]
    sfm.tl.kaplan_meier(patients, "arm")
    assert patients.uns["kaplan_meier"]["groups"]["events"].tolist() == [1, 0]


def test_markers_follow_the_names_of_channels(tmp_path):
    write_inform(tmp_path)
    sdata = read_inform(tmp_path, channel_names={"CD8 (Opal 520)": "CD8", "CK (Opal 690)": "CK"})
    assert list(sdata["table"].var_names) == ["DAPI", "CD8", "CK"]
    assert sdata["image_Set_1__100_200"].coords["c"].values.tolist() == ["DAPI", "CD8", "CK"]
    table = table_of(FIRST, write_inform(tmp_path)[0])
    table.columns = [name.replace("CK (Opal 690)", "CK (Opal 780)") for name in table]
    table.to_csv(tmp_path / f"{FIRST}_cell_seg_data.txt", sep="\t", index=False)
    with pytest.raises(TableError, match="markers that the image lacks: 'CK .Opal 780.'"):
        read_inform(tmp_path)


@pytest.mark.parametrize("leave_out", [(), ("Cytoplasm",)])
def test_planes_are_found_by_their_names(tmp_path, leave_out):
    labels = blobs(20, 28)
    write_maps(tmp_path / "a_binary_seg_maps.tif", labels, leave_out)
    maps = open_maps(tmp_path / "a_binary_seg_maps.tif")
    assert maps.names == tuple(
        name for name in ("TissueClassMap", "Nucleus", "Cytoplasm", "Membrane") if name not in leave_out
    )
    assert maps.pixel_size.x == 0.5
    cells, plane = cells_of(maps, None)
    assert plane == WHOLE
    np.testing.assert_array_equal(cells.compute(), labels)
    for wanted in ("Nucleus", "nuclei"):
        cells, plane = cells_of(maps, wanted)
        assert plane == "Nucleus"
        np.testing.assert_array_equal(cells.compute(), parts(labels)["Nucleus"])
    for wanted in ("Object", "tissue"):
        with pytest.raises(InputFileError, match="no plane of cells .*it has 'Nucleus'"):
            cells_of(maps, wanted)


def test_membranes_of_one_number_are_no_cells(tmp_path):
    planes = parts(blobs(20, 28))
    planes["Membrane"] = (planes["Membrane"] > 0).astype(np.uint32)
    write_inform(tmp_path)
    write_pages(tmp_path / f"{FIRST}_binary_seg_maps.tif", [(segmentation(name), p) for name, p in planes.items()])
    with pytest.raises(InputFileError, match='inForm before 2.4.3 .* labels_plane="Nucleus"'):
        read_inform(tmp_path)
    sdata = read_inform(tmp_path, labels_plane="Nucleus")
    np.testing.assert_array_equal(sdata["cells_Set_1__100_200"].values, planes["Nucleus"])


def test_whole_cells_from_rings():
    """Cells that touch each other, leave a gap between them, and are cut by the edge."""
    labels = np.zeros((24, 30), np.uint32)
    labels[0:8, 0:9], labels[0:8, 9:20], labels[8:19, 2:13], labels[9:17, 15:26] = 4, 2, 9, 7
    membrane = np.where(find_boundaries(labels, connectivity=1, mode="inner"), labels, 0)
    nucleus = np.where(ndimage.minimum_filter(labels, 5, mode="nearest") == labels, labels, 0)
    nucleus[membrane > 0] = 0
    assert (membrane[0, 3:6] == 0).all()  # the edge of the field is not a membrane
    np.testing.assert_array_equal(whole_cells(nucleus, membrane), labels)
    alone = np.where(labels == 9, labels, 0)  # all that is outside touches this cell only
    np.testing.assert_array_equal(whole_cells(np.where(alone, nucleus, 0), np.where(alone, membrane, 0)), alone)
    assert (whole_cells(np.zeros((4, 5), np.uint32), np.zeros((4, 5), np.uint32)) == 0).all()


def test_a_merged_table_is_cut_into_fields(tmp_path):
    samples = write_inform(tmp_path)
    expected = read_inform(tmp_path)["table"]
    tables = [table_of(field, sample) for field, sample in zip(FIELDS, samples, strict=True)]
    for field in FIELDS:
        (tmp_path / f"{field}_cell_seg_data.txt").unlink()
    pd.concat(tables).to_csv(tmp_path / "Merge_cell_seg_data.txt", sep="\t", index=False)
    found = read_inform(tmp_path)["table"]
    assert found.obs_names.tolist() == expected.obs_names.tolist()
    np.testing.assert_array_equal(found.X, expected.X)
    for field, table in zip(FIELDS, tables, strict=True):
        table.to_csv(tmp_path / f"{field}_cell_seg_data.txt", sep="\t", index=False)
    assert read_inform(tmp_path)["table"].n_obs == 12  # and not a second time


def test_phenotypes_of_several_columns_and_missing_ones(tmp_path):
    (sample, _) = write_inform(tmp_path)
    path = tmp_path / f"{FIRST}_cell_seg_data.txt"
    table = table_of(FIRST, sample)
    table["Phenotype"] = [None, "B", "B", "B", None, "B"]
    table.to_csv(path, sep="\t", index=False)
    with pytest.warns(SpatialfmWarning, match="2 cells of .* have no phenotype"):
        assert read_inform(tmp_path)["table"].obs["phenotype"].isna().sum() == 2
    table = table.drop(columns="Phenotype")
    table["Phenotype CD8"], table["Phenotype CK"] = ["CD8+", "CD8-"] * 3, ["CK-"] * 5 + ["CK+"]
    table.to_csv(path, sep="\t", index=False)
    assert read_inform(tmp_path)["table"].obs["phenotype"].tolist()[:6] == ["CD8", "none", "CD8", "none", "CD8", "CK"]


def test_without_images_and_without_maps(tmp_path):
    samples = write_inform(tmp_path)
    expected = read_inform(tmp_path)["table"]
    for path in tmp_path.glob("*_component_data.tif"):
        path.unlink()
    sdata = read_inform(tmp_path)
    assert list(sdata.images) == []
    np.testing.assert_array_equal(sdata["cells_Set_1__100_200"].values, samples[0].labels)
    np.testing.assert_allclose(sdata["table"].obsm["spatial"], expected.obsm["spatial"])
    for path in tmp_path.glob("*_binary_seg_maps.tif"):
        path.unlink()
    sdata = read_inform(tmp_path, mpp=0.5)
    assert list(sdata.points) == ["cells_Set_1__100_200", "cells_Set_2__900_700"]
    np.testing.assert_allclose(sdata["table"].obsm["spatial"], expected.obsm["spatial"])


def test_the_size_that_maps_state_is_checked_without_an_image_too(tmp_path, monkeypatch):
    def maps_alone(folder):
        folder.mkdir()
        write_inform(folder)
        for path in folder.glob("*_component_data.tif"):
            path.unlink()
        return folder

    folder = maps_alone(tmp_path / "square")
    with pytest.warns(SpatialfmWarning, match=r"contradicts the one given: .*0\.5 µm by resolution tags, mpp=0\.6"):
        sdata = read_inform(folder, mpp=0.6)
    assert {one["mpp"] for one in sdata.attrs["spatialfm"]["samples"].values()} == {0.6}
    monkeypatch.setitem(reading_inform._RESOLUTION, "resolution", (20_000, 10_000))
    with pytest.raises(PixelSizeError, match=r"not square \(0\.5 x 1 µm by resolution tags\)"):
        read_inform(maps_alone(tmp_path / "oblong"))


def test_cells_without_a_row_are_said(tmp_path):
    (sample, _) = write_inform(tmp_path)
    table_of(FIRST, sample)[1:].to_csv(tmp_path / f"{FIRST}_cell_seg_data.txt", sep="\t", index=False)
    with pytest.warns(SpatialfmWarning, match=r"no row in the table of measurements.*\(1 cell: 1\)"):
        assert read_inform(tmp_path)["table"].n_obs == 11


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.txt", "", "has no file \\*_cell_seg_data.txt"),
        ("a_cell_seg_data.txt", "Cell ID\tPhenotype\n1\tB\n", "no column 'Cell X Position', 'Cell Y Position'"),
        ("a_cell_seg_data.txt", "Cell ID\tCell X Position\tCell Y Position\nall\t1\t2\n", "must hold whole label ids"),
    ],
)
def test_folders_and_tables_that_are_none(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises((InputFileError, TableError), match=message):
        sfm.io.read_inform(tmp_path, mpp=0.5)


def test_maps_of_another_program(tmp_path):
    tifffile.imwrite(tmp_path / "a_binary_seg_maps.tif", blobs(20, 28))
    with pytest.raises(InputFileError, match="no plane that is described as inForm does"):
        open_maps(tmp_path / "a_binary_seg_maps.tif")
    (tmp_path / "b.tif").write_bytes(b"no TIFF")
    with pytest.raises(InputFileError, match="cannot be read as TIFF"):
        open_maps(tmp_path / "b.tif")


@pytest.mark.real_data
def test_a_field_of_opal(tmp_path, real_data):
    """The table as inForm wrote it; image and masks under the names that its export gives them."""
    folder, field = real_data / "opal_mif", "FIHC4__0929309_HP_IM3_2"
    shutil.copy(folder / "original" / f"{field}_cell_seg_data.txt", tmp_path)
    shutil.copy(folder / "images" / "FIHC4_2.ome.tif", tmp_path / f"{field}_component_data.tif")
    cells = tifffile.imread(folder / "masks" / "FIHC4_2_cell(nuc+cyto).tif").astype(np.uint32)
    nuclei = tifffile.imread(folder / "masks" / "FIHC4_2_nuclei.tif").astype(np.uint32)
    tissue = tifffile.imread(folder / "masks" / "FIHC4_2_tissue.tif").astype(np.uint8)
    membrane = np.where(find_boundaries(cells, connectivity=1, mode="inner"), cells, 0)
    nuclei_inside = np.where((membrane == 0) & (nuclei == cells), nuclei, 0)
    write_pages(
        tmp_path / f"{field}_binary_seg_maps.tif",
        [
            (TISSUE.replace("Stroma", "Stroma</Name></Entry><Entry><Name>Background"), tissue),
            (segmentation("Nucleus"), nuclei_inside),
            (segmentation("Membrane"), membrane),
        ],
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpatialfmWarning)
        sdata = sfm.io.read_inform(tmp_path)
    table = sdata["table"]
    assert table.obs["phenotype"].value_counts().to_dict() == {"B": 249, "Helper T": 15, "Cytotoxic T": 6}
    assert list(table.var_names) == ["Alexa 594", "Cy3", "Cy5", "DAPI", "FITC"]
    np.testing.assert_array_equal(sdata[f"regions_{field}"].values, tissue + 1)  # tumour is 0 in the file
    found = sdata[f"cells_{field}"].values
    assert (found != cells).mean() < 0.005  # of ring and nucleus, what is neither follows
    assert np.isin(table.obs["cell_id"], np.unique(found)).all()
    mask = {field: folder / "masks" / "FIHC4_2_cell(nuc+cyto).tif"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpatialfmWarning)
        sdata = sfm.io.read_inform(tmp_path, labels=mask)
    sfm.pp.cell_table(sdata, table_name="measured")
    own = sdata["measured"][table.obs_names].X
    assert np.corrcoef(own[:, 3], table.X[:, 3])[0, 1] > 0.95
    with pytest.raises(TableError, match="outside of the image"):
        sfm.io.read_inform(_halved(tmp_path, field), labels=mask)


def _halved(folder, field):
    """The same with positions of another field."""
    path = folder / f"{field}_cell_seg_data.txt"
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    table["Cell X Position"] = (table["Cell X Position"].astype(int) + 200).astype(str)
    table.to_csv(path, sep="\t", index=False)
    return folder


def test_fields_of_one_table(tmp_path):
    write_inform(tmp_path)
    (part,) = read_fields(tmp_path / f"{FIRST}_cell_seg_data.txt")
    assert part.called == FIRST
    assert not part.in_microns


def test_markers_that_a_panel_leaves_out_are_in_neither(tmp_path):
    write_inform(tmp_path)
    expected = read_inform(tmp_path)
    panel = pd.DataFrame({"name": list(expected["table"].var_names), "keep": [1, 0, 1]})
    sdata = read_inform(tmp_path, channel_names=panel)
    kept = panel["name"][panel["keep"] == 1].tolist()
    assert list(sdata["table"].var_names) == kept == sdata["image_Set_1__100_200"].coords["c"].values.tolist()
    pd.testing.assert_frame_equal(sdata["table"].to_df(), expected["table"].to_df()[kept])
