"""What a marker of a cell should be by its other markers, and how far off it may be: fitted on reference patients."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from .._threads import one_thread
from ..stats.folds import stratified_folds
from .imputers import fit_imputer
from .panel_moments import ENOUGH, PENALTY, moments_of

LEVELS = 10  # of the expected value, in which errors are told apart
MIN_OF_LEVEL = 50  # reference cells
FLOOR = 0.2  # of the error of all cells: a level at which a dark marker has none would make every photon a surprise
CUT = 3.0  # errors beyond which a marker counts no more for what all markers share: one that is saturated is not all
USUAL = 0.95  # of reference cells
MADS = 1.4826  # standard deviation of a normal distribution, in median absolute deviations
SMALLEST = 0.05  # errors: a spread between samples below which none is told apart
SIGMA = 0.6827  # share of a normal distribution within one standard deviation


@one_thread()
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
        in_fold = fold[patient] == number
        fitted = reference & ~in_fold
        if in_fold.any():
            predict = _linear if method == "linear" else _nearest
            out[in_fold] = predict(values[fitted], patient[fitted], values[in_fold], random_state)
    return out


def _linear(values: np.ndarray, patient: np.ndarray, asked: np.ndarray, random_state: int) -> np.ndarray:
    center, scale, coefficients = regressions_of(values, patient)
    return center + ((asked - center) / scale) @ coefficients * scale


def regressions_of(values: np.ndarray, patient: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ridge regression of each marker on all others, all from one inverse; patients of enough cells weigh alike.

    Returns
    -------
    Means and standard deviations ``(M,)``, and coefficients ``(M, M)`` of standardised markers for each target.
    """
    _, codes = np.unique(patient, return_inverse=True)
    moments = moments_of(values, codes, int(codes.max()) + 1)
    center, scale = moments.spread()
    inverse = np.linalg.inv(moments.average(moments.around(center, scale)) + PENALTY * np.eye(len(center)))
    # of the regression of m on the others the coefficients are -P[:, m] / P[m, m]
    coefficients = -inverse / np.diagonal(inverse)
    np.fill_diagonal(coefficients, 0)
    return center, scale, coefficients


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
        center, scale = self.at(expected)
        return (residual - center) / scale

    def at(self, expected: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Middle and error ``(n, M)`` where so much is expected."""
        columns = range(expected.shape[1])
        center, scale = (
            np.column_stack([np.interp(expected[:, one], self.level[:, one], part[:, one]) for one in columns])
            for part in (self.center, self.scale)
        )
        return center, scale


def errors_of(residual: np.ndarray, expected: np.ndarray, patient: np.ndarray) -> Errors:
    """Errors of reference cells ``(n, M)`` whose expectation did not see their patient.

    Patients of 50 cells and more weigh alike, and others by their cells.
    """
    weight = _weights(patient)
    n_levels = max(1, min(LEVELS, len(residual) // MIN_OF_LEVEL))
    shape = (n_levels, residual.shape[1])
    level, center, scale = np.empty(shape), np.empty(shape), np.empty(shape)
    for marker in range(shape[1]):
        one, at = residual[:, marker], expected[:, marker]
        whole = _width(one, weight)[1] or np.sqrt(np.average(one**2, weights=weight))  # dark in 68 % of cells
        for number, values in enumerate(np.array_split(np.sort(at), n_levels)):
            # with all cells of which as much is expected: those of a dark marker are in several levels
            part = (at >= values[0]) & (at <= values[-1])
            level[number, marker] = np.median(values)
            center[number, marker], width = _width(one[part], weight[part])
            scale[number, marker] = max(width, FLOOR * whole, np.finfo(float).tiny)
    return Errors(level, center, scale)


def _weights(patient: np.ndarray) -> np.ndarray:
    """Weights ``(n,)`` of cells, in which patients of 50 cells and more weigh alike, and others by their cells."""
    counts = np.bincount(patient)
    weight = (np.minimum(counts, ENOUGH) / np.maximum(counts, 1))[patient]
    return weight


def _width(values: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    """Weighted median, and half of the central width that holds 68 %."""
    order = np.argsort(values, kind="stable")
    share = np.cumsum(weight[order]) - weight[order] / 2
    low, middle, high = np.interp([(1 - SIGMA) / 2, 0.5, (1 + SIGMA) / 2], share / weight.sum(), values[order])
    return float(middle), float((high - low) / 2)


def deviation(z: np.ndarray) -> np.ndarray:
    """Root mean square ``(n,)`` of the surprises ``(n, M)`` of a cell, which single markers drive."""
    return np.sqrt((np.asarray(z, dtype=float) ** 2).mean(axis=1))


def brightness(x: np.ndarray, sample: np.ndarray) -> np.ndarray:
    """How much brighter a cell ``(n,)`` is than the middle of its sample, in all its markers ``(n, M)`` together.

    The mean over markers of the distance from the median, in the spread of the marker in the sample, cut at 3: large
    where all are brighter, and driven by no single one. Markers that are brighter together are expected by each other,
    so that this cannot be seen in surprises.
    """
    frame = pd.DataFrame(np.asarray(x, dtype=float))
    away = frame - frame.groupby(sample).transform("median")
    spread = MADS * away.abs().groupby(sample).transform("median")
    return np.clip(away / spread.clip(lower=SMALLEST), -CUT, CUT).mean(axis=1).to_numpy()


@dataclass(frozen=True)
class Usual:
    """What 95 % of reference cells stay below, patients weighing as for errors.

    Attributes
    ----------
    rms, shift
        Of `deviation`, and of `brightness`.
    """

    rms: float
    shift: float

    def exceeded(self, rms: np.ndarray, shift: np.ndarray) -> np.ndarray:
        """The larger of both, in what is usual: above 1 in 5 to 10 % of reference cells.

        Cells whose markers are all darker are dim and no fault; how far each is off counts all the same.
        """
        return np.maximum(rms / self.rms, shift / self.shift)


def usual_of(rms: np.ndarray, shift: np.ndarray, patient: np.ndarray) -> Usual:
    """Of the deviation and brightness of reference cells ``(n,)``, and the patient of each."""
    weight = _weights(patient)
    of_rms, of_shift = (_quantile(one, weight, USUAL) for one in (rms, shift))
    if of_shift <= 0:  # of hardly a cell all markers are brighter
        of_shift = _quantile(np.abs(shift), weight, USUAL)
    return Usual(*(max(one, np.finfo(float).tiny) for one in (of_rms, of_shift)))


def _quantile(values: np.ndarray, weight: np.ndarray, share: float) -> float:
    order = np.argsort(values, kind="stable")
    reached = (np.cumsum(weight[order]) - weight[order] / 2) / weight.sum()
    return float(np.interp(share, reached, values[order]))


def apart_from_others(medians: pd.DataFrame) -> pd.DataFrame:
    """How far each sample is from the middle of all, of each marker, in their spread; NaN of fewer than three samples.

    Examples
    --------
    >>> apart_from_others(pd.DataFrame({"CD8": [0.0, 0.1, 0.2, 2.1]})).round(1)["CD8"].tolist()
    [-1.0, -0.3, 0.3, 13.2]
    """
    if len(medians) < 3:  # of two, each is as far off
        return medians * np.nan
    away = medians - medians.median()
    return away / (MADS * away.abs().median()).clip(lower=SMALLEST)
