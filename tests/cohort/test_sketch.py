"""Many cells clustered by a part of them: the same clusters, and errors that are what they are said to be."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from anndata import AnnData
from scipy.spatial.distance import cdist
from sklearn.metrics import adjusted_rand_score

import spatialfm as sfm
from spatialfm._errors import ArgumentError, SpatialfmWarning, TableError
from spatialfm.cohort import sketch as _sketch
from spatialfm.cohort.checks import order_of_names
from spatialfm.cohort.sketch import drawn_evenly, sketch_size
from spatialfm.stats.depth import depth_within

OPTIONS = {"use_rep": "X_e", "resolutions": [0.1, 0.5], "n_subsamples": 2}


def cells_of(n=1500, spread=1.0, seed=0, largest=0.6):
    """Five blobs in three dimensions; one of six patients has most cells, names are in no order."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 5, n)
    centers = 8 * rng.normal(size=(5, 3))
    patient = np.where(rng.random(n) < largest, 0, rng.integers(1, 6, n))
    obs = pd.DataFrame({"truth": truth.astype(str), "patient": [f"P{i}" for i in patient]})
    obs.index = [f"c{i}" for i in rng.permutation(n)]
    return AnnData(obs=obs, obsm={"X_e": centers[truth] + spread * rng.normal(size=(n, 3))})


def votes(values, codes, others, k, same=False):
    """Most frequent code of the nearest, the nearest deciding among equals; written out."""
    far = cdist(others, values)
    if same:
        np.fill_diagonal(far, np.inf)
    out = []
    for row in np.argsort(far, axis=1, kind="stable")[:, :k]:
        near = codes[row].tolist()
        most = max(near.count(code) for code in near)
        out.append(next(code for code in near if near.count(code) == most))
    return np.array(out)


def leiden_of(values, resolution):
    part = AnnData(obsm={"X": values})
    sc.pp.neighbors(part, use_rep="X", n_neighbors=15, random_state=0)
    sc.tl.leiden(part, resolution=resolution, flavor="igraph", n_iterations=2, directed=False, random_state=0)
    return part.obs["leiden"].astype(int).to_numpy()


def test_planted_clusters_are_found_in_all_cells():
    cells = cells_of()
    with pytest.warns(
        SpatialfmWarning, match=r"a sketch of 300 of 1,500 cells \(50 of each of 6 patients\).*sketch=No"
    ):
        sfm.tl.leiden_sweep(cells, sketch=300, **OPTIONS)
    record = cells.uns["leiden_sweep"]
    assert adjusted_rand_score(cells.obs["truth"], cells.obsm["leiden_sweep"]["0.1"]) > 0.98
    assert (record["sketch"]["own_cluster"].loc[0.1], record["params"]["sketch"]) == (pytest.approx(1, abs=0.01), 300)
    assert record["sketch"]["ari_sketches"].loc[0.1] > 0.98
    assert record["table"]["stability"].notna().all()
    sizes = cells.obs["leiden_sweep"].value_counts()
    assert sizes.index.astype(int).tolist() == sorted(sizes.index.astype(int))  # numbered from the largest of all cells
    assert record["edges"]["n"].sum() == cells.n_obs


def test_errors_of_a_sketch_are_those_of_a_written_out_computation():
    cells = cells_of(900, spread=4.0, largest=0.3)  # blobs overlap, so that the errors are not 0
    with pytest.warns(SpatialfmWarning, match="Clusters were found in a sketch"):
        sfm.tl.leiden_sweep(cells, sketch=300, **OPTIONS)
    groups = cells.obs["patient"].astype("category").cat.codes.to_numpy()
    drawn = drawn_evenly(order_of_names(cells.obs_names), groups, "patient", 300, 0)
    values, rest = cells.obsm["X_e"], np.setdiff1d(np.arange(900), drawn.rows)
    for resolution, found in cells.uns["leiden_sweep"]["sketch"].iterrows():
        codes = cells.obsm["leiden_sweep"][f"{resolution:g}"].to_numpy()
        assert adjusted_rand_score(leiden_of(values[drawn.rows], resolution), codes[drawn.rows]) == 1
        np.testing.assert_array_equal(votes(values[drawn.rows], codes[drawn.rows], values[rest], 15), codes[rest])
        again = votes(values[drawn.rows], codes[drawn.rows], values[drawn.rows], 15, same=True)
        assert found["own_cluster"] == pytest.approx((again == codes[drawn.rows]).mean())
        second = leiden_of(values[drawn.others], resolution)
        assert found["ari_sketches"] == pytest.approx(adjusted_rand_score(second, codes[drawn.others]))
    assert (cells.uns["leiden_sweep"]["sketch"] < 1).all().all()


def test_few_cells_are_clustered_as_ever(monkeypatch):
    cells, whole, many = cells_of(400), cells_of(400), cells_of(400)
    sfm.tl.leiden_sweep(cells, **OPTIONS)
    sfm.tl.leiden_sweep(whole, sketch=None, **OPTIONS)
    sfm.tl.leiden_sweep(many, sketch=400, **OPTIONS)
    for other in (whole, many):
        assert other.uns["leiden_sweep"]["table"].equals(cells.uns["leiden_sweep"]["table"])
        assert other.obsm["leiden_sweep"].equals(cells.obsm["leiden_sweep"])
        assert "sketch" not in other.uns["leiden_sweep"]
    monkeypatch.setattr(_sketch, "SKETCH_FROM", 399)
    monkeypatch.setattr(_sketch, "SKETCH", 120)
    with pytest.warns(SpatialfmWarning, match="a sketch of 120 of 400 cells"):
        sfm.tl.leiden_sweep(cells, **OPTIONS)
    assert [sketch_size("auto", n) for n in (399, 400)] == [None, 120]


@pytest.mark.filterwarnings("ignore:Clusters were found in a sketch")
def test_a_sketch_does_not_hang_on_the_order_of_rows():
    cells = cells_of(900, spread=3.0)
    turned = cells[np.random.default_rng(1).permutation(900)].copy()
    for table in (cells, turned):
        sfm.tl.leiden_sweep(table, sketch=200, **OPTIONS)
    assert turned.obsm["leiden_sweep"].loc[cells.obs_names].equals(cells.obsm["leiden_sweep"])
    assert turned.uns["leiden_sweep"]["sketch"].equals(cells.uns["leiden_sweep"]["sketch"])


def test_as_many_cells_of_each_are_drawn_twice():
    groups = np.repeat(np.arange(4), [950, 30, 5, 15])
    drawn = drawn_evenly(np.random.default_rng(0).permutation(1000), groups, "patient", 100, 0)
    assert np.bincount(groups[drawn.rows]).tolist() == [50, 30, 5, 15]
    assert np.bincount(groups[drawn.others]).tolist() == [50]  # the others have no more
    assert len(np.intersect1d(drawn.rows, drawn.others)) == 0
    assert "or all that it has" in drawn.how
    rng = np.random.default_rng(0)
    for _ in range(50):
        n, total = rng.integers(1, 40, rng.integers(1, 9)), int(rng.integers(5, 250))
        depth = depth_within(n, total)
        assert np.minimum(n, depth).sum() <= total
        assert depth == n.max() or np.minimum(n, depth + 1).sum() > total
    with pytest.raises(TableError, match="sketch=3 is not one cell of each of 4 patients"):
        drawn_evenly(np.arange(1000), groups, "patient", 3, 0)


def test_what_cannot_be_sketched_is_refused():
    cells = cells_of(300)
    sc.pp.neighbors(cells, use_rep="X_e")
    with pytest.raises(TableError, match=r"sketch=150 of a graph that is there.*Pass use_rep="):
        sfm.tl.leiden_sweep(cells, sketch=150)
    with pytest.raises(ArgumentError, match="sketch=5"):
        sfm.tl.leiden_sweep(cells, use_rep="X_e", sketch=5)


# --------------------------------------------------------------------------------------------------------- signatures

SEARCH = {"use_rep": "X_e", "resolutions": [0.3, 0.6], "n_repeats": 3, "n_repeats_model": 3, "max_cells": None}
SEARCH |= {"outcome": "response", "n_permutations": 0, "n_signatures": 1, "min_patients": 3}


def cohort(n_patients=24, cells=60, effect=2.0, spread=1.0, seed=0):
    """Six blobs; patients who respond have more of blob 0."""
    rng = np.random.default_rng(seed)
    centers, responds = 5 * rng.standard_normal((6, 4)), np.arange(n_patients) % 2 == 0
    weights = rng.dirichlet(np.full(6, 2.0), n_patients)
    weights[:, 0] *= np.exp(effect * np.where(responds, 1, -1))
    kinds = np.concatenate([rng.choice(6, cells, p=w / w.sum()) for w in weights])
    patients = np.repeat(np.arange(n_patients), cells)
    obs = pd.DataFrame({"patient": [f"P{i:02d}" for i in patients], "response": responds[patients]})
    obs["kind"] = kinds
    obs.index = [f"c{i}" for i in rng.permutation(len(obs))]
    return AnnData(obs=obs, obsm={"X_e": centers[kinds] + spread * rng.standard_normal((len(kinds), 4))})


def test_a_planted_signature_is_found_in_a_sketch_and_its_errors_are_written_out(monkeypatch):
    from spatialfm.learn import signature_clusters as clustering

    seen, plain = [], clustering.cluster_cells
    monkeypatch.setattr(clustering, "cluster_cells", lambda values, *a: seen.append(values) or plain(values, *a))
    cells = cohort(spread=1.5)
    with pytest.warns(SpatialfmWarning, match=r"a sketch of 480 of 1,440 cells \(20 of each of 24 patients\)"):
        sfm.tl.discover_signatures(cells, sketch=480, **SEARCH)
    assert [len(values) for values in seen] == [480, 480, *[360] * 4, 480]  # found, as published, folds, second sketch
    record = cells.uns["signatures"]
    assert (record["patients"]["n_cells_drawn"] == 20).all()
    assert record["params"]["sketch"] == 480
    inside = cells.obsm["signatures"]["RS1"].to_numpy()
    planted = (cells.obs["kind"] == 0).to_numpy()
    assert (inside & planted).sum() / (inside | planted).sum() > 0.8
    assert record["scores"].loc["nested", "score"] > 0.7
    codes = pd.factorize(cells.obs["patient"])[0]
    drawn = drawn_evenly(order_of_names(cells.obs_names), codes, "patient", 480, 0)
    values, errors = cells.obsm["X_e"], record["sketch"]
    np.testing.assert_array_equal(seen[0], values[drawn.rows])
    clusters = plain(values[drawn.rows], SEARCH["resolutions"], 15, 0, 1)
    second = plain(values[drawn.others], SEARCH["resolutions"], 15, 0, 1)
    for name, row in record["signatures"].iterrows():
        level = SEARCH["resolutions"].index(row["resolution"])
        code = int(row["cluster"].rpartition("_c")[2])
        mine = clusters[level] == code
        again = votes(values[drawn.rows], clusters[level], values[drawn.rows], 15, same=True) == code
        assert errors.loc[name, "found"] == pytest.approx((mine & again).sum() / mine.sum())
        assert errors.loc[name, "right"] == pytest.approx((mine & again).sum() / again.sum())
        there = cells.obsm["signatures"][name].to_numpy()[drawn.others]
        overlaps = [
            (there & (column == c)).sum() / (there | (column == c)).sum()
            for column in second
            for c in np.unique(column)
        ]
        assert errors.loc[name, "overlap"] == pytest.approx(max(overlaps))


def test_few_cells_are_searched_as_ever():
    cells = cohort(12, 40)
    one, two, three = (
        sfm.tl.discover_signatures(cells, sketch=size, copy=True, nested=False, **SEARCH)
        for size in ("auto", None, cells.n_obs)
    )
    for other in (two, three):
        for part in ("scores", "clusters", "signatures", "patients"):
            pd.testing.assert_frame_equal(one[part], other[part])
        assert "sketch" not in other
        assert "sketch" not in other["params"]


def test_a_sketch_of_all_cells_is_in_proportion():
    """As asked for: patients of many cells weigh more, in the clusters and in the record."""
    cells = cohort(20, 60, effect=0.0)
    place = cells.obs.groupby("patient").cumcount()
    cells = cells[((place < 20) | (cells.obs["patient"] < "P10")).to_numpy()].copy()
    with pytest.warns(SpatialfmWarning, match=r"a sketch of 400 of 800 cells \(drawn at random\)"):
        record = sfm.tl.discover_signatures(
            cells, sketch=400, cells_per_patient="all", nested=False, copy=True, **SEARCH
        )
    n = record["patients"]["n_cells_drawn"]
    assert n.sum() == 400
    assert n[n.index < "P10"].sum() == pytest.approx(300, abs=30)  # 3 of 4 cells are theirs
    assert record["params"]["cells_per_patient"] == "all"


def test_a_sketch_of_the_published_score_alone_is_told():
    """Few cells of each are drawn anyway; all of them are too many."""
    cells = cohort(20, 60)
    with pytest.warns(SpatialfmWarning, match="The score as published was made of a sketch of 300 of 1,200 cells"):
        record = sfm.tl.discover_signatures(
            cells, sketch=300, cells_per_patient=12, nested=False, copy=True, **SEARCH | {"min_patients": 2}
        )
    assert record["params"]["sketch_published"] == 300
    assert "sketch" not in record
    assert (record["patients"]["n_cells_drawn"] == 12).all()
