"""Folders of MCMICRO: what is taken from which file, and one call to the survival curve."""

from __future__ import annotations

from math import comb
from pathlib import Path

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import tifffile
from reading import blobs, counts
from reading_mcmicro import (
    ALL,
    KEPT,
    ROWS,
    SHEET,
    quantified,
    write_array,
    write_image,
    write_mask,
    write_slide,
    write_table,
)

import spatialfm as sfm
from spatialfm._errors import InputFileError, PanelError, SpatialfmWarning, TableError

pytestmark = pytest.mark.filterwarnings("ignore:.*was not subtracted:spatialfm._errors.SpatialfmWarning",
                                        "ignore:.*more than once:spatialfm._errors.SpatialfmWarning")  # fmt: skip


def test_shapes_are_in_um_and_the_sheet_is_recorded(tmp_path):
    sample = write_slide(tmp_path / "exemplar-001")
    with pytest.warns(SpatialfmWarning) as warned:
        sdata = sfm.io.read_mcmicro(tmp_path / "exemplar-001")
    said = " ".join(str(one.message) for one in warned)
    assert "has 'DNA' more than once: they are called 'DNA_1', 'DNA_2'" in said
    assert "names the background of 1 channel (CD3 - A488), which was not subtracted from 1 image" in said
    panel = sdata.attrs["spatialfm"]["panel"]
    assert panel["union"] == list(KEPT)
    assert panel["cycles"] == {"DNA_1": "1", "CD3": "1", "DNA_2": "2", "CD20": "2"}
    assert panel["background"] == {"CD3": "A488"}
    truth = quantified(sample.pixels, sample.labels, KEPT)
    obs = sdata["table"].obs
    np.testing.assert_allclose(obs["area"], truth["Area"] * 0.65**2)
    np.testing.assert_allclose(obs["axis_major_length"], truth["MajorAxisLength"] * 0.65)
    np.testing.assert_allclose(obs["solidity"], truth["Solidity"])
    own = sfm.pp.cell_table(sdata, copy=True)[sdata["table"].obs_names]
    np.testing.assert_allclose(own.X, sdata["table"].X, rtol=1e-6)  # measured here, of the same masks
    np.testing.assert_allclose(own.obsm["spatial"], sdata["table"].obsm["spatial"], rtol=1e-6)
    np.testing.assert_allclose(own.obs["area"], obs["area"], rtol=1e-6)
    np.testing.assert_allclose(own.obs["axis_major_length"], obs["axis_major_length"], rtol=1e-5)


def test_names_of_tables_and_columns_of_older_versions(tmp_path):
    sample = write_slide(tmp_path / "old", table="{method}-{image}_{mask}.csv")
    now = sfm.io.read_mcmicro(tmp_path / "old")["table"]
    table = tmp_path / "old/quantification/unmicst-old_cell.csv"
    frame = pd.read_csv(table)
    frame = frame.rename(columns={name: f"{name}_cellMask" for name in ALL})
    frame = frame.rename(columns={"X_centroid": "Y_position", "Y_centroid": "X_position"})  # exchanged until May 2020
    frame.to_csv(table, index=False)
    with pytest.warns(SpatialfmWarning, match="X_position and Y_position .* are exchanged"):
        old = sfm.io.read_mcmicro(tmp_path / "old")["table"]
    np.testing.assert_array_equal(old.X, now.X)
    np.testing.assert_array_equal(old.obsm["spatial"], now.obsm["spatial"])
    assert old.n_obs == len(np.unique(sample.labels)) - 1
    frame.rename(columns={"Y_position": "Y_centroid", "X_position": "X_centroid"}).to_csv(table, index=False)
    with pytest.raises(TableError, match="measured with another mask"):  # no version exchanged these
        sfm.io.read_mcmicro(tmp_path / "old")


def test_tables_of_a_mask_of_which_some_cells_were_segmented_anew_are_refused(tmp_path):
    """Of two cells in a hundred nobody would know; of a few in ten, each is measured at the place of another."""
    sample = write_slide(tmp_path / "a")
    path = tmp_path / "a/quantification/unmicst-a_cell.csv"
    if not path.exists():
        path = next((tmp_path / "a/quantification").glob("*cell.csv"))
    frame = pd.read_csv(path)
    ids = frame["CellID"].to_numpy()
    swapped = ids.copy()
    swapped[[0, 1]] = ids[[1, 0]]
    frame.assign(CellID=swapped).to_csv(path, index=False)
    said = f"of {len(ids)} cells, {len(ids) - 2} are at their position.*and 2 have another cell there"
    with pytest.raises(TableError, match=said):
        sfm.io.read_mcmicro(tmp_path / "a")
    assert len(ids) == len(np.unique(sample.labels)) - 1


def test_rings_whose_middle_is_a_hole_are_cells_of_their_mask(tmp_path):
    from spatialfm.io._mcmicro_cells import _in_mask

    labels = np.zeros((9, 18), np.int32)
    labels[1:8, 1:8], labels[3:6, 3:6] = 1, 0
    labels[1:8, 10:17] = 2
    xy = np.array([[4.0, 4.0], [13.0, 4.0]])
    lazy = da.from_array(labels, chunks=5)
    np.testing.assert_array_equal(_in_mask(np.array([1, 2]), xy, lazy, Path("t.csv"), may_swap=False), xy)
    with pytest.raises(TableError, match="0 are at their position .* and 1 have another cell"):
        _in_mask(np.array([2, 1]), xy, lazy, Path("t.csv"), may_swap=False)


def test_mask_and_tables_on_request(tmp_path):
    write_slide(tmp_path / "a")
    nuclei = sfm.io.read_mcmicro(tmp_path / "a", mask="nuclei")
    own = sfm.pp.cell_table(nuclei, copy=True)[nuclei["table"].obs_names]
    np.testing.assert_allclose(nuclei["table"].obs["area"], own.obs["area"])
    assert (own.obs["area"] < 10 * 0.65**2).all()  # of 3 x 3 pixels, cells have 5 x 5
    measured = sfm.io.read_mcmicro(tmp_path / "a", quantification=False)["table"]
    assert measured.uns["spatialfm"]["table"]["statistic"] == "mean"
    taken = sfm.io.read_mcmicro(tmp_path / "a")["table"]
    assert taken.uns["spatialfm"]["table"]["source"] == "MCMICRO"
    none = sfm.io.read_mcmicro(tmp_path / "a", segmentation=False)
    assert (list(none.labels), list(none.tables)) == ([], ["samples"])


def test_background_that_was_subtracted(tmp_path):
    """backsub writes an image of its own, without the removed channels, and its own list of channels."""
    project = tmp_path / "s"
    write_slide(project, table="")
    pixels = counts(4, 26, 34, start=99)
    write_image(project / "background" / "s_backsub.ome.tif", pixels)
    SHEET.drop(index=1).drop(columns="remove").to_csv(project / "background" / "markers_bs.csv", index=False)
    write_mask(project, "mesmer", "s_backsub", blobs(26, 34))
    with pytest.raises(InputFileError, match="segmented by 'mesmer', 'unmicst'"):
        sfm.io.read_mcmicro(project)
    sdata = sfm.io.read_mcmicro(project, segmentation="mesmer", cell_table=False)
    np.testing.assert_array_equal(sdata["image_s"].values, pixels)
    assert sdata["image_s"].coords["c"].values.tolist() == list(KEPT)
    raw = sfm.io.read_mcmicro(project, image="registration", segmentation="mesmer", cell_table=False)
    np.testing.assert_array_equal(raw["image_s"].values, counts(5, 26, 34)[ROWS])
    (project / "background" / "markers_bs.csv").unlink()  # the rows that stay are known from markers.csv
    again = sfm.io.read_mcmicro(project, segmentation="mesmer", cell_table=False)
    assert again["image_s"].coords["c"].values.tolist() == list(KEPT)
    write_slide(tmp_path / "t")
    with pytest.raises(InputFileError, match="No image in '.*background'"):
        sfm.io.read_mcmicro(tmp_path / "t", image="background")


def test_other_names_and_pixel_size(tmp_path):
    write_slide(tmp_path / "a")
    sdata = sfm.io.read_mcmicro(tmp_path / "a", channel_names={"DNA_1": "Hoechst"}, mpp=0.325)
    names = ["Hoechst", *KEPT[1:]]
    assert sdata["image_a"].coords["c"].values.tolist() == names
    assert sdata["table"].var_names.tolist() == names
    assert sdata.attrs["spatialfm"]["panel"]["cycles"]["Hoechst"] == "1"
    (tmp_path / "a/markers.csv").unlink()
    sdata = sfm.io.read_mcmicro(tmp_path / "a", channel_names=ALL)
    assert sdata["table"].var_names.tolist() == list(ALL)
    with pytest.raises(PanelError, match="4 names, but .* 5 channels"):
        sfm.io.read_mcmicro(tmp_path / "a", channel_names=KEPT)


def test_a_sheet_of_one_name_per_line(tmp_path):
    write_slide(tmp_path / "a")
    (tmp_path / "a/markers.csv").write_text("\n".join(ALL) + "\n")
    sdata = sfm.io.read_mcmicro(tmp_path / "a")
    assert sdata["table"].var_names.tolist() == list(ALL)


def test_masks_belong_to_the_longest_name(tmp_path):
    """unmicst-a-1 is of image a-1, not of image 1 by a method called unmicst-a."""
    project = tmp_path / "p"
    SHEET.to_csv(project.with_name("markers.csv"), index=False)
    for i, name in enumerate(("1", "a-1")):
        write_image(project / "registration" / f"{name}.ome.tif", counts(5, 20, 26, start=i))
        write_mask(project, "unmicst", name, blobs(20, 26, first=1 + i))
    SHEET.to_csv(project / "markers.csv", index=False)
    sdata = sfm.io.read_mcmicro(project, cell_table=False)
    assert sdata["cells_a-1"].values.max() - sdata["cells_1"].values.max() == 1


def test_cores_without_mask_are_kept_and_named(tmp_path):
    write_array(tmp_path / "TMA1")
    (tmp_path / "TMA1/segmentation/unmicst-2/cell.ome.tif").unlink()
    with pytest.warns(SpatialfmWarning, match=r"1 sample has no mask in .*unmicst-<image>/cell.ome.tif .*TMA1_2"):
        sdata = sfm.io.read_mcmicro(tmp_path / "TMA1")
    assert list(sdata.images) == ["image_TMA1_1", "image_TMA1_2"]
    assert sdata["table"].obs["sample"].unique().tolist() == ["TMA1_1"]
    assert sdata["samples"].obs["core"].tolist() == ["1", "2"]
    record = sdata.attrs["spatialfm"]["samples"]["TMA1_1"]
    assert (record["mpp"], record["mpp_field"]) == (0.5, "OME-XML PhysicalSizeX of 'TMA1.ome.tif'")


def test_a_core_without_cells_keeps_its_sample(tmp_path):
    samples = write_array(tmp_path / "TMA1")
    (tmp_path / "TMA1/dearray/TMA_MAP.tif").write_bytes((tmp_path / "TMA1/dearray/1.tif").read_bytes())
    empty = np.zeros_like(samples[1].labels)
    write_mask(tmp_path / "TMA1", "unmicst", "2", empty)
    pixels = [counts(5, 20, 26, start=1), counts(5, 22, 26, start=2)]
    frame = quantified(pixels[0], samples[0].labels)
    write_table(tmp_path / "TMA1", "1--unmicst_cell.csv", frame)
    write_table(tmp_path / "TMA1", "2--unmicst_cell.csv", frame.iloc[:0])
    sdata = sfm.io.read_mcmicro(tmp_path / "TMA1")
    assert list(sdata["samples"].obs_names) == ["TMA1_1", "TMA1_2"]  # and none of the map of the array
    assert sdata["table"].n_obs == len(frame)
    assert sdata["table"].obs["area"].dtype == np.float64
    np.testing.assert_allclose(sdata["table"].X, frame[list(KEPT)], rtol=1e-6)


def test_folders_that_are_something_else(tmp_path):
    with pytest.raises(InputFileError, match="not a folder of MCMICRO"):
        sfm.io.read_mcmicro(tmp_path)
    (tmp_path / "registration/ashlar").mkdir(parents=True)
    with pytest.raises(InputFileError, match="nf-core/mcmicro writes it.*read_cohort"):
        sfm.io.read_mcmicro(tmp_path)
    with pytest.raises(InputFileError, match="No folder"):
        sfm.io.read_mcmicro(tmp_path / "none")


def write_cohort(folder, n_patients=12):
    """Cores of two arrays, one per patient; half of the patients live long, and have more cells with CD20."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(n_patients):
        project, core = folder / f"TMA{i % 2 + 1}", str(i // 2 + 1)
        labels = blobs(42, 42)
        pixels = rng.poisson(20, (5, 42, 42)).astype("uint16")
        lives_long = i < n_patients // 2
        pixels[4][np.isin(labels, np.unique(labels)[1:][:: 2 if lives_long else 6])] += 200
        write_image(project / "dearray" / f"{core}.ome.tif", pixels)
        SHEET.to_csv(project / "markers.csv", index=False)
        write_mask(project, "unmicst", core, labels)
        write_table(project, f"{core}--unmicst_cell.csv", quantified(pixels, labels))
        time = 60 - i if lives_long else 20 - i
        rows.append({"sample": f"{project.name}_{core}", "patient": f"p{i}", "time": time, "event": 1})
    pd.DataFrame(rows).to_csv(folder / "clinical.csv", index=False)


def test_from_the_folder_to_the_survival_curve(tmp_path):
    write_cohort(tmp_path)
    sdata = sfm.io.read_mcmicro(tmp_path, clinical=tmp_path / "clinical.csv")
    adata = sdata["table"]
    adata.obs["phenotype"] = pd.Categorical(np.where(adata[:, "CD20"].X.ravel() > 100, "B cell", "other"))
    patients = sfm.tl.composition(adata, "phenotype", library_key="sample", patient_key="patient")
    shares = patients[[f"p{i}" for i in range(12)], "B cell"].X.ravel()
    np.testing.assert_allclose(shares, [13 / 25] * 6 + [5 / 25] * 6)  # of 25 cells, every second or sixth
    patients.obs["group"] = pd.Categorical(np.where(patients[:, "B cell"].X.ravel() > 0.3, "rich", "poor"))
    sfm.tl.kaplan_meier(patients, "group")
    assert sfm.pl.kaplan_meier(patients, show=False) is not None
    # all of one group die after all of the other: as far apart as 2 of all 924 arrangements are
    assert sfm.tl.logrank(patients, "group", copy=True)["p_value"] == pytest.approx(2 / comb(12, 6))


def test_a_pyramid_stays_one(tmp_path):
    write_slide(tmp_path / "a", table="")
    path = tmp_path / "a/registration/a.ome.tif"
    pixels = counts(5, 26, 34)
    with tifffile.TiffWriter(path, ome=True) as file:
        file.write(pixels, subifds=1, tile=(16, 16), photometric="minisblack", metadata={"axes": "CYX"})
        file.write(pixels[:, ::2, ::2], subfiletype=1, tile=(16, 16), photometric="minisblack")
    image = sfm.io.read_mcmicro(tmp_path / "a", mpp=0.65, cell_table=False)["image_a"]
    np.testing.assert_array_equal(image["scale1"]["image"].values, pixels[ROWS][:, ::2, ::2])
