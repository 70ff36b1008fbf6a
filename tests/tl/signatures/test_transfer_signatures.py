"""Signatures found again in a second cohort."""

import numpy as np
import pandas as pd
import pytest

import spatialfm as sfm
from spatialfm._errors import TableError


@pytest.fixture
def cohorts():
    source, target = (sfm.datasets.simulate_cells(10, cells_per_patient=120, random_state=s) for s in (0, 1))
    source.obsm["signatures"] = pd.DataFrame(
        {"RS1": source.obs["type"] == "CD8 T", "NRS1": source.obs["niche"] == "tumor nest"}
    )
    return source, target


def test_planted_signatures_are_found_again(cohorts):
    source, target = cohorts
    sfm.tl.transfer_signatures(source, target, use_rep="X", n_trees=60)
    found = target.obsm["signatures"]["RS1"].to_numpy()
    truth = (target.obs["type"] == "CD8 T").to_numpy()
    assert found[truth].mean() > 0.8
    assert found[~truth].mean() < 0.2
    quality = target.uns["signatures"]["signatures"].loc["RS1"]
    assert quality["accuracy_cells"] > 0.8
    # what is reported of held-out patients is what the other cohort shows
    assert abs(quality["accuracy_patients"] - (found[truth].mean() + (~found[~truth]).mean()) / 2) < 0.1
    assert target.obs["signatures_novelty"].between(0, 1).all()


def test_noise_has_the_accuracy_of_chance(cohorts):
    source, target = cohorts
    source.obsm["signatures"] = pd.DataFrame(
        {"RS1": np.random.default_rng(0).random(source.n_obs) < 0.2}, index=source.obs_names
    )
    sfm.tl.transfer_signatures(source, target, use_rep="X", n_trees=30)
    quality = target.uns["signatures"]["signatures"].loc["RS1"]
    assert abs(quality["accuracy_cells"] - 0.5) < 0.1
    assert abs(quality["accuracy_patients"] - 0.5) < 0.1


def test_refusals(cohorts):
    source, target = cohorts
    with pytest.raises(TableError, match="No signatures 'other' in obsm of the source"):
        sfm.tl.transfer_signatures(source, target, use_rep="X", key="other")
    source.obsm["signatures"]["RS1"] = np.arange(source.n_obs) < 4
    with pytest.raises(TableError, match="Signature 'RS1' has 4 cells"):
        sfm.tl.transfer_signatures(source, target, use_rep="X")
    source.uns["spatialfm"] = {"X_latent": {"model": "kronos"}}
    source.obsm["signatures"] = source.obsm["signatures"][["NRS1"]]
    with pytest.raises(TableError, match="has no record of how it was made"):
        sfm.tl.transfer_signatures(source, target, use_rep="X_latent")
    assert "signatures" not in target.obsm


def test_probabilities_are_those_of_a_forest_of_scikit_learn(cohorts):
    """200 trees of depth 16 on as many cells outside as inside, unless told otherwise."""
    from sklearn.ensemble import RandomForestClassifier

    source, target = cohorts
    inside = source.obsm["signatures"]["RS1"].to_numpy()
    # as many outside as inside: then balancing takes all, whatever it draws
    outside = np.flatnonzero(~inside)[: inside.sum()]
    source = source[np.sort(np.concatenate([np.flatnonzero(inside), outside]))].copy()
    source.obsm["signatures"] = source.obsm["signatures"][["RS1"]]
    found = sfm.tl.transfer_signatures(source, target, use_rep="X", copy=True)["RS1"]
    inside = source.obsm["signatures"]["RS1"].to_numpy()
    values = np.asarray(source.X)
    theirs = [
        RandomForestClassifier(200, max_depth=16, random_state=seed).fit(values, inside).predict_proba(target.X)[:, 1]
        for seed in (0, 1)
    ]
    between = np.abs(theirs[0] - theirs[1]).mean()  # two forests of different chance
    assert np.abs(found - theirs[0]).mean() < 1.5 * between
    assert np.corrcoef(found, theirs[0])[0, 1] > 0.97
    sfm.tl.transfer_signatures(source, target, use_rep="X")
    params = target.uns["signatures"]["params"]
    assert (params["n_trees"], params["max_depth"], params["test_size"]) == (200, 16, 0.2)


def test_the_order_of_the_source_changes_nothing(cohorts):
    source, target = cohorts
    source.obs_names = [f"{name}_{i}" for i, name in enumerate(source.obs_names)]
    turned = source[np.random.default_rng(0).permutation(source.n_obs)].copy()
    written = []
    for table in (source, turned):
        copied = target.copy()
        sfm.tl.transfer_signatures(table, copied, use_rep="X", n_trees=10)
        quality = copied.uns["signatures"]["signatures"][["accuracy_cells", "accuracy_patients"]]
        written.append((copied.obsm["signatures_probability"], copied.obs["signatures_novelty"], quality))
    for one, two in zip(*written, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-12)


def test_without_patients_the_way_on_is_named():
    cells = sfm.datasets.simulate_cells(n_patients=3, cells_per_patient=40, random_state=0)
    cells.obsm["tumor"] = pd.DataFrame({"a": (cells.obs["type"] == "Tumor").to_numpy()}, index=cells.obs_names)
    del cells.obs["patient"]
    with pytest.raises(TableError, match=r"No column 'patient' in obs.*or patient_key=None, which holds cells out"):
        sfm.tl.transfer_signatures(cells, cells.copy(), use_rep="X_latent", key="tumor", n_trees=3)
