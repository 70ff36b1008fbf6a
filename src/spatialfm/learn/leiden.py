"""Scanpy's neighbour graph and Leiden clustering, on arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._optional import check_neighbours

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


def neighbour_graph(values: np.ndarray, n_neighbors: int, random_state: int) -> csr_matrix:
    """Weights of scanpy's graph of nearest neighbours, ``(n, n)``."""
    import scanpy as sc
    from anndata import AnnData

    check_neighbours(len(values))
    cells = AnnData(obsm={"X": np.asarray(values)})
    sc.pp.neighbors(cells, n_neighbors=min(n_neighbors, len(values) - 1), use_rep="X", random_state=random_state)
    return cells.obsp["connectivities"].tocsr()


def leiden(graph: csr_matrix, resolution: float, random_state: int) -> np.ndarray:
    """Cluster of each row, numbered from the largest."""
    import scanpy as sc
    from anndata import AnnData

    cells = AnnData(np.zeros((graph.shape[0], 1), np.float32))
    sc.tl.leiden(
        cells,
        resolution=resolution,
        adjacency=graph,
        random_state=random_state,
        flavor="igraph",
        n_iterations=2,
        directed=False,
    )
    codes = cells.obs["leiden"].cat.codes.to_numpy().astype(int)
    rank = np.empty(codes.max() + 1, int)  # igraph numbers clusters in no order
    rank[np.argsort(-np.bincount(codes), kind="stable")] = np.arange(len(rank))
    return rank[codes]
