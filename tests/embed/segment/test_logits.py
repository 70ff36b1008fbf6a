"""Logits of an image from windows that overlap."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import spatialfm as sfm
from spatialfm._errors import RunError
from spatialfm.embed.segment.logits import LogitMap, window_weights


class Image:
    """What a reader of pixels is asked for."""

    name = "image_a"

    def __init__(self, pixels: np.ndarray) -> None:
        self.values, self.shape = pixels.astype(np.float32), pixels.shape[1:]

    def pixels(self, y0, y1, x0, x1):
        out = np.zeros((len(self.values), y1 - y0, x1 - x0), np.float32)
        part = self.values[:, y0:y1, x0:x1]
        out[:, : part.shape[1], : part.shape[2]] = part
        return out


class Network:
    """Returns pixels plus what it was not told to know: the place in the window."""

    window, stride = 16, 8

    def __init__(self, change, normalize) -> None:
        self.change, self.encoder = change, SimpleNamespace(normalize=normalize)
        self.calls = []

    def __call__(self, pixels, markers):
        self.calls.append(len(pixels))
        return self.change(pixels, markers)


def as_it_is(x, mean, std, recipe):
    return x


def logits_of(pixels, change, normalize=as_it_is) -> LogitMap:
    n = len(pixels)
    mean, std, recipe = torch.full((n,), 2.0), torch.full((n,), 4.0), sfm.models.card("virtues").recipe
    return LogitMap(Network(change, normalize), Image(pixels), torch.arange(n), mean, std, recipe, batch_size=3)


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).random((2, 37, 29))


def test_pixels_are_standardised_and_every_pixel_is_there(pixels):
    def standard(x, mean, std, recipe):
        return (x - mean[:, None, None]) / std[:, None, None]

    logits = logits_of(pixels, lambda x, markers: x, standard)
    assert np.allclose(logits.region((0, 37, 0, 29)), (pixels - 2) / 4, atol=1e-6)
    assert np.allclose(logits.region((5, 21, 11, 12)), (pixels[:, 5:21, 11:12] - 2) / 4, atol=1e-6)


def test_windows_overlap_with_a_gaussian_and_end_at_the_border(pixels):
    """Against a sum over all windows written out; a region is the same whatever is asked for beside it."""
    place = torch.arange(256.0).reshape(16, 16)
    logits = logits_of(pixels, lambda x, markers: x[:, :1] + place)
    total, weight = np.zeros((37, 29)), np.zeros((37, 29))
    axis = np.linspace(-1, 1, 16)
    bell = np.exp(-(axis[:, None] ** 2 + axis**2) / 0.5)
    for y in (0, 8, 16, 21):
        for x in (0, 8, 13):
            total[y : y + 16, x : x + 16] += bell * (pixels[0, y : y + 16, x : x + 16] + place.numpy())
            weight[y : y + 16, x : x + 16] += bell
    assert np.allclose(logits.region((0, 37, 0, 29))[0], total / weight, atol=1e-4)
    assert np.allclose(logits.region((9, 30, 2, 28))[0], (total / weight)[9:30, 2:28], atol=1e-4)
    assert max(logits.segmenter.calls) == 3
    assert np.allclose(window_weights(16), bell)


def test_an_image_smaller_than_a_window(pixels):
    small = logits_of(pixels[:, :5, :7], lambda x, markers: x)
    assert np.allclose(small.region((0, 5, 0, 7)), pixels[:, :5, :7], atol=1e-6)


def test_what_is_no_number_is_named(pixels):
    def second_is_nan(x, markers):
        return x * torch.where(torch.arange(len(x)) == 1, torch.nan, 1.0)[:, None, None, None]

    with pytest.raises(RunError, match=r"returned NaN for the window of image 'image_a' at row 0, column 8"):
        logits_of(pixels, second_is_nan).region((0, 37, 0, 29))
