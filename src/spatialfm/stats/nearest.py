"""The graph of near neighbours of pynndescent, made and entered in one way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pynndescent import NNDescent


def neighbor_graph(values: np.ndarray, n_neighbors: int, random_state: int) -> NNDescent:
    """The nearest rows of each row ``(n, columns)`` by Euclidean distance, in a graph that finds those of others too.

    Queries enter it by a tree of random planes. The tree that pynndescent 0.6 and later make instead lies between hubs,
    the rows that are neighbours of most. Where no plane between three hubs has a tenth of a node on either side, as
    where they all lie at its edge, the node stays one leaf of any size, and each query that falls there is compared
    with all of it.
    """
    from pynndescent import NNDescent

    # each thread draws numbers of its own: with several, the graph would depend on how many
    graph = NNDescent(values, metric="euclidean", n_neighbors=n_neighbors, random_state=random_state, n_jobs=1)
    graph._rp_forest = None  # without those that it began with, it plants a tree of random planes when it is asked
    return graph
