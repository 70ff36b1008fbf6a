"""Extremely randomised trees against scikit-learn's, and why they are shown all columns."""

from __future__ import annotations

import numpy as np
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.preprocessing import StandardScaler

from spatialfm.learn.heads.cells import VisibleCells
from spatialfm.learn.heads.trees import fit_trees


def few_markers(seed=0, n=600, n_columns=40):
    """Four types, each of which has one of four columns; the others say nothing."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 4, n)
    values = rng.normal(size=(n, n_columns))
    values[np.arange(n), codes] += 3
    return values, codes


def test_votes_are_those_of_scikit_learn_and_no_type_is_excluded():
    values, codes = few_markers()
    cells = VisibleCells(values, StandardScaler().fit(values), random_state=3)
    rule = fit_trees(cells, np.arange(60), codes[:60])
    other = ExtraTreesClassifier(100, max_depth=16, max_features=None, class_weight="balanced", random_state=3)
    sorted_columns = np.argsort(cells.scaled[0])  # no two of which are alike in the first labelled cell
    votes = other.fit(cells.scaled[:60, sorted_columns], codes[:60]).predict_proba(cells.scaled[:, sorted_columns])
    found = rule.of_values(cells.scaled)
    np.testing.assert_allclose(found, 0.99 * votes + 0.0025)
    assert votes.min() == 0
    assert found.min() > 0


def test_the_order_of_columns_has_no_part_in_the_votes():
    values, codes = few_markers()
    values[:, 7] = 0  # of one value in all labelled cells, as that of column 9
    values[:, 9] = 0
    turned = np.random.default_rng(1).permutation(values.shape[1])
    one, other = (
        fit_trees(VisibleCells(table, StandardScaler().fit(table)), np.arange(60), codes[:60])
        for table in (values, values[:, turned])
    )
    scaled = StandardScaler().fit_transform(values)
    np.testing.assert_array_equal(one.of_values(scaled), other.of_values(scaled[:, turned]))


def test_types_that_differ_in_few_columns_are_found_with_five_labels():
    gains = []
    for seed in range(4):
        values, codes = few_markers(seed)
        cells = VisibleCells(values, StandardScaler().fit(values))
        rows = np.concatenate([np.flatnonzero(codes == code)[:5] for code in range(4)])
        found = fit_trees(cells, rows, codes[rows]).of_values(cells.scaled).argmax(axis=1)
        some = ExtraTreesClassifier(100, class_weight="balanced", random_state=0).fit(cells.scaled[rows], codes[rows])
        gains.append((found == codes).mean() - (some.predict(cells.scaled) == codes).mean())
    assert np.mean(gains) > 0.05
