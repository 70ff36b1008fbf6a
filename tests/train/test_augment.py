from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import chisquare, kstest

import spatialfm as sfm
from spatialfm._errors import ArgumentError
from spatialfm.train.augment import NOTHING, Augment, disturbed, oriented, scaled


def square():
    return np.arange(9, dtype=np.float32).reshape(1, 3, 3)


def orientations(augment, times=1600):
    found = [oriented(square(), augment, np.random.default_rng([2, k]))[0] for k in range(times)]
    kinds, counts = np.unique([one.astype(int).ravel() for one in found], axis=0, return_counts=True)
    return {tuple(one): n for one, n in zip(kinds.tolist(), counts.tolist(), strict=True)}


def test_the_eight_orientations_are_as_likely():
    found = orientations(Augment())
    truth = set()
    for turned in (np.rot90(square()[0], k) for k in range(4)):
        truth |= {tuple(turned.astype(int).ravel()), tuple(turned.T.astype(int).ravel())}
    assert set(found) == truth
    assert len(truth) == 8
    assert chisquare(list(found.values())).pvalue > 1e-3


def test_one_of_the_two_alone():
    assert len(orientations(Augment(flip=False))) == 4
    flipped = orientations(Augment(rotate=False))
    assert set(flipped) == {tuple(range(9)), (2, 1, 0, 5, 4, 3, 8, 7, 6)}
    assert chisquare(list(flipped.values())).pvalue > 1e-3


def test_nothing_changes_nothing():
    pixels, rng = square(), np.random.default_rng(0)
    for step in (scaled, oriented, disturbed):
        assert (step(pixels, NOTHING, rng) == pixels).all()


def test_intensity_is_uniform_in_its_logarithm_by_channel():
    ones = np.ones((400, 2, 2), np.float32)
    factors = scaled(ones, Augment(intensity=0.5), np.random.default_rng(1))
    assert (factors == factors[:, :1, :1]).all()
    logs = np.log(factors[:, 0, 0].astype(float)) / np.log(1.5)
    assert kstest(logs, "uniform", (-1, 2)).pvalue > 1e-3


def test_blur_is_a_gaussian_of_a_random_width():
    pixels = np.random.default_rng(0).normal(size=(2, 12, 12)).astype(np.float32)
    sigma = np.random.default_rng(4).uniform(0, 1.5)
    blurred = disturbed(pixels, Augment(blur=1.5), np.random.default_rng(4))
    np.testing.assert_allclose(blurred[1], gaussian_filter(pixels[1], sigma, mode="mirror"), atol=1e-6)


def test_noise_has_the_standard_deviation_that_is_drawn():
    sigma = np.random.default_rng(5).uniform(0, 0.3)
    noisy = disturbed(np.zeros((1, 200, 200), np.float32), Augment(noise=0.3), np.random.default_rng(5))
    assert abs(noisy.std() / sigma - 1) < 0.03
    assert noisy.dtype == np.float32


def test_a_field_that_there_is_not_is_named():
    with pytest.raises(ArgumentError, match="intensty"):
        Augment.of({"intensty": 0.2})
    with pytest.raises(ArgumentError, match="blur"):
        sfm.train.Augment(blur=-1)
