"""Masks that are not what they seem: in the wrong place, of several planes, in colours, compressed with loss."""

from __future__ import annotations

import warnings

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import tifffile

import spatialfm as sfm
from spatialfm._errors import ElementError, InputFileError, SpatialfmWarning
from spatialfm.io._mask import whole_labels


@pytest.fixture
def cells() -> np.ndarray:
    """``(70, 90)``: 35 squares of 8 x 8 pixels, apart from each other, numbered from 1."""
    tile = np.pad(np.ones((8, 8), np.uint16), 1)
    labels = np.zeros((70, 90), np.uint16)
    labels[:, :] = np.kron(np.arange(1, 64, dtype=np.uint16).reshape(7, 9), tile)
    return np.where(labels <= 35, labels, 0)


@pytest.fixture
def folder(tmp_path, cells):
    """A folder of three markers of noise."""
    path = tmp_path / "core"
    path.mkdir()
    rng = np.random.default_rng(0)
    for name in ("CD3", "CD8", "DNA1"):
        tifffile.imwrite(path / f"{name}.tif", rng.poisson(3, cells.shape).astype(np.uint16))
    return path


def read(*args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpatialfmWarning)
        return sfm.io.read_tiff(*args, mpp=1.0, **options)


def names_of(sdata) -> list[str]:
    return list(sdata["image_core"].coords["c"].values)


# ---- in the folder of the markers ----


@pytest.mark.parametrize(
    "name",
    [
        "mask",
        "core_cellmask",
        "CellMask",
        "segmentation",
        "nuclei_labels",
        "P1_Masks_2",
        "cells",
        "Nuclei",
        "whole_cell",
    ],
)
@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
def test_a_mask_among_the_markers_is_no_marker(folder, cells, name, dtype):
    tifffile.imwrite(folder / f"{name}.tiff", cells.astype(dtype))
    with pytest.warns(SpatialfmWarning, match=rf"Masks among the markers are left out.*{name}\.tiff.*channel_names="):
        sdata = sfm.io.read_tiff(folder, mpp=1.0)
    assert names_of(sdata) == ["CD3", "CD8", "DNA1"]


def test_the_mask_that_is_passed_is_no_marker_whatever_its_name(folder, cells):
    tifffile.imwrite(folder / "x7.tif", cells)
    sdata = read(folder, folder / "x7.tif")
    assert names_of(sdata) == ["CD3", "CD8", "DNA1"]
    np.testing.assert_array_equal(sdata["cells_core"].values, cells)


@pytest.mark.parametrize("name", ["CellMask", "Nuclei", "SEG1"])
def test_markers_called_like_masks_stay(folder, name):
    dye = np.random.default_rng(1).poisson(200, (70, 90)).astype(np.uint16)
    tifffile.imwrite(folder / f"{name}.tif", dye)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpatialfmWarning)
        assert name in names_of(sfm.io.read_tiff(folder, mpp=1.0))


def test_a_mask_that_is_named_is_kept(folder, cells):
    tifffile.imwrite(folder / "mask.tif", cells)
    sdata = read(folder, channel_names={"mask": "Cells"})
    assert names_of(sdata) == ["CD3", "CD8", "DNA1", "Cells"]
    with pytest.warns(SpatialfmWarning, match=r"kept, because channel_names= has them.*mask\.tif"):
        sdata = sfm.io.read_tiff(folder, mpp=1.0, channel_names=["a", "b", "c", "d"])
    assert names_of(sdata) == ["a", "b", "c", "d"]
    with pytest.warns(SpatialfmWarning, match="left out"):
        sdata = sfm.io.read_tiff(folder, mpp=1.0, channel_names=["a", "b", "c"])
    assert names_of(sdata) == ["a", "b", "c"]


def test_a_folder_of_masks_holds_no_marker(tmp_path, cells):
    tifffile.imwrite(tmp_path / "a_mask.tif", cells)
    with pytest.raises(InputFileError, match=r"contains no marker, only 1 file that may be masks: a_mask.tif"):
        sfm.io.read_tiff(tmp_path, mpp=1.0)


# ---- several planes, colours, losses ----


def test_planes_are_listed_and_chosen_by_number_or_name(tmp_path, folder, cells):
    path = tmp_path / "both.ome.tif"
    metadata = {"axes": "CYX", "Channel": {"Name": ["nuclei", "cells"]}}
    tifffile.imwrite(path, np.stack([cells // 2, cells]), metadata=metadata)
    with pytest.raises(InputFileError, match=r"2 planes \(0: 'nuclei', 1: 'cells'\).*labels_plane=<number>"):
        read(folder, path)
    for plane in (1, "cells"):
        np.testing.assert_array_equal(read(folder, path, labels_plane=plane)["cells_core"].values, cells)
    with pytest.raises(InputFileError, match="have no plane 'Cells'"):
        read(folder, path, labels_plane="Cells")
    with pytest.raises(InputFileError, match="have no plane 2"):
        read(folder, path, labels_plane=2)


@pytest.mark.parametrize("imagej", [False, True])
def test_planes_without_names_and_planes_called_slices(tmp_path, folder, cells, imagej):
    path = tmp_path / "both.tif"
    options = {"imagej": True, "metadata": {"axes": "ZYX"}} if imagej else {"photometric": "minisblack"}
    tifffile.imwrite(path, np.stack([cells // 2, cells]), **options)
    with pytest.raises(InputFileError, match=r"2 planes \(0, 1\).*labels_plane=<number>"):
        read(folder, path)
    np.testing.assert_array_equal(read(folder, path, labels_plane=1)["cells_core"].values, cells)


def test_masks_stored_as_images_of_their_own(tmp_path, folder, cells):
    path = tmp_path / "both.ome.tif"
    with tifffile.TiffWriter(path) as tif:
        tif.write(cells // 2, metadata={"axes": "YX", "Name": "nuclei"})
        tif.write(cells, metadata={"axes": "YX", "Name": "cells"})
    with pytest.raises(InputFileError, match=r"holds 2 images.*series=1: cells.*labels_series=<number>"):
        read(folder, path)
    np.testing.assert_array_equal(read(folder, path, labels_series=1)["cells_core"].values, cells)


@pytest.mark.parametrize("planar", [False, True])
def test_colours_are_decoded_only_when_told(tmp_path, folder, cells, planar):
    numbers = cells.astype(np.uint32) * 70_001  # up to 2,450,035: all three bytes are used
    bytes_of = [(numbers >> shift & 255).astype(np.uint8) for shift in (0, 8, 16)]
    path = tmp_path / "colours.tif"
    pixels = np.stack(bytes_of, axis=0 if planar else -1)
    tifffile.imwrite(path, pixels, photometric="rgb", planarconfig="separate" if planar else "contig")
    with pytest.raises(InputFileError, match="3 planes.*would merge cells.*labels_encoding='rgb'"):
        read(folder, path)
    np.testing.assert_array_equal(read(folder, path, labels_encoding="rgb")["cells_core"].values, numbers)
    swapped = (numbers >> 16) + (numbers & 0xFF00) + ((numbers & 0xFF) << 16)
    np.testing.assert_array_equal(read(folder, path, labels_encoding="bgr")["cells_core"].values, swapped)
    sdata = read(folder, path, labels_encoding="rgb")
    sfm.pp.cell_table(sdata)
    assert sdata["table"].obs["cell_id"].tolist() == (np.arange(1, 36) * 70_001).tolist()
    gray = tmp_path / "gray.tif"
    tifffile.imwrite(gray, cells)
    with pytest.raises(InputFileError, match="needs 8-bit red, green and blue"):
        read(folder, gray, labels_encoding="rgb")


def test_jpeg_is_no_mask(tmp_path, folder, cells):
    pytest.importorskip("imagecodecs")
    path = tmp_path / "m.tif"
    tifffile.imwrite(path, cells.astype(np.uint8), compression="jpeg", compressionargs={"level": 80})
    with pytest.raises(InputFileError, match="m.tif' are compressed as JPEG, which changes numbers"):
        read(folder, path)


def test_the_image_is_not_its_own_mask(tmp_path, cells):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, cells)
    with pytest.raises(InputFileError, match="are the same file"):
        sfm.io.read_tiff(path, path, mpp=1.0)


# ---- a cohort ----


@pytest.fixture
def cohort(tmp_path, cells):
    def make(**masks):
        for sample, mask in masks.items():
            tifffile.imwrite(tmp_path / f"{sample}.tif", np.ones((2, *mask.shape), np.uint16), photometric="minisblack")
            tifffile.imwrite(tmp_path / f"{sample}_mask.tif", mask)
        return pd.DataFrame(
            {
                "sample": list(masks),
                "patient": list(masks),
                "image": [str(tmp_path / f"{sample}.tif") for sample in masks],
                "labels": [str(tmp_path / f"{sample}_mask.tif") for sample in masks],
            }
        )

    return make


def test_a_cohort_is_refused_with_all_its_masks_and_read_when_told_how(cohort, cells):
    yes_no = ((cells > 0) * 255).astype(np.uint8)
    table = cohort(a=cells, b=yes_no, c=yes_no)
    options = {"mpp": 1.0, "channel_names": ["x", "y"]}
    with pytest.raises(ElementError, match=r"'cells_b'.*35 pieces.*'cells_c'.*35 pieces.*cell_table=False") as error:
        sfm.io.read_cohort(table, **options)
    assert "cells_a" not in str(error.value)
    sdata = sfm.io.read_cohort(table, **options, on_pieces="split")
    assert sdata["table"].obs["region"].value_counts().to_dict() == {
        "cells_a": 35,
        "cells_b_fixed": 35,
        "cells_c_fixed": 35,
    }
    sdata = sfm.io.read_cohort(table, **options, on_pieces="keep")
    assert sdata["table"].obs["region"].value_counts().to_dict() == {"cells_a": 35, "cells_b": 1, "cells_c": 1}


@pytest.mark.parametrize("name", ["ROI1_whole_cell", "a_cellpose", "a_DeepCell", "mesmer_out", "DAPI_cp_masks"])
def test_masks_called_by_the_program_that_made_them_are_no_markers(tmp_path, name):
    labels = np.kron(np.arange(1, 26, dtype=np.uint16).reshape(5, 5), np.pad(np.ones((8, 8), np.uint16), 2))
    pixels = np.random.default_rng(0).integers(0, 90, labels.shape).astype(np.uint16)
    for file, array in (("CD3", pixels), ("CD8", pixels + 1), (name, labels), ("cellpose_2", labels)):
        tifffile.imwrite(tmp_path / f"{file}.tif", array)
    with pytest.warns(SpatialfmWarning, match=f"left out.*{name}") as said:
        sdata = sfm.io.read_tiff(tmp_path, mpp=0.5, sample="s")
    assert sum("left out" in str(w.message) for w in said) == 1
    assert [str(c) for c in sdata["image_s"].coords["c"].values] == ["CD3", "CD8"]
    (tmp_path / f"{name}.tif").unlink()
    tifffile.imwrite(tmp_path / f"{name}.tif", pixels)  # a name alone makes no mask
    with pytest.warns(SpatialfmWarning, match="read as markers"):
        assert sfm.io.read_tiff(tmp_path, mpp=0.5, sample="s")["image_s"].shape[0] == 3


@pytest.mark.parametrize("copy", ["cd3", "CD3 (1)", "CD3 - Copy", "CD3 copy 2", "Copy of CD3", "CD3 - Kopie (2)"])
def test_copies_of_markers_are_said(tmp_path, copy):
    for file in ("CD3", "CD3e", copy):
        tifffile.imwrite(tmp_path / f"{file}.tif", np.random.default_rng(0).integers(0, 90, (9, 8)).astype(np.uint16))
    with pytest.warns(SpatialfmWarning, match=r"seem to be there twice") as said:
        sfm.io.read_tiff(tmp_path, mpp=0.5, sample="s")
    (message,) = (str(w.message) for w in said if "twice" in str(w.message))
    assert repr(copy) in message
    assert "'CD3'" in message
    assert "CD3e" not in message


# ---- numbers of colours and of floats


def test_a_number_of_three_bytes(tmp_path):
    """R + 256 G + 65,536 B, and the other way round."""
    rgb = np.zeros((70, 90, 3), np.uint8)
    rgb[10:20, 10:20] = (5, 3, 1)
    tifffile.imwrite(tmp_path / "m.tif", rgb, photometric="rgb")
    tifffile.imwrite(tmp_path / "core.tif", np.zeros((1, 70, 90), np.uint8), metadata={"axes": "CYX"})
    for encoding, number in (("rgb", 5 + 256 * 3 + 65_536), ("bgr", 1 + 256 * 3 + 65_536 * 5)):
        sdata = sfm.io.read_tiff(
            tmp_path / "core.tif", labels=tmp_path / "m.tif", labels_encoding=encoding, mpp=1.0, channel_names=["x"]
        )
        assert np.unique(sdata["cells_core"].values).tolist() == [0, number]


@pytest.mark.parametrize(
    ("dtype", "largest", "exact"),
    [("float32", 2**24 - 1, True), ("float32", 2**24, False), ("float16", 2**11 - 1, True), ("float16", 2**11, False),
     ("float64", 2**32 - 1, True), ("float64", 2**32, False)],
)  # fmt: skip
def test_floats_up_to_where_they_tell_numbers_apart(dtype, largest, exact):
    values = da.from_array(np.array([[0, 1], [2, largest]], dtype))
    if exact:
        found = whole_labels(values, np.dtype(dtype), "m.tif", cast=True).compute()
        assert found.dtype == np.uint32
        assert found[1, 1] == largest
    else:
        with pytest.raises(InputFileError, match="tells whole numbers apart only below"):
            whole_labels(values, np.dtype(dtype), "m.tif", cast=True)


@pytest.mark.parametrize("value", [1.5, -1.0, np.nan, np.inf])
def test_floats_that_are_no_numbers_of_cells(value):
    values = da.from_array(np.array([[0, 1], [2, value]]))
    with pytest.raises(InputFileError, match="1 pixel is not a whole number from 0 up"):
        whole_labels(values, np.dtype("float64"), "m.tif", cast=True)
    with pytest.raises(InputFileError, match="cast_labels=True"):
        whole_labels(values, np.dtype("float64"), "m.tif", cast=False)


def test_a_yes_no_mask_is_refused_and_integers_are_taken():
    whole = da.zeros((2, 2), dtype=np.int16)
    assert whole_labels(whole, np.dtype("int16"), "m.tif", cast=False) is whole
    with pytest.raises(InputFileError, match="yes/no mask"):
        whole_labels(da.zeros((2, 2), dtype=bool), np.dtype("bool"), "m.tif", cast=True)


def test_a_mask_that_lacks_a_row_says_what_to_do_without_python(tmp_path):
    tifffile.imwrite(tmp_path / "i.tif", np.ones((2, 60, 70), np.uint16))
    for shape, nearly in (((59, 70), True), ((60, 86), True), ((60, 90), False)):
        tifffile.imwrite(tmp_path / "m.tif", np.ones(shape, np.uint16))
        with pytest.raises(InputFileError, match="Pass the mask of this image") as refusal:
            sfm.io.read_tiff(tmp_path / "i.tif", tmp_path / "m.tif", mpp=0.5)
        assert ("Canvas Size" in str(refusal.value)) is nearly
        assert "in Python, one of another size" in str(refusal.value)
