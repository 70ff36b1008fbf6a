"""Pixel sizes that are the same, and lists of names in another order."""

from __future__ import annotations

import pytest

from spatialfm.io._lazy_image import is_same_size, moved_names


@pytest.mark.parametrize(("b", "same"), [(0.325, True), (0.3275, True), (0.33, False), (0.3225, True), (0.31, False)])
def test_a_hundredth_is_how_the_size_was_written(b, same):
    assert is_same_size(0.325, b) is same


def test_names_that_the_file_has_elsewhere():
    found = ("CD3", "CD8", "DAPI")
    ((kind, text),) = moved_names(found, ["CD8", "CD3", "DAPI"])
    assert kind == "names_moved"
    assert text == "'CD8' is channel 1 there and 0 in channel_names"
    assert not list(moved_names(found, ["CD3", "CD8", "x"]))
    assert not list(moved_names(found, {"CD3": "CD8"}))
    assert not list(moved_names(found, None))
