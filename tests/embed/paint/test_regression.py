"""Regression in the place of a decoder: means around and the linear map against plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spatialfm._errors import ModelError
from spatialfm.embed.paint.regression import Regression, filled_and_around, mean_around


def by_hand(pixels, seen):
    """Pixel by pixel: weights of a normal curve of 8 pixels, and a thousandth for all."""
    out = np.zeros_like(pixels)
    for y in range(pixels.shape[0]):
        for x in range(pixels.shape[1]):
            near = [
                np.exp(-((np.arange(n) - at) ** 2) / 128) + 1e-3 for n, at in zip(pixels.shape, (y, x), strict=True)
            ]
            weights = np.outer(*near) * seen
            out[y, x] = (weights * pixels).sum() / weights.sum() if seen.any() else 0
    return out


def test_the_mean_around_is_of_seen_pixels_alone():
    rng = np.random.default_rng(0)
    pixels, seen = rng.normal(size=(3, 16, 24)), rng.random((3, 16, 24)) < 0.3
    seen[2] = False
    found = mean_around(torch.from_numpy(np.where(seen, pixels, 1e6)), torch.from_numpy(seen)).numpy()
    for channel in range(3):
        np.testing.assert_allclose(found[channel], by_hand(pixels[channel], seen[channel]), rtol=1e-9, atol=1e-12)
    assert (found[2] == 0).all()


def test_channels_that_are_hidden_count_by_what_is_around():
    rng = np.random.default_rng(1)
    pixels = torch.from_numpy(rng.normal(size=(2, 3, 16, 16)))
    hidden = torch.from_numpy(rng.random((2, 3, 2, 2)) < 0.5)
    coefficients, intercept = rng.normal(size=(3, 3)).astype(np.float32), np.array([1.0, 2.0, 3.0], np.float32)
    encoder = Regression(coefficients, intercept).double()
    found = encoder.reconstruct(pixels, None, hidden, channels=[2, 0]).numpy()
    filled, around = (part.numpy() for part in filled_and_around(pixels, hidden))
    wide = hidden.numpy().repeat(8, 2).repeat(8, 3)
    np.testing.assert_array_equal(filled[~wide], pixels.numpy()[~wide])
    np.testing.assert_array_equal(filled[wide], around[wide])
    for number, target in enumerate((2, 0)):
        x = filled.copy()
        x[:, target] = around[:, target]
        expected = np.einsum("m,bmhw->bhw", coefficients[target].astype(float), x) + intercept[target]
        np.testing.assert_allclose(found[:, number], expected, rtol=1e-6)


def test_another_fit_is_another_identity_and_it_embeds_nothing():
    one, other = (Regression(np.full((2, 2), value), np.zeros(2)).weights.sha256 for value in (1.0, 2.0))
    assert one != other
    with pytest.raises(ModelError, match="embeds nothing"):
        Regression()(torch.zeros(1, 1, 8, 8))
