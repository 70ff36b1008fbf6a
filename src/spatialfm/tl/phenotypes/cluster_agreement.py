"""How far clusters of an embedding are the labels, without training on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..._errors import TableError, counted
from ..._fingerprint import DATA, fingerprint
from ..._preparation import preparation, prepare
from ..._progress import progress_bar
from ..._public import public
from ..._storable import write_uns
from ...cohort.checks import as_names, check_anndata, label_column, named, order_of_names
from ...cohort.representation import each_representation

if TYPE_CHECKING:
    from anndata import AnnData

SILHOUETTE_CELLS = 5000  # the silhouette compares all pairs: of more cells a sample is taken


@public
def cluster_agreement(
    adata: AnnData,
    label_key: str,
    *,
    use_rep: str | Sequence[str],
    methods: Sequence[str] = ("kmeans", "leiden"),
    n_clusters: int | None = None,
    resolution: float = 1.0,
    n_seeds: int = 5,
    random_state: int = 0,
    key_added: str = "cluster_agreement",
) -> pd.DataFrame:
    """Compare clusters with labels that the clustering has not seen.

    KRONOS's zero-shot task (Online Methods, *Zero-shot evaluation*): k-means with as many clusters as there are cell
    types, judged by the adjusted Rand index. Leiden is given too, as it needs no number of clusters.

    Parameters
    ----------
    adata
        Cells; those without label are left out.
    label_key
        Column of ``obs``.
    use_rep
        Key of ``obsm`` or ``"X"``, or several. Measured features (``"X"``, ``"X_mean_intensity"``) are standardised,
        since clusters would otherwise follow the brightest marker; embeddings are used as their model's card states.
    methods
        ``"kmeans"``, ``"leiden"``.
    n_clusters
        Of k-means (default: the number of labels).
    resolution
        Of Leiden, on the graph of scanpy's 15 nearest neighbours.
    n_seeds
        Number of seeds: `random_state`, `random_state` + 1, ...
    random_state
        First seed.
    key_added
        Key of ``uns``.

    Returns
    -------
    One row per embedding, method and seed: ``ari`` (adjusted Rand index: 0 by chance, 1 for the same partition),
    ``nmi`` (normalised mutual information), ``n_clusters``, ``silhouette`` of the labels themselves in the
    embedding (the same for all seeds, of 5,000 cells at most), and ``preparation``: what was done to the columns.
    Written into ``uns[key_added]`` as ``table`` with ``params``.

    Raises
    ------
    TableError
        If there are fewer than two labels, or more clusters than cells.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=3, cells_per_patient=100, random_state=0)
    >>> table = sfm.tl.cluster_agreement(cells, "type", use_rep="X_latent", methods=["kmeans"], n_seeds=2)
    >>> bool((table["ari"] > 0.3).all())
    True
    """
    check_anndata(adata, "cluster_agreement", key_added)
    if isinstance(methods, str) or not methods or set(methods) - {"kmeans", "leiden"}:
        raise TableError(f"methods={methods!r} is not a list of 'kmeans' and 'leiden'.")
    known = label_column(adata, label_key).notna().to_numpy()
    # clusterings start from rows by their place: scores do not depend on the order of the table
    by_name = order_of_names(adata.obs_names)
    cells = adata[by_name[known[by_name]]]
    labels = np.asarray(named(cells.obs[label_key], "label_key"), dtype=str)
    n_labels = len(np.unique(labels))
    if n_labels < 2:
        raise TableError(
            f"obs[{label_key!r}] holds {counted(n_labels, 'label')} in {counted(int(known.sum()), 'cell')}. Two are "
            "needed."
        )
    n_clusters = n_clusters or n_labels
    if not 2 <= n_clusters < len(labels):
        raise TableError(f"n_clusters={n_clusters} of {len(labels)} cells. Pass 2 or more, fewer than cells.")
    rows = []
    for rep, matrix in progress_bar(
        each_representation(cells, use_rep).items(),
        desc="clustering",
    ):
        how = preparation(cells, rep)
        values = prepare(matrix, how)
        silhouette = label_silhouette(values, labels, random_state)
        for method in methods:
            for seed in range(random_state, random_state + n_seeds):
                clusters = _cluster(values, method, n_clusters, resolution, seed)
                rows.append({"use_rep": rep, "method": method, "seed": seed, **_agreement(labels, clusters)})
                rows[-1] |= {"silhouette": silhouette, "preparation": how}
    table = pd.DataFrame(rows)
    record = {
        "table": table,
        "params": {
            "label_key": label_key, "n_clusters": n_clusters, "resolution": resolution, "n_seeds": n_seeds,
            DATA: fingerprint(adata, [label_key], obsm=as_names(use_rep)),
        },
    }  # fmt: skip
    write_uns(adata, key_added, record)
    return table


def label_silhouette(values: np.ndarray, labels: np.ndarray, random_state: int) -> float:
    """Mean silhouette of labels in an embedding, of at most `SILHOUETTE_CELLS` rows."""
    from sklearn.metrics import silhouette_score

    rows = np.arange(len(labels))
    if len(rows) > SILHOUETTE_CELLS:
        rows = np.random.default_rng(random_state).choice(rows, SILHOUETTE_CELLS, replace=False)
    n_labels = len(np.unique(labels[rows]))
    if not 2 <= n_labels < len(rows):
        return float("nan")
    return float(silhouette_score(values[rows], labels[rows]))


def _cluster(values: np.ndarray, method: str, n_clusters: int, resolution: float, seed: int) -> np.ndarray:
    if method == "kmeans":
        from sklearn.cluster import KMeans

        return KMeans(n_clusters, n_init=10, random_state=seed).fit_predict(values)
    from ...learn.leiden import leiden, neighbour_graph

    return leiden(neighbour_graph(values, 15, seed), resolution, seed)


def _agreement(labels: np.ndarray, clusters: np.ndarray) -> dict[str, float]:
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    return {
        "ari": float(adjusted_rand_score(labels, clusters)),
        "nmi": float(normalized_mutual_info_score(labels, clusters)),
        "n_clusters": len(np.unique(clusters)),
    }
