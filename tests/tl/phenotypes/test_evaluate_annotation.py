"""Errors of scores over folds by the formula written out, and folds that keep patients together."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning, TableError
from spatialfm.tl.phenotypes.evaluate_annotation import paired_p, t_interval


def test_the_interval_allows_for_folds_that_share_training_cells():
    values, one = np.array([0.6, 0.7, 0.9, 0.8]), np.zeros(4)
    error = np.sqrt((1 / 4 + 1 / 3) * values.var(ddof=1))
    half = stats.t.ppf(0.975, 3) * error
    assert t_interval(values, one) == pytest.approx((0.75 - half, 0.75 + half))
    assert paired_p(values, one) == pytest.approx(2 * stats.t.sf(0.75 / error, 3))


def test_several_partitions_add_how_far_their_means_are_apart():
    values, partition = np.array([0.6, 0.8, 0.5, 0.9, 0.7, 0.9]), np.repeat([0, 1, 2], 2)
    variances = [values[partition == i].var(ddof=1) for i in range(3)]
    means = [values[partition == i].mean() for i in range(3)]
    error = np.sqrt((1 / 2 + 1) * np.mean(variances) + np.var(means, ddof=1))
    low, high = t_interval(values, partition)
    assert (high - low) / 2 == pytest.approx(stats.t.ppf(0.975, 1) * error)
    assert paired_p(np.zeros(4), np.zeros(4)) == 1.0
    assert np.isnan(paired_p(np.ones(4), np.zeros(4)))


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
        sfm.tl.evaluate_annotation(adata, "type", use_rep="X_latent", C=1.0, group_key="half", n_folds=2, min_cells=10)
    with pytest.raises(TableError, match="cannot make 9 folds"):
        sfm.tl.evaluate_annotation(adata, "type", use_rep="X_latent", C=1.0, n_folds=9)
