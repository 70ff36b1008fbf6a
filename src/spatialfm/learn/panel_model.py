"""Panels by a model that predicts whichever markers it does not see: nothing is fitted, and a panel is asked once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .panel_moments import Moments, moments_of

Predict = Callable[[list[int]], np.ndarray]


class ModelTask:
    """How panels are searched and scored, as `panel_tasks.Task`, by the errors of a model.

    Scores are in the units of `panel_moments.LinearPanel`: one minus the mean squared error over the variance in
    training patients, mean over all markers, of which those of the panel are known. A panel of none predicts the mean.

    Parameters
    ----------
    measured
        ``(n, M)`` markers of cells.
    patient
        ``(n,)`` codes.
    errors
        Mean squared errors ``(patients, M)`` of the markers while those of a panel, in ascending order, are seen.
    """

    def __init__(self, measured: np.ndarray, patient: np.ndarray, errors: Predict) -> None:
        self._moments = moments_of(measured, patient, int(patient.max()) + 1)
        self._errors, self.n_markers = errors, measured.shape[1]

    def panel(self, patients: np.ndarray, fold: np.ndarray) -> ModelPanel:
        """An empty panel, scored on these patients; there is nothing that folds would keep apart."""
        return ModelPanel(self, patients)

    def scores(self, train: np.ndarray, test: np.ndarray, panel: list[int]) -> np.ndarray:
        """Scores of a panel on each of the patients of `test`, in variances of those of `train`."""
        return 1 - self._relative(self._moments.of(train), test, panel).mean(axis=1)

    def average_score(self, patients: np.ndarray, panel: list[int]) -> float:
        """Of a panel on patients, by their own variances."""
        own = self._moments.of(patients)
        return float(1 - own.average(self._relative(own, patients, panel)).mean())

    def _relative(self, train: Moments, test: np.ndarray, panel: list[int]) -> np.ndarray:
        """Squared errors ``(patients, M)`` in variances of training patients."""
        center, scale = train.spread()
        if not panel:
            return np.diagonal(self._moments.of(test).around(center, scale), axis1=1, axis2=2)
        errors = self._errors(sorted(panel))[test] / scale**2
        errors[:, panel] = 0
        return errors


class ModelPanel:
    """The score of a panel and of all its neighbours, as of `panel_moments.LinearPanel`."""

    def __init__(self, task: ModelTask, patients: np.ndarray) -> None:
        self._task, self._patients = task, patients
        self._inside: set[int] = set()

    @property
    def n_markers(self) -> int:
        """Number of candidates."""
        return self._task.n_markers

    def score(self) -> float:
        """Of the panel as it is."""
        return self._task.average_score(self._patients, sorted(self._inside))

    def if_toggled(self) -> np.ndarray:
        """Scores ``(M,)`` of the panels in which one marker enters, or leaves if it is inside."""
        panels = [sorted(self._inside ^ {marker}) for marker in range(self.n_markers)]
        return np.array([self._task.average_score(self._patients, panel) for panel in panels])

    def toggle(self, marker: int) -> None:
        """Let a marker enter, or leave if it is inside."""
        self._inside ^= {marker}


def squared_errors(measured: np.ndarray, expected: np.ndarray, patient: np.ndarray) -> np.ndarray:
    """Mean squared errors ``(patients, M)`` over the cells of each patient."""
    sums = np.zeros((int(patient.max()) + 1, measured.shape[1]))
    np.add.at(sums, patient, (measured - expected) ** 2)
    return sums / np.bincount(patient)[:, None]
