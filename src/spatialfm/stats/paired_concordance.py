"""How two concordances on the same patients differ, and one from chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from .concordance import Concordances
from .jackknife import jackknife_variance, t_limits


@dataclass(frozen=True)
class Difference:
    """Of two estimates on the same units: value, standard error, interval and p-value."""

    value: float
    se: float
    low: float
    high: float
    p_value: float


def paired_difference(
    estimates: Concordances, first: int, second: int, freedom: int, level: float = 0.95
) -> Difference:
    """The second concordance less the first, with the jackknife's error and Student's distribution.

    Two scores with the same order of all pairs have no difference and no error: the p-value is 1. Where the jackknife
    sees no error of a difference that is there (one score in perfect order, the other constant), error, interval and
    p-value are not known: NaN.
    """
    return _student(
        float(estimates.value[second] - estimates.value[first]),
        estimates.left_out[:, second] - estimates.left_out[:, first],
        freedom,
        level,
    )


def difference_from_chance(estimates: Concordances, score: int, freedom: int, level: float = 0.95) -> Difference:
    """One concordance less a half, in the same way."""
    return _student(float(estimates.value[score] - 0.5), estimates.left_out[:, score] - 0.5, freedom, level)


def _student(value: float, left_out: np.ndarray, freedom: int, level: float) -> Difference:
    variance = jackknife_variance(left_out)
    se = float(np.sqrt(variance))
    if se <= 1e-12:
        return Difference(value, 0.0, value, value, 1.0) if abs(value) <= 1e-12 else Difference(value, *[np.nan] * 4)
    low, high = t_limits(value, variance, freedom, level)
    return Difference(value, se, low, high, float(2 * stats.t.sf(abs(value) / se, freedom)))
