"""Expected neighbours of types against all shuffles, one after the other."""

from __future__ import annotations

from itertools import permutations

import numpy as np
from scipy.sparse import csr_matrix

from spatialfm.stats.pairs import blocks, expected_pairs


def test_expected_numbers_are_the_mean_over_all_shuffles_within_areas():
    rng = np.random.default_rng(0)
    graph = (rng.random((7, 7)) < 0.5).astype(float)
    np.fill_diagonal(graph, 0)
    codes, areas = np.array([0, 1, 1, 2, 0, 0, 2]), np.array([0, 0, 0, 0, 1, 1, 1])
    total, n = np.zeros((3, 3)), 0
    for one in permutations(range(4)):
        for two in permutations(range(4, 7)):
            shuffled = codes[[*one, *two]]
            for i, j in zip(*np.nonzero(graph), strict=True):
                total[shuffled[i], shuffled[j]] += 1
            n += 1
    found = expected_pairs(csr_matrix(graph), codes, areas, np.zeros(2, int), 3)
    np.testing.assert_allclose(found, [total / n], atol=1e-10)


def test_libraries_are_apart():
    graph = csr_matrix(np.kron(np.eye(2), [[0, 1], [1, 0]]))
    found = expected_pairs(graph, np.array([0, 1, 1, 1]), np.array([0, 0, 1, 1]), np.array([0, 1]), 2)
    np.testing.assert_allclose(found, [[[0, 1], [1, 0]], [[0, 0], [0, 2]]], atol=1e-12)


def test_blocks_are_small_near_and_of_all_points():
    positions = np.random.default_rng(0).random((101, 2)) * (100, 1)
    found = blocks(positions, 10)
    counts = np.bincount(found)
    assert counts.max() <= 10
    assert counts.sum() == 101
    spans = [np.ptp(positions[found == block, 0]) for block in range(len(counts))]
    assert max(spans) < 15  # a hundred long: cut along it
