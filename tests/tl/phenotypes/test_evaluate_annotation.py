"""Folds that keep patients together, and scores of all classes."""

from __future__ import annotations

import numpy as np
import pytest

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning, TableError


@pytest.fixture(scope="module")
def cells():
    sfm.settings.progress = False
    return sfm.datasets.simulate_cells(n_patients=6, cells_per_patient=60, random_state=0)


def test_patients_are_in_one_fold_and_scores_are_of_all_classes(cells):
    adata = cells.copy()
    scores = sfm.tl.evaluate_annotation(adata, "type", use_rep="X_latent", C=1.0, n_folds=3, min_cells=10)
    assert set(scores["n_folds"]) == {3}
    folds = adata.uns["annotation"]["folds"]
    macro = folds[folds["class"] == "macro"]
    recall = scores.query("score == 'recall'").iloc[0]
    assert recall["mean"] == pytest.approx(macro["recall"].mean())
    assert recall["mean"] > 0.5
    classes = folds[folds["class"] != "macro"]
    first = classes[classes["fold"] == 0]
    assert macro["f1"].iloc[0] == pytest.approx(first["f1"].mean())


def test_folds_over_samples_of_shared_patients_are_said_and_too_many_refused(cells):
    adata = cells.copy()
    adata.obs["half"] = (np.arange(adata.n_obs) % 2).astype(str)
    with pytest.warns(SpatialfmWarning, match="cells in several of obs.'half'"):
        sfm.tl.evaluate_annotation(
            adata, "type", use_rep="X_latent", C=1.0, patient_key="half", n_folds=2, min_cells=10
        )
    with pytest.raises(TableError, match="cannot make 9 folds"):
        sfm.tl.evaluate_annotation(adata, "type", use_rep="X_latent", C=1.0, n_folds=9)
