"""What was fitted on all patients is reported in cross-validated scores."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import spatialfm as sfm
from spatialfm.cohort.fitted import fitted_on_all


@pytest.fixture
def cells():
    cells = sfm.datasets.simulate_cells(n_patients=20, cells_per_patient=40, random_state=0)
    sfm.tl.cell_states(cells, 5, use_rep="X_latent", key_added="state")
    cells.obsm["X_pca"] = cells.obsm["X_latent"].copy()
    return cells


def said(function, table, **options) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(table, copy=True, **options)["params"]["fitted_on_all"]


def test_clusters_and_bases_are_named(cells):
    options = {"label_key": "response", "n_draws": 2}
    assert said(sfm.tl.classify_samples, cells, use_rep="X_pca", n_components=2, **options) == (
        "principal components of obsm['X_pca']"
    )
    assert said(sfm.tl.classify_samples, cells, use_rep="X", n_components=2, **options) == ""
    few = said(
        sfm.tl.few_shot_samples, cells, use_rep="X_latent", n_clusters=3, cluster_key="state", n_support=2, **options
    )
    assert few == "clusters obs['state'], states of obsm['X_latent']"
    patients = sfm.tl.composition(cells, "state", patient_key="patient")
    assert said(sfm.tl.classify_samples, patients, use_rep="X", n_components=None, **options) == "clusters obs['state']"
    known = sfm.tl.composition(cells, "type", patient_key="patient")
    assert said(sfm.tl.classify_samples, known, use_rep="X", n_components=None, **options) == ""


def test_groups_of_all_patients_are_named_where_they_are_covariates(cells):
    patients = sfm.tl.composition(cells, "type", patient_key="patient")
    sfm.tl.stratify(patients, 2, use_outcome=False, key_added="group")
    rng = np.random.default_rng(0)
    patients.obs["time"], patients.obs["event"] = rng.exponential(size=patients.n_obs), 1
    options = {"use_rep": "X", "n_folds": 2, "n_inner_folds": 2, "n_bootstrap": 100, "n_repeats": 1}
    assert said(sfm.tl.coxnet, patients, covariates="group", n_alphas=3, **options) == "clusters obs['group']"
    assert said(sfm.tl.coxnet, patients, n_alphas=3, **options) == ""


@pytest.mark.filterwarnings("ignore::spatialfm._errors.SpatialfmWarning")
def test_scores_of_annotation_name_bases_of_all_cells(cells):
    options = {"C": 1.0, "n_folds": 2}
    sfm.tl.evaluate_annotation(cells, "type", use_rep=["X_latent", "X_pca"], **options)
    assert cells.uns["annotation"]["params"]["fitted_on_all"] == "principal components of obsm['X_pca']"
    sfm.tl.evaluate_annotation(cells, "type", use_rep="X_latent", **options)
    assert cells.uns["annotation"]["params"]["fitted_on_all"] == ""


def test_the_record_of_an_embedding_says_it():
    sdata = sfm.datasets.simulate_cohort(n_patients=2, n_samples=1, image_size=128, random_state=0, difficulty="easy")
    sfm.tl.embed_tiles(sdata, "classical", size=32, reduce={"n_components": 3}, key_added="X_few")
    assert "principal components" in fitted_on_all(sdata["tiles"], "X_few")
