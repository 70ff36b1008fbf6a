"""The mean of each marker over a cell, by numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import spatialfm as sfm
from spatialfm._errors import ModelError


def test_means_are_those_of_numpy():
    rng = np.random.default_rng(0)
    pixels, mask = rng.normal(size=(5, 3, 9, 7)).astype(np.float32), rng.random((5, 9, 7)) < 0.3
    mask[4] = False
    encoder = sfm.models.load("mean-intensity")
    found = encoder(torch.tensor(pixels), mask=torch.tensor(mask)).patch
    for cell in range(4):
        np.testing.assert_allclose(found[cell], pixels[cell][:, mask[cell]].mean(axis=1), rtol=1e-4, atol=1e-6)
    assert (found[4] == 0).all()
    np.testing.assert_allclose(encoder(torch.tensor(pixels)).patch, pixels.mean((2, 3)), rtol=1e-4, atol=1e-6)
    assert encoder.feature_names(["a", "b"]) == ["a", "b"]


def test_a_mask_that_does_not_fit():
    encoder = sfm.models.load("mean-intensity")
    with pytest.raises(ModelError, match="mean-intensity"):
        encoder(torch.zeros(1, 2, 4, 4), mask=torch.ones(1, 3, 4, dtype=torch.bool))
