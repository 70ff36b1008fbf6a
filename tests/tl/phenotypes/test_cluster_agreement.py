"""Clusters against labels they have not seen."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, silhouette_score

import spatialfm as sfm
from spatialfm._errors import TableError
from spatialfm._fingerprint import changes


@pytest.fixture
def blobs_table():
    rng = np.random.default_rng(0)
    labels = np.repeat(list("abc"), 40)
    near = rng.normal(size=(120, 4)) + 2.0 * pd.get_dummies(labels).to_numpy(float) @ np.eye(3, 4)
    far = rng.normal(size=(120, 4)) * 0.1 + 20 * pd.get_dummies(labels).to_numpy(float) @ np.eye(3, 4)
    obs = pd.DataFrame({"type": labels}, index=[f"c{i:03}" for i in range(120)])
    return AnnData(obs=obs, obsm={"X_far": far, "X_near": near, "X_noise": rng.normal(size=(120, 4))})


def test_scores_are_those_of_scikit_learn(blobs_table):
    table = sfm.tl.cluster_agreement(blobs_table, "type", use_rep="X_near", methods=["kmeans"], n_seeds=3)
    for row in table.itertuples():
        found = KMeans(3, n_init=10, random_state=row.seed).fit_predict(blobs_table.obsm["X_near"])
        assert row.ari == pytest.approx(adjusted_rand_score(blobs_table.obs["type"], found))
        assert row.silhouette == pytest.approx(silhouette_score(blobs_table.obsm["X_near"], blobs_table.obs["type"]))
    assert table.equals(blobs_table.uns["cluster_agreement"]["table"])


def test_the_better_embedding_scores_better(blobs_table):
    table = sfm.tl.cluster_agreement(blobs_table, "type", use_rep=["X_far", "X_near", "X_noise"], n_seeds=2)
    mean = table.groupby(["use_rep", "method"])["ari"].mean()
    assert mean["X_far", "kmeans"] == mean["X_far", "leiden"] == 1
    assert abs(mean["X_noise", "kmeans"]) < 0.1
    assert mean["X_noise", "kmeans"] < mean["X_near", "kmeans"] <= 1
    assert (table.query("use_rep == 'X_far'")["n_clusters"] == 3).all()


def test_missing_labels_are_left_out_and_too_few_refused(blobs_table):
    blobs_table.obs["some"] = blobs_table.obs["type"].where(np.arange(120) % 2 == 0)
    table = sfm.tl.cluster_agreement(blobs_table, "some", use_rep="X_far", methods=["kmeans"], n_seeds=1)
    assert table["ari"].item() == 1
    blobs_table.obs["one"] = "a"
    for arguments, message in [
        ({"label_key": "one"}, r"holds 1 label in"),
        ({"label_key": "type", "methods": ["dbscan"]}, "dbscan"),
        ({"label_key": "type", "methods": []}, r"methods=\[\] is not a list of 'kmeans' and 'leiden'"),
        ({"label_key": "type", "n_clusters": 500}, "n_clusters=500 of 120 cells"),
        ({"label_key": "none"}, "No column 'none'"),
    ]:
        with pytest.raises(TableError, match=message):
            sfm.tl.cluster_agreement(blobs_table, use_rep="X_far", **arguments)
    blobs_table.obsm["X_flat"] = np.ones((120, 2))
    with pytest.warns(UserWarning, match="distinct clusters"):
        flat = sfm.tl.cluster_agreement(blobs_table, "type", use_rep="X_flat", methods=["kmeans"], n_seeds=1)
    assert flat["ari"].item() == 0


def test_what_was_judged_by_labels_is_stale_once_they_change():
    cells = sfm.datasets.simulate_cells(n_patients=4, cells_per_patient=60, random_state=0)
    sfm.tl.cluster_agreement(cells, "type", use_rep="X_latent", methods=["kmeans"], n_seeds=1)
    sfm.tl.label_report(cells, "type", use_rep="X_latent")
    sfm.tl.evaluate_annotation(cells, "type", use_rep="X_latent", heads="lda", n_folds=2)
    records = {key: cells.uns[key] for key in ("cluster_agreement", "label_report", "annotation")}
    assert [changes(cells[::-1], record["params"]["data"]) for record in records.values()] == [[], [], []]
    cells.obs["type"] = cells.obs["type"].astype(str)
    cells.obs.iloc[0, cells.obs.columns.get_loc("type")] = "other"
    assert [changes(cells, record["params"]["data"]) for record in records.values()] == [["obs['type']"]] * 3
    for draw in (sfm.pl.label_report, sfm.pl.annotation_scores):
        with pytest.raises(TableError, match=r"obs\['type'\] changed since"):
            draw(cells, show=False)
