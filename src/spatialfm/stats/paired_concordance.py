"""Concordances of several scores on the same patients, and how they differ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from .jackknife import jackknife_variance, t_limits


def tied_ranks(score: np.ndarray) -> np.ndarray:
    """Ranks ``(n,)`` from 0 on; scores that differ by rounding alone have one, whatever their scale.

    Examples
    --------
    >>> import numpy as np
    >>> tied_ranks(np.array([3e-12, 1e-12, 0.1 + 0.2, 0.3]))
    array([1., 0., 2., 2.])
    """
    levels, place = np.unique(np.asarray(score, dtype=np.float64), return_inverse=True)
    if levels.size == 0:
        return place.astype(float)
    with np.errstate(over="ignore"):
        apart = np.diff(levels) > np.maximum(1e-10 * np.abs(levels[1:]), 1e-15 * np.abs(levels).max())
    return np.append(0, np.cumsum(apart)).astype(float)[place]


@dataclass(frozen=True)
class Concordances:
    """Harrell's c of each score, and what it is without each patient.

    Attributes
    ----------
    value
        ``(m,)``.
    left_out
        ``(n, m)``, NaN where no pair is left.
    n_pairs
        Comparable pairs.
    """

    value: np.ndarray
    left_out: np.ndarray
    n_pairs: int


def concordances(
    time: np.ndarray, event: np.ndarray, scores: np.ndarray, entry: np.ndarray | None = None
) -> Concordances:
    """Harrell's c of scores ``(n, m)``, higher for an earlier event; pairs as scikit-survival counts them.

    With `entry`, who had the event is compared only with those who were under observation then.

    Examples
    --------
    Without censoring and ties it is Kendall's tau, moved to 0 to 1:

    >>> import numpy as np
    >>> from scipy.stats import kendalltau
    >>> time, score = np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.9, 0.2, 0.4, 0.1])
    >>> c = concordances(time, np.ones(4, bool), score[:, None]).value[0]
    >>> bool(np.isclose(c, (1 - kendalltau(time, score).statistic) / 2))
    True
    """
    n, m = scores.shape
    ranks = np.column_stack([tied_ranks(score) for score in scores.T])
    right, pairs = np.zeros((n, m)), np.zeros(n)  # of each patient
    total, n_pairs = np.zeros(m), 0
    for i in np.flatnonzero(event):
        later = (time > time[i]) | ((time == time[i]) & ~event)
        later = np.flatnonzero(later if entry is None else later & (entry < time[i]))
        agree = (np.sign(ranks[i] - ranks[later]) + 1) / 2
        right[i] += agree.sum(axis=0)
        right[later] += agree
        pairs[i] += len(later)
        pairs[later] += 1
        total += agree.sum(axis=0)
        n_pairs += len(later)
    with np.errstate(invalid="ignore", divide="ignore"):
        left_out = (total - right) / (n_pairs - pairs)[:, None]
        value = total / n_pairs if n_pairs else np.full(m, np.nan)
    return Concordances(value, left_out, n_pairs)


@dataclass(frozen=True)
class Difference:
    """Of two estimates on the same units: value, standard error, interval and p-value."""

    value: float
    se: float
    low: float
    high: float
    p_value: float


def paired_difference(found: Concordances, first: int, second: int, freedom: int, level: float = 0.95) -> Difference:
    """The second concordance less the first, with the jackknife's error and Student's distribution.

    Two scores with the same order of all pairs have no difference and no error: the p-value is 1. Where the jackknife
    sees no error of a difference that is there (one score in perfect order, the other constant), error, interval and
    p-value are not known: NaN.
    """
    return _student(
        float(found.value[second] - found.value[first]),
        found.left_out[:, second] - found.left_out[:, first],
        freedom,
        level,
    )


def difference_from_chance(found: Concordances, score: int, freedom: int, level: float = 0.95) -> Difference:
    """One concordance less a half, in the same way."""
    return _student(float(found.value[score] - 0.5), found.left_out[:, score] - 0.5, freedom, level)


def _student(value: float, left_out: np.ndarray, freedom: int, level: float) -> Difference:
    variance = jackknife_variance(left_out)
    se = float(np.sqrt(variance))
    if se <= 1e-12:
        return Difference(value, 0.0, value, value, 1.0) if abs(value) <= 1e-12 else Difference(value, *[np.nan] * 4)
    low, high = t_limits(value, variance, freedom, level)
    return Difference(value, se, low, high, float(2 * stats.t.sf(abs(value) / se, freedom)))
