"""Spatial smoothing: means of neighbours, a weight that holds up, and what rare types lose."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from spatialfm.learn.heads.smoothing import cost, neighbor_means, smoothed, weigh_neighbors


def test_means_are_over_the_nearest_cells_of_the_sample():
    rng = np.random.default_rng(0)
    positions, samples = rng.random((60, 2)), np.array(["b", "a"])[rng.integers(0, 2, 60)]
    values = rng.random((60, 3))
    found = neighbor_means(positions, samples, 4) @ values
    for cell in range(60):
        mine = np.flatnonzero((samples == samples[cell]) & (np.arange(60) != cell))
        near = mine[np.argsort(cdist(positions[cell : cell + 1], positions[mine])[0])[:4]]
        np.testing.assert_allclose(found[cell], values[near].mean(axis=0))
    np.testing.assert_allclose(
        smoothed(values, neighbor_means(positions, samples, 4), 0.25), 0.75 * values + 0.25 * found
    )
    alone = neighbor_means(positions[:3], np.array(["a", "a", "b"]), 4).toarray()
    np.testing.assert_array_equal(alone, [[0, 1, 0], [1, 0, 0], [0, 0, 1]])


class Fixed:
    """A method whose probabilities are given."""

    def __init__(self, probability):
        self.probability = probability

    def predict_seen(self, rows):
        return self.probability[rows]


def tissue(mixed, seed=0):
    """Types in two halves of a tissue, or in no order; a method that is right in 70 % of cells."""
    rng = np.random.default_rng(seed)
    positions = rng.random((600, 2))
    codes = rng.integers(0, 2, 600) if mixed else (positions[:, 0] > 0.5).astype(int)
    said = np.where(rng.random(600) < 0.7, codes, 1 - codes)
    probability = np.full((600, 2), 0.3)
    probability[np.arange(600), said] = 0.7
    return positions, codes, probability


@pytest.mark.parametrize("mixed", [False, True])
def test_neighbours_count_where_they_are_alike(mixed):
    positions, codes, probability = tissue(mixed)
    rows = np.arange(0, 600, 4)
    means = neighbor_means(positions, np.zeros(600))
    options = (rows, codes[rows], None, means, ["a", "b"], 0)
    weight, calibration, table = weigh_neighbors(lambda *_: Fixed(probability), *options)
    assert (weight <= 0.1) if mixed else (weight >= 0.5)
    assert table["n"].sum() == 150
    if not mixed:
        assert (table["f1_smoothed"] > table["f1"] + 0.08).all()
        assert calibration.temperature < 1  # a mean of unsure neighbours is surer than it looks
    fixed, *_ = weigh_neighbors(lambda *_: Fixed(probability), *options, weight=0.3)
    assert fixed == 0.3


def test_what_a_rare_type_loses_is_shown():
    before = np.array([[0.4, 0.6], [0.9, 0.1], [0.8, 0.2], [0.3, 0.7]])
    after = np.array([[0.6, 0.4], [0.9, 0.1], [0.8, 0.2], [0.3, 0.7]])
    table = cost(before, after, np.array([1, 0, 0, 1]), ["common", "rare"])
    assert table.loc["rare", ["recall", "recall_smoothed"]].tolist() == [1.0, 0.5]
    assert table.loc["common", "f1_smoothed"] == pytest.approx(0.8)
    assert table["n"].tolist() == [2, 2]


def test_few_held_out_cells_choose_no_weight():
    positions, codes, probability = tissue(False)
    rows = np.concatenate([np.flatnonzero(codes == code)[:3] for code in (0, 1)])
    means = neighbor_means(positions, np.zeros(600))
    found = weigh_neighbors(lambda *_: Fixed(probability), rows, codes[rows], None, means, ["a", "b"], 0)
    weight, calibration, table = found
    assert weight == 0
    assert calibration.temperature == 1
    assert table.empty


def test_of_equally_far_cells_the_first_in_the_given_order_are_taken():
    positions = np.stack(np.meshgrid(np.arange(8.0), np.arange(8.0)), axis=-1).reshape(-1, 2)
    rng, values = np.random.default_rng(0), np.random.default_rng(1).random((64, 3))
    expected = neighbor_means(positions, np.zeros(64), 6) @ values
    rows = rng.permutation(64)
    found = neighbor_means(positions[rows], np.zeros(64), 6, order=np.argsort(rows)) @ values[rows]
    np.testing.assert_allclose(found, expected[rows])
