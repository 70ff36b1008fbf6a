"""Types called from a panel: against normal densities, and against the same panel made at once."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from spatialfm.learn.panel_discriminant import (
    DiscriminantPanel,
    balanced_accuracies,
    balanced_weights,
    discriminant_scores,
)
from spatialfm.learn.panel_moments import PENALTY, PanelTargets, moments_of

FOLD = np.array([0, 1, 2, 0, 1, 2])


@pytest.fixture(scope="module")
def cells():
    """Four markers of 6 patients, three types; the last type is in two patients alone."""
    rng = np.random.default_rng(1)
    patient = np.repeat(np.arange(6), [30, 50, 40, 60, 30, 90])
    types = rng.integers(0, 2, len(patient))
    types[(patient == 1) | (patient == 4)] = rng.integers(0, 3, 80)
    values = rng.normal(size=(len(patient), 4)) + np.array([[0, 0, 0, 0], [1, 0, 2, 0], [0, 2, 1, 0]])[types]
    moments = moments_of(np.hstack([values, types[:, None] == np.arange(3)]), patient, 6)
    return values, types, patient, moments


TARGETS = PanelTargets(4, np.arange(4, 7))


def densities(values, types, patient, train, panel, asked) -> np.ndarray:
    """Probabilities of types by normal densities of one covariance, all types alike; cells weigh by their patient."""
    rows = np.isin(patient, train)
    counts = np.bincount(patient)
    of_patient = np.minimum(counts, 50)  # patients weigh alike from 50 cells on
    weight = (of_patient / counts)[patient[rows]] / of_patient[train].sum()
    x, t = values[rows][:, panel], types[rows]
    within, found = np.zeros((len(panel),) * 2), np.zeros((len(asked), 3))
    centers = {}
    for one in np.unique(t):
        own = t == one
        centers[one] = np.average(x[own], axis=0, weights=weight[own])
        within += (weight[own, None] * (x[own] - centers[one])).T @ (x[own] - centers[one])
    within += PENALTY * np.diag(np.diag(within))
    for one, center in centers.items():
        found[:, one] = multivariate_normal(center, within).pdf(asked[:, panel])
    return found / found.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("train", [[0, 1, 2, 4], [0, 2, 3, 5]])
def test_log_probabilities_are_of_normal_distributions(cells, train):
    values, types, patient, moments = cells
    log = discriminant_scores(moments.of(np.array(train)), TARGETS, [0, 2], values[:50][:, [0, 2]])
    found = np.exp(log - log.max(axis=1, keepdims=True))
    expected = densities(values, types, patient, train, [0, 2], values[:50])
    np.testing.assert_allclose(found / found.sum(axis=1, keepdims=True), expected, atol=1e-10)


def test_a_panel_and_its_neighbours_whatever_entered_and_left_before(cells):
    values, types, patient, moments = cells
    panel = DiscriminantPanel(moments, TARGETS, FOLD, values, types, patient)
    assert panel.score() == pytest.approx(brier(cells, []))
    for marker in (3, 1, 2, 3, 0, 1):
        panel.toggle(marker)
    assert panel.score() == pytest.approx(brier(cells, [0, 2]), abs=1e-10)
    expected = [brier(cells, sorted({0, 2} ^ {marker})) for marker in range(4)]
    np.testing.assert_allclose(panel.if_toggled(), expected, atol=1e-10)


def brier(cells, panel) -> float:
    values, types, patient, _ = cells
    total, of_patient = 0.0, np.minimum(np.bincount(patient), 50)
    for number in range(3):
        rows = np.isin(patient, np.flatnonzero(FOLD == number))
        train = np.flatnonzero(FOLD != number)
        if panel:
            p = densities(values, types, patient, train, panel, values[rows])
        else:
            known = np.isin(np.arange(3), types[np.isin(patient, train)])
            p = np.tile(known / known.sum(), (rows.sum(), 1))
        miss = ((p - np.eye(3)[types[rows]]) ** 2).sum(axis=1) / 2
        for one in np.flatnonzero(FOLD == number):
            of = patient[rows] == one
            total += of_patient[one] * np.mean(
                [miss[of & (types[rows] == t)].mean() for t in np.unique(types[rows][of])]
            )
    return 1 - total / of_patient.sum()


def test_balanced_accuracy_of_each_patient():
    truth, called = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 1, 0])
    patient = np.array([0, 0, 0, 0, 3, 3])
    np.testing.assert_allclose(balanced_accuracies(truth, called, patient, np.array([3, 0])), [0.5, (2 / 3 + 1) / 2])
    weights = balanced_weights(truth, patient)
    np.testing.assert_allclose(weights, [1 / 9, 1 / 9, 1 / 9, 1 / 3, 1 / 6, 1 / 6])  # of few cells: 4 and 2 of 6
    many = balanced_weights(np.zeros(300, int), np.repeat([0, 1], [100, 200]))
    np.testing.assert_allclose(many[[0, -1]], [1 / 200, 1 / 400])
