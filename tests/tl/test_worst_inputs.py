"""What tools do with the worst tables that they meet: nothing varies, next to nothing is there, numbers are missing."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import spatialfm as sfm
from spatialfm._errors import ArgumentError, SpatialfmError, TableError


def table(n=10, n_patients=5, seed=0) -> AnnData:
    """Ten cells of five patients."""
    rng = np.random.default_rng(seed)
    patient = np.arange(n) % n_patients
    obs = pd.DataFrame(
        {
            "patient": [f"P{i}" for i in patient],
            "sample": [f"S{i}" for i in patient],
            "type": pd.Categorical(np.where(np.arange(n) % 3, "T", "B"), ["B", "NK", "T"]),  # nobody is NK
            "response": patient % 2 == 0,
            "time": 1.0 + patient,
            "event": 1,
        },
        index=[f"c{i}" for i in range(n)],
    )
    values = rng.normal(size=(n, 3)).astype(np.float32)
    return AnnData(X=values, obs=obs, obsm={"X_e": values.copy(), "spatial": rng.uniform(0, 50, (n, 2))})


TAKE_A_REPRESENTATION = {
    "discover_signatures": {"outcome": "response", "n_folds": 2, "resolutions": [1.0], "max_cells": None},
    "cell_states": {"n_states": 3},
    "niches": {"n_niches": 3},
    "tissue_clusters": {"n_clusters": 3},
    "leiden_sweep": {"resolutions": [0.5], "n_subsamples": 0},
    "classify_samples": {"label_key": "response", "n_draws": 2},
    "few_shot_samples": {"label_key": "response", "n_support": 1, "n_draws": 2, "n_clusters": 3},
    "build_index": {},
    "search_samples": {"query": "S0", "k": 2},
}


@pytest.mark.parametrize("name", TAKE_A_REPRESENTATION)
def test_nan_and_what_is_no_table_are_refused_by_name(name):
    function, arguments = getattr(sfm.tl, name), {"use_rep": "X_e"} | TAKE_A_REPRESENTATION[name]
    cells = table()
    cells.obsm["X_e"][4, 1] = np.nan
    before = (list(cells.obs), list(cells.obsm), list(cells.uns))
    with pytest.raises(TableError, match=r"1 of 10 rows of 'X_e' hold NaN or infinite values, first 'c4'"):
        function(cells, **arguments)
    assert (list(cells.obs), list(cells.obsm), list(cells.uns)) == before
    with pytest.raises(TableError, match="No 'X_none' in obsm"):
        function(cells, **(arguments | {"use_rep": "X_none"}))
    with pytest.raises(ArgumentError, match="a DataFrame.*must be an AnnData"):
        function(cells.obs, **arguments)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cell_states", "1 different cells cannot be separated into 3"),
        ("niches", "n_niches=3 of 1 different neighborhoods"),
        ("tissue_clusters", "1 different tiles cannot make 3 clusters"),
        ("few_shot_samples", "1 different cells cannot be separated into 3"),
    ],
)
def test_an_embedding_that_is_the_same_everywhere_is_refused(name, message):
    cells = table()
    cells.obsm["X_e"][:] = 2.0
    with pytest.raises(TableError, match=message):
        getattr(sfm.tl, name)(cells, use_rep="X_e", **TAKE_A_REPRESENTATION[name])
    assert not cells.uns


def test_an_embedding_that_is_the_same_everywhere_tells_nothing():
    cells = table()
    cells.obsm["X_e"][:] = 2.0
    found = sfm.tl.classify_samples(cells, label_key="response", use_rep="X_e", n_draws=4, copy=True)["summary"]
    assert found.set_index("score").loc["auroc", "mean"] == 0.5
    hits = sfm.tl.search_samples(cells, "S0", k=3, use_rep="X_e")
    assert hits["distance"].tolist() == [0, 0, 0]
    assert sfm.tl.search(sfm.tl.build_index(cells, "X_e"), cells[:1], k=3)["distance"].tolist() == [0, 0, 0]
    cells.obs["batch"] = list("ab") * 5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of scikit-learn: k-means finds one cluster
        batches = sfm.metrics.batch_effect(cells, "batch", use_rep="X_e")
    assert batches[["silhouette", "ari"]].to_numpy().tolist() == [[0.0, 0.0]]


def test_ten_cells_are_enough_for_what_needs_few():
    cells = table()
    sfm.tl.cell_states(cells, 3, use_rep="X_e")
    sfm.tl.neighborhood_composition(cells, "type", library_key="sample", n_neighbors=1)
    sfm.tl.niches(cells, 2)
    sfm.tl.tissue_clusters(cells, 2, use_rep="X_e")
    for key, n in (("state", 3), ("niche", 2), ("tissue_cluster", 2)):
        assert cells.obs[key].value_counts().gt(0).sum() == n
    patients = sfm.tl.composition(cells, "type", patient_key="patient")
    assert patients.to_df()["NK"].tolist() == [0] * 5  # a class without cells stays in the table
    np.testing.assert_allclose(patients.X.sum(axis=1), 1)
    index = sfm.tl.build_index(cells, "X_e")
    assert len(sfm.tl.search(index, cells, k=50, exclude=None)) == 100  # as many as there are
    assert len(sfm.tl.search(index, cells, k=50)) == 80  # two of each patient are left out
    assert len(sfm.tl.search_samples(cells, "S0", k=50, use_rep="X_e")) == 4


def test_signatures_that_nobody_or_everybody_has():
    """Ranks are of those who have a signature: nobody is 0; where all have the same share, it is the lowest third."""
    cells = table()
    cells.obsm["signatures"] = pd.DataFrame({"RS1": False, "NRS1": True}, index=cells.obs_names)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "Cells of sample 'S0' are fewer than three")  # two a sample: no area
        patients = sfm.tl.score_signatures(cells, favorable=["RS1"], cluster_key="type", n_neighbors=1)
    assert patients.layers["rank"].tolist() == [[0, 1]] * 5
    assert patients.obs["signature_score"].tolist() == [-1] * 5
    assert (patients.obs["risk_group"] == "medium").all()
    enrichment = patients.uns["enrichment"].set_index(["signature", "type"])
    assert enrichment.loc[("RS1", "T"), "n_patients"] == 0
    assert enrichment.loc["RS1", "log2_enrichment"].isna().all()
    np.testing.assert_allclose(enrichment.loc["NRS1", "log2_enrichment"], 0, atol=1e-12)
    one = sfm.tl.score_signatures(cells[cells.obs["patient"] == "P0"].copy(), favorable=["RS1"])
    assert one.n_obs == 1
    with pytest.raises(TableError, match="Signature 'RS1' has 0 cells inside or outside"):
        sfm.tl.transfer_signatures(cells, table(seed=1), use_rep="X_e")


def test_transfer_of_signatures_refuses_nan_in_either_cohort():
    source, target = table(60), table(60, seed=1)
    source.obsm["signatures"] = pd.DataFrame({"RS1": np.arange(60) % 2 == 0}, index=source.obs_names)
    for side in (target, source):
        side.X[7, 0] = np.nan
        with pytest.raises(TableError, match=r"1 of 60 rows of 'X' hold NaN or infinite values, first 'c7'"):
            sfm.tl.transfer_signatures(source, target, use_rep="X")
    assert "signatures" not in target.obsm


def test_one_patient_and_one_value_in_survival():
    patients = AnnData(X=np.ones((1, 1)), obs=pd.DataFrame({"time": [4.0], "event": [1]}, index=["P0"]))
    found = sfm.tl.kaplan_meier(patients, copy=True)
    assert found["groups"].loc["all", "median"] == 4
    assert found["table"]["survival"].tolist() == [1, 0]
    patients.obs["arm"], patients.obs["score"] = "a", 1.0
    for call, message in [
        (lambda: sfm.tl.logrank(patients, "arm"), "Only one group"),
        (lambda: sfm.tl.cox(patients, "score"), "Covariates 'score' are constant"),
        (lambda: sfm.tl.concordance(patients, "score"), "No two patients are comparable"),
        (lambda: sfm.tl.cut_point(patients, "score"), "no cut can divide those who do worse"),
        (lambda: sfm.tl.coxnet(patients), "1 feature is constant over 1 patient:"),
        (lambda: sfm.tl.survival_forest(patients), "1 feature is constant over 1 patient:"),
        (lambda: sfm.tl.stratify(patients, 2), "1 different compositions cannot make 2 groups"),
        (lambda: sfm.tl.risk_ratio(patients, "arm", "score"), "holds one group, 'a'"),
        (lambda: sfm.tl.compare_composition(patients, "arm"), "One group to compare"),
    ]:
        with pytest.raises(SpatialfmError, match=message):
            call()
    assert not patients.uns
    ten = AnnData(obs=pd.DataFrame({"time": np.arange(10.0), "event": 1, "score": 1.0}, index=list("abcdefghij")))
    assert sfm.tl.concordance(ten, "score", n_bootstrap=100, copy=True)["c_index"] == 0.5  # all tied


def test_neighbours_of_one_type_and_places_that_are_missing():
    cells = table(60)
    cells.obs["all"], cells.obs["half"] = "T", np.arange(60) % 2 == 0
    found = sfm.tl.neighborhood_contrast(cells, "all", cell_type="T", within="half", n_neighbors=3, copy=True)
    assert found.loc["T", ["relative_change", "z", "p_cells", "p_patients"]].tolist() == [0, 0, 1, 1]
    cells.obsm["spatial"][3] = np.nan
    for call in (
        lambda: sfm.tl.neighborhood_contrast(cells, "type", cell_type="T", within="half", n_neighbors=3),
        lambda: sfm.tl.compare_enrichment(cells, "type", "response", n_neighbors=3),
    ):
        with pytest.raises(TableError, match="c3|1 cell"):
            call()
    assert not cells.uns


def test_retrieval_of_labels_that_are_missing_or_all_alike():
    hits = pd.DataFrame({"query": ["a", "b"], "rank": [1, 1], "hit": ["b", "a"]})
    same = sfm.metrics.retrieval(hits, labels=pd.Series({"a": "T", "b": "T"}), k=[1]).set_index("measure")
    assert (same[["value", "chance", "low", "high"]] == 1).all().all()
    for arguments, what in [
        ({"labels": pd.Series({"a": "T", "b": None})}, "labels="),
        ({"compositions": pd.DataFrame({"T": [1.0, np.nan]}, index=["a", "b"])}, "compositions="),
    ]:
        with pytest.raises(TableError, match=f"{what} has no value for 1 of the names.*'b'"):
            sfm.metrics.retrieval(hits, **arguments)


def test_batches_that_are_missing_are_told():
    cells = table()
    cells.obs["batch"] = ["a", "b", None, "a", "b"] * 2
    with pytest.raises(TableError, match=r"2 of 10 rows have no value in obs\['batch'\] \(batch_key=\)"):
        sfm.metrics.batch_effect(cells, "batch", use_rep="X_e")
    cells.obs["batch"] = list("ab") * 5
    cells.obsm["X_e"][0] = np.inf
    with pytest.raises(TableError, match="'X_e' holds NaN or infinite values"):
        sfm.metrics.batch_effect(cells, "batch", use_rep="X_e")
