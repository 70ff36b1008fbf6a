"""Cumulative incidence of one of several events, Gray's test, and the rows of Fine and Gray's regression. Arrays only.

Causes are 0 for censored and 1, 2, ... for what happened. Rows are at risk at a time t where ``entry < t <= time``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2, norm

from .risk_table import product_limit, risk_table


@dataclass(frozen=True)
class Incidence:
    """Aalen-Johansen estimate of one cause in one group, at time 0 and each time of event, censoring or entry."""

    time: np.ndarray  # (n_times,)
    at_risk: np.ndarray  # (n_times,) just before the time
    events: np.ndarray  # (n_times,) of the cause
    other: np.ndarray  # (n_times,) events of other causes
    censored: np.ndarray  # (n_times,)
    incidence: np.ndarray  # (n_times,)
    variance: np.ndarray  # (n_times,)


def incidence_of(time: np.ndarray, cause: np.ndarray, which: int, entry: np.ndarray | None = None) -> Incidence:
    """Cumulative incidence of a cause with Aalen's variance (Annals of Statistics 1978), as R's cmprsk has it."""
    times = np.unique(np.concatenate([[0.0], time, () if entry is None else entry]))
    n, d, other, censored = _counts(times, time, cause, which, entry)
    before = np.append(1.0, product_limit(d + other, n))[:-1]
    step = before * d / np.maximum(n, 1)
    curve = np.cumsum(step)
    return Incidence(times, n, d, other, censored, curve, _variance(n, d, d + other, before, curve))


def log_log_interval(curve: np.ndarray, variance: np.ndarray, alpha: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """Limits that are symmetric on the scale of ``log(-log)`` (Pintilie 2006, chapter 4); the estimate itself at 0."""
    low, high = curve.copy(), curve.copy()
    some = (curve > 0) & (curve < 1)
    f = curve[some]
    reach = norm.isf(alpha / 2) * np.sqrt(variance[some]) / (f * np.abs(np.log(f)))
    low[some], high[some] = f ** np.exp(reach), f ** np.exp(-reach)
    low[curve <= 0], high[curve <= 0] = 0.0, np.nan
    low[curve >= 1], high[curve >= 1] = np.nan, np.nan
    return low, high


def gray_test(
    time: np.ndarray,
    cause: np.ndarray,
    codes: np.ndarray,
    which: int = 1,
    strata: np.ndarray | None = None,
) -> tuple[float, float, int]:
    """Statistic, p-value and degrees of freedom of Gray's test (Annals of Statistics 1988, with rho = 0).

    The groups ``0, 1, ...`` have the same cumulative incidence of the cause, within each stratum, under the null.
    """
    n_groups = int(codes.max()) + 1
    strata = np.zeros(time.size, int) if strata is None else strata
    score, covariance = np.zeros(n_groups), np.zeros((n_groups, n_groups))
    for one in np.unique(strata):
        in_stratum = strata == one
        z, v = _gray_stratum(time[in_stratum], cause[in_stratum], codes[in_stratum], which, n_groups)
        score, covariance = score + z, covariance + v
    v, size = covariance[1:, 1:], np.abs(covariance).max()
    dof = int(np.linalg.matrix_rank(v, tol=1e-10 * size)) if size > 1e-12 else 0
    if dof == 0:
        return 0.0, 1.0, 0
    statistic = float(score[1:] @ np.linalg.pinv(v, rcond=1e-10, hermitian=True) @ score[1:])
    return statistic, float(chi2.sf(statistic, dof)), dof


def _counts(
    times: np.ndarray, time: np.ndarray, cause: np.ndarray, which: int, entry: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """At risk, events of the cause, other events and censorings ``(n_times,)`` at each of the times."""
    table = risk_table(time, cause == which, entry, times=times)
    censored = risk_table(time, cause == 0, times=times).events
    n = table.at_risk
    if entry is not None:
        n[0] = (entry <= times[0]).sum()  # at the start, who is there from the start
    other = table.leaving - table.events - censored
    return n.astype(int), table.events.astype(int), other.astype(int), censored.astype(int)


def _variance(n: np.ndarray, d: np.ndarray, d_all: np.ndarray, before: np.ndarray, curve: np.ndarray) -> np.ndarray:
    """Aalen's variance: the sum over s up to t of ``(F(t) - F(s))^2 a(s) + c(s) - 2 (F(t) - F(s)) b(s)``."""
    tied = 1 - _divide(d - 1.0, n - 1.0) * (d > 1)
    tied_other = 1 - _divide(d_all - d - 1.0, n - 1.0) * (d_all - d > 1)
    a = _divide(tied * d + tied_other * (d_all - d), (n - d_all) ** 2.0)
    b = _divide(tied * before * d, n * (n - d_all) * 1.0)
    c = _divide(tied * before**2 * d, n**2.0)
    sa, saf, saff, sb, sbf, sc = (np.cumsum(x) for x in (a, a * curve, a * curve**2, b, b * curve, c))
    return np.maximum(curve**2 * sa - 2 * curve * saf + saff + sc - 2 * (curve * sb - sbf), 0.0)


def _gray_stratum(
    time: np.ndarray, cause: np.ndarray, codes: np.ndarray, which: int, n_groups: int
) -> tuple[np.ndarray, np.ndarray]:
    """Score ``(n_groups,)`` of Gray's test in one stratum, and its covariance."""
    times = np.unique(time[cause > 0])
    n, d1, d2 = np.zeros((3, n_groups, times.size))
    for r in range(n_groups):
        t, c = time[codes == r], cause[codes == r]
        n[r] = t.size - np.searchsorted(np.sort(t), times, side="left")
        d1[r] = np.bincount(np.searchsorted(times, t[c == which]), minlength=times.size)
        d2[r] = np.bincount(np.searchsorted(times, t[(c > 0) & (c != which)]), minlength=times.size)
    survival = product_limit(d1 + d2, n)
    before = np.hstack([np.ones((n_groups, 1)), survival[:, :-1]])
    own = np.cumsum(_divide(before * d1, n), axis=1)
    own_before = np.hstack([np.zeros((n_groups, 1)), own[:, :-1]])
    h = _divide(n, before)
    risk, events = h * (1 - own_before), d1.sum(axis=0)  # risk: numbers at risk of the subdistribution
    score = d1.sum(axis=1) - _divide(risk, risk.sum(axis=0)) @ events
    # the variance as if all groups had the pooled incidence
    rise = _divide(events, h.sum(axis=0))
    pooled = 1 - np.cumsum(rise)
    hazard = _divide(rise, np.append(1.0, pooled[:-1]))
    share = _divide(h, h.sum(axis=0))
    covariance = np.zeros((n_groups, n_groups))
    for r in range(n_groups):
        # a_kr and b_kr of Gray (1988): how an event of group r moves the score of group k
        d = h * ((np.arange(n_groups) == r)[:, None] - share[r])
        c = np.cumsum(d * hazard, axis=1)
        rest = c[:, -1:] - c
        ratio = _divide(pooled, survival[r])
        a, b = d + (1 - ratio) * rest, -ratio * rest
        tied = 1 - _divide(events - 1, h.sum(axis=0) * before[r] - 1) * (events > 1)
        tied_other = 1 - _divide(d2[r] - 1, n[r] - 1) * (d2[r] > 1)
        covariance += (a * _divide(rise, h[r]) * tied) @ a.T + (b * _divide(d2[r], h[r] ** 2) * tied_other) @ b.T
    return score, covariance


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Quotient, 0 where `b` is."""
    return np.divide(a, b, out=np.zeros(np.broadcast(a, b).shape), where=b > 0)
