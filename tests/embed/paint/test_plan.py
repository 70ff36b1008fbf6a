"""Markers that are predicted: where they are, what is refused, and statistics of what one sample alone has."""

from __future__ import annotations

import numpy as np
import pytest
from stand_in import Painter, Sums

from spatialfm._errors import ArgumentError, ModelError, PanelError
from spatialfm.embed.call import request_of
from spatialfm.embed.inputs import prepare_inputs
from spatialfm.embed.paint.plan import (
    check_decoder,
    check_masks,
    find_targets,
    plan_paint,
    seen_markers,
    target_statistics,
)
from spatialfm.embed.paint.table import without_labels
from spatialfm.pp.elements import match_elements

CHANNELS = ["CD3", "CD20", "CD279"]


def inputs_of(sdata, **panel):
    pairs = without_labels(match_elements(sdata))
    request = request_of(Painter(), panel=panel or None)
    return pairs, prepare_inputs(sdata, pairs, Painter(), request, tiles=True)


@pytest.fixture
def sdata(make_sdata):
    rng = np.random.default_rng(0)
    labels = np.zeros((64, 64), np.int32)
    labels[3:6, 3:6] = 1
    images = {name: rng.integers(0, 200, (3 + (name == "b"), 64, 64)).astype(np.uint8) for name in "ab"}
    samples = {name: (image, labels) for name, image in images.items()}
    return make_sdata(samples, {"a": CHANNELS, "b": [*CHANNELS, "CD68"]}), images


def test_a_model_without_decoder_is_refused():
    with pytest.raises(ModelError, match="'sums' has no decoder"):
        check_decoder(Sums())
    check_decoder(Painter())


@pytest.mark.parametrize("ratio", [(0.0, 0.5), (0.7, 0.6), (0.5, 1.1)])
def test_shares_that_are_none_are_refused(ratio):
    with pytest.raises(ArgumentError, match="must be two shares between 0 and 1"):
        check_masks("independent", ratio)


def test_hiding_everything_is_refused_where_tokens_are_drawn():
    with pytest.raises(ArgumentError, match="nothing is left to predict from"):
        check_masks("niche", (1.0, 1.0))
    check_masks("marker", (1.0, 1.0))


def test_markers_are_found_by_their_names_and_those_of_their_channels(sdata):
    _, inputs = inputs_of(sdata[0])
    assert find_targets(inputs, None).places == (0, 1, 2)
    found = find_targets(inputs, ["CD279", "CD3"])
    assert found.markers == ("PD-1", "CD3")
    assert found.places == (2, 0)
    added = find_targets(inputs, ["CD68", "CD20"])
    assert added.added == ("CD68",)
    assert added.places == (3, 1)  # behind the markers of the panel
    assert added.vectors.shape == (1, 640)


def test_markers_that_cannot_be_predicted_are_refused(sdata):
    _, inputs = inputs_of(sdata[0])
    for markers, message in (
        ("CD3", "takes a list of markers"),
        ([], "markers= is empty"),
        (["PD-1", "CD279"], "'PD-1' is asked for twice"),
        (["no such marker"], "neither in the panel of all images nor has a protein embedding"),
    ):
        with pytest.raises(PanelError, match=message):
            find_targets(inputs, markers)


def test_something_must_be_left_to_predict_from(sdata):
    _, inputs = inputs_of(sdata[0])
    every = find_targets(inputs, None)
    with pytest.raises(PanelError, match="All channels are hidden"):
        plan_paint(inputs, every, mode="together")
    assert seen_markers(inputs, every, "marker") == ["CD3", "CD20", "PD-1"]
    plan = plan_paint(inputs, find_targets(inputs, ["CD3"]), mode="together")
    assert plan.notes["seen"] == ["CD20", "PD-1"]
    assert plan.notes["imputed"] == ["CD3"]
    with pytest.raises(ModelError, match="stride=33 must be from 1 to the side of a tile, 32"):
        plan_paint(inputs, every, mode="marker", stride=33)


def test_statistics_of_a_marker_are_of_the_samples_that_have_it(sdata):
    cohort, images = sdata
    pairs, inputs = inputs_of(cohort)
    mean, std = target_statistics(cohort, pairs, inputs, find_targets(inputs, ["CD68", "CD3"]))
    own = images["b"][3].astype(float)
    range_of = float(inputs.raw[0].intensity_max)
    np.testing.assert_allclose([mean[0], std[0]], [own.mean() / range_of, own.std() / range_of], rtol=0.02)
    assert (mean[1], std[1]) == (inputs.mean[0], inputs.std[0])
    with pytest.raises(PanelError, match="'FOXP3' was stained in no sample"):
        target_statistics(cohort, pairs, inputs, find_targets(inputs, ["FOXP3"]))
