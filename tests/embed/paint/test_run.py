"""A run that paints: tiles, then images in a folder, which the same call takes up again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from stand_in import Painter

import spatialfm as sfm
from spatialfm.embed.call import request_of
from spatialfm.embed.paint.run import are_written, paint_samples, read_written
from spatialfm.embed.paint.table import without_labels
from spatialfm.pp.elements import match_elements

RECIPE = {"statistics": {"CD3": (50.0, 20.0), "CD20": (70.0, 40.0)}}


@pytest.fixture
def cohort(make_sdata):
    image = np.random.default_rng(0).integers(0, 200, (2, 32, 64)).astype(np.uint8)
    labels = np.zeros((32, 64), np.int32)
    labels[3:6, 3:6] = 1
    return make_sdata({"a": (image, labels)}, ["CD3", "CD20"]), image


def paint(sdata, encoder, **kwargs):
    pairs = without_labels(match_elements(sdata))
    asked = {"mode": "together", "space": "standardised", "overlap": "mean", "stride": None} | kwargs
    request = request_of(encoder, recipe=RECIPE)
    return paint_samples(sdata, pairs, encoder, request, [torch.device("cpu")], ["CD3"], **asked)


def expected(image):
    """Of the only marker that is seen, each pixel and a tenth of the mean of its tile."""
    seen = (image[1].astype(float) - 70) / 40
    return np.concatenate([tile + 0.1 * tile.mean() for tile in (seen[:, :32], seen[:, 32:])], axis=1)


def test_the_image_is_what_the_decoder_predicts(cohort):
    sdata, image = cohort
    found = paint(sdata, Painter())
    assert (found.markers, found.n_tiles) == (("CD3",), 2)
    pixels = read_written(found.folder, 0, (4, 9, 20, 50), [0])[0]
    np.testing.assert_allclose(pixels, expected(image)[4:9, 20:50], rtol=1e-4, atol=1e-5)
    assert found.record["space"] == "standardised"
    assert not list((sfm.settings.cache_dir / "runs").glob("*"))  # blocks are forgotten


def test_intensities_are_in_the_units_of_the_image(cohort):
    sdata, image = cohort
    found = paint(sdata, Painter(), space="intensity")
    pixels = read_written(found.folder, 0, (0, 32, 0, 64), [0])[0]
    np.testing.assert_allclose(pixels, expected(image) * 20 + 50, rtol=1e-4, atol=1e-3)


def test_the_same_call_takes_what_is_written_and_another_does_not(cohort):
    sdata, _ = cohort
    encoder = Painter()
    first = paint(sdata, encoder)
    seen = encoder.n_windows
    again = paint(sdata, encoder)
    assert again.folder == first.folder
    assert (encoder.n_windows, again.seconds) == (seen, 0.0)
    assert paint(sdata, encoder, stride=16).folder != first.folder
    assert paint(sdata, encoder, overlap="feather").folder != first.folder


def test_images_are_written_where_all_samples_are_there(tmp_path):
    (tmp_path / "00000").mkdir()
    assert are_written(tmp_path, 1)
    assert not are_written(tmp_path, 2)
