"""Novelty by counting, doubt by hand, clusters of graphs that are drawn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import block_diag, csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from spatialfm.learn.new_types import Doubt, components, doubt, doubted_clusters, novelty


def test_novelty_is_a_weighted_share_of_held_out_rows():
    rng = np.random.default_rng(0)
    codes, held_out = rng.integers(0, 3, 50), rng.random(50)
    held_out[7] = np.nan  # the only row of its class in its part
    score, predicted = rng.random(20), rng.integers(0, 3, 20)
    found = novelty(Doubt(score, held_out, predicted, 1.0), codes, pooled=12.0)
    kept = np.isfinite(held_out)
    for row in range(20):
        below = total = 0.0
        for value, code in zip(held_out[kept], codes[kept], strict=True):
            share = (predicted == code).mean()
            weight = 12.0 * share / (codes[kept] == code).sum() + (code == predicted[row])
            total += weight
            below += weight * (value < score[row])
        assert found[row] == pytest.approx(below / (total + 1))


def test_rows_like_the_held_out_ones_are_novel_as_often_as_the_threshold_says():
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 4, 400)
    found = Doubt(rng.random(4000), rng.random(400), rng.integers(0, 4, 4000), 1.0)
    for alpha in (0.05, 0.1, 0.3):
        assert (novelty(found, codes) > 1 - alpha).mean() == pytest.approx(alpha, abs=0.025)


def test_a_type_that_is_always_doubted_is_no_new_one():
    """Class 1 is as doubtful when held out as its other rows are: by the pooled rows alone all of these were novel."""
    rng = np.random.default_rng(2)
    codes = np.repeat([0, 1, 2, 3, 4], 100)
    usual = np.where(codes == 1, 0.5, 0.0) + 0.1 * rng.random(500)
    rows = 0.5 + 0.1 * rng.random(300)
    assert (novelty(Doubt(rows, usual, np.ones(300, int), 1.0), codes) > 0.95).mean() < 0.1
    assert (novelty(Doubt(rows, usual, np.zeros(300, int), 1.0), codes) > 0.95).mean() > 0.9


def test_doubt_is_one_minus_the_highest_probability_of_the_neighbourhood():
    rng = np.random.default_rng(3)
    values = rng.normal(size=(30, 4)) + 2 * np.eye(4)[np.arange(30) % 3]
    labelled, codes = np.arange(18), np.arange(18) % 3
    weights = np.triu(rng.random((30, 30)) * (rng.random((30, 30)) < 0.2), 1)
    graph = csr_matrix(weights + weights.T)
    found = doubt(values, labelled, codes, graph, C=0.5, n_folds=3)
    scaled = StandardScaler().fit(values).transform(values)
    model = LogisticRegression(C=0.5, class_weight="balanced", max_iter=1000).fit(scaled[labelled], codes)
    own = 1 - model.predict_proba(scaled).max(axis=1)
    expected = [(own[i] + weights_of @ own) / (1 + weights_of.sum()) for i, weights_of in enumerate(graph.toarray())]
    np.testing.assert_allclose(found.score, expected, atol=1e-4)
    assert found.predicted.tolist() == model.predict(scaled).tolist()
    assert np.isfinite(found.held_out).all()
    assert found.held_out.mean() > found.score[labelled].mean()  # what was not seen is doubted more


def test_clusters_that_are_doubted():
    part = csr_matrix(np.ones((12, 12)) - np.eye(12))
    graph = csr_matrix(block_diag([part] * 4))
    novel = np.zeros(48, bool)
    novel[:12], novel[12:18], novel[24:31] = True, True, True  # all, half, and 7 of 12
    options = {"resolution": 1.0, "min_cells": 5, "min_share": 0.5, "random_state": 0}
    found = doubted_clusters(graph, novel, **options)
    assert {tuple(np.flatnonzero(found == i)) for i in range(found.max() + 1)} == {
        tuple(range(12)),
        tuple(range(24, 36)),
    }
    assert (doubted_clusters(graph, novel, **(options | {"min_cells": 13})) == -1).all()
    assert (doubted_clusters(graph, np.zeros(48, bool), **options) == -1).all()


def test_components_of_wide_values_alone():
    values = np.random.default_rng(0).normal(size=(60, 30))
    assert components(values, 0).shape == (60, 20)
    assert components(values[:, :5], 0) is not None
    assert np.array_equal(components(values[:, :5], 0), values[:, :5])
