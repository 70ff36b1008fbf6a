"""Scores of panels from moments, against regressions on the cells themselves."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from spatialfm.learn.panel_moments import PENALTY, LinearPanel, PanelTargets, linear_scores, moments_of

FOLD = np.array([0, 1, 2, 0, 1, 2, 0])
COUNTS = np.array([20, 60, 30, 90, 25, 40, 35])
WEIGHT = np.array([20, 50, 30, 50, 25, 40, 35])  # patients weigh alike from 50 cells on


@pytest.fixture(scope="module")
def cells() -> tuple[np.ndarray, np.ndarray]:
    """Six markers and two more columns of 7 patients with unequal numbers of cells."""
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(7), COUNTS)
    hidden = rng.normal(size=(len(patient), 3)) + 0.3 * rng.normal(size=(7, 3))[patient]
    return hidden @ rng.normal(size=(3, 8)) + 0.7 * rng.normal(size=(len(patient), 8)), patient


def by_cells(values, patient, train, test, panel, targets, *, by_variance=False) -> np.ndarray:
    """One minus the error of each test patient in variances of training patients; cells weigh by their patient."""
    rows = np.isin(patient, train)
    weight = (WEIGHT / COUNTS)[patient[rows]] / WEIGHT[train].sum()
    center = weight @ values[rows]
    scale = np.sqrt(weight @ (values[rows] - center) ** 2)
    z = (values - center) / scale
    share = scale[targets] ** 2 if by_variance else np.ones(len(targets))
    scores = []
    for one in test:
        error = 0.0
        for target, part in zip(targets, share / share.sum(), strict=True):
            if target in panel:
                continue
            if panel:
                fit = Ridge(alpha=PENALTY, fit_intercept=False)
                fit.fit(z[rows][:, panel], z[rows, target], sample_weight=weight)
                expected = fit.predict(z[patient == one][:, panel])
            else:
                expected = 0.0
            error += part * np.mean((z[patient == one, target] - expected) ** 2)
        scores.append(1 - error)
    return np.array(scores)


def by_folds(values, patient, panel, targets, **kwargs) -> float:
    parts = []
    for number in range(3):
        train, test = np.flatnonzero(FOLD != number), np.flatnonzero(FOLD == number)
        scores = by_cells(values, patient, train, test, panel, targets, **kwargs)
        parts.append(np.average(scores, weights=WEIGHT[test]))
    return float(np.mean(parts))


@pytest.mark.parametrize("panel", [[], [2], [4, 0, 1], [0, 1, 2, 3, 4, 5]])
def test_scores_of_patients_are_those_of_a_regression_on_their_cells(cells, panel):
    values, patient = cells
    train, test = np.array([0, 2, 3, 6]), np.array([1, 4, 5])
    found = moments_of(values, patient, 7)
    for targets, by_variance in ((np.arange(6), False), (np.array([6, 7]), True)):
        scores = linear_scores(found.of(train), found.of(test), PanelTargets(6, targets, by_variance), panel)
        expected = by_cells(values, patient, train, test, panel, targets, by_variance=by_variance)
        np.testing.assert_allclose(scores, expected, atol=1e-10)


def test_a_panel_and_its_neighbours_whatever_entered_and_left_before(cells):
    values, patient = cells
    for targets, by_variance in ((np.arange(6), False), (np.array([6, 7]), True)):
        panel = LinearPanel(moments_of(values, patient, 7), PanelTargets(6, targets, by_variance), FOLD)
        for marker in (3, 1, 5, 3, 0, 5):
            panel.toggle(marker)
        inside = [0, 1]
        expected = by_folds(values, patient, inside, targets, by_variance=by_variance)
        assert panel.score() == pytest.approx(expected, abs=1e-10)
        neighbours = [sorted(set(inside) ^ {marker}) for marker in range(6)]
        found = [by_folds(values, patient, one, targets, by_variance=by_variance) for one in neighbours]
        np.testing.assert_allclose(panel.if_toggled(), found, atol=1e-10)


def test_patients_weigh_alike_whatever_their_numbers_of_cells(cells):
    values, patient = cells
    twice = np.flatnonzero(patient == 1)
    more, of = np.vstack([values, values[twice], values[twice]]), np.r_[patient, patient[twice], patient[twice]]
    one, other = moments_of(values, patient, 7), moments_of(more, of, 7)
    np.testing.assert_allclose(one.product, other.product, atol=1e-12)


def test_a_constant_column_is_known_to_everybody():
    values = np.column_stack([np.arange(12.0), np.full(12, 3.0)])
    found = moments_of(values, np.repeat([0, 1, 2], 4), 3)
    _, scale = found.spread()
    assert scale[1] == 1
    assert np.isfinite(linear_scores(found.of([0, 1]), found.of([2]), PanelTargets(2, np.arange(2)), [0])).all()
