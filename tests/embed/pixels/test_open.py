"""Readers of samples: channels by their number, labels on the grid of the image, or none."""

from __future__ import annotations

import numpy as np
import pytest

from spatialfm.embed.pixels.open import open_readers
from spatialfm.pp.elements import SampleElements


@pytest.fixture
def sdata(make_sdata):
    image = np.arange(3 * 8 * 8).reshape(3, 8, 8).astype(np.float32)
    labels = np.zeros((8, 8), np.int32)
    labels[0:4, 4:8] = 5
    return make_sdata({"a": (image, labels)}, ["CD3", "CD8", "CD20"])


def opened(sdata, labels, ratio=1.0, **kwargs):
    pair = SampleElements("a", "image_a", labels, "a")
    asked = {"ranges": {"a": 4.0}, "tissue": "all", "on_nan": "raise", "area": True} | kwargs
    (reader,) = open_readers(sdata, [pair], [[2, 0]], [ratio], [0.5], **asked)
    return reader


def test_channels_have_the_order_of_the_markers_and_the_range_of_the_sample(sdata):
    reader = opened(sdata, "cells_a")
    assert reader.channel_names == ("CD20", "CD3")
    values = np.asarray(sdata["image_a"])[[2, 0]] / 4
    np.testing.assert_allclose(reader.pixels(0, 8, 0, 8), values)
    np.testing.assert_array_equal(reader.label_image(0, 8, 0, 8), sdata["cells_a"])


def test_pixels_of_two_are_their_means(sdata):
    reader = opened(sdata, "cells_a", ratio=2.0)
    assert reader.shape == (4, 4)
    blocks = np.asarray(sdata["image_a"])[[2, 0]].reshape(2, 4, 2, 4, 2).mean(axis=(2, 4)) / 4
    np.testing.assert_allclose(reader.pixels(0, 4, 0, 4), blocks, rtol=1e-5)
    assert reader.label_image(0, 4, 0, 4).tolist() == [[0, 0, 5, 5], [0, 0, 5, 5], [0] * 4, [0] * 4]


def test_without_labels_all_is_background(sdata):
    reader = opened(sdata, None)
    assert reader.labels_name == ""
    assert not reader.label_image(0, 8, 0, 8).any()


def test_tissue_is_that_of_the_sample(sdata):
    mask = np.zeros((8, 8), bool)
    mask[2] = True
    assert opened(sdata, None).tissue.kind == "all"
    np.testing.assert_array_equal(opened(sdata, None, tissue=mask).tissue.given(), mask)
