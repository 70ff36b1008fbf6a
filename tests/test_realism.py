"""Statistics by which simulated and real images are compared, each against a closed form."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

import spatialfm as sfm

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def realism(monkeypatch):
    """The module ``benchmarks/_realism.py``."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("_realism")


def test_gini_of_equal_and_of_one(realism):
    assert realism.gini(np.ones(50)) == pytest.approx(0, abs=1e-12)
    assert realism.gini(np.eye(50)[7]) == pytest.approx(1 - 1 / 50)
    assert realism.gini(np.random.default_rng(0).exponential(size=200_000)) == pytest.approx(0.5, abs=0.005)
    assert np.isnan(realism.gini(np.zeros(5)))


def test_autocorrelation_of_smoothed_noise(realism):
    """White noise smoothed by a Gaussian of sigma has exp(-d^2 / (4 sigma^2)) at distance d."""
    noise = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((800, 800)), 3, mode="wrap")
    assert realism.lagged(noise, 4) == pytest.approx(np.exp(-16 / 36), abs=0.02)


def test_cells_touch_across_a_narrow_gap(realism):
    labels = np.zeros((20, 40), int)
    labels[5:15, 2:8], labels[5:15, 10:16], labels[5:15, 30:36] = 4, 7, 9  # two pixels apart, and far away
    np.testing.assert_array_equal(realism.touching(labels), [[0, 1]])


def test_statistics_of_an_image_that_is_known(realism):
    labels = np.zeros((40, 40), int)
    labels[:20, :20], labels[:20, 20:], labels[20:, :20], labels[20:, 20:] = 1, 2, 3, 4
    levels = np.array([0, 1.0, 1.0, 6.0, 0.0])
    image = np.stack([levels[labels], levels[labels] * 2, np.zeros((40, 40))])
    table, diameter = realism.image_statistics(image, labels, 0.5)
    assert len(table) == 2  # a channel without light says nothing
    np.testing.assert_allclose(table["mean"], np.log10([2.0, 4.0]))
    np.testing.assert_allclose(table["zeros"], 0.25)
    np.testing.assert_allclose(table["channels"], 1.0)
    np.testing.assert_allclose(diameter, 2 * np.sqrt(400 / np.pi) * 0.5)
    np.testing.assert_allclose(table["gini"], realism.gini(levels[1:]))


def test_distance_of_a_shift_and_equal_weights(realism):
    rng = np.random.default_rng(0)
    real = {"a": rng.normal(0, 2, 4000), "b": rng.normal(0, 2, 400)}
    moved = {name: values + 3 for name, values in real.items()}
    assert realism.distance(moved, real) == pytest.approx(1.5, rel=0.03)
    assert realism.distance(real, real) == 0
    one, other = {"a": np.zeros(1000), "b": np.ones(10)}, {"a": np.zeros(7), "b": np.ones(3000)}
    assert realism.distance(one, other) == pytest.approx(0)  # each image counts the same
    assert realism.quantile(one, 0.4) == 0
    assert realism.quantile(one, 0.6) == 1


def test_masks_are_labelled_with_the_cell_that_they_overlap_most(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    sets = importlib.import_module("_realism_sets")
    sdata = sfm.datasets.simulate_cohort(1, n_samples=1, image_size=96, difficulty="real", mask_shift=0, dilation=0)
    found = sets.true_types(sdata)
    masks, true = (sdata[f"{kind}_P001_1"].values for kind in ("cells", "true_cells"))
    types = sdata["truth"].obs["type"].astype(str).to_numpy()
    for mask in (1, int(masks.max()) // 2, int(masks.max())):
        cells = true[(masks == mask) & (true > 0)]
        assert found[mask] == types[np.bincount(cells).argmax() - 1]
    features = sets.random_features(np.ones((2, 40, 40), np.float32), np.array([[20.5, 20.5], [19.5, 20.5]]), 1.0)
    assert features.shape == (2, 256)
    np.testing.assert_allclose(features[0], features[1], rtol=1e-5)  # the same window of an even image
