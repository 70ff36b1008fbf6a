"""Intervals around predicted values that hold the measured one as often as stated, for cells of unseen patients.

The width is a quantile of absolute residuals of patients on whom nothing was fitted (split conformal prediction; Lei et
al., JASA 2018). Patients weigh alike, whatever the number of their cells, as in `conformal`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._errors import TableError, counted
from .conformal import check_coverage

LEAST = 2  # patients: of one, nothing tells how far another would be off
STEPS = np.linspace(0, 1, 1001)[1:]  # quantiles that are tried


@dataclass(frozen=True)
class Widths:
    """Half widths of intervals by predicted level.

    Attributes
    ----------
    edges
        ``(levels - 1,)`` predicted values at which the next level begins.
    half
        ``(levels,)``.
    quantile
        ``(levels,)`` quantile of the residuals of all patients that `half` is.
    n_patients
        ``(levels,)`` with cells in it.
    left_out
        ``(patients,)`` share of the cells of each patient that are covered when the widths are those of all others, at
        the same quantile.
    """

    edges: np.ndarray
    half: np.ndarray
    quantile: np.ndarray
    n_patients: np.ndarray
    left_out: np.ndarray

    def of(self, predicted: np.ndarray) -> np.ndarray:
        """Half width for each predicted value; NaN of NaN."""
        predicted = np.asarray(predicted, dtype=float)
        return np.where(np.isnan(predicted), np.nan, self.half[np.searchsorted(self.edges, predicted, side="right")])


def fit_widths(
    residuals: np.ndarray,
    predicted: np.ndarray,
    groups: np.ndarray,
    coverage: float,
    n_levels: int = 1,
    guarantee: bool = False,
) -> Widths:
    """Half widths from residuals of patients that were not fitted.

    Parameters
    ----------
    residuals, predicted, groups
        ``(n,)`` measured less predicted value, predicted value and patient of each cell.
    coverage
        Share of cells of an unseen patient, on average over patients, whose measured value should be inside.
    n_levels
        Levels of the predicted value, each with as many cells (patients weighing alike) and a width of its own.
    guarantee
        False: the quantile is the one at which each patient, held out in turn, is covered as stated on average: nearly
        exact, and not a promise. True: ``coverage * (K + 1) / K`` of K patients, which is promised whatever patients
        are like (`conformal.threshold`), and covers up to 1 / K more than stated where they are alike.

    Raises
    ------
    TableError
        If there are too few patients, in a level or at all.
    """
    of_patient, codes = np.unique(groups, return_inverse=True)
    codes, sizes = codes.ravel(), np.abs(np.asarray(residuals, dtype=float))
    if guarantee:
        check_coverage(coverage, np.asarray(groups))
    _check_patients(len(of_patient), None)
    edges = _edges(np.asarray(predicted, dtype=float), codes, n_levels)
    level = np.searchsorted(edges, predicted, side="right")
    half, quantile = np.full(len(edges) + 1, np.nan), np.full(len(edges) + 1, np.nan)
    n_patients, covered = np.zeros(len(edges) + 1, int), np.zeros(len(of_patient))
    for number in range(len(half)):
        rows = np.flatnonzero(level == number)
        rows = rows[np.argsort(sizes[rows], kind="stable")]
        present, own = np.unique(codes[rows], return_inverse=True)
        n_patients[number] = len(present)
        _check_patients(len(present), None if n_levels == 1 else (number, len(half)))
        if guarantee and n_levels > 1:
            check_coverage(coverage, codes[rows])
        left_out = covered_when_left_out(sizes[rows], own.ravel(), STEPS)
        quantile[number] = _quantile(left_out, coverage, len(present), guarantee)
        half[number] = _pooled(sizes[rows], own.ravel(), quantile[number])
        at = covered_when_left_out(sizes[rows], own.ravel(), quantile[number : number + 1])[:, 0]
        covered[present] += at * np.bincount(own.ravel())
    return Widths(edges, half, quantile, n_patients, covered / np.bincount(codes))


def covered_when_left_out(sizes: np.ndarray, codes: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """Share of the cells of each patient that are at most a quantile of those of all others ``(patients, quantiles)``.

    Parameters
    ----------
    sizes, codes
        ``(n,)`` absolute residuals in ascending order, and number of the patient of each; all of them occur.
    quantiles
        Of the other patients, who weigh alike.
    """
    counts = np.bincount(codes)
    reached = np.cumsum(1 / counts[codes])
    last = np.searchsorted(sizes, sizes, side="right") - 1  # a tie is covered as a whole
    covered = np.empty((len(counts), len(quantiles)))
    for code in range(len(counts)):
        own = np.cumsum(codes == code) / counts[code]
        others = (reached - own) / (len(counts) - 1)
        place = np.minimum(np.searchsorted(others, quantiles - 1e-9), len(sizes) - 1)
        covered[code] = own[last[place]]
    return covered


def _quantile(left_out: np.ndarray, coverage: float, n: int, guarantee: bool) -> float:
    if guarantee:
        return min(1.0, coverage * (n + 1) / n)
    enough = np.flatnonzero(left_out.mean(axis=0) >= coverage - 1e-9)
    if not len(enough):
        raise TableError(
            f"The largest residual of all other patients covers {left_out[:, -1].mean():.0%} of the cells of a "
            f"patient, on average over {counted(n, 'patient')}: coverage={coverage:g} cannot be reached. Calibrate on "
            "more patients, or pass a smaller coverage."
        )
    return float(STEPS[enough[0]])


def _pooled(sizes: np.ndarray, codes: np.ndarray, quantile: float) -> float:
    """Quantile of ascending residuals, patients weighing alike."""
    counts = np.bincount(codes)
    reached = np.cumsum(1 / counts[codes]) / len(counts)
    return float(sizes[min(int(np.searchsorted(reached, quantile - 1e-9)), len(sizes) - 1)])


def _edges(predicted: np.ndarray, codes: np.ndarray, n_levels: int) -> np.ndarray:
    """Values that part predictions into levels of as many cells; fewer where many predictions are the same."""
    order = np.argsort(predicted, kind="stable")
    counts = np.bincount(codes)
    reached = np.cumsum(1 / counts[codes[order]]) / len(counts)
    places = np.searchsorted(reached, np.arange(1, n_levels) / n_levels - 1e-9) + 1
    edges = np.unique(predicted[order[np.minimum(places, len(order) - 1)]])
    return edges[edges > predicted.min()]


def _check_patients(n: int, level: tuple[int, int] | None) -> None:
    if n >= LEAST:
        return
    if level is None:
        raise TableError(
            f"{counted(n, 'patient has', 'patients have')} cells to calibrate on: how far predictions are off in "
            f"another one cannot be told from fewer than {LEAST}. Calibrate on more patients."
        )
    raise TableError(
        f"Level {level[0] + 1} of {level[1]} has cells of {counted(n, 'patient')}; each level needs {LEAST} or more. "
        "Pass a smaller n_levels."
    )
