"""Scanpy's neighbour graph and Leiden clustering, and leidenalg's profile of resolutions, on arrays."""

from __future__ import annotations

from contextlib import redirect_stderr
from io import StringIO
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._logging import logger
from .._optional import check_neighbours
from .._threads import one_thread

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

STEP = 0.05  # of the logarithm of the resolution, below which a range is not divided
FEW_EDGES = 0.002  # of the weight of all edges: clusterings whose inner weights differ by less count as alike


@one_thread()  # of rows that are equal, rounding would decide which are neighbours
def neighbour_graph(values: np.ndarray, n_neighbors: int, random_state: int) -> csr_matrix:
    """Weights of scanpy's graph of nearest neighbours, ``(n, n)``."""
    import scanpy as sc
    from anndata import AnnData

    check_neighbours(len(values))
    cells = AnnData(obsm={"X": np.asarray(values)})
    sc.pp.neighbors(cells, n_neighbors=min(n_neighbors, len(values) - 1), use_rep="X", random_state=random_state)
    return cells.obsp["connectivities"].tocsr()


def leiden(graph: csr_matrix, resolution: float, random_state: int, n_iterations: int = 2) -> np.ndarray:
    """Cluster of each row, numbered from the largest; -1 iterations: until nothing becomes better."""
    import scanpy as sc
    from anndata import AnnData

    cells = AnnData(np.zeros((graph.shape[0], 1), np.float32))
    sc.tl.leiden(
        cells,
        resolution=resolution,
        adjacency=graph,
        random_state=random_state,
        flavor="igraph",
        n_iterations=n_iterations,
        directed=False,
    )
    codes = cells.obs["leiden"].cat.codes.to_numpy().astype(int)
    rank = np.empty(codes.max() + 1, int)  # igraph numbers clusters in no order
    rank[np.argsort(-np.bincount(codes), kind="stable")] = np.arange(len(rank))
    return rank[codes]


def resolution_profile(graph: csr_matrix, lowest: float, highest: float, random_state: int) -> pd.DataFrame:
    """Ranges of resolution over which the number of clusters stays, from coarse to fine.

    leidenalg divides a range as long as clusterings at its ends differ (Traag, Krings and Van Dooren, Scientific
    Reports 2013). One clustering of its optimiser takes several times one of igraph's.

    Returns
    -------
    A row per range: ``resolution_from``, ``resolution_to``, ``n_clusters``.
    """
    import leidenalg
    from scanpy._utils import get_igraph_from_adjacency

    edges = get_igraph_from_adjacency(graph, directed=False)
    optimiser = leidenalg.Optimiser()
    optimiser.set_rng_seed(random_state)
    logger.info("looking for resolutions at which the number of clusters stays, from %g to %g", lowest, highest)
    with redirect_stderr(StringIO()):  # a bar without an end
        profile = optimiser.resolution_profile(
            edges,
            leidenalg.RBConfigurationVertexPartition,
            resolution_range=(lowest, highest),
            weights="weight",
            min_diff_bisect_value=FEW_EDGES * sum(edges.es["weight"]),
            min_diff_resolution=STEP,
        )
    at = np.array([part.resolution_parameter for part in profile])
    sizes = np.array([len(part) for part in profile])
    starts = np.flatnonzero(np.r_[True, sizes[1:] != sizes[:-1]])
    ends = np.append(at[starts[1:]], highest)
    table = {"resolution_from": at[starts], "resolution_to": ends, "n_clusters": sizes[starts]}
    return pd.DataFrame(table)


def widest_middles(profile: pd.DataFrame, n: int) -> np.ndarray:
    """Middles ``(n,)`` of the widest ranges by the logarithm of the resolution, rising; of equal ones the coarser.

    Examples
    --------
    >>> ranges = pd.DataFrame({"resolution_from": [0.1, 0.4, 0.5], "resolution_to": [0.4, 0.5, 2.0]})
    >>> widest_middles(ranges, 2)
    array([0.2, 1. ])
    """
    low, high = (profile[name].to_numpy() for name in ("resolution_from", "resolution_to"))
    chosen = np.argsort(-np.round(np.log(high / low), 9), kind="stable")[:n]
    return np.unique(np.round(np.sqrt(low * high)[chosen], 6))
