"""Tiles that are segmented, kept and stitched: levels from numpy, tiles that are taken up again, refusals."""

from __future__ import annotations

import numpy as np
import pytest

import spatialfm as sfm
from spatialfm._errors import ElementError, RunError
from spatialfm.pp.segment_run import Kept, SegmentJob, find_levels, read_tile, segment_tiles, stitched, tile_of
from spatialfm.pp.segmenters import Levels, SegmentRequest
from spatialfm.pp.stitch import StitchGrid


def job(pixels, side=8, margin=2, min_area=0.0) -> SegmentJob:
    names = [f"m{i}" for i in range(len(pixels))]
    grid = StitchGrid(pixels.shape[-2:], side, margin)
    return SegmentJob("s", "image_s", pixels, names, names[:1], names[1:], 0.5, grid, min_area, "code")


@pytest.fixture
def pixels():
    return np.random.default_rng(0).gamma(2, 10, (2, 16, 16)).astype(np.float32)


@pytest.mark.parametrize(("method", "percentiles"), [("cellpose", (1, 99)), ("instanseg", (0.1, 99.9))])
def test_levels_are_percentiles_of_the_image_as_each_method_was_published(pixels, method, percentiles):
    found = find_levels(job(pixels), SegmentRequest(method, 10.0, 0.0, None, {}))
    low, high = np.percentile(pixels.reshape(2, -1).astype(float), percentiles, axis=1)
    np.testing.assert_allclose(found.low, low)
    np.testing.assert_allclose(found.high, high)


def test_a_threshold_that_was_given_is_taken_and_an_even_image_has_no_nucleus(pixels):
    given = find_levels(job(pixels), SegmentRequest("watershed", 2.0, 0.0, None, {"threshold": 0.3}))
    assert given.threshold == 0.3
    even = find_levels(job(np.full((1, 16, 16), 5.0)), SegmentRequest("watershed", 2.0, 0.0, None, {}))
    assert even.threshold == np.inf


def test_pixels_that_are_no_numbers_are_counted_and_refused(pixels):
    pixels[0, 3, 3], pixels[1, 15, 0] = np.nan, np.inf
    with pytest.raises(ElementError, match=r"has 2 values that are NaN or infinite .* \(m0, m1\)"):
        find_levels(job(pixels), SegmentRequest("cellpose", 10.0, 0.0, None, {}))
    assert (
        find_levels(job(pixels), SegmentRequest(lambda: None, 10.0, 0.0, None, {})).low.size == 0
    )  # the user's own affair


def bright(tile, nuclear, membrane, mpp, levels):
    """Each bright pixel is a cell; labels leave gaps."""
    on = tile.sel(c=nuclear[0]).values > 0
    return np.where(on, np.cumsum(on).reshape(on.shape) * 2, 0)


@pytest.fixture
def dots():
    pixels = np.zeros((1, 16, 16), np.float32)
    pixels[0, [1, 7, 8, 14], [3, 8, 2, 14]] = 1
    return pixels


def test_tiles_are_kept_and_taken_up_again_unless_pixels_changed(dots):
    calls, names = [], []

    def count(*args):
        calls.append(args[0].shape)
        return bright(*args)

    kept = Kept({"model": "x"})
    segment_tiles(job(dots), Levels(), count, kept, lambda: None, names)
    assert calls == [(1, 10, 10)] * 4  # cores of 8 with a margin of 2, inside of the image
    segment_tiles(job(dots), Levels(), count, Kept({"model": "x"}), lambda: None, [])
    assert len(calls) == 4
    dots[0, 0, 0] = 5  # of the first tile alone
    segment_tiles(job(dots), Levels(), count, kept, lambda: None, [])
    assert len(calls) == 5
    segment_tiles(job(dots), Levels(threshold=0.5), count, kept, lambda: None, [])
    assert len(calls) == 9
    assert read_tile(job(dots), kept, names[0])["labels"].max() == 3  # one, and two of the margin
    kept.forget(names)
    with pytest.raises(RunError, match="A tile of 'image_s' is gone"):
        read_tile(job(dots), kept, names[0])


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_cell_at_a_border_is_drawn_once(dots, in_memory):
    names, kept = [], Kept(None)
    segment_tiles(job(dots), Levels(), bright, kept, lambda: None, names)
    labels, n = stitched(job(dots), kept, names, in_memory)
    assert n == 4
    np.testing.assert_array_equal(np.asarray(labels) > 0, dots[0] > 0)
    assert np.unique(np.asarray(labels)).tolist() == [0, 1, 2, 3, 4]
    small, n = stitched(job(dots, min_area=2), kept, names, in_memory)
    assert n == 0
    assert not np.asarray(small).any()


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (lambda *a: np.zeros((3, 3), int), ElementError, r"returned int64 \(3, 3\)"),
        (lambda *a: np.zeros((10, 10)), ElementError, "It must return whole numbers"),
        (lambda *a: np.full((10, 10), -1), ElementError, "returned negative numbers"),
        (lambda *a: 1 / 0, RunError, r"rows 0 to 8, columns 0 to 8 failed \(ZeroDivisionError"),
    ],
)
def test_what_is_no_segmentation_is_refused_with_its_tile(dots, answer, error, message):
    with pytest.raises(error, match=message):
        segment_tiles(job(dots), Levels(), answer, Kept(None), lambda: None, [])


def test_runs_of_functions_are_kept_apart():
    assert Kept(None).folder != Kept(None).folder
    assert Kept({"a": 1}).folder == Kept({"a": 1}).folder != Kept({"a": 2}).folder
    assert Kept(None).folder.parent == sfm.settings.cache_dir / "segmentation"


def test_tiles_have_the_names_of_the_channels(pixels):
    tile = tile_of(job(pixels), (2, 5, 0, 4))
    assert tile.coords["c"].values.tolist() == ["m0", "m1"]
    np.testing.assert_array_equal(tile.values, pixels[:, 2:5, :4])
