"""Self-organising maps against their steps written out, and the clusters of nodes against scipy's Ward linkage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.metrics import adjusted_rand_score

from spatialfm._errors import TableError
from spatialfm.learn.som import meta_clusters, nearest_nodes, train_som


def written_out(rows, side, seed):
    """FlowSOM's training, step by step; the random numbers are drawn as the function says."""
    generator = np.random.default_rng(seed)
    nodes = rows[generator.choice(len(rows), side**2, replace=False)].astype(float)
    order = generator.integers(len(rows), size=len(rows))
    grid = [(i // side, i % side) for i in range(side**2)]
    apart = np.array([[max(abs(a - c), abs(b - d)) for c, d in grid] for a, b in grid], float)
    radius = np.quantile(apart, 0.67)
    for step, drawn in enumerate(order):
        nearest = np.argmin(((nodes - rows[drawn]) ** 2).sum(axis=1))
        within = radius - radius * step / len(rows)
        alpha = 0.05 - (0.05 - 0.01) * step / len(rows)
        for node in range(side**2):
            if apart[node, nearest] <= (0.5 if within < 1 else within):
                nodes[node] += alpha * (rows[drawn] - nodes[node])
    return nodes


def test_training_is_flowsoms():
    rows = np.random.default_rng(0).random((300, 4))
    np.testing.assert_allclose(train_som(rows, 4, random_state=3), written_out(rows, 4, 3), rtol=1e-9)
    assert not np.allclose(train_som(rows, 4, random_state=3), train_som(rows, 4, random_state=4))


def test_nodes_find_what_was_planted():
    rng = np.random.default_rng(1)
    centers = np.eye(5) * 3
    truth = rng.integers(5, size=3000)
    rows = centers[truth] + rng.normal(0, 0.2, (3000, 5))
    nodes = train_som(rows, 6, random_state=0)
    node = nearest_nodes(nodes, rows)
    sizes = np.bincount(node, minlength=36)
    means = np.stack([rows[node == i].mean(axis=0) if sizes[i] else np.zeros(5) for i in range(36)])
    clusters = meta_clusters(means, sizes, 5, "cells")
    assert adjusted_rand_score(truth, clusters[node]) > 0.99
    of_cluster = np.bincount(clusters[node])
    assert (np.diff(of_cluster) <= 0).all()  # the first is the largest


def test_nearest_nodes_by_brute_force():
    rng = np.random.default_rng(2)
    nodes, rows = rng.random((30, 7)), rng.random((500, 7)).astype(np.float32)
    expected = ((rows[:, None].astype(float) - nodes) ** 2).sum(axis=2).argmin(axis=1)
    np.testing.assert_array_equal(nearest_nodes(nodes, rows), expected)


def test_meta_clusters_are_wards_of_scores_cut_at_three():
    rng = np.random.default_rng(3)
    means = rng.random((40, 6))
    means[0, 0] = 100  # far beyond three standard deviations
    means[:, 5] = 7.0  # says nothing
    sizes = rng.integers(1, 9, 40)
    sizes[[4, 11]] = 0
    used = sizes > 0
    values = means[used][:, :5]
    scores = np.clip((values - values.mean(axis=0)) / values.std(axis=0), -3, 3)
    expected = fcluster(linkage(scores, "ward"), 6, "maxclust")
    found = meta_clusters(means, sizes, 6, "pixels")
    assert (found[~used] == -1).all()
    assert adjusted_rand_score(expected, found[used]) == 1


def test_refusals():
    with pytest.raises(TableError, match=r"3 x 3 nodes needs as many rows, and there are 8\. Pass a smaller side="):
        train_som(np.zeros((8, 2)), 3, random_state=0)
    with pytest.raises(TableError, match="2 nodes of the map of pixels are used, fewer than the 3 clusters asked for"):
        meta_clusters(np.eye(4), np.array([1, 0, 0, 5]), 3, "pixels")
