"""Kinds of tissue without labels: k-means on tiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..._errors import TableError, counted
from ..._fingerprint import DATA, fingerprint
from ..._keys import PATIENT_KEY, SAMPLE_KEY
from ..._logging import logger
from ..._public import public
from ..._storable import write_uns
from ...cohort.checks import by_name, check_anndata, obs_column
from ...cohort.depth import patient_weights
from ...cohort.replaced import remove_earlier
from ...cohort.representation import prepared
from ...learn.risk_groups import kmeans_by_size

if TYPE_CHECKING:
    from anndata import AnnData


@public
def tissue_clusters(
    adata: AnnData,
    n_clusters: int = 8,
    *,
    use_rep: str,
    within_sample: bool = False,
    library_key: str = SAMPLE_KEY,
    patient_key: str | None = PATIENT_KEY,
    marker_rep: str | None = None,
    random_state: int = 0,
    key_added: str = "tissue_cluster",
    copy: bool = False,
) -> pd.Series | None:
    """Cluster tiles into kinds of tissue.

    KRONOS's unsupervised tissue phenotyping (Online Methods, *Unsupervised clustering of tissue*): k-means on the
    image-level embedding of tiles of 64 pixels. The paper clusters every image separately; here all images share one
    set of clusters, so that they can be compared between patients, unless `within_sample` is set.

    Parameters
    ----------
    adata
        Tiles, from `spatialfm.tl.embed_tiles`.
    n_clusters
        Clusters (of each sample, with `within_sample`).
    use_rep
        Key of ``obsm`` or ``"X"``. Measured features are standardised, embeddings are used as their model's card
        states.
    within_sample
        Whether each sample is clustered separately; clusters are then called ``<sample>:1``, ...
    library_key
        Column of ``obs`` with the sample.
    patient_key
        Column of ``obs`` with the patient (if there is none of the usual name: the sample), each of whom weighs
        alike in k-means, for any number of tiles. None: each tile weighs alike. Without effect with `within_sample`.
    marker_rep
        Embedding whose columns have names (``"X_mean_intensity"``): which markers make a cluster is taken from it.
    random_state
        Seed of k-means, which is started 20 times.
    key_added
        Key that is written.
    copy
        Return the clusters alone, a series of tiles. Their sizes and markers are only written.

    Returns
    -------
    None, or with `copy` the clusters. Written: ``obs[key_added]``, clusters ``"1"``, ``"2"``, ... from the largest to
    the smallest; ``uns[key_added]`` with ``sizes`` (tiles of each cluster and sample), ``markers`` (with `marker_rep`:
    mean of each marker in a cluster, in standard deviations above the mean of all tiles) and ``params``.

    Raises
    ------
    TableError
        If there are fewer different tiles than clusters, or the embedding is missing.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> sdata = sfm.datasets.simulate_cohort(n_patients=2, n_samples=1, image_size=128, difficulty="easy")
    >>> sfm.tl.embed_tiles(sdata, "mean-intensity", size=32)
    >>> sfm.tl.tissue_clusters(sdata["tiles"], 3, use_rep="X_mean_intensity", marker_rep="X_mean_intensity")
    >>> sdata["tiles"].uns["tissue_cluster"]["markers"].shape
    (3, 12)
    """
    check_anndata(adata, "tissue_clusters", None if copy else key_added)
    ordered, place = by_name(adata)  # k-means starts from rows by their place
    values, how = prepared(ordered, use_rep)
    samples = obs_column(ordered, library_key, "library_key").astype(str).to_numpy()
    if n_clusters < 2:
        raise TableError(f"n_clusters={n_clusters} makes no clusters. Pass 2 or more.")
    names = np.empty(adata.n_obs, dtype=object)
    groups = (
        [(f"{sample}:", samples == sample) for sample in np.unique(samples)] if within_sample else [("", samples != "")]
    )
    weights, weighed = (None, "tiles of a sample alike") if within_sample else patient_weights(ordered, patient_key)
    order: list[str] = []
    for prefix, rows in groups:
        different = len(np.unique(values[rows], axis=0))
        if different < n_clusters:
            of_sample = f" of sample {prefix[:-1]!r}" if prefix else ""
            raise TableError(
                f"{different} different tiles{of_sample} cannot make {counted(n_clusters, 'cluster')}. Pass fewer."
            )
        codes = kmeans_by_size(values[rows], n_clusters, random_state, weights)
        names[rows] = [f"{prefix}{code + 1}" for code in codes]
        order += [f"{prefix}{i + 1}" for i in range(n_clusters)]
    clusters = pd.Series(pd.Categorical(names[place], order), index=adata.obs_names, name=key_added)
    logger.info("%d tiles in %d clusters", adata.n_obs, len(order))
    if copy:
        return clusters
    record = {
        "sizes": pd.crosstab(clusters, samples[place], dropna=False).rename_axis(index="cluster", columns="sample"),
        "params": {
            "n_clusters": n_clusters,
            "use_rep": use_rep,
            "preparation": how,
            "within_sample": within_sample,
            "weights": weighed,
            "random_state": random_state,
        },
    }
    if marker_rep is not None:
        record["markers"] = cluster_markers(adata, clusters, marker_rep)
    remove_earlier(adata, key_added, clusters)
    adata.obs[key_added] = clusters
    record["params"][DATA] = fingerprint(adata, [key_added, library_key], obsm=[use_rep, marker_rep])
    write_uns(adata, key_added, record)
    return None


def cluster_markers(tiles: AnnData, clusters: pd.Series, marker_rep: str) -> pd.DataFrame:
    """Mean of each named column in each cluster, in standard deviations above the mean of all rows."""
    from ...get import features

    table = features(tiles, marker_rep)
    spread = table.std(ddof=0).replace(0, 1)
    return ((table - table.mean()) / spread).groupby(clusters, observed=False).mean()
