"""Shrinkage discriminant analysis against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.preprocessing import StandardScaler

from spatialfm.learn.heads.cells import VisibleCells
from spatialfm.learn.heads.discriminant import common_covariance, fit_discriminant


def three_classes(n_each, n_columns=6, seed=0):
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(3), n_each)
    values = rng.normal(size=(len(codes), n_columns)) @ rng.normal(size=(n_columns, n_columns))
    values[np.arange(len(codes)), codes] += 3
    return values, codes


def cells_of(values):
    return VisibleCells(values, StandardScaler().fit(values))


class Given:
    """A covariance that scikit-learn takes as it is, for every class."""

    def __init__(self, covariance):
        self.covariance_ = covariance

    def fit(self, values):
        return self


def test_posteriors_are_those_of_scikit_learn_with_the_same_covariance():
    values, codes = three_classes(20)
    cells = cells_of(values)
    rule = fit_discriminant(cells, np.arange(len(codes)), codes)
    scaled = cells.scaled
    means = np.stack([scaled[codes == code].mean(axis=0) for code in range(3)])
    shrunk = LedoitWolf(assume_centered=True).fit(scaled - means[codes])
    assert 0 < shrunk.shrinkage_ < 1
    assert rule.shrinkage == pytest.approx(shrunk.shrinkage_)
    covariance = shrunk.covariance_ * 60 / 57  # three means were taken from the same cells
    other = LinearDiscriminantAnalysis(
        solver="lsqr", covariance_estimator=Given(covariance), priors=np.full(3, 1 / 3)
    ).fit(scaled, codes)
    np.testing.assert_allclose(rule.of_values(scaled), other.predict_proba(scaled), atol=1e-4)


def test_classes_weigh_alike_however_many_are_labelled():
    values, codes = three_classes(60)
    rows = np.concatenate([np.flatnonzero(codes == 0), np.flatnonzero(codes > 0)[::12]])
    rule = fit_discriminant(cells_of(values), rows, codes[rows])
    means = np.stack([cells_of(values).scaled[rows][codes[rows] == code].mean(axis=0) for code in range(2)])
    half_way = rule.of_values(means.mean(axis=0)[None])
    assert half_way[0, 0] == pytest.approx(half_way[0, 1], rel=1e-6)  # a prior would lean to the first


def test_one_cell_of_each_class_is_the_nearest_of_them():
    values, codes = three_classes(1)
    others = three_classes(50, seed=1)[0]
    cells = cells_of(np.concatenate([values, others]))
    rule = fit_discriminant(cells, np.arange(3), codes)
    distance = ((cells.scaled[:, None] - cells.scaled[:3]) ** 2).sum(axis=2)
    np.testing.assert_array_equal(rule.of_values(cells.scaled).argmax(axis=1), distance.argmin(axis=1))


def test_more_columns_than_cells_and_a_column_twice():
    values, codes = three_classes(3, n_columns=40)
    values = np.hstack([values, values[:, :1]])
    covariance, _ = common_covariance(values - values.mean(axis=0), 6)
    assert np.linalg.eigvalsh(covariance).min() > 0
    found = fit_discriminant(cells_of(values), np.arange(9), codes).of_values(cells_of(values).scaled)
    assert np.isfinite(found).all()
