"""Classifiers on embeddings against scikit-learn by hand, and splits by what they must keep apart."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from spatialfm._errors import TableError
from spatialfm.learn.probe import (
    away_from,
    check_head,
    coded,
    column_scaler,
    draw_per_class,
    fit_head,
    fit_probe,
    quadrants,
    search_C,
    validation_split,
)


@pytest.fixture(scope="module")
def cells():
    rng = np.random.default_rng(0)
    codes = np.repeat([0, 1, 2], [60, 30, 10])
    return rng.normal(size=(100, 4)) * [1, 10, 1, 1] + codes[:, None], np.array(["a", "b", "c"])[codes]


def test_a_linear_head_is_balanced_logistic_regression_on_standardised_columns(cells):
    values, labels = cells
    z = (values - values.mean(axis=0)) / values.std(axis=0)
    expected = LogisticRegression(C=0.3, class_weight="balanced", max_iter=1000).fit(z, labels).predict_proba(z)
    found = fit_head(values, labels, "linear", 0.3)
    np.testing.assert_allclose(found.predict_proba(values), expected, atol=1e-4)
    assert found.classes == ["a", "b", "c"]
    np.testing.assert_allclose(found.scaler.mean_, values.mean(axis=0))


def test_the_scale_is_that_of_all_rows_seen_also_in_two_parts_with_gaps():
    rng = np.random.default_rng(0)
    values = rng.normal(3, [1, 20, 0.1], (50, 3))
    for more in (None, values[:0]):
        np.testing.assert_allclose(column_scaler(values, more).scale_, values.std(axis=0))
    gaps = values.copy()
    gaps[40:] = np.nan
    found, expected = column_scaler(values[:20], gaps[20:]), StandardScaler().fit(values[:40])
    np.testing.assert_allclose(found.mean_, expected.mean_)
    np.testing.assert_allclose(found.scale_, expected.scale_)


def test_a_probe_takes_the_scale_that_it_is_given(cells):
    values, labels = cells
    more = np.vstack([values, np.random.default_rng(1).normal(5, 3, (400, 4))])
    z = (values - more.mean(axis=0)) / more.std(axis=0)
    expected = LogisticRegression(C=0.3, class_weight="balanced", max_iter=1000).fit(z, labels).predict_proba(z)
    found, used = fit_probe(values, labels, head="linear", C=0.3, scaler=column_scaler(more))
    np.testing.assert_allclose(found.predict_proba(values), expected, atol=1e-4)
    assert used == 0.3


@pytest.mark.parametrize("head", ["forest", "knn"])
def test_other_heads_learn_by_heart(cells, head):
    values, labels = cells
    found = fit_head(values, labels, head)
    assert (np.array(found.classes)[found.predict_proba(values).argmax(axis=1)] == labels).mean() > 0.97


def test_codes_follow_the_names_in_whatever_order_categories_are():
    codes, names = coded(pd.Categorical(["b", "a"], ["b", "x", "a"]))
    assert (codes.tolist(), names) == ([1, 0], ["a", "b"])
    assert coded(np.array([10, 9]))[1] == ["10", "9"]


@pytest.mark.parametrize("labels", [pd.Categorical(["b", None, "a"]), np.array(["b", np.nan, "a"], object)])
def test_a_missing_label_is_no_class(labels):
    """As a categorical it had the last category, and as text it was a class "nan"."""
    with pytest.raises(TableError, match="1 of 3 labels are missing"):
        coded(labels)


def test_a_class_of_few_cells_is_not_tuned(cells):
    values, labels = cells
    few = np.flatnonzero((labels != "c") | (np.cumsum(labels == "c") <= 4))
    assert fit_probe(values[few], labels[few], head="linear", C="search", n_trials=1)[1] == 1.0
    tuned = fit_probe(values, labels, head="linear", C="search", n_trials=3)[1]
    assert tuned == search_C(values, coded(labels)[0], None, n_trials=3, random_state=0)


@pytest.mark.parametrize(("n_groups", "whole"), [(5, True), (4, False)])
def test_groups_stay_whole_where_there_are_five(cells, n_groups, whole):
    codes = np.tile([0, 1], 50)
    groups = np.repeat(np.arange(n_groups), 100 // n_groups)
    train, test = validation_split(codes, groups, 0)
    assert len(train) + len(test) == 100
    assert (not set(groups[train]) & set(groups[test])) is whole
    assert set(codes[train]) == set(codes[test]) == {0, 1}


def test_quadrants_are_cut_at_medians():
    rng = np.random.default_rng(0)
    positions, samples = rng.random((200, 2)), np.repeat(["s", "t"], 100)
    found = quadrants(positions, samples)
    for sample in "st":
        mine = samples == sample
        x, y = (positions[mine, i] <= np.median(positions[mine, i]) for i in (0, 1))
        np.testing.assert_array_equal(found[mine], 2 * x + y)


def test_quadrants_of_other_cells_are_cut_where_those_of_reference_are():
    positions = np.array([[0.0, 0], [10, 10], [6, 6], [4, 4], [100, 100], [4, 6]])
    samples, reference = np.array(["s"] * 4 + ["t", "s"]), np.array([True, True, False, False, False, False])
    # the medians of the two are at 5; the one cell of the other image is its own median
    assert quadrants(positions, samples, reference).tolist() == [3, 0, 0, 3, 3, 2]


@pytest.mark.parametrize("margin", [0.0, 2.0, 3.0, 5.0])
def test_training_cells_near_a_test_cell_of_their_image_are_left_out(margin):
    positions = np.array([[0.0, 0], [3, 0], [4, 0], [0, 0.1]])
    samples = np.array(["s", "s", "s", "t"])
    kept = away_from(np.array([1, 2, 3]), np.array([0]), positions, samples, margin)
    assert kept.tolist() == [row for row in (1, 2, 3) if samples[row] == "t" or positions[row, 0] > margin]


def test_at_most_so_many_of_each_class(cells):
    labels = cells[1]
    drawn = draw_per_class(labels, np.arange(100), 20, 0)
    assert pd.Series(labels[drawn]).value_counts().to_dict() == {"a": 20, "b": 20, "c": 10}
    assert len(set(drawn)) == len(drawn)


def test_what_is_no_head():
    with pytest.raises(TableError, match="method='svm'"):
        check_head("svm", 1.0)
    for C in (0, -1, "find"):
        with pytest.raises(TableError, match="neither a positive number nor 'grid' nor 'search'"):
            check_head("linear", C)
