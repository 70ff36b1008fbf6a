"""AUROC, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from spatialfm.stats.auroc import auroc, auroc_of_levels


def test_it_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    truth, score = rng.random(50) < 0.4, rng.integers(0, 8, 50)
    assert auroc(truth, score) == pytest.approx(roc_auc_score(truth, score), abs=1e-12)
    assert auroc(truth, -score) == pytest.approx(1 - roc_auc_score(truth, score), abs=1e-12)
    assert np.isnan(auroc(np.ones(3, bool), np.arange(3)))
    assert np.isnan(auroc(np.zeros(3, bool), np.arange(3)))


def test_many_scores_in_many_subsets():
    rng = np.random.default_rng(1)
    truth, levels, masks = rng.random(60) < 0.5, rng.integers(0, 4, (60, 5)), rng.random((7, 60)) < 0.6
    masks[0] = truth  # of one class
    found = auroc_of_levels(truth, levels, masks)
    assert np.isnan(found[0]).all()
    for mask, row in zip(masks[1:], found[1:], strict=True):
        np.testing.assert_allclose(row, [roc_auc_score(truth[mask], column[mask]) for column in levels.T], atol=1e-12)
