"""Which image of a file is meant."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from spatialfm._errors import InputFileError
from spatialfm.io._series import choose_series, unused_pages
from spatialfm.io._tifffile import all_series


def chosen(path, shapes, wanted=None, names=None):
    with tifffile.TiffWriter(path) as tif:
        for number, shape in enumerate(shapes):
            tif.write(np.zeros(shape, np.uint8), photometric="minisblack", metadata={"name": (names or {}).get(number)})
    with tifffile.TiffFile(path) as tif:
        return choose_series(all_series(tif), wanted, str(path))


def test_the_only_one_and_the_one_asked_for(tmp_path):
    assert chosen(tmp_path / "a.tif", [(4, 60, 80)]) == (0, "")
    assert chosen(tmp_path / "b.tif", [(4, 60, 80), (4, 60, 80)], wanted=1) == (1, "")
    with pytest.raises(InputFileError, match="has no series 2"):
        chosen(tmp_path / "c.tif", [(4, 60, 80), (4, 60, 80)], wanted=2)


def test_a_thumbnail_of_other_channels_is_left_out_and_a_smaller_copy_is_said(tmp_path):
    index, said = chosen(tmp_path / "a.tif", [(20, 20), (4, 60, 80)])
    assert (index, said) == (1, "")
    index, said = chosen(tmp_path / "b.tif", [(4, 60, 80), (4, 30, 40)])
    assert index == 0
    assert "series=1" in said


@pytest.mark.parametrize("other", [(4, 60, 80), (4, 59, 80), (4, 30, 50)])
def test_two_images_are_not_guessed_between(tmp_path, other):
    with pytest.raises(InputFileError, match="holds 2 images.*Say which with series="):
        chosen(tmp_path / "a.tif", [(4, 60, 80), other])


def test_pages_that_belong_to_no_image(tmp_path):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as tif:
        tif.write(np.zeros((2, 60, 80), np.uint8), photometric="minisblack")
        tif.write(np.zeros((60, 80), np.uint8), photometric="minisblack")
    with tifffile.TiffFile(path) as tif:
        series = all_series(tif)
        assert unused_pages(tif, series, series[0]) == 0
        assert unused_pages(tif, series[:1], series[0]) == 1
