"""How far rows are from a reference, on the scale of how far patients of the reference are from each other."""

from __future__ import annotations

import numpy as np
from sklearn.neighbors import NearestNeighbors


def novelty(
    reference: np.ndarray, query: np.ndarray, n_neighbors: int, patients: np.ndarray | None = None
) -> np.ndarray:
    """Share of reference rows that are closer to their neighbours than each query row is to its neighbours there.

    Parameters
    ----------
    reference, query
        ``(n, columns)`` and ``(m, columns)``.
    n_neighbors
        Neighbours whose mean distance is taken.
    patients
        ``(n,)``. A query row is of another patient than all reference rows, and so are then the neighbours that
        reference rows are given: otherwise every cell of a new patient looks new, by what sets patients apart. Patients
        weigh alike. None: neighbours are of any patient.

    Examples
    --------
    Two patients one apart: a row at the same distance from one of them is nothing new.

    >>> reference, patients = np.repeat([0.0, 1.0], 5)[:, None], np.repeat([0, 1], 5)
    >>> novelty(reference, np.array([[2.0], [9.0]]), 3, patients).tolist(), novelty(reference, np.array([[2.0]]), 3)
    ([0.0, 1.0], array([1.]))
    """
    own, weight = _own_distances(reference, n_neighbors, patients)
    order = np.argsort(own, kind="stable")
    reached = np.concatenate([[0.0], np.cumsum(weight[order])])
    reached /= reached[-1]
    away = NearestNeighbors(n_neighbors=min(n_neighbors, len(reference))).fit(reference).kneighbors(query)[0]
    return reached[np.searchsorted(own[order], away.mean(axis=1), side="left")]


def _own_distances(reference: np.ndarray, n: int, patients: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Mean distance of each reference row to its neighbours, and its weight."""
    if patients is None:
        n = min(n, len(reference) - 1)
        return NearestNeighbors(n_neighbors=n).fit(reference).kneighbors()[0].mean(axis=1), np.ones(len(reference))
    _, codes, counts = np.unique(patients, return_inverse=True, return_counts=True)
    own = np.empty(len(reference))
    for code in range(len(counts)):
        own_class, others = codes == code, reference[codes != code]
        nearest = NearestNeighbors(n_neighbors=min(n, len(others))).fit(others)
        own[own_class] = nearest.kneighbors(reference[own_class])[0].mean(axis=1)
    return own, 1 / counts[codes]
