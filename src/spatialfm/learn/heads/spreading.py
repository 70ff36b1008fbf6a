"""Label spreading on the graph of neighbours of an embedding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..search_index import nearest
from .cells import N_NEIGHBORS, VisibleCells

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

ALPHA = 0.9  # share that a row takes from its neighbours
TOLERANCE, MOST_STEPS = 1e-9, 500  # cells far from all labels have small shares, of which only the ratio counts


@dataclass(frozen=True)
class Spreading:
    """Shares of classes at every node of the graph."""

    cells: VisibleCells
    shares: np.ndarray  # (nodes, classes), rows add up to 1

    def of_values(self, scaled: np.ndarray) -> np.ndarray:
        """Weighted mean over the nearest nodes."""
        return self._extended(self.cells.project(scaled))

    def of_rows(self, rows: np.ndarray) -> np.ndarray:
        """Shares of nodes as they are; other rows as new ones."""
        nodes = self.cells.nodes
        place = np.minimum(np.searchsorted(nodes, rows), len(nodes) - 1)
        known = nodes[place] == rows
        out = np.empty((len(rows), self.shares.shape[1]))
        out[known] = self.shares[place[known]]
        if not known.all():
            out[~known] = self._extended(self.cells.components[rows[~known]])
        return out

    def _extended(self, components: np.ndarray) -> np.ndarray:
        places, distances = nearest(self.cells.index, components, min(N_NEIGHBORS, len(self.shares)))
        weights = heat(distances, distances[:, -1:] ** 2)
        weights /= weights.sum(axis=1, keepdims=True)
        return np.einsum("nk,nkc->nc", weights, self.shares[places])


def fit_spreading(cells: VisibleCells, rows: np.ndarray, codes: np.ndarray, alpha: float = ALPHA) -> Spreading:
    """Spread labels of some rows (Zhou et al., NIPS 2003).

    Edges join each node and its 15 nearest in the principal components; their weights fall with the squared distance,
    over the distances of both to their 15th neighbour (Zelnik-Manor and Perona, NIPS 2004), so that rare types in thin
    regions are joined too. Labels of a class weigh 1 together, whatever their number. A node that no label reaches has
    the same share of every class.

    Parameters
    ----------
    cells
        Rows; of more than 20,000, so many are the nodes, and the others take the weighted mean of their nearest nodes.
    rows, codes
        Labelled rows ``(n,)``, which are nodes, and their classes, from 0 on.
    alpha
        Share that a node takes from its neighbours, below 1; the rest is its own label.
    """
    places, distances = cells.neighbors
    graph = normalised(affinities(places, distances))
    start = np.zeros((len(cells.nodes), int(codes.max()) + 1))
    start[np.searchsorted(cells.nodes, rows), codes] = 1
    start /= start.sum(axis=0)
    spread = np.maximum(spread_labels(graph, start, alpha), 0)
    total = spread.sum(axis=1, keepdims=True)
    even = np.full_like(spread, 1 / spread.shape[1])
    return Spreading(cells, np.divide(spread, total, out=even, where=total > 0))


def heat(distances: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Weights ``exp(-d^2 / width)`` of distances; 1 where the width is 0, of rows that are one."""
    return np.exp(-np.divide(distances**2, widths, out=np.zeros(distances.shape), where=widths > 0))


def affinities(places: np.ndarray, distances: np.ndarray) -> csr_matrix:
    """Symmetric weights of a graph of neighbours ``(n, k)``."""
    from scipy.sparse import csr_matrix

    n, k = places.shape
    last = distances[:, -1]
    weights = heat(distances.astype(np.float64), last[:, None].astype(np.float64) * last[places])
    graph = csr_matrix((weights.ravel(), (np.repeat(np.arange(n), k), places.ravel())), shape=(n, n))
    return ((graph + graph.T) / 2).tocsr()


def normalised(graph: csr_matrix) -> csr_matrix:
    """Weights over the roots of the sums of both their rows; rows without a neighbour stay empty."""
    from scipy.sparse import diags

    total = np.asarray(graph.sum(axis=1)).ravel()
    root = np.divide(1.0, np.sqrt(total), out=np.zeros_like(total), where=total > 0)
    return (diags(root) @ graph @ diags(root)).tocsr()


def spread_labels(graph: csr_matrix, start: np.ndarray, alpha: float) -> np.ndarray:
    """Where ``F = alpha * graph @ F + (1 - alpha) * start`` ends, by conjugate gradients.

    The closed form is ``(1 - alpha) (1 - alpha graph)^-1 start``; the matrix is symmetric and positive definite.

    Examples
    --------
    >>> from scipy.sparse import csr_matrix
    >>> graph = csr_matrix(np.array([[0.0, 1.0], [1.0, 0.0]]))
    >>> spread_labels(graph, np.array([[1.0], [0.0]]), 0.5).round(3).ravel().tolist()
    [0.667, 0.333]
    """
    spread = (1 - alpha) * start
    rest = spread - (spread - alpha * (graph @ spread))
    direction, size = rest.copy(), (rest**2).sum(axis=0)
    enough = TOLERANCE**2 * (start**2).sum(axis=0)
    for _ in range(MOST_STEPS):
        if (size <= enough).all():
            break
        moved = direction - alpha * (graph @ direction)
        step = np.divide(size, (direction * moved).sum(axis=0), out=np.zeros_like(size), where=size > 0)
        spread += step * direction
        rest -= step * moved
        now = (rest**2).sum(axis=0)
        direction = rest + np.divide(now, size, out=np.zeros_like(size), where=size > 0) * direction
        size = now
    return spread
