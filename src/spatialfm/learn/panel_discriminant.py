"""Panels that tell types of cells apart: linear discriminants in which all types weigh alike."""

from __future__ import annotations

import numpy as np
from scipy.special import softmax

from .panel_moments import PENALTY, Moments, PanelTargets, sweep, weights_of_counts


def discriminants(fitted: Moments, targets: PanelTargets) -> tuple[np.ndarray, np.ndarray]:
    """Covariance ``(M, M)`` within types, with its penalty, and means ``(T, M)``; NaN of types that nobody has."""
    product, mean = fitted.average(fitted.product), fitted.average(fitted.mean)
    m, shares = targets.n_markers, mean[targets.columns]
    with np.errstate(invalid="ignore", divide="ignore"):
        centers = product[:m, targets.columns].T / shares[:, None]
    there = shares > 0
    centers[~there] = np.nan
    within = product[:m, :m] - (centers[there].T * shares[there]) @ centers[there]
    within[np.diag_indices(m)] += PENALTY * np.maximum(np.diagonal(within), 1e-12)
    return within, centers


def discriminant_scores(fitted: Moments, targets: PanelTargets, panel: list[int], values: np.ndarray) -> np.ndarray:
    """Log probabilities ``(n, T)``, up to a constant, of types of cells by the markers of a panel ``(n, panel)``."""
    within, centers = discriminants(fitted, targets)
    there = np.isfinite(centers).all(axis=1)
    out = np.full((len(values), len(centers)), -np.inf)
    beta = np.linalg.solve(within[np.ix_(panel, panel)], centers[there][:, panel].T)
    out[:, there] = values @ beta - 0.5 * np.einsum("ck,kc->c", centers[there][:, panel], beta)
    return out


def balanced_accuracies(truth: np.ndarray, called: np.ndarray, patient: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """Mean over the types of a patient of the share of their cells that is called right, for each of the patients."""
    out = []
    for one in patients:
        own, right = truth[patient == one], (truth == called)[patient == one]
        n = np.bincount(own)
        out.append(np.mean((np.bincount(own, weights=right) / np.maximum(n, 1))[n > 0]))
    return np.array(out)


def balanced_weights(types: np.ndarray, patient: np.ndarray) -> np.ndarray:
    """Weights ``(n,)`` of cells, of sum 1: patients weigh alike from 50 cells on, and in each of them its types."""
    pairs, codes, counts = np.unique(np.stack([patient, types]), axis=1, return_inverse=True, return_counts=True)
    n_types, weight = np.bincount(pairs[0]), weights_of_counts(np.bincount(patient))
    return weight[patient] / (counts[codes] * n_types[patient] * weight.sum())


class DiscriminantPanel:
    """The score of a panel and of all its neighbours, as of `panel_moments.LinearPanel`.

    In each fold of patients, discriminants are made from the other patients; the score is one minus half of the Brier
    score of their probabilities on the fold, in which types weigh alike. It moves with every cell, where accuracy
    moves in steps.

    Parameters
    ----------
    moments
        Of candidates, and of a column of 0 and 1 for each type.
    targets
        Which columns are what.
    fold
        ``(patients,)`` fold of each patient.
    values, types, patient
        Cells that are called: candidates ``(n, M)``, types ``(n,)``, and places of their patients in `moments`.
    """

    def __init__(
        self,
        moments: Moments,
        targets: PanelTargets,
        fold: np.ndarray,
        values: np.ndarray,
        types: np.ndarray,
        patient: np.ndarray,
    ) -> None:
        numbers = np.unique(fold)
        parts = [discriminants(moments.of(np.flatnonzero(fold != number)), targets) for number in numbers]
        self._fitted, centers = np.stack([one for one, _ in parts]), np.stack([one for _, one in parts])
        self._absent = ~np.isfinite(centers).all(axis=2)  # (folds, T)
        self._centers = np.where(self._absent[:, :, None], 0.0, centers)
        self._of = np.searchsorted(numbers, fold)[patient]
        self._values = values.copy()
        self._types, self._weights = types, balanced_weights(types, patient)
        self._log = np.zeros((len(values), centers.shape[1]))
        self._log[self._absent[self._of]] = -np.inf
        self._inside = np.zeros(values.shape[1], bool)

    @property
    def n_markers(self) -> int:
        """Number of candidates."""
        return len(self._inside)

    def score(self) -> float:
        """Of the panel as it is."""
        return self._score(self._log)

    def if_toggled(self) -> np.ndarray:
        """Scores ``(M,)`` of the panels in which one marker enters, or leaves if it is inside."""
        return np.array([self._score(self._log + self._change(marker)) for marker in range(self.n_markers)])

    def toggle(self, marker: int) -> None:
        """Let a marker enter, or leave if it is inside."""
        self._log = self._log + self._change(marker)
        k = marker
        change = sweep(self._fitted, k)
        self._centers += self._centers[:, :, k, None] * change[:, None, :]
        self._values += self._values[:, k, None] * change[self._of]
        self._inside[k] = ~self._inside[k]

    def _change(self, marker: int) -> np.ndarray:
        """By which the log probabilities change if a marker enters or leaves: by what it adds to the others."""
        center = self._centers[:, :, marker]
        sign = -1 if self._inside[marker] else 1
        scaled = sign * center / self._fitted[:, marker, marker][:, None]
        constant = -0.5 * center * scaled
        return self._values[:, marker, None] * scaled[self._of] + constant[self._of]

    def _score(self, log: np.ndarray) -> float:
        probability = softmax(log, axis=1)
        brier = (probability**2).sum(axis=1) + 1 - 2 * probability[np.arange(len(log)), self._types]
        return float(1 - self._weights @ brier / 2)
