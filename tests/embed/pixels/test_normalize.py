"""Which statistics each marker takes, with numbers that tell them apart."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest

import spatialfm as sfm
from spatialfm._errors import PanelError, SpatialfmWarning
from spatialfm.embed.pixels.normalize import marker_statistics
from spatialfm.embed.pixels.reader import SampleReader
from spatialfm.models.encoder import MarkerEntry
from spatialfm.pp.arrays import AxisAffine

MARKERS = ["CD3", "CD20", "CD68"]
CARD = sfm.models.card("kronos")


@pytest.fixture
def readers():
    rng = np.random.default_rng(0)
    image = (rng.integers(100, 200, (3, 40, 40)) + np.array([0, 20, 40])[:, None, None]).astype(np.uint8)
    labels = da.zeros((40, 40), dtype=np.int32)
    lazy = da.from_array(image, chunks=(1, 16, 16))
    return [SampleReader("image_a", "", lazy, labels, (0, 1, 2), tuple(MARKERS), 255.0, 1.0, AxisAffine())]


def statistics(readers, entries, **changes):
    arguments = {"tissue_of": readers, "normalization": "auto", "intensity_max": None, "given": None}
    return marker_statistics(CARD, MARKERS, entries, readers, **arguments | changes)


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


def test_the_record_tells_what_was_applied(make_sdata, blobs):
    """A model of RGB images uses statistics of its own, and those of another range are named."""
    image, labels = blobs(0, n_cells=4)
    sdata = make_sdata({"a": (image, labels)}, ["red", "green", "blue"])
    sfm.tl.embed_cells(sdata, "dinov2-s", weights="random", rgb=True, on_unknown="keep")
    notes = sfm.get.record(sdata["table"], "X_dinov2_s")
    assert notes["normalization_mean"] == [0.485, 0.456, 0.406]
    assert notes["normalization_std"] == [0.229, 0.224, 0.225]
    assert notes["normalization_source"] == ["model"] * 3


def test_a_record_of_another_range_is_named(make_sdata, blobs):
    image, labels = blobs(0, n_cells=4)
    sdata = make_sdata({"a": (image, labels)}, MARKERS)
    table = sfm.tl.embed_cells(sdata, "dinov2-s", weights="random", copy=True)
    notes = sfm.get.record(table, "X_dinov2_s")
    with pytest.warns(SpatialfmWarning, match="pixels divided by 255, and those of this run are divided by 300"):
        again = sfm.tl.embed_cells(sdata, "dinov2-s", weights="random", stats=notes, intensity_max=300, copy=True)
    assert sfm.get.record(again, "X_dinov2_s")["normalization_mean"] == notes["normalization_mean"]
