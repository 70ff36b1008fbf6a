"""Counts of neighbours on graphs that can be counted by hand."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

from spatialfm.stats.neighbours import log2_ratio, neighbor_fractions, pair_counts

# 0 -> 1, 2; 1 -> 0; 2 -> 1 (an explicit zero) and 3; 3 has none
GRAPH = csr_matrix(
    (np.array([1.0, 0.5, 2.0, 0.0, 1.0]), (np.array([0, 0, 1, 2, 2]), np.array([1, 2, 0, 1, 3]))), shape=(4, 4)
)
TYPES = np.array([0, 1, 1, 0])


def test_pairs_are_counted_from_row_to_column_within_a_library():
    counts = pair_counts(GRAPH, TYPES, np.array([0, 0, 1, 1]), 2, 2)
    np.testing.assert_array_equal(counts, [[[0, 2], [1, 0]], [[0, 0], [1, 0]]])


def test_fractions_whatever_the_weights_and_cells_without_neighbours():
    fractions, alone = neighbor_fractions(GRAPH, TYPES, 2)
    np.testing.assert_array_equal(fractions, [[0, 1], [1, 0], [1, 0], [0, 0]])
    assert alone.tolist() == [False, False, False, True]
    fractions, alone = neighbor_fractions(GRAPH, TYPES, 2, include_self=True)
    np.testing.assert_allclose(fractions, [[1 / 3, 2 / 3], [1 / 2, 1 / 2], [1 / 2, 1 / 2], [1, 0]], rtol=1e-6)
    assert not alone.any()


def test_rare_pairs_are_left_out_and_half_a_neighbour_is_added():
    observed, expected = np.array([0.0, 0.0, 12.0, 0.0]), np.array([4.9, 8.0, 6.0, 0.0])
    np.testing.assert_allclose(log2_ratio(observed, expected, 5), [np.nan, -4, np.log2(12.5 / 6), np.nan])
    np.testing.assert_allclose(log2_ratio(observed, expected, 0)[3], np.nan)
