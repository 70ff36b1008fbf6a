"""The cohort without pixels."""

from __future__ import annotations

import hashlib
import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from sklearn.neighbors import KNeighborsClassifier

import spatialfm as sfm
from spatialfm._errors import SpatialfmError
from spatialfm.datasets._simulate_panel import MARKERS, NICHES, TYPES
from spatialfm.datasets._simulate_slides import draw_slide


@pytest.fixture(scope="module")
def cells():
    """Six patients of 400 cells in two samples."""
    return sfm.datasets.simulate_cells(6, cells_per_patient=401, n_samples=2, patients_per_slide=2, random_state=2)


def _digest(adata) -> str:
    h = hashlib.sha256(adata.X.tobytes())
    for key in sorted(adata.obsm):
        h.update(adata.obsm[key].tobytes())
    h.update(adata.obs.to_csv(float_format="%.17g").encode())
    h.update(adata.uns["truth"]["patients"].to_csv(float_format="%.17g").encode())
    return h.hexdigest()


def test_layout(cells):
    assert cells.shape == (6 * 401, 12)
    assert cells.X.dtype == np.float32
    assert cells.var_names.tolist() == list(MARKERS)[:12]
    assert cells.obs["sample"].value_counts(sort=False).tolist() == [201, 200] * 6
    assert cells.obs_names.is_unique
    assert cells.obs_names[0] == "P001_1_1"
    assert list(cells.obs["type"].cat.categories) == list(TYPES)
    assert list(cells.obs["niche"].cat.categories) == list(NICHES)
    assert cells.obs["slide"].cat.categories.tolist() == ["S1", "S2", "S3"]
    assert cells.obsm["spatial"].shape == (6 * 401, 2)
    assert cells.obsm["X_latent"].shape == (6 * 401, 32)
    assert np.isfinite(cells.X).all()
    assert {"age", "sex", "stage", "treatment", "response", "time", "event"} <= set(cells.obs)
    assert (cells.obs.groupby("patient", observed=True)["time"].nunique() == 1).all()


def test_samples_are_squares(cells):
    for _, index in cells.obs.groupby("sample", observed=True).indices.items():
        xy = cells.obsm["spatial"][index]
        extent = np.ptp(xy, axis=0)
        assert extent.min() > 0.9 * extent.max()
        filled = len(np.unique((xy // (extent.max() / 4 + 1e-6)).astype(int), axis=0))
        assert filled >= 15  # all over the square


def test_truth(cells):
    truth = cells.uns["truth"]
    fraction = (cells.obs["niche"] == "tumor nest").groupby(cells.obs["patient"], observed=True).mean()
    np.testing.assert_allclose(truth["patients"]["fraction"], fraction)
    assert json.loads(truth["parameters"])["cells_per_patient"] == 401
    assert truth["effect"]["log_odds_of_response_per_sd"] == -1.0


def test_same_seed_same_bytes(cells):
    again = sfm.datasets.simulate_cells(6, cells_per_patient=401, n_samples=2, patients_per_slide=2, random_state=2)
    assert _digest(again) == _digest(cells)
    other = sfm.datasets.simulate_cells(6, cells_per_patient=401, n_samples=2, patients_per_slide=2, random_state=3)
    assert _digest(other) != _digest(cells)


def test_patients_do_not_depend_on_the_others(cells):
    fewer = sfm.datasets.simulate_cells(2, cells_per_patient=401, n_samples=2, patients_per_slide=2, random_state=2)
    np.testing.assert_array_equal(fewer.X, cells.X[: len(fewer)])
    np.testing.assert_array_equal(fewer.obsm["X_latent"], cells.obsm["X_latent"][: len(fewer)])


def test_shares_its_patients_with_the_cohort_of_images(cells):
    images = sfm.datasets.simulate_cohort(2, n_samples=1, image_size=64, random_state=2, difficulty="easy")
    table = cells.obs.groupby("patient", observed=True).first()
    for column in ("age", "sex", "stage", "treatment"):
        assert table[column].astype(str).tolist()[:2] == images.tables["samples"].obs[column].astype(str).tolist()


def test_embedding_without_noise_is_the_stated_sum():
    adata = sfm.datasets.simulate_cells(2, cells_per_patient=300, latent_noise=0.0, batch_effect=0.0)
    latent, obs = adata.obsm["X_latent"], adata.obs
    # least squares on type, niche and state explains it to the last digit, with the stated lengths
    design = pd.get_dummies(obs[["type", "niche"]]).to_numpy(float)
    state = {"Tumor": 0, "B": 0, "CD8 T": 1, "CD4 T": 1, "Treg": 2, "Macrophage": 3, "Dendritic": 4}
    kinds = obs["type"].astype(str).map(state).fillna(5).astype(int).to_numpy()
    design = np.column_stack([design, np.eye(6)[kinds] * obs["state"].to_numpy()[:, None]])
    fitted = design @ np.linalg.lstsq(design, latent, rcond=None)[0]
    np.testing.assert_allclose(fitted, latent, atol=1e-5)
    gram = latent @ latent.T
    i, j = 0, int(np.flatnonzero((obs["type"] != obs["type"].iloc[0]) & (kinds != kinds[0]))[0])
    same_niche = float(obs["niche"].iloc[0] == obs["niche"].iloc[j])
    assert gram[i, j] == pytest.approx(0.25 * same_niche, abs=1e-5)
    assert gram[i, i] == pytest.approx(1 + obs["state"].iloc[0] ** 2 + 0.25, abs=1e-5)


def test_noise_of_the_embedding_is_the_chosen_one():
    clean, noisy = (
        sfm.datasets.simulate_cells(2, cells_per_patient=300, latent_noise=s, batch_effect=0) for s in (0, 0.7)
    )
    difference = noisy.obsm["X_latent"] - clean.obsm["X_latent"]
    assert difference.std() == pytest.approx(0.7, rel=0.02)
    assert abs(difference.mean()) < 0.02
    scores = []
    for adata in (clean, noisy):
        train, test = slice(0, 300), slice(300, 600)
        knn = KNeighborsClassifier(5).fit(adata.obsm["X_latent"][train], adata.obs["type"].iloc[train])
        scores.append(knn.score(adata.obsm["X_latent"][test], adata.obs["type"].iloc[test]))
    assert scores[0] > 0.97
    assert scores[1] < scores[0] - 0.05


def test_small_embeddings_are_possible():
    adata = sfm.datasets.simulate_cells(1, cells_per_patient=50, n_latent=3)
    assert adata.obsm["X_latent"].shape == (50, 3)


def test_batch_effect_is_the_gain_of_the_slide():
    plain, stained = (
        sfm.datasets.simulate_cells(2, cells_per_patient=100, batch_effect=b, marker_noise=0, patients_per_slide=1)
        for b in (0.0, 1.0)
    )
    for patient in range(2):
        rows = slice(patient * 100, (patient + 1) * 100)
        gain = draw_slide(patient, 0, 1.0).gain[:12]
        np.testing.assert_allclose(stained.X[rows], plain.X[rows] * gain, rtol=1e-5)
        shift = stained.obsm["X_latent"][rows] - plain.obsm["X_latent"][rows]
        np.testing.assert_allclose(shift, shift[:1].repeat(100, axis=0), atol=1e-5)


def test_marker_noise_and_spillover():
    options = {"cells_per_patient": 400, "batch_effect": 0, "n_latent": 2}
    exact = sfm.datasets.simulate_cells(1, **options, marker_noise=0, spillover=0)
    noisy = sfm.datasets.simulate_cells(1, **options, marker_noise=0.2, spillover=0)
    ratio = noisy.X / exact.X
    assert ratio.std() == pytest.approx(0.2, rel=0.05)
    spilled = sfm.datasets.simulate_cells(1, **options, marker_noise=0, spillover=0.3)
    membrane = (exact.var["compartment"] == "membrane").to_numpy()
    np.testing.assert_array_equal(spilled.X[:, ~membrane], exact.X[:, ~membrane])
    added = spilled.X[:, membrane] - exact.X[:, membrane]
    gap = np.linalg.norm(exact.obsm["spatial"][:, None] - exact.obsm["spatial"], axis=2)
    touching = (gap < 10) & (gap > 0)
    mean = (touching @ exact.X[:, membrane]) / np.maximum(touching.sum(axis=1), 1)[:, None]
    np.testing.assert_allclose(added, 0.3 * mean, rtol=1e-3, atol=1e-2)


def test_written_and_read(cells, tmp_path):
    cells.write_h5ad(tmp_path / "cells.h5ad")
    again = ad.read_h5ad(tmp_path / "cells.h5ad")
    assert _digest(again) == _digest(cells)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"effect_of": "nest"}, ["effect_of='nest'", "'tumor nest'", "'Treg'"]),
        ({"n_markers": 13}, ["n_markers=13", "12 or 40"]),
        ({"n_patients": -1}, ["n_patients=-1"]),
        ({"cells_per_patient": 5}, ["cells_per_patient=5", "at least 10"]),
        ({"n_latent": 1}, ["n_latent=1", "at least 2"]),
        ({"latent_noise": -0.1}, ["latent_noise=-0.1", "at least 0"]),
        ({"marker_noise": "x"}, ["marker_noise='x'"]),
    ],
)
def test_refusals(arguments, words):
    with pytest.raises(SpatialfmError) as caught:
        sfm.datasets.simulate_cells(**{"n_patients": 1, "cells_per_patient": 20} | arguments)
    for word in words:
        assert word in str(caught.value)


def test_difficult_cells_are_rare_and_between_types_as_in_images():
    options = {"cells_per_patient": 1500, "random_state": 3}
    hard, easy = (sfm.datasets.simulate_cells(2, difficulty=name, **options) for name in ("real", "easy"))
    again = sfm.datasets.simulate_cells(2, difficulty="real", **options)
    assert _digest(hard) == _digest(again)
    share = hard.obs["type"].value_counts(normalize=True)
    assert share["Dendritic"] < 0.006 < 0.01 < easy.obs["type"].value_counts(normalize=True)["Dendritic"]
    assert (hard.obs["other_share"] > 0).mean() == pytest.approx(0.3, abs=0.04)
    assert "other_share" not in easy.obs
    scores = []
    for cells in (hard, easy):
        train = (cells.obs["patient"] == "P001").to_numpy()
        model = KNeighborsClassifier(5).fit(np.arcsinh(cells.X[train]), cells.obs["type"][train])
        scores.append(model.score(np.arcsinh(cells.X[~train]), cells.obs["type"][~train]))
    assert scores[0] < scores[1] - 0.1
