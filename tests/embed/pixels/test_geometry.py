"""Pixel sizes: where they come from and when an image is resampled."""

from __future__ import annotations

import warnings

import pytest
from spatialdata.transformations import Identity, set_transformation

from spatialfm._errors import PixelSizeError, SpatialfmWarning
from spatialfm.embed.pixels.geometry import image_pixel_sizes, resampling_ratios
from spatialfm.pp.elements import match_elements


@pytest.fixture
def sdata(make_sdata, blobs):
    return make_sdata({"a": blobs(0), "b": blobs(1)}, ["x", "y", "z"], mpp=0.65)


class Card:
    name, mpp, mpp_range = "kronos", 0.5, (0.37, 0.5)


def test_sizes_come_from_transformations_or_the_user(sdata):
    pairs = match_elements(sdata)
    assert image_pixel_sizes(sdata, pairs, None, required=True) == pytest.approx([0.65, 0.65])
    with pytest.warns(SpatialfmWarning, match=r"mpp=.*contradicts.*image_a \(0.65\).*mpp= is used"):
        assert image_pixel_sizes(sdata, pairs, {"a": 0.3}, required=True) == pytest.approx([0.3, 0.65])


def test_an_unknown_size_is_refused_where_it_matters(sdata):
    set_transformation(sdata["image_b"], Identity(), "b")
    set_transformation(sdata["cells_b"], Identity(), "b")
    pairs = match_elements(sdata)
    with pytest.raises(PixelSizeError, match=r"image 'image_b' is unknown.*Pass mpp="):
        image_pixel_sizes(sdata, pairs, None, required=True)
    assert image_pixel_sizes(sdata, pairs, None, required=False) == [pytest.approx(0.65), None]
    with pytest.raises(PixelSizeError, match=r"650 µm per pixel of image 'image_a' cannot be"):
        image_pixel_sizes(sdata, pairs, 650, required=True)


def test_an_assumed_size_is_said_again(sdata):
    sdata.attrs["spatialfm"] = {"samples": {"a": {"mpp": 1.0, "mpp_source": "assumed"}}}
    pairs = match_elements(sdata)
    with pytest.warns(SpatialfmWarning, match=r"1 image \(image_a\): 1 µm was assumed"):
        image_pixel_sizes(sdata, pairs, None, required=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image_pixel_sizes(sdata, pairs, 0.65, required=True)


@pytest.mark.parametrize(
    ("size", "ratio"), [(0.5, 1), (0.45, 1), (0.37, 1), (0.54, 1), (0.35, 1), (1.0, 0.5), (0.25, 0.37 / 0.25)]
)
def test_images_beyond_ten_percent_of_the_range_are_resampled_to_its_nearer_end(size, ratio):
    assert resampling_ratios(Card, [size], resample=True) == pytest.approx([ratio])


def test_resampling_can_be_refused_and_some_models_need_none():
    assert resampling_ratios(Card, [0.5, 1.0], resample=False) == [1.0, 1.0]
    anything = type("Card", (Card,), {"mpp": None, "mpp_range": None})
    assert resampling_ratios(anything, [None, 3.0], resample=True) == [1.0, 1.0]
