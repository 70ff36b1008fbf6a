"""Moments of markers and targets by patient: all that a linear prediction from any panel needs, however many cells.

Patients of 50 cells and more weigh alike, and others by their cells: regressions would run through a single cell that
weighs as a patient. What is fitted and what is scored needs no cell again: a panel of 40 markers of 100,000 cells is
searched in matrices of 40 columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

PENALTY = 0.01  # of ridge regression, in variances of a marker: what collinear markers need, and others do not feel
ENOUGH = 50  # cells from which a patient weighs as much as any other


@dataclass(frozen=True)
class Moments:
    """Means and mean products of columns in each patient.

    Attributes
    ----------
    mean
        ``(patients, V)``.
    product
        ``(patients, V, V)``, not centred.
    weight
        ``(patients,)`` of the patients in averages.
    """

    mean: np.ndarray
    product: np.ndarray
    weight: np.ndarray

    @property
    def n_patients(self) -> int:
        """Number of patients."""
        return len(self.mean)

    def average(self, values: np.ndarray) -> np.ndarray:
        """Average over patients of values ``(patients, ...)``."""
        return np.average(values, axis=0, weights=self.weight)

    def around(self, center: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Mean products ``(patients, V, V)`` of ``(column - center) / scale``."""
        cross = center[None, :, None] * self.mean[:, None, :]
        out = self.product - cross - cross.transpose(0, 2, 1) + np.outer(center, center)
        return out / np.outer(scale, scale)

    def spread(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation ``(V,)`` over all patients; 1 for columns that are constant."""
        center = self.average(self.mean)
        square = np.diagonal(self.product, axis1=1, axis2=2)
        variance = self.average(square - 2 * center * self.mean + center**2)
        return center, np.where(variance > 1e-12 * np.maximum(self.average(square), 1e-300), np.sqrt(variance), 1.0)

    def of(self, patients: np.ndarray) -> Moments:
        """The same of some patients."""
        return Moments(self.mean[patients], self.product[patients], self.weight[patients])


def moments_of(values: np.ndarray, patient: np.ndarray, n_patients: int) -> Moments:
    """Moments of columns ``(n, V)``, near 0, of cells, by the number of their patient ``(n,)``."""
    mean = np.empty((n_patients, values.shape[1]))
    product = np.empty((n_patients, values.shape[1], values.shape[1]))
    for number in range(n_patients):
        own = values[patient == number]
        mean[number], product[number] = own.mean(axis=0), own.T @ own / len(own)
    return Moments(mean, product, weights_of_counts(np.bincount(patient, minlength=n_patients)))


def weights_of_counts(counts: np.ndarray) -> np.ndarray:
    """Weights of patients by their numbers of cells: alike from 50 on, below by their cells."""
    return np.minimum(counts, ENOUGH) / ENOUGH


@dataclass(frozen=True)
class PanelTargets:
    """What is to be predicted.

    Attributes
    ----------
    n_markers
        Columns that are candidates: the first ones.
    columns
        ``(T,)`` columns that are targets; candidates themselves, or columns behind them.
    by_variance
        Whether a target counts by its variance (columns of an embedding), instead of each like any other.
    """

    n_markers: int
    columns: np.ndarray
    by_variance: bool = False

    def weights(self, scale: np.ndarray) -> np.ndarray:
        """Weights ``(V,)`` of the columns' errors, in units of their variances; 0 of those that are not targets."""
        out = np.zeros(len(scale))
        out[self.columns] = scale[self.columns] ** 2 if self.by_variance else 1.0
        return out / out.sum()


def sweep(matrices: np.ndarray, k: int) -> np.ndarray:
    """Take variable `k` of matrices ``(folds, V, V)`` into the regressions, or out of them, in place.

    Sweep operator: Goodnight, The American Statistician 1979.

    Returns
    -------
    ``(folds, V)``: by how much of `k` what is left of each variable changes.
    """
    column, pivot = matrices[:, :, k].copy(), matrices[:, k, k].copy()
    ratio = column / pivot[:, None]
    row = matrices[:, k, :] / pivot[:, None]
    matrices -= column[:, :, None] * row[:, None, :]
    matrices[:, k, :], matrices[:, :, k] = row, -ratio
    matrices[:, k, k] = 1 / pivot
    change = -ratio
    change[:, k] = 1 / pivot - 1
    return change


class LinearPanel:
    """The score of a panel and of all its neighbours: one marker more, or one marker less.

    In each fold of patients, ridge regressions of all targets on the panel are fitted to the other patients, and the
    fold is scored: one minus the error in units of the variance, mean over targets; a target that is in the panel is
    known. Matrices are swept, so that a marker enters or leaves at the cost of one outer product, and the scores of all
    neighbours take one more.

    Parameters
    ----------
    moments
        Of candidates and targets.
    targets
        Which columns are what.
    fold
        ``(patients,)`` fold of each patient.
    """

    def __init__(self, moments: Moments, targets: PanelTargets, fold: np.ndarray, penalty: float = PENALTY) -> None:
        self._targets = targets
        self._inside = np.zeros(moments.mean.shape[1], bool)
        fitted, held, weights = [], [], []
        for number in np.unique(fold):
            train = moments.of(np.flatnonzero(fold != number))
            center, scale = train.spread()
            matrix = train.average(train.around(center, scale))
            places = np.arange(targets.n_markers)
            matrix[places, places] += penalty
            fitted.append(matrix)
            test = moments.of(np.flatnonzero(fold == number))
            held.append(test.average(test.around(center, scale)))
            weights.append(targets.weights(scale))
        self._fitted, self._held, self._weights = np.stack(fitted), np.stack(held), np.stack(weights)

    @property
    def n_markers(self) -> int:
        """Number of candidates."""
        return self._targets.n_markers

    def score(self) -> float:
        """Of the panel as it is."""
        errors = np.diagonal(self._held, axis1=1, axis2=2)
        return float(1 - (self._weights * np.where(self._inside, 0.0, errors)).sum(axis=1).mean())

    def if_toggled(self) -> np.ndarray:
        """Scores ``(M,)`` of the panels in which one marker enters, or leaves if it is inside."""
        m = self.n_markers
        pivot = np.diagonal(self._fitted, axis1=1, axis2=2)[:, :m]
        coefficients = self._fitted[:, :, :m] / pivot[:, None, :]
        held = np.diagonal(self._held, axis1=1, axis2=2)
        errors = held[:, :, None] - 2 * coefficients * self._held[:, :, :m] + coefficients**2 * held[:, None, :m]
        errors[:, self._inside] = 0  # known
        own = np.arange(m)
        errors[:, own, own] = np.where(self._inside[:m], held[:, :m] / pivot**2, 0.0)
        return 1 - np.einsum("fv,fvm->fm", self._weights, errors).mean(axis=0)

    def toggle(self, marker: int) -> None:
        """Let a marker enter, or leave if it is inside."""
        k = marker
        change = sweep(self._fitted, k)
        # what is left of each variable changes in the same way, and with it the products on held-out patients
        with_k = self._held[:, :, k].copy()
        half = with_k + change * (self._held[:, k, k] / 2)[:, None]
        self._held += change[:, :, None] * half[:, None, :] + half[:, :, None] * change[:, None, :]
        self._inside[k] = ~self._inside[k]


def linear_scores(train: Moments, test: Moments, targets: PanelTargets, panel: list[int]) -> np.ndarray:
    """Scores ``(patients,)`` of a panel on the patients of `test`, with regressions fitted to those of `train`."""
    center, scale = train.spread()
    matrix, held = train.average(train.around(center, scale)), test.around(center, scale)
    weights = targets.weights(scale)
    left = np.setdiff1d(targets.columns, panel)
    if not panel:
        errors = held[:, left, left]
    else:
        own = matrix[np.ix_(panel, panel)] + PENALTY * np.eye(len(panel))
        beta = np.linalg.solve(own, matrix[np.ix_(panel, left)])
        across = np.einsum("kt,pkt->pt", beta, held[:, panel][:, :, left])
        errors = held[:, left, left] - 2 * across + np.einsum("kt,pkl,lt->pt", beta, held[:, panel][:, :, panel], beta)
    return 1 - errors @ weights[left]
