"""The graph of near neighbours, and the tree by which it is entered."""

import numpy as np
from scipy.spatial import cKDTree

from spatialfm.stats.nearest import neighbor_graph


def test_no_query_is_compared_with_a_large_part_of_the_rows():
    """The rows that are neighbours of most lie at the edge of the others, so that planes between them halve nothing."""
    rng = np.random.default_rng(0)
    rows = np.vstack([rng.normal(size=(4000, 8)), rng.normal(3, 0.05, size=(200, 8))]).astype(np.float32)
    graph = neighbor_graph(rows, 30, 0)
    queries = rng.normal(size=(300, 8)).astype(np.float32)
    found = graph.query(queries, k=10)[0]
    true = cKDTree(rows).query(queries, k=10)[1]
    assert np.mean([len(np.intersect1d(*pair)) for pair in zip(found, true, strict=True)]) > 9.5
    children = graph._search_forest[0].children  # of a leaf: where its rows begin and end, below 0
    leaves = -children[children[:, 0] <= 0]
    assert leaves.max() == len(rows)
    assert np.diff(leaves, axis=1).max() <= 30
