"""A folder of one TIFF per marker, and the masks among them."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from spatialfm._errors import InputFileError, PixelSizeError
from spatialfm.io._folder import _words, read_folder

NOISE = np.random.default_rng(0).integers(1, 60_000, (24, 24)).astype(np.uint16)
LABELS = np.kron(np.arange(16).reshape(4, 4), np.ones((6, 6))).astype(np.uint16)


@pytest.fixture
def write(tmp_path):
    def make(**files):
        for name, pixels in files.items():
            tifffile.imwrite(tmp_path / f"{name}.tif", pixels)
        return tmp_path

    return make


def test_markers_are_channels_in_the_natural_order_of_their_names(write):
    image = read_folder(write(m10=NOISE, m2=NOISE + 1, m1=NOISE + 2), None, True)
    assert image.channel_names == ("m1", "m2", "m10")
    np.testing.assert_array_equal(image.levels[0][:, 0, 0], NOISE[0, 0] + np.array([2, 1, 0]))


def test_a_mask_is_left_out_where_its_name_and_its_pixels_say_so(write):
    folder = write(CD3=NOISE, cell_mask=LABELS, nuclear_mask=NOISE, nuclei=LABELS, tissue=NOISE)
    image = read_folder(folder, None, True)
    # tissue may be a marker, and its pixels are not labels; a name that says mask is told
    assert image.channel_names == ("CD3", "nuclear_mask", "tissue")
    notes = dict(image.notes)
    assert notes["mask_left_out"] == "cell_mask.tif, nuclei.tif"
    assert notes["mask_name"] == "nuclear_mask.tif"


def test_the_mask_that_is_passed_and_names_that_are_given_decide(write, tmp_path):
    folder = write(CD3=NOISE, other=LABELS, cell_mask=LABELS)
    image = read_folder(folder, None, True, tmp_path / "other.tif")
    assert image.channel_names == ("CD3",)
    named = read_folder(folder, {"cell_mask": "mine"}, True, tmp_path / "other.tif")
    assert named.channel_names == ("CD3", "mine")
    every = read_folder(folder, ["a", "b", "c"], True)
    assert every.channel_names == ("a", "b", "c")
    assert dict(every.notes)["mask_kept"] == "cell_mask.tif"


def test_files_of_two_images_are_refused(write):
    with pytest.raises(InputFileError, match=r"differ in size \(y, x\): 'b.tif' has \(24, 20\)"):
        read_folder(write(a=NOISE, b=NOISE[:, :20]), None, True)
    with pytest.raises(InputFileError, match="differ in pixel type: 'b.tif' has uint8"):
        read_folder(write(a=NOISE, b=NOISE.astype(np.uint8)), None, True)


def test_pixel_sizes_that_differ_are_refused(write, tmp_path):
    for name, size in (("a", 20_000), ("b", 10_000)):
        tifffile.imwrite(tmp_path / f"{name}.tif", NOISE, resolution=(size, size), resolutionunit="CENTIMETER")
    with pytest.raises(PixelSizeError, match="'b.tif' has 1 µm, 'a.tif' 0.5 µm"):
        read_folder(tmp_path, None, True)


def test_folders_without_a_marker_are_refused(write, tmp_path):
    with pytest.raises(InputFileError, match="contains no TIFF file"):
        read_folder(tmp_path, None, True)
    with pytest.raises(InputFileError, match="contains no marker, only 1 file that may be masks: cell_mask.tif"):
        read_folder(write(cell_mask=LABELS), None, True)


def test_a_file_of_several_channels_is_no_marker(write, tmp_path):
    write(a=NOISE)
    tifffile.imwrite(tmp_path / "b.tif", np.stack([NOISE] * 3), photometric="minisblack", metadata={"axes": "CYX"})
    with pytest.raises(InputFileError, match="'.*b.tif' has 3 channels"):
        read_folder(tmp_path, None, True)


def test_copies_are_told(write):
    notes = dict(read_folder(write(**{"CD3": NOISE, "CD3 (1)": NOISE, "CD8": NOISE}), None, True).notes)
    assert notes["copies"] == "'CD3 (1)', 'CD3'"


@pytest.mark.parametrize(
    ("name", "words"),
    [("P1_cellMask-2.tif", "p_cell_mask"), ("DAPI.tif", "dapi"), ("wholeCells.ome.tif", "whole_cells")],
)
def test_words_of_a_name(tmp_path, name, words):
    assert _words(tmp_path / name) == words
