"""Leiden clusters on scanpy's graph, numbered from the largest."""

from __future__ import annotations

import numpy as np
import pytest

from spatialfm.learn.leiden import leiden, neighbour_graph


@pytest.fixture(scope="module")
def blobs():
    """Groups of 20, 60 and 40 that lie apart."""
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2], [20, 60, 40])
    return rng.normal(size=(120, 3)) + 30 * truth[:, None], truth


def test_the_graph_is_symmetric_and_joins_neighbours(blobs):
    values, truth = blobs
    graph = neighbour_graph(values, 10, 0)
    assert graph.shape == (120, 120)
    assert abs(graph - graph.T).max() < 1e-6
    rows, columns = graph.nonzero()
    assert (truth[rows] == truth[columns]).all()
    assert neighbour_graph(values[:5], 50, 0).shape == (5, 5)  # more than there are


def test_clusters_are_the_groups_and_the_largest_is_number_zero(blobs):
    values, truth = blobs
    found = leiden(neighbour_graph(values, 30, 0), 0.05, 0)
    assert [np.unique(found[truth == group]).tolist() for group in (1, 2, 0)] == [[0], [1], [2]]
    assert np.bincount(found).tolist() == [60, 40, 20]
