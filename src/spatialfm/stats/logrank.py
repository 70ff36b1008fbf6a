"""Weighted log-rank statistics of right-censored, left-truncated times, and their permutation. Arrays in and out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from math import comb

import numpy as np
from scipy.stats import chi2

from .risk_table import product_limit

AT_ONCE = 4 * 10**6  # numbers in memory while groups are permuted
EXACT = 20_000  # arrangements of two groups that are all looked at
Weights = str | tuple[float, float]
NAMED_WEIGHTS = ("logrank", "gehan", "tarone-ware", "peto")


@dataclass(frozen=True)
class LogrankParts:
    """Sums over strata and times of event, from which every version of the test comes."""

    observed: np.ndarray  # (n_groups,) events
    expected: np.ndarray  # (n_groups,) events if hazards were equal within each stratum
    difference: np.ndarray  # (n_groups,) weighted sum of observed less expected
    covariance: np.ndarray  # (n_groups, n_groups) of the difference, hypergeometric


@dataclass(frozen=True)
class _Stratum:
    """What the test needs of one stratum, for any groups."""

    rows: np.ndarray  # (n,) rows of the stratum by rising time
    event: np.ndarray  # (n,) in that order
    first: np.ndarray  # (n_times,) first row whose time is that of the event
    after: np.ndarray  # (n_times,) first row whose time is later
    entered: np.ndarray | None  # (n,) positions among `rows` by rising entry
    not_entered: np.ndarray | None  # (n_times,) first of `entered` who has not entered before the time
    at_risk: np.ndarray  # (n_times,)
    events: np.ndarray  # (n_times,)
    weight: np.ndarray  # (n_times,)


class LogrankTest:
    """Weighted log-rank test of one set of times; the groups come with each call, one or many arrangements of them.

    Rows are at risk at a time t where ``entry < t <= time``. Weights at t, of the rows of a stratum: 1 (``"logrank"``),
    the number at risk (``"gehan"``), its square root (``"tarone-ware"``), Peto and Peto's survival estimate
    (``"peto"``), or Fleming and Harrington's ``S(t-)^rho (1 - S(t-))^gamma`` for a pair of numbers.
    """

    dealt, few = "permutation", 0  # how groups are dealt again, and the number of patients below which they always are

    def __init__(
        self,
        time: np.ndarray,
        event: np.ndarray,
        strata: np.ndarray | None = None,
        entry: np.ndarray | None = None,
        weights: Weights = "logrank",
    ):
        self.strata = np.zeros(time.size, int) if strata is None else np.asarray(strata)
        self._parts = _lightened(
            [
                _stratum(np.flatnonzero(self.strata == code), time, event, entry, weights)
                for code in np.unique(self.strata)
            ]
        )

    def sums(self, codes: np.ndarray, n_groups: int) -> tuple[np.ndarray, ...]:
        """Observed, expected, weighted difference ``(B, n_groups)`` and covariance of ``(B, n)`` arrangements."""
        codes = np.atleast_2d(codes)
        observed, expected, difference = np.zeros((3, len(codes), n_groups))
        covariance = np.zeros((len(codes), n_groups, n_groups))
        for part in self._parts:
            share = np.empty((n_groups, len(codes), part.events.size))
            for group in range(n_groups):
                in_group = (codes[:, part.rows] == group).astype(float)
                share[group] = _at_risk(in_group, part) / part.at_risk
                seen = np.pad(np.cumsum(in_group * part.event, axis=1), ((0, 0), (1, 0)))
                seen = seen[:, part.after] - seen[:, part.first]
                observed[:, group] += seen.sum(axis=1)
                expected[:, group] += share[group] @ part.events
                difference[:, group] += (seen - share[group] * part.events) @ part.weight
            n, d = part.at_risk, part.events
            factor = part.weight**2 * d * (n - d) / np.maximum(n - 1, 1)
            covariance -= np.einsum("kbt,lbt,t->bkl", share, share, factor, optimize=True)
            covariance[:, range(n_groups), range(n_groups)] += (share @ factor).T
        return observed, expected, difference, covariance

    def parts(self, codes: np.ndarray, n_groups: int | None = None) -> LogrankParts:
        """Sums of one arrangement into the groups 0, 1, ..."""
        return LogrankParts(*(values[0] for values in self.sums(codes, n_groups or int(codes.max()) + 1)))

    def permuted(
        self, codes: np.ndarray, n_permutations: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, bool]:
        """Chi-squared and trend statistics ``(B,)`` when groups are reassigned within strata; whether of all ways.

        Of two groups without strata, all ways are looked at where there are at most 20,000. Each arrangement is divided
        by its own variance, so that groups whose censoring differs do not matter in large samples (Neuhaus, Annals of
        Statistics 1993).
        """
        n_groups = int(codes.max()) + 1
        exact, statistics = False, []
        for dealt, exact in in_blocks(codes, self.strata, n_permutations, rng):  # noqa: B007
            statistics.append(self.sums(dealt, n_groups)[2:])
        difference, covariance = (np.concatenate(values) for values in zip(*statistics, strict=True))
        return statistics_of(difference, covariance), trends_of(difference, covariance), exact


def logrank_parts(
    time: np.ndarray, event: np.ndarray, codes: np.ndarray, strata: np.ndarray | None = None
) -> LogrankParts:
    """Observed and expected events of the groups 0, 1, ... and the covariance of their difference."""
    return LogrankTest(time, event, strata).parts(codes)


def chi_squared(parts: LogrankParts) -> tuple[float, float, int]:
    """Statistic, p-value and degrees of freedom; 0, 1 and 0 where nothing can be compared."""
    covariance = parts.covariance[1:, 1:]
    size = np.abs(parts.covariance).max()
    dof = int(np.linalg.matrix_rank(covariance, tol=1e-10 * size)) if size > 1e-12 else 0
    if dof == 0:
        return 0.0, 1.0, 0
    statistic = float(statistics_of(parts.difference[None], parts.covariance[None])[0])
    return statistic, float(chi2.sf(statistic, dof)), dof


def trend_statistic(parts: LogrankParts) -> tuple[float, int]:
    """Statistic (1 degree of freedom) of a trend over groups scored 0, 1, 2, ..., and its sign (Tarone 1975)."""
    excess = np.arange(len(parts.difference)) @ parts.difference
    return float(trends_of(parts.difference[None], parts.covariance[None])[0]), int(np.sign(excess))


def arrangements(
    codes: np.ndarray, strata: np.ndarray, n_permutations: int, rng: np.random.Generator, exact: int = EXACT
) -> tuple[np.ndarray, bool]:
    """Groups ``(B, n)`` reassigned within strata; of two groups in one stratum all ways, where at most `exact`."""
    n, ones = codes.size, int((codes == 1).sum())
    if codes.max() == 1 and (strata == strata[0]).all() and comb(n, ones) <= exact:
        chosen = np.array(list(combinations(range(n), ones)))
        dealt = np.zeros((len(chosen), n), dtype=np.int16)
        np.put_along_axis(dealt, chosen, 1, axis=1)
        return dealt, True
    dealt = np.empty((n_permutations, n), dtype=np.int16)
    for code in np.unique(strata):
        rows = np.flatnonzero(strata == code)
        dealt[:, rows] = rng.permuted(np.tile(codes[rows].astype(np.int16), (n_permutations, 1)), axis=1)
    return dealt, False


def in_blocks(
    codes: np.ndarray, strata: np.ndarray, n_permutations: int, rng: np.random.Generator, exact: int = EXACT
) -> Iterator[tuple[np.ndarray, bool]]:
    """`arrangements` a few at a time, so that memory does not grow with patients times permutations."""
    at_once = max(1, AT_ONCE // (codes.size * (int(codes.max()) + 1)))
    first, every = arrangements(codes, strata, min(n_permutations, at_once), rng, exact)
    for start in range(0, len(first), at_once):
        yield first[start : start + at_once], every
    left = 0 if every else n_permutations - len(first)
    while left > 0:
        dealt, _ = arrangements(codes, strata, min(left, at_once), rng, exact=0)
        left -= len(dealt)
        yield dealt, False


def least_expected(parts: LogrankParts, sizes: np.ndarray) -> float:
    """Least number of expected events of a group that has any patient."""
    return float(parts.expected[sizes > 0].min())


def _stratum(
    rows: np.ndarray, time: np.ndarray, event: np.ndarray, entry: np.ndarray | None, weights: Weights
) -> _Stratum:
    rows = rows[np.argsort(time[rows], kind="stable")]
    t, seen = time[rows], event[rows].astype(float)
    times = np.unique(t[seen > 0])
    first, after = np.searchsorted(t, times, side="left"), np.searchsorted(t, times, side="right")
    total = np.append(0, np.cumsum(seen))
    events, at_risk = total[after] - total[first], (t.size - first).astype(float)
    entered = not_entered = None
    if entry is not None:
        entered = np.argsort(entry[rows], kind="stable")
        not_entered = np.searchsorted(entry[rows][entered], times, side="left")
        at_risk -= t.size - not_entered
    weight = _weights(at_risk, events, weights)
    return _Stratum(rows, seen, first, after, entered, not_entered, at_risk, events, weight)


def _lightened(parts: list[_Stratum]) -> list[_Stratum]:
    """Weights relative to the heaviest of all strata: high powers of Fleming and Harrington are tiny numbers."""
    heaviest = max((float(part.weight.max(initial=0.0)) for part in parts), default=0.0)
    return [replace(part, weight=part.weight / heaviest) for part in parts] if heaviest > 0 else parts


def _weights(at_risk: np.ndarray, events: np.ndarray, weights: Weights) -> np.ndarray:
    if weights == "logrank":
        return np.ones(at_risk.size)
    if weights == "gehan":
        return at_risk
    if weights == "tarone-ware":
        return np.sqrt(at_risk)
    if weights == "peto":
        return product_limit(events, at_risk + 1)
    rho, gamma = (float(power) for power in weights)
    before = np.append(1.0, product_limit(events, at_risk))[:-1]
    return before**rho * (1 - before) ** gamma


def _at_risk(in_group: np.ndarray, part: _Stratum) -> np.ndarray:
    """Number at risk ``(B, n_times)`` of the rows that `in_group` ``(B, n)`` marks."""
    total = in_group.sum(axis=1, keepdims=True)
    left = np.pad(np.cumsum(in_group, axis=1), ((0, 0), (1, 0)))[:, part.first]
    if part.entered is None:
        return total - left
    waiting = total - np.pad(np.cumsum(in_group[:, part.entered], axis=1), ((0, 0), (1, 0)))[:, part.not_entered]
    return total - left - waiting


def statistics_of(difference: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Chi-squared statistics ``(B,)`` of differences ``(B, n_groups)`` and their covariances."""
    u, v = difference[:, 1:], covariance[:, 1:, 1:]
    if u.shape[1] == 1:
        v = v[:, 0, 0]
        return np.divide(u[:, 0] ** 2, v, out=np.zeros(len(v)), where=v > 1e-12 * max(1.0, np.abs(v).max()))
    inverse = np.linalg.pinv(v, rcond=1e-10, hermitian=True)
    return np.einsum("bk,bkl,bl->b", u, inverse, u)


def trends_of(difference: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """The same for a trend over groups scored 0, 1, 2, ..."""
    score = np.arange(difference.shape[1], dtype=float)
    excess, variance = difference @ score, score @ covariance @ score
    return np.divide(excess**2, variance, out=np.zeros(len(excess)), where=variance > 1e-12)
