"""Candidates of signatures: clusters of many resolutions, and how much of each a patient has. Arrays in and out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import sparse

from .._cache import keep_arrays, kept_arrays
from .._settings import settings
from ..cohort.sketch import Nearest
from .leiden import leiden, neighbour_graph

KEEP_FROM = 20_000  # cells from which clusterings are kept on disk, so that a stopped call goes on where it was
VERSION = 2  # of the clusterings: to be raised when the same cells would be clustered otherwise


@dataclass(frozen=True)
class Clusters:
    """Candidates among the cells of a set of patients."""

    codes: np.ndarray  # (resolutions, cells)
    resolution: np.ndarray  # (clusters,) index of the resolution
    code: np.ndarray  # (clusters,) number of the cluster there
    n_merged: np.ndarray  # (clusters,) nearly equal clusters of other resolutions that it represents

    @property
    def sizes(self) -> np.ndarray:
        """Cells of each cluster ``(clusters,)``."""
        counts = [np.bincount(column) for column in self.codes]
        return np.array([counts[r][c] for r, c in zip(self.resolution, self.code, strict=True)], int)

    def members(self, cluster: int, codes: np.ndarray | None = None) -> np.ndarray:
        """Mask of its cells; of others with their own `codes`."""
        codes = self.codes if codes is None else codes
        return codes[self.resolution[cluster]] == self.code[cluster]


def candidates(codes: np.ndarray, max_cells: float, overlap: float | None) -> Clusters:
    """Clusters of fewer than `max_cells`, of which nearly equal ones count once.

    Two are nearly equal when they share at least `overlap` of the cells that either has (None: each counts); the one
    of the lowest resolution represents the others.
    """
    n = codes.shape[1]
    columns, resolution, code = [], [], []
    for r, column in enumerate(codes):
        sizes = np.bincount(column)
        # sorted once: the number of clusters grows with that of cells, and none looks at all of them
        by_cluster, ends = np.argsort(column, kind="stable"), np.cumsum(sizes)
        for c in np.flatnonzero((sizes > 0) & (sizes < max_cells)):
            columns.append(by_cluster[ends[c] - sizes[c] : ends[c]])
            resolution.append(r)
            code.append(c)
    if not columns:
        return Clusters(codes, *(np.zeros(0, int) for _ in range(3)))
    if overlap is None:
        return Clusters(codes, np.array(resolution), np.array(code), np.zeros(len(code), int))
    sizes = np.array([len(rows) for rows in columns])
    starts = np.concatenate([[0], np.cumsum(sizes)])
    members = sparse.csc_array(
        (np.ones(starts[-1], np.int32), np.concatenate(columns), starts), shape=(n, len(columns))
    )
    shared = (members.T @ members).tocoo()
    jaccard = shared.data / (sizes[shared.row] + sizes[shared.col] - shared.data)
    close = sparse.csr_array(
        (np.ones((jaccard >= overlap).sum()), (shared.row[jaccard >= overlap], shared.col[jaccard >= overlap])),
        shape=shared.shape,
    )
    stands_for = np.full(len(columns), -1)
    for i in range(len(columns)):
        if stands_for[i] < 0:
            near = close.indices[close.indptr[i] : close.indptr[i + 1]]
            stands_for[near[stands_for[near] < 0]] = i
            stands_for[i] = i
    representatives, counts = np.unique(stands_for, return_counts=True)
    return Clusters(codes, np.array(resolution)[representatives], np.array(code)[representatives], counts - 1)


def fractions(clusters: Clusters, patients: np.ndarray, n_patients: int, codes: np.ndarray | None = None) -> np.ndarray:
    """Share of each patient's cells in each cluster ``(patients, clusters)``."""
    codes = clusters.codes if codes is None else codes
    total = np.maximum(np.bincount(patients, minlength=n_patients), 1)
    out = np.zeros((n_patients, len(clusters.code)))
    for r in np.unique(clusters.resolution):
        at_resolution = clusters.resolution == r
        width = int(max(codes[r].max(initial=0), clusters.code[at_resolution].max())) + 1
        counts = np.bincount(patients * width + codes[r], minlength=n_patients * width).reshape(n_patients, width)
        out[:, at_resolution] = counts[:, clusters.code[at_resolution]] / total[:, None]
    return out


def cut_points(fractions: np.ndarray) -> np.ndarray:
    """Tertiles of the positive fractions ``(2, clusters)``; NaN where no patient has the cluster."""
    positive = np.where(fractions > 0, fractions, np.nan)
    out = np.full((2, fractions.shape[1]), np.nan)
    some = (fractions > 0).any(axis=0)
    out[:, some] = np.nanquantile(positive[:, some], [1 / 3, 2 / 3], axis=0)
    return out


def ranks_of(fractions: np.ndarray, cuts: np.ndarray) -> np.ndarray:
    """Rank 0 for absence, 1 to 3 for the tertiles of positive fractions (VirTues, Methods)."""
    cuts = np.nan_to_num(cuts, nan=np.inf)
    return ((fractions > 0).astype(int) + (fractions > cuts[0]) + (fractions > cuts[1])) * (fractions > 0)


def cluster_cells(
    values: np.ndarray, resolutions: Sequence[float], n_neighbors: int, random_state: int, n_jobs: int
) -> np.ndarray:
    """Leiden clusters of all resolutions on one graph ``(resolutions, cells)``; kept on disk where there are many."""
    from joblib import Parallel, delayed

    folder = None
    if len(values) >= KEEP_FROM:
        # the shape too: the same bytes may be cells of other columns
        key = hashlib.sha256(repr((VERSION, values.shape, str(values.dtype), n_neighbors, random_state)).encode())
        key.update(np.ascontiguousarray(values).data)
        folder = Path(settings.cache_dir) / "clusterings" / key.hexdigest()[:24]
        stored = [_kept(folder, resolution, len(values)) for resolution in resolutions]
        if all(codes is not None for codes in stored):
            return np.stack(stored)
    graph = neighbour_graph(values, n_neighbors, random_state)
    work = (delayed(_leiden)(graph, resolution, random_state, folder) for resolution in resolutions)
    return np.stack(Parallel(n_jobs=n_jobs)(work))


def assign(
    values: np.ndarray, codes: np.ndarray, others: np.ndarray, n_neighbors: int, random_state: int
) -> np.ndarray:
    """Cluster of held-out cells: that of most of their nearest cells among those that were clustered."""
    return Nearest(values, n_neighbors, random_state).votes(others, codes, n_neighbors)


def _file(folder: Path, resolution: float) -> Path:
    return folder / f"{resolution:.17g}.npz"


def _identity(folder: Path, resolution: float) -> str:
    return f"clusters of {folder.name} at {resolution:.17g}"


def _kept(folder: Path, resolution: float, n_cells: int) -> np.ndarray | None:
    """Clusters that an earlier call has left; None where there are none, or not as they were written."""
    arrays = kept_arrays(_file(folder, resolution), _identity(folder, resolution))
    return arrays["codes"] if arrays is not None and arrays["codes"].shape == (n_cells,) else None


def _leiden(graph: sparse.csr_matrix, resolution: float, random_state: int, folder: Path | None) -> np.ndarray:
    if folder is not None and (stored := _kept(folder, resolution, graph.shape[0])) is not None:
        return stored
    codes = leiden(graph, resolution, random_state)
    if folder is not None:
        keep_arrays(_file(folder, resolution), _identity(folder, resolution), {"codes": codes.astype(np.int32)})
    return codes
