"""Pixel sizes that are the same, some of the channels, and lists of names in another order."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest

from spatialfm.io._lazy_image import LazyImage, is_same_size, moved_names


@pytest.mark.parametrize(("b", "same"), [(0.325, True), (0.3275, True), (0.33, False), (0.3225, True), (0.31, False)])
def test_a_hundredth_is_how_the_size_was_written(b, same):
    assert is_same_size(0.325, b) is same


def test_some_channels_on_every_level():
    pixels = np.arange(3 * 4 * 6).reshape(3, 4, 6)
    levels = (da.from_array(pixels), da.from_array(pixels[:, ::2, ::2]))
    image = LazyImage(levels, ("a", "b", "c"), True, None, None, "", "a.tif", found_names=("A", "B", "C"))
    some = image.of_channels([2, 0])
    assert (some.channel_names, some.found_names) == (("c", "a"), ("C", "A"))
    np.testing.assert_array_equal(some.levels[0], pixels[[2, 0]])
    np.testing.assert_array_equal(some.levels[1], pixels[[2, 0], ::2, ::2])
    assert image.of_channels([0, 1, 2]) is image


def test_names_that_the_file_has_elsewhere():
    found = ("CD3", "CD8", "DAPI")
    ((kind, text),) = moved_names(found, ["CD8", "CD3", "DAPI"])
    assert kind == "names_moved"
    assert text == "'CD8' is channel 1 there and 0 in channel_names"
    assert not list(moved_names(found, ["CD3", "CD8", "x"]))
    assert not list(moved_names(found, {"CD3": "CD8"}))
    assert not list(moved_names(found, None))
