"""Which pixel size counts: the user's, then that of the transformation; what is refused and said."""

from __future__ import annotations

import numpy as np
import pytest

from spatialfm._errors import PixelSizeError, SpatialfmWarning
from spatialfm.pp.elements import match_elements
from spatialfm.pp.pixel_sizes import image_pixel_sizes


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
