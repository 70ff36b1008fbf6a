"""Lazy arrays as elements in µm, and one sentence for each kind of note."""

from __future__ import annotations

from pathlib import Path

import dask.array as da
import numpy as np
import pytest
from spatialdata.transformations import get_transformation

from spatialfm.io._elements import describe, place_sample, sample_without_image
from spatialfm.io._lazy_image import LazyImage
from spatialfm.io._pixel_size import PixelSize


def image(sizes=((8, 6),), **kwargs) -> LazyImage:
    levels = tuple(da.ones((2, *size), chunks=4) for size in sizes)
    known = {"pixel_size": PixelSize(0.5, 0.5, "OME-XML"), "other_size": None, "ignored_size": ""} | kwargs
    return LazyImage(levels, ("DAPI", "CD3"), kwargs.pop("is_named", True), path="a.tif", **{
        name: value for name, value in known.items() if name != "is_named"})  # fmt: skip


def test_an_image_lies_in_um_with_the_names_of_its_channels():
    read = place_sample("s", image(), Path("a.tif"))
    element = read.images["image_s"]
    assert element.coords["c"].values.tolist() == ["DAPI", "CD3"]
    matrix = get_transformation(element, "s").to_affine_matrix(("x", "y"), ("x", "y"))
    assert np.diag(matrix).tolist() == [0.5, 0.5, 1]
    assert read.record == {
        "mpp": 0.5, "mpp_source": "metadata", "image": "a.tif", "labels": None, "mpp_field": "OME-XML",
    }  # fmt: skip


def test_a_pyramid_keeps_the_files_own_levels():
    read = place_sample("s", image(((8, 6), (4, 3))), Path("a.tif"))
    assert list(read.images["image_s"]) == ["scale0", "scale1"]


def test_channels_without_names_are_noted_with_their_file():
    read = place_sample("s", image(is_named=False, pixel_size=None), Path("a.tif"))
    assert {kind for kind, _, _ in read.notes} == {"unnamed", "mpp_assumed"}
    assert {file for _, file, _ in read.notes} == {"a.tif"}
    assert read.record["mpp_source"] == "assumed"


def test_cells_alone_have_a_size_that_is_said_stated_or_assumed():
    assert sample_without_image("s", "t.csv", 0.3).record["mpp"] == 0.3
    assumed = sample_without_image("s", "t.csv", None)
    assert (assumed.record["mpp"], assumed.notes) == (1.0, [("mpp_assumed", "t.csv", "")])
    stated = sample_without_image("s", "t.csv", None, stated=PixelSize(0.65, 0.65, "table"))
    assert (stated.record["mpp"], stated.record["mpp_source"]) == (0.65, "metadata")
    against = sample_without_image("s", "t.csv", 0.3, stated=PixelSize(0.65, 0.65, "table"))
    assert against.record["mpp"] == 0.3
    assert against.notes[0][0] == "mpp_contradicts"


KINDS = (
    "mpp_assumed", "mpp_contradicts", "names_moved", "mpp_disagree", "mpp_unread", "ome_contradicts", "mpp_odd",
    "photograph", "tissue_left_out", "cells_without_row", "polygons_left_out", "mask_scaled", "mask_left_out", "copies",
    "mask_kept", "mask_name", "left_out", "unused_pages", "unnamed",
)  # fmt: skip


def test_each_kind_has_a_sentence_of_its_own_that_names_the_files():
    said = [describe(kind, [("a.tif", "x"), ("b.tif", "")]) for kind in KINDS]
    assert len(set(said)) == len(KINDS)
    assert all("'a.tif' (x), 'b.tif'" in text for text in said)


@pytest.mark.parametrize(("n", "rest"), [(3, ""), (5, " and 2 more")])
def test_of_many_files_three_are_named(n, rest):
    text = describe("mpp_assumed", [(f"{i}.tif", "") for i in range(n)])
    assert f"'2.tif'{rest}:" in text
    assert "'3.tif'" not in text
