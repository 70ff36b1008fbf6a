"""Pixels of an .mcd file by their places, whatever the order of ablation."""

from __future__ import annotations

import numpy as np
import pytest
from reading_mcd import counts_of, rows_of, write_mcd

from spatialfm._errors import InputFileError
from spatialfm.io._mcd_array import lazy_acquisition, lazy_picture, places_of
from spatialfm.io._mcd_file import Picture, read_contents

PIXELS = counts_of((3, 4, 5))


def opened(path, channels=(0, 1, 2)):
    contents = read_contents(path)
    return lazy_acquisition(contents.state, contents.acquisitions[0], channels)


def test_windows_are_those_that_were_asked_for(tmp_path):
    write_mcd(tmp_path / "a.mcd", [PIXELS])
    np.testing.assert_array_equal(opened(tmp_path / "a.mcd"), PIXELS)
    np.testing.assert_array_equal(opened(tmp_path / "a.mcd", (2, 0))[:, 1:3, 2:4], PIXELS[[2, 0], 1:3, 2:4])
    assert opened(tmp_path / "a.mcd")[:, 2:2].compute().shape == (3, 0, 5)


def test_pixels_may_come_in_another_order_and_some_may_be_missing(tmp_path):
    write_mcd(tmp_path / "a.mcd", [PIXELS], rows=[rows_of(PIXELS, columns_first=True)])
    np.testing.assert_array_equal(opened(tmp_path / "a.mcd"), PIXELS)
    write_mcd(tmp_path / "b.mcd", [PIXELS], rows=[rows_of(PIXELS)[:-3]])  # stopped before the end
    expected = PIXELS.copy()
    expected[:, 3, 2:] = 0
    np.testing.assert_array_equal(opened(tmp_path / "b.mcd"), expected)


def test_places_are_counted_along_rows():
    xy = np.array([[0.0, 0], [4, 0], [0, 1], [4, 3]])
    assert places_of(xy, (4, 5), "a").tolist() == [0, 4, 5, 19]


@pytest.mark.parametrize("xy", [[5.0, 0], [0, 4], [-1, 0], [0.5, 0]])
def test_pixels_outside_of_the_image_are_refused(xy):
    with pytest.raises(InputFileError, match="1 of 2 pixels are outside of its 4 x 5 pixels"):
        places_of(np.array([[0.0, 0], xy]), (4, 5), "a")


def test_a_pixel_that_occurs_twice_is_refused():
    with pytest.raises(InputFileError, match="pixels occur twice"):
        places_of(np.zeros((2, 2)), (4, 5), "a")


def test_pictures_are_read_as_colours_and_others_are_left(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (6, 7, 3)).astype(np.uint8)
    write_mcd(tmp_path / "a.mcd", [PIXELS], picture=picture)
    contents = read_contents(tmp_path / "a.mcd")
    np.testing.assert_array_equal(lazy_picture(contents.state, contents.pictures[0]), np.moveaxis(picture, -1, 0))
    assert lazy_picture(contents.state, Picture(1, "", 0, 40, None)) is None
