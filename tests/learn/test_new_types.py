"""Novelty by counting, doubt by hand, clusters of graphs that are drawn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import block_diag, csr_matrix
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from spatialfm.learn.new_types import Doubt, components, doubt, doubted_clusters, labels_near, n_draws, novelty


def test_novelty_is_a_weighted_share_of_held_out_rows():
    rng = np.random.default_rng(0)
    codes, held_out = rng.integers(0, 3, 50), rng.random((2, 50))
    held_out[:, 7] = np.nan  # the only row of its class in its part
    held_out[1, 12] = np.nan
    score, predicted = rng.random(20), rng.integers(0, 3, 20)
    found = novelty(Doubt(score, held_out, predicted, 1.0), codes, pooled=12.0)
    kept = np.isfinite(held_out)
    per_class = np.array([kept[:, codes == code].sum() for code in range(3)])
    for row in range(20):
        below = total = 0.0
        for draw, one in zip(*np.nonzero(kept), strict=True):
            share = (predicted == codes[one]).mean()
            weight = 12.0 * share / per_class[codes[one]] + (codes[one] == predicted[row]) / 2
            total += weight
            below += weight * (held_out[draw, one] < score[row])
        assert found[row] == pytest.approx(below / (total + 1))


def test_draws_that_agree_are_as_one_draw():
    rng = np.random.default_rng(5)
    codes, held_out = rng.integers(0, 3, 50), rng.random((1, 50))
    score, predicted = rng.random(20), rng.integers(0, 3, 20)
    one, four = (novelty(Doubt(score, np.repeat(held_out, n, axis=0), predicted, 1.0), codes) for n in (1, 4))
    np.testing.assert_allclose(four, one)


def test_rows_like_the_held_out_ones_are_novel_as_often_as_the_threshold_says():
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 4, 400)
    found = Doubt(rng.random(4000), rng.random((1, 400)), rng.integers(0, 4, 4000), 1.0)
    for alpha in (0.05, 0.1, 0.3):
        assert (novelty(found, codes) > 1 - alpha).mean() == pytest.approx(alpha, abs=0.025)


def test_a_type_that_is_always_doubted_is_no_new_one():
    """Class 1 is as doubtful when held out as its other rows are: by the pooled rows alone all of these were novel."""
    rng = np.random.default_rng(2)
    codes = np.repeat([0, 1, 2, 3, 4], 100)
    usual = np.where(codes == 1, 0.5, 0.0) + 0.1 * rng.random((1, 500))
    rows = 0.5 + 0.1 * rng.random(300)
    assert (novelty(Doubt(rows, usual, np.ones(300, int), 1.0), codes) > 0.95).mean() < 0.1
    assert (novelty(Doubt(rows, usual, np.zeros(300, int), 1.0), codes) > 0.95).mean() > 0.9


def drawn_rows():
    rng = np.random.default_rng(3)
    values = rng.normal(size=(30, 4)) + 2 * np.eye(4)[np.arange(30) % 3]
    weights = np.triu(rng.random((30, 30)) * (rng.random((30, 30)) < 0.2), 1)
    weights = weights + weights.T
    with_itself = weights + np.eye(30)
    return values, np.arange(18), np.arange(18) % 3, weights, with_itself / with_itself.sum(axis=1, keepdims=True)


def by_hand(mean, probability, labelled, codes, predicted):
    """Rank of one minus the highest probability of the neighbourhood, less that of labels met on walks."""
    met = np.zeros(len(mean))
    met[labelled] = [max((predicted == code).sum() / (codes == code).sum(), 1) for code in codes]
    near = sum(0.9 ** (step - 1) * np.linalg.matrix_power(mean, step) @ met for step in range(1, 31))
    return (rankdata(mean @ (1 - probability.max(axis=1))) - rankdata(near)) / len(mean)


def test_doubt_is_of_the_neighbourhood_and_less_where_labels_are_near():
    values, labelled, codes, weights, mean = drawn_rows()
    found = doubt(values, labelled, codes, csr_matrix(weights), C=0.5, n_folds=3)
    scaled = StandardScaler().fit(values).transform(values)
    model = LogisticRegression(C=0.5, class_weight="balanced", max_iter=1000).fit(scaled[labelled], codes)
    assert found.predicted.tolist() == model.predict(scaled).tolist()
    expected = by_hand(mean, model.predict_proba(scaled), labelled, codes, found.predicted)
    np.testing.assert_allclose(found.score, expected, atol=1e-9)
    assert found.held_out.shape == (8, 18)
    assert np.isfinite(found.held_out).all()
    assert found.held_out.mean() > found.score[labelled].mean()  # what was not seen is doubted more


def test_held_out_rows_are_ranked_by_what_was_fitted_without_them():
    values, labelled, codes, weights, mean = drawn_rows()
    groups = np.arange(18) // 3  # six patients with all classes: folds hold whole ones
    found = doubt(values, labelled, codes, csr_matrix(weights), groups=groups, C=0.5, n_folds=6)
    scaled = StandardScaler().fit(values).transform(values)
    for patient in range(6):
        train, test = np.flatnonzero(groups != patient), np.flatnonzero(groups == patient)
        model = LogisticRegression(C=0.5, class_weight="balanced", max_iter=1000).fit(scaled[train], codes[train])
        expected = by_hand(mean, model.predict_proba(scaled), train, codes[train], found.predicted)[test]
        np.testing.assert_allclose(found.held_out[:, test], np.tile(expected, (8, 1)), atol=1e-9)


def test_numbers_of_classes_may_have_gaps():
    """Columns of probabilities are of the classes that occur: 0, 2 and 7 were taken for 0, 1 and 2."""
    values, labelled, codes, weights, _ = drawn_rows()
    of_gaps, graph = np.array([0, 2, 7]), csr_matrix(weights)
    groups = np.arange(18) // 3
    for patients in (None, groups):
        dense = doubt(values, labelled, codes, graph, groups=patients, C="grid", n_folds=3)
        found = doubt(values, labelled, of_gaps[codes], graph, groups=patients, C="grid", n_folds=3)
        np.testing.assert_array_equal(found.predicted, of_gaps[dense.predicted])
        np.testing.assert_allclose(found.held_out, dense.held_out)
        np.testing.assert_allclose(novelty(found, of_gaps[codes]), novelty(dense, codes))


def test_few_labels_are_held_out_several_times():
    assert [n_draws(n) for n in (2, 125, 126, 300, 1000, 10**6)] == [8, 8, 8, 4, 1, 1]
    values, labelled, codes, weights, _ = drawn_rows()
    found = doubt(values, labelled, codes, csr_matrix(weights), C=0.5, n_folds=3)
    assert len(np.unique(found.held_out.round(9), axis=0)) > 1  # other folds in each draw


def test_a_label_of_a_common_class_counts_the_rows_that_it_stands_for():
    mean = np.kron(np.eye(2), np.full((6, 6), 1 / 6))  # two heaps, in which a walk is anywhere after one step
    predicted = np.repeat([0, 1], 6)
    walks = (1 - 0.9**30) / 0.1
    found = labels_near(csr_matrix(mean), np.array([0, 6, 7, 8]), np.array([0, 1, 1, 1]), predicted)
    np.testing.assert_allclose(found, walks)  # 6 rows for one label, and 2 for each of three
    found = labels_near(csr_matrix(mean), np.array([0, 6]), np.array([0, 2]), predicted)
    np.testing.assert_allclose(found, np.repeat([walks, walks / 6], 6))  # class 2 is predicted of none: itself


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
