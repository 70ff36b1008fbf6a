"""Predicted against observed risk under censoring. Arrays in and out."""

from __future__ import annotations

import numpy as np
from scipy import stats

from .risk_table import risk_table


def survival_at(
    time: np.ndarray, event: np.ndarray, at: np.ndarray, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Kaplan-Meier estimates ``(B, n_at)`` of rows weighted by ``(B, n)``, and Greenwood's sums of ``d / (r (r - d))``.

    NaN behind the last time at which a row is seen, unless all have had the event by then.

    Examples
    --------
    >>> time, event = np.array([1.0, 2.0, 3.0, 4.0]), np.array([True, False, True, True])
    >>> survival_at(time, event, np.array([0.5, 1.0, 3.5, 5.0]))[0]
    array([[1.   , 0.75 , 0.375, 0.   ]])
    """
    weights = np.ones((1, len(time))) if weights is None else weights
    if not len(time):
        return np.full((len(weights), len(at)), np.nan), np.full((len(weights), len(at)), np.nan)
    table = risk_table(time, event, weights=weights)
    curve, sums = table.at(table.survival, at, 1.0), table.at(np.cumsum(table.greenwood, axis=1), at, 0.0)
    at_risk = np.pad(table.at_risk, ((0, 0), (0, 1)))  # of the next time: whether a patient is still seen at `at`
    next_place = np.searchsorted(table.time, at, side="left")
    unknown = (at_risk[:, next_place] <= 0) & (curve > 1e-12)
    return np.where(unknown, np.nan, curve), np.where(unknown, np.nan, sums)


def observed_risk(time: np.ndarray, event: np.ndarray, at: np.ndarray, alpha: float = 0.05) -> np.ndarray:
    """Probability of the event by some times ``(n_at, 3)``: 1 less Kaplan-Meier, and its log-log interval.

    If no patient, or every patient, had the event, the interval is that of Clopper and Pearson for the rows seen until
    then.
    """
    curve, sums = (each[0] for each in survival_at(time, event, at))
    half = stats.norm.isf(alpha / 2)
    observed = np.full((len(at), 3), np.nan)
    observed[:, 0] = 1 - curve
    for i, (s, total) in enumerate(zip(curve, sums, strict=True)):
        if not np.isfinite(s):
            continue
        if 1e-12 < s < 1 - 1e-12:
            reach = half * np.sqrt(total) / abs(np.log(s))
            observed[i, 1:] = 1 - s ** np.exp(-reach), 1 - s ** np.exp(reach)
            continue
        n = int((time >= at[i]).sum()) if s > 0.5 else len(time)
        if n:
            limits = stats.binomtest(0 if s > 0.5 else n, n).proportion_ci(1 - alpha)
            observed[i, 1:] = limits.low, limits.high
    return observed


def quantile_groups(values: np.ndarray, n_groups: int) -> np.ndarray:
    """Codes ``(n,)`` of groups of about equal size by rising value; equal values stay together, so there may be fewer.

    Examples
    --------
    >>> quantile_groups(np.array([0.1, 0.4, 0.2, 0.2, 0.9]), 2)
    array([0, 1, 0, 0, 1])
    """
    rank = stats.rankdata(values, method="average") - 0.5
    codes = np.minimum((rank / len(values) * n_groups).astype(int), n_groups - 1)
    return np.unique(codes, return_inverse=True)[1]


def observed_expected(observed: int, expected: float, alpha: float = 0.05) -> tuple[float, float, float]:
    """Ratio of events to those expected, and its interval from the exact one of a Poisson number.

    Examples
    --------
    >>> [round(float(value), 2) for value in observed_expected(10, 20.0)]  # 4.80 to 18.39 events
    [0.5, 0.24, 0.92]
    """
    if not expected > 0:
        return np.nan, np.nan, np.nan
    low = stats.chi2.ppf(alpha / 2, 2 * observed) / 2 if observed else 0.0
    high = stats.chi2.isf(alpha / 2, 2 * observed + 2) / 2
    return observed / expected, float(low / expected), float(high / expected)


def restricted_spline(x: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """Cubic spline that is a line outside of its knots, ``(n, len(knots) - 1)`` (Harrell 2015, section 2.4.5).

    Examples
    --------
    >>> restricted_spline(np.array([0.0, 1.0, 3.0]), np.array([0.0, 1.0, 2.0]))
    array([[0.  , 0.  ],
           [1.  , 0.25],
           [3.  , 3.  ]])
    """
    cubes = np.maximum(x[:, None] - knots, 0) ** 3
    last, before = cubes[:, -1], cubes[:, -2]
    gap = knots[-1] - knots[-2]
    terms = [
        cubes[:, j] - before * (knots[-1] - knots[j]) / gap + last * (knots[-2] - knots[j]) / gap
        for j in range(len(knots) - 2)
    ]
    return np.column_stack([x, *(term / (knots[-1] - knots[0]) ** 2 for term in terms)])
