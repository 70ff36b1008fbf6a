"""Many resolutions of one graph."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from anndata import AnnData
from scipy.sparse import csr_matrix
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import kneighbors_graph

import spatialfm as sfm
from spatialfm._errors import SpatialfmError, SpatialfmWarning, TableError
from spatialfm.learn.leiden import resolution_profile
from spatialfm.tl.phenotypes.leiden_sweep import cluster_edges, suggest


@pytest.fixture
def cells():
    """Four clear groups, the last two of them close to each other."""
    rng = np.random.default_rng(0)
    centres = np.array([[0, 0], [30, 0], [0, 30], [3, 33]])
    truth = np.repeat(np.arange(4), 60)
    values = centres[truth] + rng.normal(size=(240, 2))
    obs = pd.DataFrame({"truth": truth.astype(str)}, index=[f"c{i}" for i in range(240)])
    return AnnData(obs=obs, obsm={"X_emb": values})


def test_one_resolution_is_drawn_from_a_file_too(cells, tmp_path):
    graph = kneighbors_graph(cells.obsm["X_emb"], 10)
    cells.obsp["connectivities"] = graph.maximum(graph.T)
    cells.uns["neighbors"] = {"connectivities_key": "connectivities", "params": {}}
    sfm.tl.leiden_sweep(cells, resolutions=[0.5], n_subsamples=2)
    assert not len(cells.uns["leiden_sweep"]["edges"])
    cells.write_h5ad(tmp_path / "cells.h5ad")
    for table in (cells, ad.read_h5ad(tmp_path / "cells.h5ad")):
        assert sfm.pl.cluster_tree(table, show=False).collections


def test_clusters_are_those_of_scanpy(cells):
    sc.pp.neighbors(cells, use_rep="X_emb")
    sfm.tl.leiden_sweep(cells, resolutions=[0.5, 0.1], n_subsamples=0)
    assert list(cells.obsm["leiden_sweep"].columns) == ["0.1", "0.5"]
    for name, found in cells.obsm["leiden_sweep"].items():
        sc.tl.leiden(cells, resolution=float(name), flavor="igraph", n_iterations=2, directed=False, random_state=0)
        assert adjusted_rand_score(cells.obs["leiden"], found) == 1
    table = cells.uns["leiden_sweep"]["table"]
    one, two = (cells.obsm["leiden_sweep"][name] for name in ("0.1", "0.5"))
    assert table["ari_next"].iloc[0] == pytest.approx(adjusted_rand_score(one, two))
    assert table["stability"].isna().all()
    assert "no subsets" in cells.uns["leiden_sweep"]["reason"]


def test_the_suggestion_is_stable_and_finds_the_groups(cells):
    sfm.tl.leiden_sweep(cells, use_rep="X_emb", resolutions=[0.01, 0.1, 0.3, 4.0], n_subsamples=4)
    record = cells.uns["leiden_sweep"]
    assert adjusted_rand_score(cells.obs["truth"], cells.obs["leiden_sweep"]) > 0.7
    assert record["table"].loc[4.0, "stability"] < record["table"].loc[record["suggested"], "stability"]
    assert record["suggested"] != 4.0
    assert "adjusted Rand index" in record["reason"]
    again = cells.copy()
    sfm.tl.leiden_sweep(again, use_rep="X_emb", resolutions=[0.01, 0.1, 0.3, 4.0], n_subsamples=4)
    assert again.uns["leiden_sweep"]["table"].equals(record["table"])


def test_edges_are_a_cross_table():
    edges = cluster_edges(["0.1", "1"], [np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])])
    assert edges[["from", "to", "n", "share"]].values.tolist() == [[0, 0, 2, 1.0], [0, 1, 1, 0.5], [1, 1, 1, 0.5]]


def test_the_finest_of_equally_stable_ones_is_suggested():
    table = pd.DataFrame(
        {
            "n_clusters": [1, 3, 5, 30],
            "stability": [1.0, 0.95, 0.93, 0.4],
            "stability_se": [0.0, 0.03, 0.01, 0.1],
        },
        index=[0.01, 0.1, 1.0, 5.0],
    )
    chosen, reason = suggest(table)
    assert chosen == 1.0
    assert reason.startswith("5 clusters")
    assert suggest(table.iloc[:1])[1].startswith("every resolution gives one cluster")


def test_what_cannot_be_clustered_is_refused(cells):
    for arguments, message in [
        ({}, r"No graph 'neighbors' in uns.*use_rep="),
        ({"use_rep": "X_none"}, "No 'X_none' in obsm"),
    ]:
        with pytest.raises(TableError, match=message):
            sfm.tl.leiden_sweep(cells, **arguments)
    with pytest.raises(TableError, match="9 cells are too few"):
        sfm.tl.leiden_sweep(cells[:9].copy(), use_rep="X_emb")
    ten = cells[:10].copy()
    sfm.tl.leiden_sweep(ten, use_rep="X_emb", resolutions=[0.1, 1], n_subsamples=2)
    assert len(ten.obs["leiden_sweep"]) == 10


def test_the_tree_is_drawn(cells):
    sfm.tl.leiden_sweep(cells, use_rep="X_emb", resolutions=[0.01, 0.3, 2.0], n_subsamples=2)
    ax = sfm.pl.cluster_tree(cells, show=False)
    sizes = [len(points.get_offsets()) for points in ax.collections]
    assert sizes == cells.uns["leiden_sweep"]["table"]["n_clusters"].tolist()
    edges = cells.uns["leiden_sweep"]["edges"]
    assert len(ax.get_lines()) == (edges["share"] >= 0.1).sum()
    with pytest.raises(TableError, match=r"No sweep in uns\['other'\]"):
        sfm.pl.cluster_tree(cells, key="other")


@pytest.fixture
def cliques():
    """Four complete graphs of ten, in two pairs: each cell has an edge to one cell of the other of its pair.

    With resolution g, two of a pair are one cluster where their 10 edges outweigh ``g * 100 * 100 / 400``: below 0.4. A
    complete graph stays together where an edge outweighs ``g * 10 * 10 / 400``: below 4.
    """
    edges = np.kron(np.eye(4), np.ones((10, 10)) - np.eye(10))
    partner = np.kron(np.kron(np.eye(2), np.array([[0, 1], [1, 0]])), np.eye(10))
    names = [f"c{i}" for i in range(40)]
    cells = AnnData(obs=pd.DataFrame(index=names), obsp={"connectivities": csr_matrix(edges + partner)})
    cells.uns["neighbors"] = {"connectivities_key": "connectivities"}
    return cells


def test_the_profile_finds_the_ranges_that_theory_gives(cliques):
    found = resolution_profile(cliques.obsp["connectivities"], 0.1, 8.0, 0)
    assert found["n_clusters"].tolist()[:2] == [2, 4]
    np.testing.assert_allclose(found["resolution_to"][:2], [0.4, 4.0], rtol=0.06)
    assert found["resolution_from"].tolist() == [0.1, *found["resolution_to"][:-1]]
    assert found["resolution_to"].iloc[-1] == 8.0


def test_the_middles_of_the_widest_ranges_are_clustered(cliques):
    sfm.tl.leiden_sweep(cliques, resolutions="profile", n_subsamples=2)
    record = cliques.uns["leiden_sweep"]
    assert record["profile"]["n_clusters"].tolist() == [2, 4]
    np.testing.assert_allclose(record["table"].index, [np.sqrt(0.1 * 0.4), np.sqrt(0.4 * 2)], rtol=0.06)
    assert record["table"]["n_clusters"].tolist() == [2, 4]
    truth = np.repeat(np.arange(4), 10)
    assert [adjusted_rand_score(truth // 2, cliques.obsm["leiden_sweep"].iloc[:, 0])] == [1.0]
    assert adjusted_rand_score(truth, cliques.obsm["leiden_sweep"].iloc[:, 1]) == 1.0
    again = cliques.copy()
    sfm.tl.leiden_sweep(again, resolutions="profile", n_subsamples=2)
    assert again.uns["leiden_sweep"]["table"].equals(record["table"])


def test_a_profile_of_a_sketch_clusters_all_cells(cells):
    with pytest.warns(SpatialfmWarning, match="a sketch of 100 of 240 cells"):
        sfm.tl.leiden_sweep(cells, use_rep="X_emb", resolutions="profile", n_subsamples=0, sketch=100)
    record = cells.uns["leiden_sweep"]
    assert list(record["sketch"].index) == list(record["table"].index)
    assert len(record["table"]) <= 8
    assert cells.obsm["leiden_sweep"].notna().all(axis=None)


def test_another_word_for_resolutions_is_refused(cells):
    with pytest.raises(SpatialfmError, match="profile"):
        sfm.tl.leiden_sweep(cells, use_rep="X_emb", resolutions="stable")
