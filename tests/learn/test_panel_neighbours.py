"""Panels by nearest cells, against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.neighbors import KNeighborsRegressor

from spatialfm.learn.panel_neighbours import N_NEIGHBOURS, NeighbourPanel, neighbours_say, patient_weights


@pytest.fixture(scope="module")
def cells():
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(5), [30, 20, 40, 25, 35])
    hidden = rng.normal(size=(150, 2))
    return hidden @ rng.normal(size=(2, 4)) + 0.5 * rng.normal(size=(150, 4)), hidden, patient


def expected(x, y, weights, patient, panel) -> float:
    counts = np.bincount(patient)
    of_patient = np.minimum(counts, 50)  # patients weigh alike from 50 cells on, below by their cells
    row = (of_patient / counts)[patient] / of_patient.sum()
    if panel:
        model = KNeighborsRegressor(N_NEIGHBOURS)
        said = cross_val_predict(model, x[:, panel], y, groups=patient, cv=LeaveOneGroupOut())
    else:
        said = np.stack([np.average(y[patient != one], axis=0, weights=row[patient != one]) for one in patient])
    return 1 - float((row @ (y - said) ** 2) @ weights)


@pytest.mark.parametrize("of_markers", [True, False])
def test_a_panel_and_its_neighbours(cells, of_markers):
    x, hidden, patient = cells
    weights = np.full(4 if of_markers else 2, 0.25)

    def told(panel):
        left = [one for one in range(4) if one not in panel] if of_markers else [0, 1]
        return expected(x, (x if of_markers else hidden)[:, left], weights[left], patient, panel) if left else 1.0

    panel = NeighbourPanel(x, None if of_markers else hidden, weights, patient)
    assert panel.score() == pytest.approx(told([]), abs=1e-5)
    for marker in (2, 0, 3, 2):
        panel.toggle(marker)
    assert panel.score() == pytest.approx(told([0, 3]), abs=1e-5)
    neighbours = [told(sorted({0, 3} ^ {marker})) for marker in range(4)]
    np.testing.assert_allclose(panel.if_toggled(), neighbours, atol=1e-5)


def test_a_panel_of_no_marker_says_the_mean():
    targets = np.array([[0.0], [4.0]])
    said = neighbours_say(np.zeros((2, 0)), targets, np.zeros((3, 0)), row_weights=np.array([0.75, 0.25]))
    assert said.ravel().tolist() == [1.0, 1.0, 1.0]


def test_a_patient_of_one_cell_does_not_weigh_as_a_patient():
    """Weights by hand: 100 and 60 cells weigh as 50 each, a single cell as one of 101."""
    patient = np.repeat([0, 1, 2], [100, 60, 1])
    weights = patient_weights(patient)
    assert weights.sum() == pytest.approx(1)
    assert weights[[0, 100, 160]] == pytest.approx([50 / 101 / 100, 50 / 101 / 60, 1 / 101])
