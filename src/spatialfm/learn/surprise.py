"""What a marker of a cell should be by its other markers, and how far off it may be: fitted on reference patients."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..stats.folds import stratified_folds
from .imputers import fit_imputer
from .panel_moments import ENOUGH, PENALTY, moments_of

LEVELS = 10  # of the expected value, in which errors are told apart
MIN_OF_LEVEL = 50  # reference cells
FLOOR = 0.2  # of the error of all cells: a level at which a dark marker has none would make every photon a surprise
SIGMA = 0.6827  # share of a normal distribution within one standard deviation


def expected_of_others(
    method: Literal["linear", "knn"],
    values: np.ndarray,
    patient: np.ndarray,
    reference: np.ndarray,
    *,
    n_folds: int,
    random_state: int = 0,
    over: Iterable[int] | None = None,
) -> np.ndarray:
    """Each marker of each cell ``(n, M)``, expected from the other markers of the cell.

    Patients of the reference are expected by the others of it, in folds; all others by the whole of it.

    Parameters
    ----------
    values
        ``(n, M)``.
    patient
        ``(n,)`` codes.
    reference
        ``(n,)`` whether a cell is of a patient of the reference.
    over
        Numbers of the parts that are predicted, ``n_folds + 1``, for a progress bar.
    """
    known = np.unique(patient[reference])
    k = min(n_folds, len(known))
    of_known = stratified_folds(np.zeros(len(known), int), k, np.random.default_rng(random_state))
    fold = np.full(int(patient.max()) + 1, k)
    fold[known] = of_known
    out = np.full(values.shape, np.nan)
    for number in range(k + 1) if over is None else over:
        asked = fold[patient] == number
        fitted = reference & ~asked
        if asked.any():
            predict = _linear if method == "linear" else _nearest
            out[asked] = predict(values[fitted], patient[fitted], values[asked], random_state)
    return out


def _linear(values: np.ndarray, patient: np.ndarray, asked: np.ndarray, random_state: int) -> np.ndarray:
    """Ridge regression of each marker on all others, all from one inverse; patients of enough cells weigh alike."""
    _, codes = np.unique(patient, return_inverse=True)
    moments = moments_of(values, codes, int(codes.max()) + 1)
    center, scale = moments.spread()
    inverse = np.linalg.inv(moments.average(moments.around(center, scale)) + PENALTY * np.eye(len(center)))
    # of the regression of m on the others the coefficients are -P[:, m] / P[m, m]
    coefficients = -inverse / np.diagonal(inverse)
    np.fill_diagonal(coefficients, 0)
    return center + ((asked - center) / scale) @ coefficients * scale


def _nearest(values: np.ndarray, patient: np.ndarray, asked: np.ndarray, random_state: int) -> np.ndarray:
    """Mean of each marker over the cells that are nearest by all others."""
    out = np.empty(asked.shape)
    for marker in range(values.shape[1]):
        others = np.delete(np.arange(values.shape[1]), marker)
        imputer = fit_imputer("knn", values[:, others], values[:, [marker]], patient, random_state)
        out[:, marker] = imputer.predict(asked[:, others])[:, 0]
    return out


@dataclass(frozen=True)
class Errors:
    """Errors of each marker on reference cells, by what was expected.

    Attributes
    ----------
    level
        ``(L, M)`` expected values, the middles of the levels; one level where cells are few.
    center, scale
        ``(L, M)`` median of measured minus expected, and half of the width that holds 68 % of them: the standard
        deviation, if they are normal.
    """

    level: np.ndarray
    center: np.ndarray
    scale: np.ndarray

    def standardised(self, residual: np.ndarray, expected: np.ndarray) -> np.ndarray:
        """Residuals ``(n, M)`` in units of the error at their level, and around its middle."""
        out = np.empty(residual.shape)
        for marker in range(residual.shape[1]):
            at = expected[:, marker]
            center, scale = (
                np.interp(at, self.level[:, marker], part[:, marker]) for part in (self.center, self.scale)
            )
            out[:, marker] = (residual[:, marker] - center) / scale
        return out


def errors_of(residual: np.ndarray, expected: np.ndarray, patient: np.ndarray) -> Errors:
    """Errors of reference cells ``(n, M)`` whose expectation did not see their patient.

    Patients of 50 cells and more weigh alike, and others by their cells.
    """
    counts = np.bincount(patient)
    weight = (np.minimum(counts, ENOUGH) / np.maximum(counts, 1))[patient]
    n_levels = max(1, min(LEVELS, len(residual) // MIN_OF_LEVEL))
    shape = (n_levels, residual.shape[1])
    level, center, scale = np.empty(shape), np.empty(shape), np.empty(shape)
    for marker in range(shape[1]):
        one, at = residual[:, marker], expected[:, marker]
        whole = _width(one, weight)[1] or np.sqrt(np.average(one**2, weights=weight))  # dark in 68 % of cells
        order = np.argsort(at, kind="stable")
        for number, part in enumerate(np.array_split(order, n_levels)):
            level[number, marker] = np.median(at[part])
            center[number, marker], found = _width(one[part], weight[part])
            scale[number, marker] = max(found, FLOOR * whole, np.finfo(float).tiny)
    return Errors(level, center, scale)


def _width(values: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    """Weighted median, and half of the central width that holds 68 %."""
    order = np.argsort(values, kind="stable")
    share = np.cumsum(weight[order]) - weight[order] / 2
    low, middle, high = np.interp([(1 - SIGMA) / 2, 0.5, (1 + SIGMA) / 2], share / weight.sum(), values[order])
    return float(middle), float((high - low) / 2)
