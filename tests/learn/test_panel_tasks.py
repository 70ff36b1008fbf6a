"""What a panel predicts, searched in some patients and scored in others."""

from __future__ import annotations

import numpy as np
import pytest

from spatialfm.learn.panel_tasks import LinearTask, NeighbourTask, PanelCells


@pytest.fixture(scope="module")
def planted() -> PanelCells:
    """Two types that marker 1 tells apart; column 0 of the embedding is marker 2; marker 3 is marker 0 and noise."""
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(6), 60)
    x = rng.normal(size=(360, 4))
    x[:, 3] = x[:, 0] + 0.1 * rng.normal(size=360)
    types = rng.integers(0, 2, 360)
    x[:, 1] += 4 * (types - 0.5)
    targets = np.column_stack([x[:, 2], 0.1 * rng.normal(size=360)])
    return PanelCells(x / x.std(axis=0), targets, types, patient)


def tasks(cells: PanelCells):
    return [LinearTask(cells, 0), NeighbourTask(cells, 0, 200)]


def test_each_target_is_best_predicted_by_its_marker(planted):
    fold = np.arange(6) % 3
    for target, marker in (("types", 1), ("targets", 2)):
        only = {"types": None, "targets": None} | {target: getattr(planted, target)}
        for task in tasks(PanelCells(planted.markers, only["targets"], only["types"], planted.patient)):
            assert int(np.argmax(task.panel(np.arange(6), fold).if_toggled())) == marker
            good, bad = (task.scores(np.arange(4), np.array([4, 5]), [one]) for one in (marker, 0))
            assert good.shape == (2,)
            assert (good > bad + 0.3).all()


def test_markers_of_the_panel_are_known_and_others_are_predicted(planted):
    for task in tasks(PanelCells(planted.markers, None, None, planted.patient)):
        train, test = np.arange(4), np.array([4, 5])
        np.testing.assert_allclose(task.scores(train, test, [0, 1, 2, 3]), 1)
        # itself and its like are known, two of four; a mean of 15 cells adds a 15th of the variance of the others
        more = 1 / 15 if isinstance(task, NeighbourTask) else 0.0
        assert task.scores(train, test, [0]).mean() == pytest.approx(0.5 - 0.5 * more, abs=0.1)
        assert task.scores(train, test, [2]).mean() == pytest.approx(0.25 - 0.75 * more, abs=0.1)


def test_numbers_of_patients_need_no_order(planted):
    task = LinearTask(PanelCells(planted.markers, None, planted.types, planted.patient), 0)
    scores = task.scores(np.array([5, 0, 3]), np.array([4, 1]), [1])
    np.testing.assert_allclose(scores, task.scores(np.array([0, 3, 5]), np.array([1, 4]), [1])[::-1])


def test_variances_of_patients(planted):
    expected = planted.markers[planted.patient == 2].var(axis=0)
    np.testing.assert_allclose(planted.variances()[2], expected)
