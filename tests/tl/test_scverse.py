"""The result is an AnnData that scanpy and squidpy take as it is."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
import scanpy as sc
import squidpy as sq
from sklearn.metrics import adjusted_rand_score

import spatialfm as sfm


@pytest.fixture(scope="module")
def sdata():
    sfm.settings.progress = False
    sdata = sfm.datasets.simulate_cohort(n_patients=2, n_samples=2, image_size=128, random_state=0, difficulty="easy")
    sfm.tl.embed_cells(sdata, "classical")
    sfm.tl.embed_cells(sdata, "kronos", weights="random", markers=["DAPI", "CD3", "CD20"])
    return sdata


@pytest.mark.parametrize("key", ["X_classical", "X_kronos"])
def test_leiden_and_neighborhood_enrichment(sdata, key):
    adata = sdata["table"].copy()
    sc.pp.pca(adata, n_comps=2)  # the table's own X is an AnnData matrix like any other
    sc.pp.neighbors(adata, use_rep=key)
    sc.tl.leiden(adata, flavor="igraph", n_iterations=2, directed=False)
    assert adata.obs["leiden"].nunique() > 2
    sq.gr.spatial_neighbors(adata, library_key="sample", coord_type="generic", delaunay=True)
    sq.gr.nhood_enrichment(
        adata, cluster_key="leiden", library_key="sample", n_perms=50, seed=0, show_progress_bar=False
    )
    scores = adata.uns["leiden_nhood_enrichment"]["zscore"]
    assert scores.shape == (adata.obs["leiden"].nunique(),) * 2
    sq.pl.nhood_enrichment(adata, cluster_key="leiden")
    assert plt.gcf().axes
    plt.close("all")
    sample = adata.obs["sample"].cat.categories[0]
    sq.pl.spatial_scatter(adata, library_key="sample", library_id=[sample], color="leiden", shape=None)
    points = np.concatenate([np.asarray(part.get_offsets()) for part in plt.gcf().axes[0].collections])
    drawn = adata[adata.obs["sample"] == sample].obsm["spatial"]
    np.testing.assert_allclose(np.unique(points, axis=0), np.unique(drawn, axis=0))
    plt.close("all")


def test_clusters_find_the_planted_types(sdata):
    """Leiden on `classical` agrees with the true types far better than chance, which is an index of 0."""
    adata = sdata["table"].copy()
    truth = sdata["truth"]
    from scipy.spatial import cKDTree

    types = np.empty(adata.n_obs, dtype=object)
    for sample in adata.obs["sample"].unique():
        mine, true = adata.obs["sample"] == sample, truth.obs["sample"] == sample
        _, nearest = cKDTree(truth.obsm["spatial"][true]).query(adata.obsm["spatial"][mine])
        types[mine] = truth.obs.loc[true, "type"].astype(str).to_numpy()[nearest]
    sc.pp.neighbors(adata, use_rep="X_classical")
    sc.tl.leiden(adata, flavor="igraph", n_iterations=2, directed=False)
    assert adjusted_rand_score(types, adata.obs["leiden"]) > 0.25
