"""Pixel sizes: where they come from and when an image is resampled."""

from __future__ import annotations

import warnings

import pytest
from spatialdata.transformations import Identity, set_transformation

from spatialfm._errors import PixelSizeError, SpatialfmWarning
from spatialfm.embed.pixels.geometry import common_pixel_size, resampling_ratios
from spatialfm.pp.elements import match_elements
from spatialfm.pp.pixel_sizes import image_pixel_sizes


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


@pytest.mark.parametrize(("given", "said"), [(0.65 * 1.09, False), (0.65 * 1.15, True), (0.65 / 1.15, True)])
def test_a_size_within_ten_percent_of_the_file_contradicts_nothing(sdata, given, said):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert image_pixel_sizes(sdata, match_elements(sdata), given, required=True) == [given, given]
    assert any("contradicts" in str(one.message) for one in caught) is said


@pytest.mark.parametrize("n_unknown", [1, 2, 3])
def test_one_unknown_size_among_known_ones_is_refused_and_all_unknown_are_not(make_sdata, blobs, n_unknown):
    sdata = make_sdata({name: blobs(number) for number, name in enumerate("abc")}, ["x", "y", "z"])
    for name in "abc"[:n_unknown]:
        for element in (f"image_{name}", f"cells_{name}"):
            set_transformation(sdata[element], Identity(), name)
    pairs = match_elements(sdata)
    if n_unknown == 3:
        assert image_pixel_sizes(sdata, pairs, None, required=False, common=True) == [None] * 3
        return
    with pytest.raises(PixelSizeError, match=rf"{n_unknown} of 3 images is unknown \('image_a'"):
        image_pixel_sizes(sdata, pairs, None, required=False, common=True)
    assert image_pixel_sizes(sdata, pairs, None, required=False)[n_unknown:] == pytest.approx([0.5] * (3 - n_unknown))


@pytest.mark.parametrize("size", [0.009, 51.0])
def test_sizes_of_no_microscope_are_refused(sdata, size):
    with pytest.raises(PixelSizeError, match="cannot be"):
        image_pixel_sizes(sdata, match_elements(sdata), size, required=False)


# ---- the size at which all images of a run are shown


@pytest.mark.parametrize(
    ("sizes", "common"),
    [
        ([], None),
        ([0.4, None], None),  # not known of all
        ([0.37, 0.5], 0.5),  # both within the range, and more than 10 % apart: the coarser
        ([0.46, 0.5], None),  # within 10 %: each as it is
        ([0.25, 0.5], 0.5),
        ([0.25, 0.3], None),  # both below the range, and nearest to its same end
        ([0.4, 2.0], 0.5),  # above the range: never coarser than the model knows
        ([0.4, 0.545], 0.5),
    ],
)
def test_of_a_model_with_a_range_it_is_the_coarsest_that_it_knows(sizes, common):
    assert common_pixel_size(Card, sizes) == (None if common is None else pytest.approx(common))


def test_what_the_encoder_was_loaded_with_goes_before():
    assert common_pixel_size(Card, [0.25, 0.5], asked=0.8) == 0.8
    assert common_pixel_size(Card, [0.25, None], asked=0.8) is None


@pytest.mark.parametrize(
    ("sizes", "common"), [([0.25, 0.4], 0.5), ([0.47], 0.47), ([0.455, 0.3], 0.455), ([0.45], 0.5), ([1.0, 0.2], 1.0)]
)
def test_of_a_model_in_micrometres_it_is_its_reference_or_what_is_coarser(sizes, common):
    """0.455 µm is within 10 % of 0.5 (0.5 / 1.1 = 0.4545), 0.45 is not."""
    measures = type("Measures", (), {"mpp": None, "mpp_range": None, "mpp_reference": 0.5})
    assert common_pixel_size(measures, sizes) == pytest.approx(common)


@pytest.mark.parametrize(("sizes", "common"), [([0.25, 0.5], 0.5), ([0.47, 0.5], None), ([0.3], None)])
def test_of_a_model_without_any_size_it_is_the_coarsest_of_a_mixture(sizes, common):
    anything = type("Anything", (), {"mpp": None, "mpp_range": None, "mpp_reference": None})
    assert common_pixel_size(anything, sizes) == common


def test_all_images_are_brought_to_the_common_size_to_a_hundredth():
    ratios = resampling_ratios(Card, [0.5, 0.4, 0.4975, 0.4925], resample=True, common=0.5)
    assert ratios == pytest.approx([1, 0.5 / 0.4, 1, 0.5 / 0.4925])
