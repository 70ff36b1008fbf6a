"""Masks in files of several planes or images, cohorts whose files differ, and paths from elsewhere."""

from __future__ import annotations

import unicodedata
import warnings

import numpy as np
import pandas as pd
import pytest
import tifffile

import spatialfm as sfm
from spatialfm._errors import InputFileError, PanelError, SpatialfmWarning, TableError


def write_image(path, pixels, names, mpp=0.5):
    metadata = {"axes": "CYX", "Channel": {"Name": list(names)}, "PhysicalSizeX": mpp, "PhysicalSizeY": mpp}
    tifffile.imwrite(path, pixels, metadata=metadata)


@pytest.fixture
def planes(mask):
    """Nuclei and cells: other numbers, other sizes."""
    nuclei = np.zeros_like(mask)
    nuclei[7:12, 8:14], nuclei[33:36, 35:44] = 5, 6
    return np.stack([nuclei, mask])


@pytest.mark.parametrize("kind", ["plain", "ome", "z", "channels last"])
def test_the_plane_of_the_cells_is_asked_for(tmp_path, ome, planes, kind):
    path = tmp_path / "m.tif"
    if kind == "ome":
        path = tmp_path / "m.ome.tif"
        tifffile.imwrite(path, planes, metadata={"axes": "CYX", "Channel": {"Name": ["nuclei", "cells"]}})
    elif kind == "z":
        tifffile.imwrite(path, planes, imagej=True, metadata={"axes": "ZYX"})
    else:
        last = kind == "channels last"
        tifffile.imwrite(path, np.moveaxis(planes, 0, -1) if last else planes, photometric="minisblack")
    shown = "0: 'nuclei', 1: 'cells'" if kind == "ome" else "0, 1"
    with pytest.raises(InputFileError, match=rf"2 planes \({shown}\).*labels_plane=<number>"):
        sfm.io.read_tiff(ome, path)
    for number in (0, 1):
        found = sfm.io.read_tiff(ome, path, labels_plane=number).labels["cells_core1"]
        np.testing.assert_array_equal(found.values, planes[number])
    with pytest.raises(InputFileError, match=r"no plane 2, but 2 \("):
        sfm.io.read_tiff(ome, path, labels_plane=2)
    if kind == "ome":
        found = sfm.io.read_tiff(ome, path, labels_plane="cells").labels["cells_core1"]
        np.testing.assert_array_equal(found.values, planes[1])
    table = pd.DataFrame({"sample": ["s"], "patient": ["p"], "image": [str(ome)], "labels": [str(path)]})
    sdata = sfm.io.read_cohort(table, labels_plane=0)
    assert sdata["table"].obs["cell_id"].tolist() == [5, 6]


def test_labels_in_one_file_with_the_image(tmp_path, pixels, mask):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as tif:
        tif.write(pixels, photometric="minisblack")
        tif.write(mask, photometric="minisblack")
    names = {"channel_names": list("abcde"), "mpp": 0.5}
    with pytest.raises(InputFileError, match=r"2 images.*series=<number>, for labels with labels_series=<number>"):
        sfm.io.read_tiff(path, path, series=0, labels_plane=0, **names)
    with pytest.raises(InputFileError, match="the same file.*labels_series=<number>"):
        sfm.io.read_tiff(path, path, series=0, **names)
    sdata = sfm.io.read_tiff(path, path, series=0, labels_series=1, **names)
    np.testing.assert_array_equal(sdata.labels["cells_a"].values, mask)
    np.testing.assert_array_equal(sdata.images["image_a"].values, pixels)


def test_a_colour_mask_keeps_its_cells_apart_by_what_is_proposed(tmp_path, ome):
    """Cells that share a red, a green or a blue: any one colour would merge some of them."""
    colours = np.zeros((70, 90, 3), np.uint8)
    cells = [(10, 0, 0), (10, 5, 0), (0, 5, 7), (10, 5, 7)]
    for i, colour in enumerate(cells):
        colours[10 * i : 10 * i + 5, 10:20] = colour
    path = tmp_path / "m.tif"
    tifffile.imwrite(path, colours, photometric="rgb")
    with pytest.raises(InputFileError, match="colour picture.*would merge cells.*or 'bgr'"):
        sfm.io.read_tiff(ome, path)
    found = sfm.io.read_tiff(ome, path, labels_encoding="bgr").labels["cells_core1"].values
    assert (found == 0).sum() == 70 * 90 - 4 * 50
    assert sorted(np.unique(found)) == [0, 5 * 256 + 7, 10 * 65536, 10 * 65536 + 5 * 256, 10 * 65536 + 5 * 256 + 7]


def cohort_of(tmp_path, panels, masks=None):
    rows = []
    for sample, names in panels.items():
        shape = (len(names), 40, 50)
        write_image(tmp_path / f"{sample}.ome.tif", np.random.default_rng(0).integers(0, 99, shape, np.uint8), names)
        rows.append({"sample": sample, "patient": sample.upper(), "image": f"{sample}.ome.tif"})
    frame = pd.DataFrame(rows)
    for sample, mask in (masks or {}).items():
        tifffile.imwrite(tmp_path / f"{sample}_mask.tif", mask)
        frame.loc[frame["sample"] == sample, "labels"] = f"{sample}_mask.tif"
    return frame


def channels(sdata, sample):
    return [str(name) for name in sdata.images[f"image_{sample}"].coords["c"].values]


def test_spelling_of_one_sample_is_fixed_as_the_warning_proposes(tmp_path):
    frame = cohort_of(tmp_path, {"a": ["DAPI", "CD3"], "b": ["DAPI", "CD-3"]})
    with pytest.warns(SpatialfmWarning, match=r"different panels.*channel_names=\{<old>: <new>\}"):
        sfm.io.read_cohort(frame, base_path=tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpatialfmWarning)
        sdata = sfm.io.read_cohort(frame, base_path=tmp_path, channel_names={"CD-3": "CD3"})
    assert channels(sdata, "a") == channels(sdata, "b") == ["DAPI", "CD3"]
    with pytest.raises(PanelError, match="renames 'CD_3', which no sample has; they have 'DAPI', 'CD3', 'CD-3'"):
        sfm.io.read_cohort(frame, base_path=tmp_path, channel_names={"CD_3": "CD3"})


def test_a_position_that_is_another_channel_elsewhere_is_not_renamed(tmp_path):
    frame = cohort_of(tmp_path, {"a": ["DAPI", "CD3", "DAPI"], "b": ["DAPI", "CD3", "CD8"]})
    with pytest.raises(PanelError, match=r"sample 'a'.*channel_names=\{2: 'DAPI_2'\}"):
        sfm.io.read_cohort(frame, base_path=tmp_path)
    with pytest.raises(PanelError, match=r"channel 2 'DAPI_2'.*'DAPI' in 'a'; 'CD8' in 'b'"):
        sfm.io.read_cohort(frame, base_path=tmp_path, channel_names={2: "DAPI_2"})
    sdata = sfm.io.read_cohort(frame.iloc[:1], base_path=tmp_path, channel_names={2: "DAPI_2"})
    assert channels(sdata, "a") == ["DAPI", "CD3", "DAPI_2"]


def test_names_of_the_file_in_another_order_are_said(tmp_path):
    frame = cohort_of(tmp_path, {"a": ["DAPI", "CD3"], "b": ["DAPI", "CD3"]})
    with pytest.warns(SpatialfmWarning, match=r"'CD3' is channel 1 there and 0 in channel_names.*b\.ome") as caught:
        sfm.io.read_cohort(frame, base_path=tmp_path, channel_names=["CD3", "DAPI"])
    assert len([w for w in caught if w.category is SpatialfmWarning]) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpatialfmWarning)
        sfm.io.read_cohort(frame, base_path=tmp_path, channel_names=["DAPI", "CD3"])


def test_a_field_without_cells_stays_a_sample(tmp_path):
    cells = np.zeros((40, 50), np.uint16)
    cells[5:15, 5:15], cells[20:30, 20:30] = 1, 2
    masks = {"a": np.zeros_like(cells), "b": cells}
    frame = cohort_of(tmp_path, dict.fromkeys("ab", ["DAPI", "CD3"]), masks)
    with pytest.warns(SpatialfmWarning, match=r"holds no cell.*'cells_a'.*'a'.*no row"):
        sdata = sfm.io.read_cohort(frame, base_path=tmp_path)
    assert list(sdata["samples"].obs_names) == ["a", "b"]
    assert sdata["table"].obs_names.tolist() == ["b_1", "b_2"]
    assert set(sdata.labels) == {"cells_a", "cells_b"}
    with (
        pytest.warns(SpatialfmWarning, match="holds no cell"),
        pytest.raises(TableError, match=r"No cell.*pass cell_table=False"),
    ):
        sfm.io.read_cohort(frame.iloc[:1], base_path=tmp_path)
    assert "image_a" in sfm.io.read_cohort(frame.iloc[:1], base_path=tmp_path, cell_table=False).images


def test_paths_from_elsewhere(tmp_path, monkeypatch):
    folder = tmp_path / "données"
    folder.mkdir()
    panel = ["DAPI", "CD3"]
    frame = cohort_of(folder, {"a": panel, "b": panel})
    decomposed = unicodedata.normalize("NFD", "é.ome.tif")
    (folder / "b.ome.tif").rename(folder / decomposed)
    (folder / "deep").mkdir()
    (folder / "a.ome.tif").rename(folder / "deep" / "core 1 (A).ome.TIF")
    frame["image"] = ["deep\\core 1 (A).ome.TIF", unicodedata.normalize("NFC", "é.ome.tif")]
    monkeypatch.setenv("HOME", str(tmp_path))
    for base in (folder, "~/données"):
        assert list(sfm.io.read_cohort(frame, base_path=base).images) == ["image_a", "image_b"]
    assert list(sfm.io.read_tiff("~/données/deep/core 1 (A).ome.TIF").images) == ["image_core_1_A"]
    (folder / "link.ome.tif").symlink_to(folder / decomposed)
    assert list(sfm.io.read_tiff(folder / "link.ome.tif", sample="s").images) == ["image_s"]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("A.ome.tif", "no file '.*A.ome.tif'; the folder has 'a.ome.tif'"),
        ("a.ome.TIFF", "the folder has 'a.ome.tif'"),
        (r"C:\data\a.ome.tif", "a path of a Windows computer"),
        ("s3://bucket/a.ome.tif", "is an address"),
        ("*.ome.tif", "patterns are not expanded"),
        ("gone/a.ome.tif", "no file '.*gone/a.ome.tif' .nor its folder."),
    ],
)
def test_paths_that_lead_nowhere(tmp_path, path, said):
    frame = cohort_of(tmp_path, {"a": ["DAPI", "CD3"]})
    with pytest.raises(InputFileError, match=said):
        sfm.io.read_cohort(frame.assign(image=path), base_path=tmp_path)
