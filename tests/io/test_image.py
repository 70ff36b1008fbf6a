"""Pixel sizes, and images without the channels that a panel leaves out."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import tifffile

from spatialfm._errors import InputFileError, PanelError, PixelSizeError
from spatialfm.io._image import of_panel, read_image, resolve_mpp
from spatialfm.io._lazy_image import LazyImage
from spatialfm.io._pixel_size import PixelSize


def image(size=None, **kwargs) -> LazyImage:
    known = {"other_size": None, "ignored_size": ""} | kwargs
    names = known.pop("names", ("a", "b", "c"))
    pixels = da.arange(len(names))[:, None, None] * da.ones((1, 2, 2))
    return LazyImage((pixels,), tuple(names), True, size, path="a.tif", found_names=tuple(names), **known)


def test_the_argument_goes_before_the_file_and_is_told_where_they_differ():
    stated = PixelSize(0.5, 0.5, "OME-XML")
    assert resolve_mpp(image(stated), None) == (0.5, "metadata", [])
    assert resolve_mpp(image(stated), 0.5) == (0.5, "argument", [])
    mpp, source, notes = resolve_mpp(image(stated), 0.65)
    assert (mpp, source) == (0.65, "argument")
    assert notes == [("mpp_contradicts", "0.5 µm by OME-XML, mpp=0.65")]
    assert resolve_mpp(image(), None) == (1.0, "assumed", [("mpp_assumed", "")])


def test_sizes_in_another_unit_are_noticed():
    assert [kind for kind, _ in resolve_mpp(image(), 500.0)[2]] == ["mpp_odd"]
    with pytest.raises(PixelSizeError, match="Pixels of 'a.tif' are 500 x 500 µm by TIFF, which no image of cells has"):
        resolve_mpp(image(PixelSize(500, 500, "TIFF")), None)
    for wrong in (0.0, -1.0, np.nan):
        with pytest.raises(PixelSizeError, match="is not a pixel size"):
            resolve_mpp(image(), wrong)


def test_pixels_that_are_not_square_are_refused_unless_their_size_is_given():
    oblong = image(PixelSize(0.5, 0.6, "TIFF"))
    with pytest.raises(PixelSizeError, match=r"are not square \(0.5 x 0.6 µm by TIFF\)"):
        resolve_mpp(oblong, None)
    assert resolve_mpp(oblong, 0.5)[0] == 0.5
    assert resolve_mpp(image(PixelSize(0.5, 0.5004, "TIFF")), None)[0] == 0.5


def test_two_sizes_of_a_file_and_one_that_cannot_be_read_are_told():
    two = image(PixelSize(0.5, 0.5, "OME-XML"), other_size=PixelSize(0.7, 0.7, "TIFF"), unread_size="nan")
    assert [kind for kind, _ in resolve_mpp(two, None)[2]] == ["mpp_unread", "mpp_disagree"]
    assert [kind for kind, _ in resolve_mpp(image(unread_size="nan"), 0.5)[2]] == ["mpp_unread"]


class Panel(list):
    """Names of all channels, of which the second is left out."""

    left_out = (1,)
    kept = ["x", "z"]


def test_channels_that_a_panel_leaves_out_are_not_in_the_image():
    found = of_panel(Panel(["x", "y", "z"]), lambda names: image(names=names))
    assert found.channel_names == ("x", "z")
    assert found.left_out == ("y",)
    assert found.levels[0][:, 0, 0].compute().tolist() == [0, 2]


def test_a_file_that_has_left_them_out_already_is_taken_as_it_is():
    def opened(names):
        if len(names) != 2:
            raise PanelError("three names for two channels")
        return image(names=names)

    assert of_panel(Panel(["x", "y", "z"]), opened).channel_names == ("x", "z")

    def never(names):
        raise PanelError(f"{len(names)} names for nine channels")

    with pytest.raises(PanelError, match="3 names"):  # the first error says it
        of_panel(Panel(["x", "y", "z"]), never)


def test_files_and_folders_are_opened_by_what_they_are(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.arange(32, dtype=np.uint16).reshape(2, 4, 4), photometric="minisblack")
    found = read_image(tmp_path / "a.tif", ["DAPI", "CD3"])
    assert found.channel_names == ("DAPI", "CD3")
    np.testing.assert_array_equal(found.levels[0], np.arange(32).reshape(2, 4, 4))
    (tmp_path / "folder").mkdir()
    tifffile.imwrite(tmp_path / "folder" / "CD3.tif", np.zeros((4, 4), np.uint8))
    assert read_image(tmp_path / "folder", None).channel_names == ("CD3",)
    with pytest.raises(InputFileError, match="series=1 is the number of an image in one file"):
        read_image(tmp_path / "folder", None, series=1)
