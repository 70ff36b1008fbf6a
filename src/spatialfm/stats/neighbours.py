"""Neighbours of each type, counted on a graph of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import spmatrix


def pair_counts(
    graph: spmatrix, codes: np.ndarray, libraries: np.ndarray, n_types: int, n_libraries: int
) -> np.ndarray:
    """Neighbours of each pair of types in each library, ``(libraries, types, types)``: of a row, its columns."""
    edges = graph.tocoo()
    is_edge = edges.data != 0
    row, column = edges.row[is_edge], edges.col[is_edge]
    place = (libraries[row].astype(np.int64) * n_types + codes[row]) * n_types + codes[column]
    counts = np.bincount(place, minlength=n_libraries * n_types**2)
    return counts.reshape(n_libraries, n_types, n_types).astype(float)


def log2_ratio(observed: np.ndarray, expected: np.ndarray, min_expected: float) -> np.ndarray:
    """Log2 of observed over expected, NaN where too few are expected.

    A half is added to what is observed. Of counts whose variance is their mean, that takes the bias of order
    ``1 / expected`` from the logarithm, which would otherwise make rare pairs look avoided. None observed is not
    infinite.
    """
    enough = (expected >= min_expected) & (expected > 0)
    ratio = np.full(observed.shape, np.nan)
    ratio[enough] = np.log2((observed[enough] + 0.5) / expected[enough])
    return ratio


def neighbor_fractions(
    graph: spmatrix, codes: np.ndarray, n_categories: int, include_self: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Fractions ``(n, k)`` of categories among neighbours, and which of the ``n`` cells have none.

    Parameters
    ----------
    graph
        ``(n, n)``, nonzero where the column is a neighbour of the row.
    codes
        ``(n,)`` category of each cell.
    """
    from scipy.sparse import csr_matrix

    n = codes.size
    membership = csr_matrix((np.ones(n), (np.arange(n), codes)), shape=(n, n_categories))
    counts = ((graph != 0).astype(np.float64) @ membership).toarray()
    if include_self:
        counts += membership.toarray()
    total = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, total, out=np.zeros_like(counts), where=total > 0).astype(np.float32), total[:, 0] == 0
