"""Which statistics each marker takes, with numbers that tell them apart."""

from __future__ import annotations

import dataclasses
import warnings

import dask.array as da
import numpy as np
import pytest

import spatialfm as sfm
from spatialfm._errors import PanelError, SpatialfmWarning
from spatialfm.embed.pixels.normalize import settled_statistics
from spatialfm.embed.pixels.reader import SampleReader
from spatialfm.models.encoder import MarkerEntry
from spatialfm.models.virtues_pixels import ClippedLogBlurred
from spatialfm.pp.arrays import AxisAffine
from spatialfm.pp.units import default_range, intensity_ranges

MARKERS = ["CD3", "CD20", "CD68"]
CARD = sfm.models.card("kronos")


@pytest.fixture
def readers():
    rng = np.random.default_rng(0)
    image = (rng.integers(100, 200, (3, 40, 40)) + np.array([0, 20, 40])[:, None, None]).astype(np.uint8)
    labels = da.zeros((40, 40), dtype=np.int32)
    lazy = da.from_array(image, chunks=(1, 16, 16))
    return [SampleReader("image_a", "", lazy, labels, (0, 1, 2), tuple(MARKERS), 255.0, 1.0, AxisAffine())]


def statistics(readers, entries, card=CARD, **changes):
    recipe = card.recipe.replace(statistics=changes.pop("statistics", card.recipe.statistics))
    arguments = {"tissue_of": readers, "intensity_max": None, "given": None}
    return settled_statistics(card.name, recipe, MARKERS, entries, readers, **arguments | changes)


def of_pixels(readers):
    """Over all pixels, which noise without glass is all tissue of."""
    pixels = np.concatenate([np.asarray(one.image).reshape(3, -1) / one.intensity_max for one in readers], axis=1)
    return pixels.mean(axis=1), pixels.std(axis=1)


ENTRIES = {name: MarkerEntry(name, place, 0.1 + place, 0.5 + place) for place, name in enumerate(MARKERS)}


@pytest.mark.parametrize("unpublished", range(3))
def test_one_unpublished_marker_leaves_the_published_ones_alone(readers, unpublished):
    entries = {name: MarkerEntry(name, place, 0.1 + place, 0.5 + place) for place, name in enumerate(MARKERS)}
    del entries[MARKERS[unpublished]]
    of_cohort = statistics(readers, {})
    assert 0.4 < of_cohort[0].min() < of_cohort[0].max() < 0.8
    with pytest.warns(SpatialfmWarning, match=f"no published statistics for {MARKERS[unpublished]}"):
        mean, std, sources = statistics(readers, entries)
    for place, name in enumerate(MARKERS):
        expected = (0.1 + place, 0.5 + place, "published")
        if place == unpublished:
            expected = (of_cohort[0][place], of_cohort[1][place], "cohort")
        assert (mean[place], std[place], sources[place]) == expected, name


def test_statistics_of_raw_pixels_are_refused_where_scaled_ones_are_taken(readers):
    given = np.array([0.3, 150.0, 0.4]), np.array([0.1, 40.0, 0.1])
    with pytest.raises(
        PanelError, match=r"no pixel reaches: CD20 \(150\)\. kronos takes pixels divided by intensity_max"
    ):
        statistics(readers, {}, given=given)
    mean, std, sources = statistics(readers, {}, given=(given[0] / 255, given[1] / 255))
    np.testing.assert_array_equal([mean, std], [given[0] / 255, given[1] / 255])
    assert sources == ["given"] * 3


# ---- one test for each way


def test_statistics_of_the_cohort_are_those_of_all_tissue_pixels(readers):
    expected = of_pixels(readers)
    for entries, source in ((ENTRIES, "cohort"), ({}, "auto")):
        mean, std, sources = statistics(readers, entries, statistics=source)
        np.testing.assert_allclose([mean, std], expected, rtol=1e-6)
        assert sources == ["cohort"] * 3


def test_published_statistics_are_taken_as_they_are(readers):
    mean, std, sources = statistics(readers, ENTRIES, statistics="published")
    assert (mean.tolist(), std.tolist()) == ([0.1, 1.1, 2.1], [0.5, 1.5, 2.5])
    assert sources == ["published"] * 3


def test_published_statistics_that_do_not_exist_are_refused(readers):
    with pytest.raises(PanelError, match="has no published statistics for CD20, CD68"):
        statistics(readers, {"CD3": ENTRIES["CD3"]}, statistics="published")


@pytest.mark.parametrize("intensity_max", [None, 4095.0])
def test_published_statistics_need_the_range_of_floats(readers, intensity_max):
    floats = [dataclasses.replace(readers[0], image=readers[0].image.astype(np.float32))]
    if intensity_max is None:
        with pytest.raises(PanelError, match="range of float32 pixels is unknown"):
            statistics(floats, ENTRIES)
        assert statistics(floats, ENTRIES, statistics="cohort")[2] == ["cohort"] * 3
    else:
        assert statistics(floats, ENTRIES, intensity_max=intensity_max)[2] == ["published"] * 3


def test_a_model_that_scales_has_no_mean_and_one_without_statistics_neither(readers):
    scale = dataclasses.replace(CARD, recipe=CARD.recipe.replace(normalization="scale"))
    mean, std, sources = statistics(readers, ENTRIES, scale)  # published ones are of pixels less their mean
    np.testing.assert_allclose(std, of_pixels(readers)[1], rtol=1e-6)
    assert (mean.tolist(), sources) == ([0.0] * 3, ["cohort"] * 3)
    none = dataclasses.replace(CARD, recipe=CARD.recipe.replace(normalization="none"))
    mean, std, sources = statistics(readers, ENTRIES, none)
    assert (mean.tolist(), std.tolist(), sources) == ([0.0] * 3, [1.0] * 3, ["none"] * 3)


def test_a_marker_with_one_value_is_divided_by_one(readers):
    image = np.asarray(readers[0].image).copy()
    image[1] = 51
    flat = [dataclasses.replace(readers[0], image=da.from_array(image))]
    with pytest.warns(SpatialfmWarning, match="one value in all tissue pixels carry no information: CD20"):
        mean, std, _ = statistics(flat, {})
    assert std[1] == 1.0
    assert mean[1] == pytest.approx(0.2)
    assert (std[[0, 2]] < 0.2).all()
    with pytest.warns(SpatialfmWarning, match="no information: CD3"):
        assert statistics(readers, {}, given=([0.1, 0.2, 0.3], [0.0, 0.5, 0.5]))[1].tolist() == [1.0, 0.5, 0.5]


def test_means_up_to_the_brightest_pixel_are_taken_and_those_above_refused(readers):
    std = np.full(3, 0.2)
    statistics(readers, {}, given=(np.array([0.1, 1.0, 0.3]), std))
    with pytest.raises(PanelError, match=r"no pixel reaches: CD20 \(1.5\)"):
        statistics(readers, {}, given=(np.array([0.1, 1.5, 0.3]), std))
    floats = [dataclasses.replace(readers[0], image=readers[0].image.astype(np.float32))]
    statistics(floats, {}, given=(np.array([0.1, 1.5, 0.3]), std))  # whose largest value is unknown


@pytest.mark.parametrize(("mean", "std", "said"), [(1.0, 0.5, False), (5.0, 0.5, True), (0.01, 0.02, True)])
def test_statistics_of_pixels_that_were_not_logged_are_said(readers, mean, std, said):
    """Clipped at e - 1, log(1 + pixel) goes up to 1: (1 - mean) / std is how far the top lies, 0.5 to 25 allowed."""
    virtues = sfm.models.card("virtues")
    clipped = [ClippedLogBlurred(readers[0], np.full(3, np.expm1(2.0)))]
    given = (np.full(3, mean), np.full(3, std))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert statistics(clipped, {}, virtues, given=given)[2] == ["given"] * 3
    assert any("do not seem to be of clipped" in str(one.message) for one in caught) is said


# ---- ranges


@pytest.mark.parametrize(
    ("dtype", "value"), [("uint8", 255), ("uint16", 65535), ("float32", 1), ("int32", 1), ("uint32", 1), ("bool", 1)]
)
def test_only_8_and_16_bits_have_a_range_of_their_own(dtype, value):
    assert default_range(np.dtype(dtype)) == value
    assert intensity_ranges({"a": np.dtype(dtype)}, None) == {"a": value}


def test_what_is_said_goes_before_the_type():
    types = {"a": np.dtype("uint8"), "b": np.dtype("uint8")}
    assert intensity_ranges(types, 100) == {"a": 100.0, "b": 100.0}
    assert intensity_ranges(types, {"b": 50}) == {"a": 255.0, "b": 50.0}


def test_samples_of_two_types_need_a_word_for_each():
    types = {"a": np.dtype("uint8"), "b": np.dtype("uint16")}
    with pytest.raises(PanelError, match="Images of different pixel types .a: uint8; b: uint16."):
        intensity_ranges(types, None)
    with pytest.raises(PanelError, match="different pixel types"):
        intensity_ranges(types, {"a": 255})
    assert intensity_ranges(types, {"a": 255, "b": 4095}) == {"a": 255.0, "b": 4095.0}
    assert intensity_ranges(types, 4095) == {"a": 4095.0, "b": 4095.0}
    floats = {"a": np.dtype("float32"), "b": np.dtype("float64")}
    assert intensity_ranges(floats, None) == {"a": 1.0, "b": 1.0}  # of one kind


@pytest.mark.parametrize("value", [0, -1.0, np.nan, np.inf])
def test_a_range_is_a_positive_number_of_a_sample_that_is_there(value):
    with pytest.raises(PanelError, match="must be positive"):
        intensity_ranges({"a": np.dtype("uint8")}, {"a": value})
    with pytest.raises(PanelError, match="names sample 'z'"):
        intensity_ranges({"a": np.dtype("uint8")}, {"z": 255})
