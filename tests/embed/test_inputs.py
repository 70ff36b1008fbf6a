"""What a run is given: markers, pixel sizes, statistics and where they come from, as the record tells it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from stand_in import Sums

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning

MARKERS = ["CD3", "CD20", "CD68"]


class Own(Sums):
    """Uses statistics of its own, of three channels."""

    card = dataclasses.replace(
        Sums.card, name="own", recipe=Sums.card.recipe.replace(normalization="marker statistics")
    )
    own_statistics = ([0.1, 0.2, 0.3], [0.5, 0.25, 1.0])


class Standardised(Sums):
    card = dataclasses.replace(
        Sums.card, name="own", recipe=Sums.card.recipe.replace(normalization="marker statistics")
    )


def test_the_record_tells_what_was_applied(make_sdata, blobs):
    """A model with its own statistics uses them, where it has one for each marker, and the record states it."""
    sdata = make_sdata({"a": blobs(0, n_cells=4)}, MARKERS)
    table = sfm.tl.embed_cells(sdata, Own(), copy=True)
    notes = sfm.get.record(table, "X_own")
    assert notes["normalization_mean"] == [0.1, 0.2, 0.3]
    assert notes["normalization_std"] == [0.5, 0.25, 1.0]
    assert notes["normalization_source"] == ["model"] * 3
    fewer = sfm.get.record(sfm.tl.embed_cells(sdata, Own(), markers=["CD3", "CD20"], copy=True), "X_own")
    assert fewer["normalization_source"] == ["cohort"] * 2


def test_dinov2_has_statistics_of_rgb_images():
    encoder = sfm.models.load("dinov2-s", weights="random", rgb=True)
    np.testing.assert_array_equal(encoder.own_statistics, ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))


def test_a_record_of_another_range_is_named(make_sdata, blobs):
    sdata = make_sdata({"a": blobs(0, n_cells=4)}, MARKERS)
    notes = sfm.get.record(sfm.tl.embed_cells(sdata, Standardised(), copy=True), "X_own")
    with pytest.warns(SpatialfmWarning, match="pixels divided by 255, and those of this run are divided by 300"):
        again = sfm.tl.embed_cells(sdata, Standardised(), recipe={"statistics": notes, "intensity_max": 300}, copy=True)
    assert sfm.get.record(again, "X_own")["normalization_mean"] == notes["normalization_mean"]


def test_pixels_are_divided_by_their_range_before_statistics(make_sdata, blobs):
    """Sums over the window of (pixel / 255 - mean) / std, by hand."""
    image, labels = blobs(0, n_cells=1, radius=4)
    labels[:] = 0
    labels[60:64, 80:84] = 1
    sdata = make_sdata({"a": (image, labels)}, MARKERS)
    given = {"CD3": (0.2, 0.5), "CD20": (0.1, 0.25), "CD68": (0.3, 2.0)}
    table = sfm.tl.embed_cells(sdata, Standardised(), recipe={"statistics": given}, copy=True)
    mean, std = (np.array([given[name][i] for name in MARKERS])[:, None, None] for i in (0, 1))
    inside = (image[:, 60:64, 80:84] / 255 - mean) / std  # what is outside of the cell is zero after that
    np.testing.assert_allclose(table.obsm["X_own"][0], inside.sum((1, 2)), rtol=1e-4)
