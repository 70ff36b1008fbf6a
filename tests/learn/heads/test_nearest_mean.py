"""Nearest class mean against scikit-learn."""

from __future__ import annotations

import numpy as np
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestCentroid
from sklearn.preprocessing import StandardScaler

from spatialfm.learn.heads import cells as cells_file
from spatialfm.learn.heads.cells import VisibleCells
from spatialfm.learn.heads.nearest_mean import fit_nearest_mean


def test_classes_are_those_of_scikit_learn_in_components(monkeypatch):
    monkeypatch.setattr(cells_file, "N_COMPONENTS", 4)
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(3), 40)
    values = rng.normal(size=(120, 9))
    values[np.arange(120), codes] += 2
    cells = VisibleCells(values, StandardScaler().fit(values))
    rows = np.arange(0, 120, 5)
    rule = fit_nearest_mean(cells, rows, codes[rows])
    components = PCA(4).fit_transform(cells.scaled)
    expected = NearestCentroid().fit(components[rows], codes[rows]).predict(components)
    np.testing.assert_array_equal(rule.of_values(cells.scaled).argmax(axis=1), expected)
    np.testing.assert_allclose(rule.of_rows(np.arange(120)), rule.of_values(cells.scaled), atol=1e-5)
    # what a round normal distribution says: odds from the squared distances over twice the variance
    means = np.stack([components[rows][codes[rows] == code].mean(axis=0) for code in range(3)])
    variance = ((components[rows] - means[codes[rows]]) ** 2).sum() / ((len(rows) - 3) * 4)
    squares = ((components[:, None] - means) ** 2).sum(axis=2)
    odds = np.exp(-(squares[:, 0] - squares[:, 1]) / (2 * variance))
    found = rule.of_values(cells.scaled)
    np.testing.assert_allclose(found[:, 0] / found[:, 1], odds, rtol=1e-3)


def test_one_cell_a_class_and_constant_columns():
    values = np.array([[0.0, 1, 7], [4, 1, 7], [0.5, 1, 7], [3.9, 1, 7]])
    cells = VisibleCells(values, StandardScaler().fit(values))
    found = fit_nearest_mean(cells, np.array([0, 1]), np.array([0, 1])).of_rows(np.arange(4))
    assert found.argmax(axis=1).tolist() == [0, 1, 0, 1]
    flat = VisibleCells(np.ones((6, 2)), StandardScaler().fit(np.ones((6, 2))))
    np.testing.assert_allclose(fit_nearest_mean(flat, np.arange(2), np.arange(2)).of_rows(np.arange(6)), 0.5)
