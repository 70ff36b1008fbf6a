"""What a panel is to predict, of which cells and how: searched in some patients, scored in others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .._types import present
from .imputers import drawn_evenly
from .panel_discriminant import DiscriminantPanel, balanced_accuracies, discriminant_scores
from .panel_moments import LinearPanel, PanelTargets, linear_scores, moments_of
from .panel_neighbours import NeighbourPanel, neighbours_say, patient_weights
from .panel_search import ScoredPanel

N_SCORED = 10_000  # cells whose types are called to score a panel: more of them move no score by its interval
N_SEARCHED = 4_000  # and to choose its markers


@dataclass(frozen=True)
class PanelCells:
    """Cells with all that panels are made of, and are to predict.

    Attributes
    ----------
    markers
        ``(n, M)`` candidates, of mean 0 and standard deviation 1.
    targets
        ``(n, T)`` columns of an embedding, centred; None: the candidates themselves, or types.
    types
        ``(n,)`` codes of types; None: no target.
    patient
        ``(n,)`` codes.
    """

    markers: np.ndarray
    targets: np.ndarray | None
    types: np.ndarray | None
    patient: np.ndarray

    @property
    def n_patients(self) -> int:
        """Number of patients."""
        return int(self.patient.max()) + 1

    def variances(self) -> np.ndarray:
        """Variances ``(patients, M)`` of the candidates in each patient."""
        return np.stack([self.markers[self.patient == one].var(axis=0) for one in range(self.n_patients)])

    def beside(self) -> np.ndarray | None:
        """Targets ``(n, T)`` that are not candidates: an embedding, or a column of 0 and 1 for each type."""
        if self.types is None:
            return self.targets
        return (self.types[:, None] == np.arange(self.types.max() + 1)).astype(float)

    def of(self, rows: np.ndarray) -> PanelCells:
        """The same of some cells."""
        targets = None if self.targets is None else self.targets[rows]
        return PanelCells(
            self.markers[rows], targets, None if self.types is None else self.types[rows], self.patient[rows]
        )


class Task(Protocol):
    """How panels are searched and scored."""

    def panel(self, patients: np.ndarray, fold: np.ndarray) -> ScoredPanel:
        """An empty panel, scored by folds of these patients."""

    def scores(self, train: np.ndarray, test: np.ndarray, panel: list[int]) -> np.ndarray:
        """Scores of a panel on each of the patients of `test`, with what was learned from those of `train`."""


class LinearTask:
    """By ridge regression; types by linear discriminants, in which all of them weigh alike."""

    def __init__(self, cells: PanelCells, random_state: int) -> None:
        beside, m = cells.beside(), cells.markers.shape[1]
        values = cells.markers if beside is None else np.hstack([cells.markers, beside])
        self._moments = moments_of(values, cells.patient, cells.n_patients)
        columns = np.arange(m) if beside is None else np.arange(m, values.shape[1])
        self._targets = PanelTargets(m, columns, by_variance=cells.targets is not None)
        self._cells = None if cells.types is None else cells.of(drawn_evenly(cells.patient, N_SCORED, random_state))
        self._random_state = random_state

    def panel(self, patients: np.ndarray, fold: np.ndarray) -> ScoredPanel:
        """An empty panel, scored by folds of these patients."""
        moments = self._moments.of(patients)
        if self._cells is None:
            return LinearPanel(moments, self._targets, fold)
        own = self._cells.of(np.isin(self._cells.patient, patients))
        own = own.of(drawn_evenly(own.patient, N_SEARCHED, self._random_state))
        places = np.searchsorted(patients, own.patient)
        return DiscriminantPanel(moments, self._targets, fold, own.markers, present(own.types, "types"), places)

    def scores(self, train: np.ndarray, test: np.ndarray, panel: list[int]) -> np.ndarray:
        """Scores of a panel on each of the patients of `test`."""
        fitted = self._moments.of(train)
        if self._cells is None:
            return linear_scores(fitted, self._moments.of(test), self._targets, panel)
        own = self._cells.of(np.isin(self._cells.patient, test))
        called = discriminant_scores(fitted, self._targets, panel, own.markers[:, panel]).argmax(axis=1)
        return balanced_accuracies(present(own.types, "types"), called, own.patient, test)


class NeighbourTask:
    """By the nearest cells, of as many as can be compared in pairs; types by the shares among them."""

    def __init__(self, cells: PanelCells, random_state: int, max_cells: int) -> None:
        self._cells = cells.of(drawn_evenly(cells.patient, max_cells, random_state))

    def _of(self, patients: np.ndarray) -> PanelCells:
        return self._cells.of(np.isin(self._cells.patient, patients))

    def panel(self, patients: np.ndarray, fold: np.ndarray) -> ScoredPanel:
        """An empty panel; each patient is held out by itself."""
        own = self._of(patients)
        scale, weights = _scale_and_weights(own)
        _, codes = np.unique(own.patient, return_inverse=True)
        return NeighbourPanel(own.markers / scale, own.beside(), weights, codes)

    def scores(self, train: np.ndarray, test: np.ndarray, panel: list[int]) -> np.ndarray:
        """Scores of a panel on each of the patients of `test`."""
        fitted, own = self._of(train), self._of(test)
        scale, weights = _scale_and_weights(fitted)
        x, z = (part.markers / scale for part in (fitted, own))
        beside, truth = fitted.beside(), own.beside()
        if beside is None or truth is None:
            left = np.setdiff1d(np.arange(x.shape[1]), panel)
            beside, truth, weights = x[:, left], z[:, left], weights[left]
        if not beside.shape[1]:
            return np.ones(len(test))
        row = patient_weights(fitted.patient)
        expected = neighbours_say(x[:, panel], beside, z[:, panel], row_weights=row)
        if self._cells.types is not None and own.types is not None:
            shares = row @ beside
            likely = np.divide(expected, shares, out=np.full(expected.shape, -1.0), where=shares > 0)
            return balanced_accuracies(own.types, likely.argmax(axis=1), own.patient, test)
        errors = (truth - expected) ** 2 @ weights
        return 1 - np.array([errors[own.patient == one].mean() for one in test])


def _scale_and_weights(cells: PanelCells) -> tuple[np.ndarray, np.ndarray]:
    """Scales of markers, and weights of the squared errors of targets: patients weigh alike."""
    row = patient_weights(cells.patient)
    center = row @ cells.markers
    scale = np.sqrt(row @ (cells.markers - center) ** 2)
    scale = np.where(scale > 0, scale, 1.0)
    beside = cells.beside()
    if beside is None:
        return scale, np.full(len(scale), 1 / len(scale))
    variance = row @ (beside - row @ beside) ** 2
    varies = variance > 0
    if cells.types is None:
        return scale, np.full(len(variance), 1 / variance.sum())
    return scale, np.where(varies, 1 / np.where(varies, variance, 1) / varies.sum(), 0.0)
