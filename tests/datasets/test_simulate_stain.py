"""Granular, one-sided and uneven stains."""

from __future__ import annotations

import numpy as np
import pytest

import spatialfm as sfm
from spatialfm.datasets._simulate_panel import MARKERS
from spatialfm.datasets._simulate_stain import Stain, granules, patches, poles


@pytest.mark.parametrize("granularity", [0.2, 0.7])
def test_granules_hold_their_share_of_the_light_on_a_tenth_of_the_area(granularity):
    factor = granules(256, 0.25, granularity, np.random.default_rng(0))
    assert factor.mean() == pytest.approx(1, abs=1e-4)
    spots = factor > 1 - granularity + 1e-6
    assert spots.mean() == pytest.approx(0.1, abs=0.015)
    assert (factor[spots] - (1 - granularity)).sum() / factor.sum() == pytest.approx(granularity, rel=1e-3)
    assert factor.min() == pytest.approx(1 - granularity)


def test_a_pole_is_one_side_of_the_cell():
    """A disc: the mean over its pole's half is 1 + polarity * 2 / pi, by the integral of the cosine."""
    y, x = np.mgrid[:101, :101]
    labels = (np.hypot(x - 50, y - 50) < 45).astype(np.int32)
    rng = np.random.default_rng(3)
    angle = np.random.default_rng(3).uniform(0, 2 * np.pi, 1)[0]
    factor = poles(labels, 0.5, 0.6, rng)
    side = (x - 50) * np.cos(angle) + (y - 50) * np.sin(angle)
    inside = labels > 0
    assert factor[inside & (side > 0)].mean() == pytest.approx(1 + 0.6 * 2 / np.pi, rel=0.01)
    assert factor[inside & (side < 0)].mean() == pytest.approx(1 - 0.6 * 2 / np.pi, rel=0.02)
    assert factor[inside].mean() == pytest.approx(1, abs=0.005)
    assert (factor[~inside] == 1).all()


def test_antibodies_differ_from_place_to_place():
    field = np.log(patches(2000.0, 0.4, np.random.default_rng(0)))
    assert field.shape[0] == len(MARKERS)
    assert field.std() == pytest.approx(0.4, rel=0.1)
    assert field.mean() == pytest.approx(0, abs=0.03)
    assert np.corrcoef(field[0, :, :-1].ravel(), field[0, :, 1:].ravel())[0, 1] > 0.9  # points 8 µm apart
    assert abs(np.corrcoef(field[0].ravel(), field[1].ravel())[0, 1]) < 0.2  # each marker has its own


def test_nuclear_stains_are_neither_granular_nor_one_sided():
    signal, half = np.ones((8, 8), np.float32), np.full((8, 8), 0.5, np.float32)
    stain = Stain(half, half, None)
    assert (stain.applied(signal, 0, "nuclear") == 1).all()
    assert (stain.applied(signal, 0, "membrane") == 0.25).all()
    uneven = Stain(None, None, np.full((40, 3, 3), 2.0, np.float32))
    np.testing.assert_allclose(uneven.applied(signal, 5, "nuclear"), 2.0)


def test_one_strength_leaves_the_others_as_they_are():
    base = {"n_patients": 1, "n_samples": 1, "image_size": 96, "difficulty": "easy", "polarity": 0.5}
    first = sfm.datasets.simulate_cohort(**base)
    second = sfm.datasets.simulate_cohort(**base, granularity=0.4)
    nuclear = first["image_P001_1"].sel(c="DAPI").values, second["image_P001_1"].sel(c="DAPI").values
    means = [image.astype(float).mean() for image in nuclear]
    assert means[0] == pytest.approx(means[1], rel=1e-3)  # the photons are the same, their counts are drawn again
    np.testing.assert_array_equal(first["true_cells_P001_1"].values, second["true_cells_P001_1"].values)
    np.testing.assert_array_equal(first["truth"].X, second["truth"].X)
