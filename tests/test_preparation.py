"""Columns on one scale: what a measured baseline needs, worked out by scikit-learn next to ours."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, silhouette_score
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

import spatialfm as sfm
from spatialfm._preparation import (
    AS_IT_IS,
    COMPONENTS,
    FRACTIONS,
    STANDARDIZED,
    WHEN_EMBEDDED,
    column_scale,
    preparation,
    prepare,
)

TYPES = 4


def planted(factor: float = 1.0) -> AnnData:
    """400 cells of four types that differ in dim markers, next to one bright marker that says nothing."""
    rng = np.random.default_rng(0)
    of_type = np.repeat(np.arange(TYPES), 100)
    dim = rng.normal(size=(400, TYPES)) * 0.3 + 2.0 * np.eye(TYPES)[of_type] + 1
    bright = rng.normal(500, 100, (400, 1))
    values = np.hstack([dim, bright])
    values[:, 1] *= factor
    patient = np.tile(np.repeat(np.arange(8), 5), 10)
    obs = pd.DataFrame(
        {
            "type": [f"type {i}" for i in of_type],
            "sample": [f"s{i}" for i in patient],
            "patient": [f"p{i}" for i in patient],
            "batch": np.where(patient % 2, "a", "b"),
            "time_point": np.tile(np.repeat(["before", "after"], [3, 2]), 80),
            "label": np.where(patient < 4, "x", "y"),
        },
        index=[f"c{i}" for i in range(400)],
    )
    cells = AnnData(values, obs=obs, var=pd.DataFrame(index=["CD3", "CD8", "CD20", "CD68", "DAPI"]))
    cells.obsm["X_mean_intensity"] = values.astype(np.float32)
    cells.uns["spatialfm"] = {
        "X_mean_intensity": {
            "model": "mean-intensity", "feature_names": json.dumps(list(cells.var_names)), "standardized": 0,
            "n_components": "",
        }
    }  # fmt: skip
    return cells


@pytest.mark.parametrize("rep", ["X", "X_mean_intensity"])
def test_the_baseline_is_at_its_best(rep):
    cells = planted()
    table = sfm.tl.cluster_agreement(cells, "type", use_rep=rep, methods=["kmeans"], n_seeds=2)
    scaled = StandardScaler().fit_transform(cells.X)
    raw = adjusted_rand_score(cells.obs["type"], KMeans(TYPES, n_init=10, random_state=0).fit_predict(cells.X))
    for row in table.itertuples():
        found = KMeans(TYPES, n_init=10, random_state=row.seed).fit_predict(scaled)
        assert row.ari == pytest.approx(adjusted_rand_score(cells.obs["type"], found))
        assert row.silhouette == pytest.approx(silhouette_score(scaled, cells.obs["type"]), abs=1e-5)
        assert row.ari > 0.9 > 0.1 > raw
    assert set(table["preparation"]) == {STANDARDIZED}
    assert set(cells.uns["cluster_agreement"]["table"]["preparation"]) == {STANDARDIZED}


def agreement(cells, rep):
    return sfm.tl.cluster_agreement(cells, "type", use_rep=rep, n_seeds=1)[["ari", "nmi", "silhouette"]].to_numpy()


def hits(cells, rep):
    found = sfm.tl.search(sfm.tl.build_index(cells, rep), cells[:20].copy(), k=5, exclude=None)
    return found["hit"].tolist()


def shift(cells, rep):
    table = sfm.tl.distribution_shift(
        cells, use_rep=rep, time_key="time_point", library_key=None, min_cells=4, n_cells=8, n_repeats=2, epsilon=0.1,
        copy=True,
    )["table"]  # fmt: skip
    return table["distance"].to_numpy()


def tiles(cells, rep):
    return sfm.tl.tissue_clusters(cells, TYPES, use_rep=rep, copy=True).tolist()


def signature_novelty(cells, rep):
    cells.obsm["signatures"] = pd.DataFrame({"S": cells.obs["type"] == "type 1"})
    target = cells[:100].copy()
    target.obs["patient"] = target.obs["patient"].astype(str)
    sfm.tl.transfer_signatures(cells, target, use_rep=rep, n_trees=5)
    return target.obs["signatures_novelty"].to_numpy()


def discovered(cells, rep):
    found = sfm.tl.discover_signatures(
        cells, use_rep=rep, outcome="label", positive="y", resolutions=[0.3, 0.6], max_cells=None, n_folds=2,
        n_repeats=1, n_repeats_model=1, n_permutations=0, min_patients=2, nested=False, copy=True,
    )  # fmt: skip
    return found["clusters"]["n_cells"].to_numpy()


CALLS = {
    "cluster_agreement": agreement,
    "search": hits,
    "search_samples": lambda cells, rep: sfm.tl.search_samples(cells, "s0", 3, use_rep=rep)["distance"].to_numpy(),
    "niches": lambda cells, rep: sfm.tl.niches(cells, TYPES, use_rep=rep, copy=True).tolist(),
    "tissue_clusters": tiles,
    "cell_states": lambda cells, rep: sfm.tl.cell_states(cells, TYPES, use_rep=rep, copy=True).tolist(),
    "leiden_sweep": lambda cells, rep: sfm.tl.leiden_sweep(cells, use_rep=rep, resolutions=[0.5], copy=True)[
        "0.5"
    ].tolist(),
    "few_shot_samples": lambda cells, rep: sfm.tl.few_shot_samples(
        cells, label_key="label", use_rep=rep, n_clusters=4, n_support=1, n_draws=3, copy=True
    )["draws"]["auroc"].to_numpy(),
    "distribution_shift": shift,
    "transfer_signatures": signature_novelty,
    "discover_signatures": discovered,
    "batch_effect": lambda cells, rep: sfm.metrics.batch_effect(cells, "batch", use_rep=rep)[
        ["silhouette", "ari"]
    ].to_numpy(),
    "annotate": lambda cells, rep: sfm.tl.annotate(
        cells, "type", use_rep=rep, method="linear", C=1.0, calibrate=False, copy=True
    )["label"].tolist(),
    "transfer_labels": lambda cells, rep: sfm.tl.transfer_labels(
        cells, cells.copy(), "type", use_rep=rep, method="knn", copy=True
    )["label"].tolist(),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CALLS)
def test_the_unit_of_one_marker_changes_nothing(name):
    """One marker written in units a thousand times smaller."""
    for rep in ("X", "X_mean_intensity"):
        one, two = CALLS[name](planted(), rep), CALLS[name](planted(1000.0), rep)
        if isinstance(one, list):
            assert one == two
        else:
            np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-4)


def test_hits_are_the_neighbours_of_standardised_columns(tmp_path):
    cells = planted()
    index = sfm.tl.build_index(cells, "X")
    scaler = StandardScaler().fit(cells.X)
    queries = cells[:30].copy()
    queries.X = queries.X + 0.1
    expected = NearestNeighbors(n_neighbors=4).fit(scaler.transform(cells.X)).kneighbors(scaler.transform(queries.X))
    index.save(tmp_path / "index.npz")
    for each in (index, type(index).load(tmp_path / "index.npz")):
        found = sfm.tl.search(each, queries, k=4, exclude=None)
        assert each.preparation == STANDARDIZED
        np.testing.assert_allclose(found["distance"], expected[0].ravel(), rtol=1e-4)
        assert found["hit"].tolist() == cells.obs_names[expected[1].ravel()].tolist()
        by_array = sfm.tl.search(each, np.asarray(queries.X), k=4, exclude=None)
        assert by_array["hit"].tolist() == found["hit"].tolist()


def test_what_has_a_scale_keeps_it():
    cells = planted()
    cells.obsm["X_own"] = cells.X.copy()
    records = {
        "X_kronos": ({"feature_names": "", "standardized": 0, "n_components": ""}, AS_IT_IS),
        "X_classical": ({"feature_names": '["a"]', "standardized": 1, "n_components": ""}, WHEN_EMBEDDED),
        "X_reduced": ({"feature_names": "", "standardized": 1, "n_components": 5}, COMPONENTS),
        "X_means": ({"feature_names": '["a"]', "standardized": 0, "n_components": ""}, STANDARDIZED),
    }
    for key, (notes, expected) in records.items():
        cells.uns["spatialfm"][key] = notes
        assert preparation(cells, key) == expected
    assert preparation(cells, "X_own") == AS_IT_IS
    assert preparation(sfm.tl.composition(cells, "type"), "X") == FRACTIONS
    values = cells.X
    assert prepare(values, AS_IT_IS) is values


def test_the_records_of_embeddings_decide():
    """As `embed_cells` writes them."""
    sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=96, random_state=0, difficulty="easy")
    for model, expected in [("mean-intensity", STANDARDIZED), ("classical", WHEN_EMBEDDED)]:
        sfm.tl.embed_cells(sdata, model)
        assert preparation(sdata["table"], f"X_{model.replace('-', '_')}") == expected
    sfm.tl.embed_cells(sdata, "mean-intensity", reduce={"n_components": 3}, key_added="X_pca_of_means")
    assert preparation(sdata["table"], "X_pca_of_means") == COMPONENTS


def test_constants_stay_at_zero():
    values = np.array([[1.1, 0.0, 2.0], [1.1, 0.0, 4.0], [1.1, 0.0, 6.0]], np.float32)
    scaled = prepare(values, STANDARDIZED)
    np.testing.assert_allclose(scaled, [[0, 0, -(1.5**0.5)], [0, 0, 0], [0, 0, 1.5**0.5]], atol=1e-6)
    mean, sd = column_scale(values, STANDARDIZED)
    np.testing.assert_allclose(mean, [1.1, 0, 4])
    np.testing.assert_allclose(sd, [1, 1, (8 / 3) ** 0.5], rtol=1e-6)
