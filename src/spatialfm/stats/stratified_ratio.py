"""Ratio of two risks at equal strata or covariates, and its exact test. Arrays in and out."""

from __future__ import annotations

import numpy as np
from scipy import stats


def mantel_haenszel(tables: np.ndarray, alpha: float = 0.05) -> tuple[float, float, float]:
    """Ratio of Mantel and Haenszel over strata with the interval of Greenland and Robins (Biometrics 1985).

    It holds with many strata of few and with few of many. Where a sum is 0 the ratio is 0 or infinite, and its interval
    is not known (NaN).

    Parameters
    ----------
    tables
        ``(strata, 2, 2)``: with and without the event, of the exposed and of the others.

    Examples
    --------
    One stratum has the interval of Katz:

    >>> [round(value, 2) for value in mantel_haenszel(np.array([[[30, 235], [6, 270]]]))]
    [5.21, 2.2, 12.31]
    """
    tables = np.asarray(tables, dtype=float)
    a, c = tables[:, 0, 0], tables[:, 1, 0]
    n1, n0 = tables[:, 0].sum(axis=1), tables[:, 1].sum(axis=1)
    used = (n1 > 0) & (n0 > 0)
    a, c, n1, n0 = a[used], c[used], n1[used], n0[used]
    n = n1 + n0
    one, two = float((a * n0 / n).sum()), float((c * n1 / n).sum())
    if one == 0 or two == 0:
        return (np.nan if one == two else np.inf if one else 0.0), np.nan, np.nan
    variance = float(((a + c) * n1 * n0 / n**2 - a * c / n).sum()) / (one * two)
    half = stats.norm.isf(alpha / 2) * np.sqrt(max(variance, 0.0))
    return one / two, one / two * np.exp(-half), one / two * np.exp(half)


def exact_p(tables: np.ndarray) -> float:
    """Exact conditional test that the odds are alike in each stratum, two-sided; of one stratum Fisher's.

    All margins of all strata are given; tables no likelier than the observed count (as R's ``mantelhaen.test`` with
    ``exact = TRUE``).

    Examples
    --------
    >>> table = [[8, 2], [1, 5]]
    >>> round(exact_p(np.array([table])), 6), round(float(stats.fisher_exact(table).pvalue), 6)
    (0.034965, 0.034965)
    """
    tables = np.asarray(tables, dtype=int)
    chance, least, observed = np.ones(1), 0, 0
    for (a, b), (c, d) in tables:
        low, high = max(0, a + c - (c + d)), min(a + b, a + c)
        probabilities = stats.hypergeom.pmf(np.arange(low, high + 1), a + b + c + d, a + b, a + c)
        chance, least, observed = np.convolve(chance, probabilities), least + low, observed + a
    return float(min(chance[chance <= chance[observed - least] * (1 + 1e-7)].sum(), 1.0))


def poisson_ratio(
    event: np.ndarray, design: np.ndarray, column: int, alpha: float = 0.05
) -> tuple[float, float, float]:
    """Ratio of risks of a term and its interval: Poisson regression with errors for an event of 0 or 1.

    Zou (American Journal of Epidemiology 2004): the mean is what is modelled, the variance is the sandwich's (bias
    reduced, HC2), so that ratios come without a guess at how odds and risks compare. NaN where it has no maximum, as
    if no patient of one side has the event.

    Parameters
    ----------
    event
        ``(rows,)`` 0 or 1.
    design
        ``(rows, terms)`` of full rank, with a constant.

    Examples
    --------
    >>> event, side = np.repeat([1, 0, 1, 0], [30, 235, 6, 270]), np.repeat([1, 0], [265, 276])
    >>> [round(value, 1) for value in poisson_ratio(event, np.column_stack([np.ones(541), side]), 1)]
    [5.2, 2.2, 12.4]
    """
    event, design = np.asarray(event, dtype=float), np.asarray(design, dtype=float)
    beta, covariance = np.zeros(design.shape[1]), np.eye(design.shape[1])
    beta[0] = np.log(max(event.mean(), 1e-12)) if np.ptp(design[:, 0]) == 0 else 0.0
    for _ in range(100):
        mean = np.exp(np.clip(design @ beta, -30, 3))
        covariance = np.linalg.pinv(design.T @ (mean[:, None] * design))
        step = covariance @ design.T @ (event - mean)
        beta = beta + step * min(1.0, 2.0 / max(np.abs(step).max(), 1e-12))
        if np.abs(step).max() < 1e-9:
            break
    else:
        return np.nan, np.nan, np.nan
    if np.abs(design @ beta).max() > 15:
        return np.nan, np.nan, np.nan
    root = np.sqrt(mean)[:, None] * design
    leverage = np.clip(1 - np.einsum("ij,jk,ik->i", root, covariance, root), 0.05, 1)
    meat = (design * ((event - mean) ** 2 / leverage)[:, None]).T @ design
    error = float(np.sqrt((covariance @ meat @ covariance)[column, column]))
    reach = stats.t.isf(alpha / 2, max(len(event) - design.shape[1], 1)) * error
    ratio, low, high = (float(np.exp(beta[column] + sign * reach)) for sign in (0, -1, 1))
    return ratio, low, high
