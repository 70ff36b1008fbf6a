"""Self-organising maps and the clusters of their nodes, as FlowSOM and Pixie have them.

A library would be `minisom` (MIT): its neighbourhoods and schedules are others, and each step is a call of Python,
which takes minutes for a million pixels, where the loop below takes seconds.
"""

from __future__ import annotations

import numpy as np

from .._compiled import compiled
from .._errors import TableError, counted
from .._threads import one_thread

ALPHA = (0.05, 0.01)  # how far nodes move towards a row, at the first and the last step
RADIUS_QUANTILE = 0.67  # of the distances between nodes: the first radius; the last is 0
ROWS = 65_536  # compared with all nodes at a time
CAP = 3.0  # standard deviations


def train_som(rows: np.ndarray, side: int, *, random_state: int) -> np.ndarray:
    """Nodes ``(side**2, columns)`` of a square map that has seen as many rows as there are, drawn at random.

    Each step draws a row, finds the nearest node, and moves it and all nodes within the radius (the larger of the
    distances along the two axes of the map) towards the row. Radius and step length fall linearly; below a radius of 1
    the nearest node moves alone. It starts from rows drawn without replacement (Van Gassen et al. 2015; Liu et al.
    2023, *Pixie*).

    Raises
    ------
    TableError
        If there are fewer rows than nodes.
    """
    n, n_nodes = len(rows), side * side
    if n < n_nodes:
        raise TableError(
            f"A map of {side} x {side} nodes needs as many rows, and there are {n:,}. Pass a smaller side=."
        )
    generator = np.random.default_rng(random_state)
    nodes = rows[generator.choice(n, n_nodes, replace=False)].astype(np.float64)
    place = np.stack(np.divmod(np.arange(n_nodes), side), axis=1)
    apart = np.abs(place[:, None] - place[None]).max(axis=2).astype(np.float64)
    radius = float(np.quantile(apart, RADIUS_QUANTILE))
    _train(nodes, np.ascontiguousarray(rows), generator.integers(n, size=n), apart, radius, *ALPHA)
    return nodes


@compiled
def _train(nodes, rows, order, apart, radius, first, last):
    n = len(order)
    for step in range(n):
        row = rows[order[step]]
        nearest, smallest = 0, np.inf
        for node in range(len(nodes)):
            distance = 0.0
            for column in range(len(row)):
                distance += (row[column] - nodes[node, column]) ** 2
            if distance < smallest:
                nearest, smallest = node, distance
        within = radius * (1 - step / n)
        if within < 1:
            within = 0.5
        alpha = first - (first - last) * step / n
        for node in range(len(nodes)):
            if apart[node, nearest] <= within:
                for column in range(len(row)):
                    nodes[node, column] += alpha * (row[column] - nodes[node, column])


def nearest_nodes(nodes: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Number of the nearest node of each row; of equally near ones the first.

    Examples
    --------
    >>> nearest_nodes(np.array([[0.0, 0.0], [2.0, 2.0]]), np.array([[0.4, 0.1], [2.0, 1.0]]))
    array([0, 1])
    """
    nearest = np.empty(len(rows), np.int64)
    half = 0.5 * np.einsum("ij,ij->i", nodes, nodes)
    for start in range(0, len(rows), ROWS):
        part = rows[start : start + ROWS].astype(np.float64)
        nearest[start : start + ROWS] = (half - part @ nodes.T).argmin(axis=1)
    return nearest


@one_thread()
def meta_clusters(means: np.ndarray, sizes: np.ndarray, n_clusters: int, what: str) -> np.ndarray:
    """Cluster of each node, 0 the one of most rows; -1 for nodes that no row is nearest to.

    Means of the nodes are standardised by column, cut at three standard deviations, and joined by Ward's criterion.

    Raises
    ------
    TableError
        If fewer nodes are used than clusters are asked for.
    """
    from sklearn.cluster import AgglomerativeClustering

    used = np.flatnonzero(sizes)
    if len(used) < n_clusters:
        raise TableError(
            f"{counted(len(used), 'node')} of the map of {what} {'is' if len(used) == 1 else 'are'} used, fewer than "
            f"the {n_clusters} clusters asked for. Pass fewer clusters, or a larger side=."
        )
    values = means[used]
    deviation = values.std(axis=0)
    scores = (values - values.mean(axis=0)) / np.where(deviation > 0, deviation, 1)
    labels = np.zeros(len(used), np.int64)
    if n_clusters > 1:
        labels = AgglomerativeClustering(n_clusters).fit_predict(np.clip(scores, -CAP, CAP))
    of_cluster = np.bincount(labels, weights=sizes[used], minlength=n_clusters)
    place = np.empty(n_clusters, np.int64)
    place[np.argsort(-of_cluster, kind="stable")] = np.arange(n_clusters)
    clusters = np.full(len(sizes), -1)
    clusters[used] = place[labels]
    return clusters
