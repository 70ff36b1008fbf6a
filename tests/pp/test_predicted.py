"""Predicted beside measured pixels on one grid, from images of known means."""

from __future__ import annotations

import numpy as np
import pytest
import spatialdata as sd
from spatialdata.models import Image2DModel

from spatialfm._errors import ElementError, PanelError
from spatialfm.pp.predicted import (
    PredictedImage,
    add_predicted,
    channel_of,
    find_predicted,
    paired_pixels,
    predicted_elements,
    predicted_images,
    remove_predicted,
)


@pytest.fixture
def sdata():
    """Measured pixels 0 to 63 of 8 x 8, and a prediction of 4 x 4."""
    measured = np.arange(64.0).reshape(1, 8, 8)
    made = sd.SpatialData(
        images={
            "image_s": Image2DModel.parse(np.concatenate([measured, measured + 100]), c_coords=["CD3", "PD-1"]),
            "image_s_painted": Image2DModel.parse(np.full((2, 4, 4), 7.0), c_coords=["CD279", "CD20"]),
        }
    )
    note = {"sample": "s", "of": "image_s", "record": '{"space": "intensity"}'}
    made.attrs["spatialfm"] = {"imputed": {"image_s_painted": note}}
    return made


def test_images_are_found_by_their_records(sdata):
    assert find_predicted(sdata, "painted") == {"s": PredictedImage("image_s_painted", "image_s", "intensity")}
    assert find_predicted(sdata, "other") == {}
    with pytest.raises(ElementError, match=r"ends in 'other' \(key=\); there are 'image_s_painted'"):
        predicted_images(sdata, "other")
    sdata.attrs["spatialfm"]["imputed"]["image_s_painted"]["holds"] = "cells"  # one number per cell
    assert find_predicted(sdata, "painted") == {}


def test_a_marker_is_found_under_its_other_name(sdata):
    assert channel_of(sdata, "image_s", "PD-1") == 1
    assert channel_of(sdata, "image_s_painted", "PD-1") == 0  # CD279
    assert channel_of(sdata, "image_s", "CD20") is None
    assert channel_of(sdata, "image_s", "no such marker") is None


def test_measured_pixels_are_averaged_to_the_grid_of_the_prediction(sdata):
    pair = paired_pixels(sdata, find_predicted(sdata, "painted")["s"], "PD-1", 100)
    blocks = (np.arange(64.0).reshape(8, 8) + 100).reshape(4, 2, 4, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(pair.measured, blocks, rtol=1e-6)
    assert pair.predicted.tolist() == np.full((4, 4), 7).tolist()
    assert pair.hidden is None


def test_hidden_pixels_are_those_of_the_same_channel_by_majority(sdata):
    masks = np.zeros((2, 8, 8))
    masks[0, :2, :2], masks[0, 2, 2], masks[1] = 1, 1, 1
    sdata.images["image_s_painted_hidden"] = Image2DModel.parse(masks, c_coords=["CD279", "CD20"])
    pair = paired_pixels(sdata, find_predicted(sdata, "painted")["s"], "PD-1", 100)
    assert pair.hidden.sum() == 1
    assert pair.hidden[0, 0]


def test_large_images_are_averaged_down_by_whole_numbers(sdata):
    pair = paired_pixels(sdata, find_predicted(sdata, "painted")["s"], "PD-1", 2)
    assert pair.predicted.shape == (2, 2)
    expected = (np.arange(64.0).reshape(8, 8) + 100).reshape(2, 4, 2, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(pair.measured, expected, rtol=1e-6)


def test_other_units_and_absent_markers_are_refused(sdata):
    with pytest.raises(ElementError, match="is standardised: it has no difference"):
        paired_pixels(sdata, PredictedImage("image_s_painted", "image_s", "standardised"), "PD-1", 9)
    image = PredictedImage("image_s_painted", "image_s", "intensity")
    with pytest.raises(PanelError, match="'CD3' was not predicted in 'image_s_painted'"):
        paired_pixels(sdata, image, "CD3", 9)
    with pytest.raises(PanelError, match="'CD20' was not measured in 'image_s'"):
        paired_pixels(sdata, image, "CD20", 9)


def test_an_image_of_an_earlier_call_is_replaced_with_its_record():
    sdata = sd.SpatialData()
    images = [Image2DModel.parse(np.full((1, 4, 4), value), dims=("c", "y", "x"), c_coords=["CD3"]) for value in (1, 2)]
    for space, image in zip(("intensity", "standardised"), images, strict=True):
        record = {"space": space, "imputed": np.array(["CD3"])}
        add_predicted(sdata, "image_a_p", image, of="image_a", sample="a", holds="values", record=record)
    assert find_predicted(sdata, "p") == {"a": PredictedImage("image_a_p", "image_a", "standardised")}
    assert int(np.asarray(sdata["image_a_p"]).max()) == 2
    notes = predicted_elements(sdata)["image_a_p"]
    assert notes == {"of": "image_a", "sample": "a", "holds": "values", "record": notes["record"]}
    assert '"imputed": ["CD3"]' in notes["record"]
    remove_predicted(sdata, "image_a_p", "image_b_p")
    assert not predicted_elements(sdata)
    assert "image_a_p" not in sdata.images
