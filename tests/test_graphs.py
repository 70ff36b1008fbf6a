"""The weights that tests take in place of UMAP's are UMAP's."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import connectivities, scales
from scipy import sparse
from sklearn.neighbors import NearestNeighbors


@pytest.fixture
def neighbours():
    values = np.random.default_rng(0).normal(size=(60, 3))
    values[:4] = values[0]  # cells in one place
    found = NearestNeighbors(n_neighbors=10).fit(values).kneighbors(values)
    return found[1].astype(np.int32), found[0].astype(np.float32)


def test_widths_are_those_by_which_weights_add_up(neighbours):
    distances = neighbours[1].astype(float)[4:]
    width, nearest = scales(distances)
    weights = np.exp(-np.maximum(distances[:, 1:] - nearest[:, None], 0) / width[:, None])
    solvable = (weights == 1).sum(axis=1) < np.log2(10)  # not where four neighbours are equally near
    assert solvable.sum() > 50
    np.testing.assert_allclose(weights.sum(axis=1)[solvable], np.log2(10), atol=1e-4)


def test_a_neighbour_on_either_side_is_a_neighbour(neighbours):
    graph = connectivities(*neighbours, n_obs=60, n_neighbors=10).toarray()
    np.testing.assert_allclose(graph, graph.T)
    assert graph.min() == 0
    assert graph.max() <= 1 + 1e-6
    assert not graph.diagonal().any()
    assert ((graph > 0).sum(axis=1) >= 9).all()


@pytest.mark.slow  # UMAP compiles for 14 s
def test_weights_are_those_of_umap(neighbours):
    from umap.umap_ import fuzzy_simplicial_set

    indices, distances = neighbours
    expected, *_ = fuzzy_simplicial_set(
        sparse.coo_matrix((60, 1)), 10, None, None, knn_indices=indices, knn_dists=distances
    )
    found = connectivities(indices, distances, n_obs=60, n_neighbors=10)
    np.testing.assert_allclose(found.toarray(), expected.toarray(), atol=2e-5)
