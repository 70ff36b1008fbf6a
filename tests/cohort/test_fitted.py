"""What was fitted on all patients is reported in cross-validated scores."""

from __future__ import annotations

import warnings

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


def test_the_record_of_an_embedding_says_it():
    sdata = sfm.datasets.simulate_cohort(n_patients=2, n_samples=1, image_size=128, random_state=0, difficulty="easy")
    sfm.tl.embed_tiles(sdata, "classical", size=32, reduce={"n_components": 3}, key_added="X_few")
    assert "principal components" in fitted_on_all(sdata["tiles"], "X_few")
