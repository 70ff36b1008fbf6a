"""Scores of panels from errors that are given, by hand; and no panel asked of the model that was not needed."""

from __future__ import annotations

import numpy as np
import pytest

from spatialfm.learn.panel_model import ModelTask, squared_errors
from spatialfm.learn.panel_search import search_panels

PATIENT = np.array([0, 0, 0, 1, 1, 2])


@pytest.fixture
def measured() -> np.ndarray:
    return np.random.default_rng(0).normal(2, 3, (6, 3))


def errors(panel: list[int]) -> np.ndarray:
    """The less, the higher the numbers of the panel are."""
    return np.arange(9.0).reshape(3, 3) / (1 + sum(panel))


def weighted(measured, patients):
    """Mean, and variance, of patients who weigh by their cells, as none has 50."""
    rows = np.isin(PATIENT, patients)
    mean = measured[rows].mean(axis=0)
    return mean, ((measured[rows] - mean) ** 2).mean(axis=0)


def test_scores_are_in_variances_of_training_patients(measured):
    task = ModelTask(measured, PATIENT, errors)
    _, variance = weighted(measured, [0, 2])
    found = task.scores(np.array([0, 2]), np.array([1]), [2])
    expected = 1 - (np.array([3.0, 4.0, 0.0]) / 3 / variance).mean()
    np.testing.assert_allclose(found, [expected])
    assert task.scores(np.array([0, 2]), np.array([1]), [0, 1, 2]).tolist() == [1.0]


def test_a_panel_of_none_says_the_mean(measured):
    task = ModelTask(measured, PATIENT, errors)
    mean, variance = weighted(measured, [0, 1])
    own = ((measured[5] - mean) ** 2 / variance).mean()
    np.testing.assert_allclose(task.scores(np.array([0, 1]), np.array([2]), []), [1 - own])
    assert task.panel(np.array([0, 1, 2]), np.zeros(3, int)).score() == pytest.approx(0)


def test_a_search_is_one_of_a_panel_and_its_neighbours(measured):
    task = ModelTask(measured, PATIENT, errors)
    panel = task.panel(np.array([0, 1, 2]), np.zeros(3, int))
    _, variance = weighted(measured, [0, 1, 2])
    relative = np.average(errors([1]), axis=0, weights=[3, 2, 1]) / variance
    relative[1] = 0
    assert panel.if_toggled()[1] == pytest.approx(1 - relative.mean())
    panel.toggle(1)
    assert panel.score() == pytest.approx(1 - relative.mean())
    assert panel.if_toggled()[1] == pytest.approx(0)  # it leaves, and none is left
    panel.toggle(1)
    found = search_panels(panel, 2)
    assert set(found[2].markers) == {1, 2}
    assert found[2].score > found[1].score


def test_errors_of_patients(measured):
    found = squared_errors(measured, np.zeros_like(measured), PATIENT)
    np.testing.assert_allclose(found[1], (measured[3:5] ** 2).mean(axis=0))
    assert found.shape == (3, 3)
