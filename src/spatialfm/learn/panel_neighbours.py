"""Panels by nearest cells: what the cells of other patients say that look alike by the markers of a panel."""

from __future__ import annotations

import numpy as np

from .panel_moments import weights_of_counts

N_NEIGHBOURS = 15


class NeighbourPanel:
    """The score of a panel and of all its neighbours, as of `panel_moments.LinearPanel`.

    Each cell is predicted by the mean of the nearest cells of other patients; errors of a patient's cells are averaged
    first, so that patients of 50 cells and more weigh alike. Distances of all pairs are held, and change by one marker
    at a time.

    Parameters
    ----------
    markers
        ``(n, M)`` candidates, of standard deviation 1.
    targets
        ``(n, T)``; None: the candidates that are outside of the panel.
    weights
        ``(T,)`` weights of squared errors, such that a prediction by the mean has 1 in all.
    patient
        ``(n,)`` codes.
    """

    def __init__(
        self, markers: np.ndarray, targets: np.ndarray | None, weights: np.ndarray, patient: np.ndarray
    ) -> None:
        self._x = np.ascontiguousarray(markers.T, dtype=np.float32)
        self._y = np.ascontiguousarray(markers if targets is None else targets, dtype=np.float32)
        self._of_markers, self._weights = targets is None, weights
        counts = np.bincount(patient)
        self._row = patient_weights(patient)
        self._far = np.where(patient[:, None] == patient[None, :], np.float32(np.inf), np.float32(0))
        self._distance = np.zeros_like(self._far)
        self._inside = np.zeros(len(self._x), bool)
        self._k = min(N_NEIGHBOURS, int(len(patient) - counts.max()))

    @property
    def n_markers(self) -> int:
        """Number of candidates."""
        return len(self._x)

    def score(self) -> float:
        """Of the panel as it is."""
        return self._score(self._distance, self._inside)

    def if_toggled(self) -> np.ndarray:
        """Scores ``(M,)`` of the panels in which one marker enters, or leaves if it is inside."""
        out = np.empty(self.n_markers)
        for marker in range(self.n_markers):
            inside = self._inside.copy()
            inside[marker] = ~inside[marker]
            out[marker] = self._score(self._with(marker), inside)
        return out

    def toggle(self, marker: int) -> None:
        """Let a marker enter, or leave if it is inside."""
        self._distance = self._with(marker)
        self._inside[marker] = ~self._inside[marker]

    def _with(self, marker: int) -> np.ndarray:
        values = self._x[marker]
        apart = (values[:, None] - values[None, :]) ** 2
        return np.maximum(self._distance - apart, 0) if self._inside[marker] else self._distance + apart

    def _score(self, distance: np.ndarray, inside: np.ndarray) -> float:
        left = ~inside if self._of_markers else np.ones(self._y.shape[1], bool)
        if not left.any():
            return 1.0
        if inside.any():
            near = np.argpartition(distance + self._far, self._k - 1, axis=1)[:, : self._k]
            expected = self._y[:, left][near].mean(axis=1)
        else:  # nothing is known of a cell: the mean of the cells of other patients
            other = np.isfinite(self._far) * self._row[None, :]
            expected = (other / other.sum(axis=1, keepdims=True)) @ self._y[:, left]
        errors = (self._y[:, left] - expected) ** 2
        return float(1 - (self._row @ errors) @ self._weights[left])


def patient_weights(patient: np.ndarray) -> np.ndarray:
    """Weights ``(n,)`` of cells, of sum 1, in which patients weigh alike, and those of few cells by their cells."""
    counts = np.bincount(patient)
    weight = weights_of_counts(counts)
    return (weight / np.maximum(counts, 1))[patient] / weight.sum()


def neighbours_say(
    train: np.ndarray, targets: np.ndarray, test: np.ndarray, *, row_weights: np.ndarray | None = None
) -> np.ndarray:
    """Mean targets ``(n, T)`` of the nearest cells in the markers of a panel; of a panel of none, of all cells."""
    from sklearn.neighbors import NearestNeighbors

    if not train.shape[1]:
        return np.broadcast_to(np.average(targets, axis=0, weights=row_weights), (len(test), targets.shape[1]))
    k = min(N_NEIGHBOURS, len(train))
    near = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(train).kneighbors(test, return_distance=False)
    return targets[near].mean(axis=1)
