"""Which pixel size counts: the user's, then that of the transformation; what is refused and said."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import spatialdata as sd
from spatialdata.transformations import Identity, Scale, set_transformation

import spatialfm as sfm
from spatialfm._errors import PixelSizeError, SpatialfmWarning
from spatialfm.pp.elements import match_elements
from spatialfm.pp.pixel_sizes import image_pixel_sizes, other_pixel_sizes


@pytest.fixture
def two(make_sdata):
    """Images ``a`` of 0.5 µm and ``b`` of an unknown size."""
    both = np.zeros((1, 8, 8), np.uint8), np.eye(8, dtype=np.int32)
    sdata = make_sdata(a=both)
    sdata.images["image_b"] = make_sdata(mpp=None, b=both)["image_b"]
    return sdata, match_elements(sdata, None, {}, need_labels=False)


def test_the_transformation_counts_unless_the_user_gives_a_size(two):
    sdata, pairs = two
    assert image_pixel_sizes(sdata, pairs, None, required=False) == [0.5, None]
    assert image_pixel_sizes(sdata, pairs, 0.5, required=True) == [0.5, 0.5]
    assert image_pixel_sizes(sdata, pairs, {"b": 0.25}, required=True) == [0.5, 0.25]


def test_unknown_sizes_are_refused_where_they_are_needed(two):
    sdata, pairs = two
    with pytest.raises(PixelSizeError, match=r"of image 'image_b' is unknown .*Pass mpp="):
        image_pixel_sizes(sdata, pairs, None, required=True)
    with pytest.raises(PixelSizeError, match=r"of 1 of 2 images is unknown \('image_b'\), that of 'image_a' is known"):
        image_pixel_sizes(sdata, pairs, None, required=False, common=True)
    with pytest.raises(PixelSizeError, match="5e\\+06 µm per pixel of image 'image_a' cannot be"):
        image_pixel_sizes(sdata, pairs, 5e6, required=False)


@pytest.mark.parametrize(("mpp", "said"), [(0.54, False), (0.56, True)])
def test_a_size_that_is_a_tenth_off_is_said(two, mpp, said):
    sdata, pairs = two
    if not said:
        assert image_pixel_sizes(sdata, pairs[:1], mpp, required=True) == [mpp]
        return
    with pytest.warns(SpatialfmWarning, match=r"contradicts the transformation of image_a \(0.5\)"):
        assert image_pixel_sizes(sdata, pairs[:1], mpp, required=True) == [mpp]


def test_an_assumed_size_is_said_where_it_is_needed(two):
    sdata, pairs = two
    sdata.attrs["spatialfm"] = {"samples": {"a": {"mpp_source": "assumed"}}}
    with pytest.warns(SpatialfmWarning, match=r"No file states the pixel size of 1 image \(image_a\)"):
        image_pixel_sizes(sdata, pairs[:1], None, required=True)


def test_another_size_in_another_coordinate_system_is_said_and_can_be_taken(make_sdata):
    """Pixels of 0.5 µm that are placed in a slide of other pixels, too: which of the two is in µm is not known."""
    sdata = make_sdata(a=(np.zeros((1, 8, 8), np.uint8), np.eye(8, dtype=np.int32)), mpp=None)
    scale = Scale([0.25, 0.25], axes=("x", "y"))
    for name in ("image_a", "cells_a"):
        set_transformation(sdata[name], Identity(), "global")
        set_transformation(sdata[name], scale, "microns")
    pairs = match_elements(sdata)
    assert pairs[0].coordinate_system == "global"
    with pytest.raises(PixelSizeError, match=r"'image_a' is unknown .* pixels of 'image_a' are 0.25 in 'microns'"):
        image_pixel_sizes(sdata, pairs, None, required=True)
    with pytest.warns(
        SpatialfmWarning, match=r"1 image has pixels of different sizes .*an unknown size is taken"
    ) as said:
        sfm.pp.cell_table(sdata, copy=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert image_pixel_sizes(sdata, pairs, 0.25, required=True) == [0.25]
    text = next(str(one.message) for one in said if "different sizes" in str(one.message))
    for call in text[text.index("after the sample: ") + 18 :].removesuffix(".").split("; "):
        exec(call, {"sdata": sdata, "spatialdata": sd})
    pairs = match_elements(sdata)
    assert image_pixel_sizes(sdata, pairs, None, required=True) == [0.25]  # and the identity is no size at all
    set_transformation(sdata["image_a"], Scale([0.5, 0.5], axes=("x", "y")), "aligned")
    assert other_pixel_sizes(sdata, pairs[0]) == {}  # the labels are not there
    set_transformation(sdata["cells_a"], Scale([0.5, 0.5], axes=("x", "y")), "aligned")
    assert other_pixel_sizes(sdata, pairs[0]) == {"aligned": 0.5}
    with pytest.warns(SpatialfmWarning, match=r"0.25 µm is taken for 'image_a'"):
        image_pixel_sizes(sdata, pairs, None, required=True)
