"""UMAP's weights of a graph of neighbours by numpy: the library compiles its own for 14 seconds in every process."""

from __future__ import annotations

import numpy as np
from scipy import sparse

STEPS, NEAR_ENOUGH, LEAST_SCALE = 64, 1e-5, 1e-3  # as in umap.umap_


def scales(distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Width and distance to the nearest other cell of each row ``(n,)``; the first column is the cell itself."""
    k, target = distances.shape[1], np.log2(distances.shape[1])
    others = np.where(distances > 0, distances, np.inf)
    nearest = np.where(np.isfinite(others).any(axis=1), others.min(axis=1), 0.0)
    beyond = distances[:, 1:k] - nearest[:, None]
    low, high, width = np.zeros(len(distances)), np.full(len(distances), np.inf), np.ones(len(distances))
    going = np.ones(len(distances), bool)
    for _ in range(STEPS):
        total = np.where(beyond > 0, np.exp(-np.maximum(beyond, 0) / width[:, None]), 1.0).sum(axis=1)
        going &= np.abs(total - target) >= NEAR_ENOUGH
        if not going.any():
            break
        above, below = going & (total > target), going & (total <= target)
        high[above], low[below] = width[above], width[below]
        between = (low + high) / 2
        width = np.where(going, np.where(np.isinf(high), 2 * width, between), width)
    least = LEAST_SCALE * np.where(nearest > 0, distances.mean(axis=1), distances.mean())
    return np.maximum(width, least), nearest


def connectivities(
    knn_indices: np.ndarray, knn_dists: np.ndarray, *, n_obs: int, n_neighbors: int, **options: object
) -> sparse.csr_matrix:
    """What scanpy takes of UMAP ``(n, n)``: the union of the fuzzy neighbourhoods of all cells."""
    distances = np.asarray(knn_dists, np.float64)
    width, nearest = scales(distances)
    beyond = distances - nearest[:, None]
    weights = np.where(beyond > 0, np.exp(-np.maximum(beyond, 0) / width[:, None]), 1.0)
    rows = np.repeat(np.arange(n_obs), distances.shape[1])
    columns = np.asarray(knn_indices).ravel()
    kept = (columns >= 0) & (columns != rows)
    one = sparse.csr_matrix((weights.ravel()[kept].astype(np.float32), (rows[kept], columns[kept])), (n_obs, n_obs))
    both = one + one.T - one.multiply(one.T)
    both.eliminate_zeros()
    return both.tocsr()


def instead_of_compiling(modules: dict[str, object]) -> None:
    """Let scanpy take these weights, where it is loaded; they are compared with UMAP's in `test_graphs.py`."""
    if (scanpy := modules.get("scanpy.neighbors._connectivity")) is not None:
        scanpy.umap = connectivities  # type: ignore[attr-defined]
