"""Rank of each row's own partner among candidates, exactly: no candidates are drawn.

A row is a pair of two vectors. For one of them, the similarities of all rows' other vectors decide how many are more
alike than its own partner. Among candidates that are drawn at random, the number of these is hypergeometric: the
distribution of the rank over all possible draws has a closed form, and no score depends on a seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.special import gammaln

CHUNK = 2**24  # similarities that are held at once


@dataclass(frozen=True)
class Beaten:
    """How many rows of each group are more similar than the partner, or as similar.

    Attributes
    ----------
    above, level
        ``(rows, groups)``; the partner itself is in neither.
    group
        Group of each row, as a code.
    within
        Whether candidates are of the row's own group alone.
    """

    above: np.ndarray
    level: np.ndarray
    group: np.ndarray
    within: bool

    def counted(self) -> np.ndarray:
        """Which rows have candidates beside their partner."""
        sizes = np.bincount(self.group)
        return sizes[self.group] > 1 if self.within else np.full(len(self.group), len(self.group) > 1)

    def ranks(self, n_candidates: int | None, without: int | None = None) -> Ranks:
        """Ranks among so many candidates (None: all), the rows of one group left out if asked."""
        sizes = np.bincount(self.group, minlength=self.above.shape[1])
        rows = np.arange(len(self.group)) if without is None else np.flatnonzero(self.group != without)
        if self.within:
            at = (rows, self.group[rows])
            above, level, others = self.above[at], self.level[at], sizes[self.group[rows]] - 1
        else:
            above, level = self.above[rows].sum(axis=1), self.level[rows].sum(axis=1)
            others = np.full(len(rows), len(self.group) - 1)
            if without is not None:
                above, level = above - self.above[rows, without], level - self.level[rows, without]
                others = others - sizes[without]
        some = others > 0
        drawn = others[some] if n_candidates is None else np.minimum(n_candidates - 1, others[some])
        return Ranks(above[some], level[some], others[some], drawn)


@dataclass(frozen=True)
class Ranks:
    """Rows with so many better ones and ties among the others, of which so many are drawn as candidates."""

    above: np.ndarray
    level: np.ndarray
    others: np.ndarray
    drawn: np.ndarray

    def curve(self) -> np.ndarray:
        """Share of rows whose partner is among the first 1, 2, ...; ties are in any order, as likely as each other."""
        share = np.zeros(int(self.drawn.max(initial=0)) + 1)
        for n, m in {*zip(self.others.tolist(), self.drawn.tolist(), strict=True)}:
            mine = (self.others == n) & (self.drawn == m)
            weight = _spread(self.above[mine], self.level[mine], n)
            better = np.flatnonzero(weight)
            if n == m:
                np.add.at(share, better, weight[better])
            else:
                for j, mass in enumerate(hypergeometric(n, better, m)):
                    share[j] += mass @ weight[better]
        return np.cumsum(share) / max(len(self.above), 1)

    def chance(self) -> np.ndarray:
        """The same for similarities that tell nothing: `k` of the candidates."""
        k = np.arange(1, int(self.drawn.max(initial=0)) + 2)
        sizes, counts = np.unique(self.drawn + 1, return_counts=True)
        return np.minimum(k[:, None] / sizes, 1) @ counts / max(len(self.drawn), 1)


@dataclass(frozen=True)
class Scores:
    """Recall at 1, 2, ... ``(candidates,)``: value, chance, and the 95 % interval over groups."""

    value: np.ndarray
    chance: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def recall(self, k: int) -> dict[str, float]:
        """Recall at `k`; of more than there are candidates it is 1."""
        place = min(k, len(self.value)) - 1
        return {name: float(getattr(self, name)[place]) for name in ("value", "chance", "low", "high")}

    def median_rank(self) -> dict[str, float]:
        """The smallest rank that half of the rows reach.

        The interval holds the ranks at which the interval of that share holds a half (Woodruff 1952): a jackknife of
        the median itself is not consistent.
        """
        value, chance, best, worst = (_half(getattr(self, name)) for name in ("value", "chance", "high", "low"))
        return {"value": value, "chance": chance, "low": best, "high": worst}


def scores(compared: Beaten, n_candidates: int | None) -> Scores:
    """Recall with an interval by leaving each group out of the rows that ask and of those that are found."""
    ranks, groups = compared.ranks(n_candidates), np.unique(compared.group[compared.counted()])
    value, chance = ranks.curve(), ranks.chance()
    missing = np.full(len(value), np.nan)
    if len(groups) < 2:
        return Scores(value, chance, missing, missing)
    left = np.ones((len(groups), len(value)))
    for place, code in enumerate(groups):
        without = compared.ranks(n_candidates, without=int(code))
        if not len(without.above):  # a single row is left, which has no candidates
            return Scores(value, chance, missing, missing)
        one = without.curve()
        left[place, : len(one)] = one
    n = len(groups)
    variance = (n - 1) / n * ((left - left.mean(axis=0)) ** 2).sum(axis=0)
    half = stats.t.ppf(0.975, n - 1) * np.sqrt(variance)
    return Scores(value, chance, np.maximum(value - half, 0), np.minimum(value + half, 1))


def beaten(one: np.ndarray, two: np.ndarray, group: np.ndarray, *, within: bool = False) -> Beaten:
    """Compare each row of `one` with all rows of `two`; the row of the same number is its partner.

    Parameters
    ----------
    one, two
        ``(rows, columns)``; similarity is the cosine. A vector of zeros is as similar to one row as to the next.
    group
        Group of each row, codes from 0 on without a gap: candidates are counted by it.
    within
        Whether candidates are of the row's own group alone.

    Examples
    --------
    Of three pairs the last two are confused:

    >>> one, two = np.eye(3), np.eye(3)[[0, 2, 1]]
    >>> result = beaten(one, two, np.zeros(3, int))
    >>> result.ranks(None).curve().round(3).tolist()
    [0.333, 0.667, 1.0]
    """
    one, two = _unit(one), _unit(two)
    n, n_groups = len(one), int(group.max()) + 1
    order = np.argsort(group, kind="stable")
    starts, place = np.searchsorted(group[order], np.arange(n_groups)), np.empty(n, np.int64)
    place[order] = np.arange(n)
    above, level = np.empty((n, n_groups), np.int64), np.empty((n, n_groups), np.int64)
    for start in range(0, n, step := max(CHUNK // n, 1)):
        rows = slice(start, min(start + step, n))
        similar = one[rows] @ two[order].T
        own = similar[np.arange(len(similar)), place[rows]][:, None]
        tied = np.abs(similar - own) <= 1e-9  # what rounding leaves of equal vectors
        above[rows] = np.add.reduceat((similar > own) & ~tied, starts, axis=1, dtype=np.int64)
        level[rows] = np.add.reduceat(tied, starts, axis=1, dtype=np.int64)
    level[np.arange(n), group] -= 1  # the partner itself
    return Beaten(above, level, group, within)


def hypergeometric(n: int, better: np.ndarray, m: int) -> Iterator[np.ndarray]:
    """Probability ``(better,)`` that 0, 1, ... of the better ones are among `m` that are drawn from `n`.

    Examples
    --------
    Of four others, of which one or two are better, two are drawn:

    >>> [mass.round(3).tolist() for mass in hypergeometric(4, np.array([1, 2]), 2)]
    [[0.5, 0.167], [0.5, 0.667], [0.0, 0.167]]
    """
    log = gammaln(np.arange(n + 1) + 1.0)
    total = log[n] - log[m] - log[n - m]
    for j in range(m + 1):
        possible = (better >= j) & (n - better >= m - j)
        b = better[possible]
        chosen = log[b] - log[j] - log[b - j] + log[n - b] - log[m - j] - log[n - b - m + j]
        mass = np.zeros(len(better))
        mass[possible] = np.exp(chosen - total)
        yield mass


def _spread(above: np.ndarray, level: np.ndarray, n: int) -> np.ndarray:
    """Rows by their number of better ones ``(n + 1,)``; one with ties is shared out evenly over what that may be."""
    steps, part = np.zeros(n + 2), 1 / (level + 1)
    np.add.at(steps, above, part)
    np.add.at(steps, above + level + 1, -part)
    weight = np.cumsum(steps)[:-1]
    return np.where(weight > 1e-12, weight, 0.0)


def _half(share: np.ndarray) -> float:
    """The first rank at which a share is a half, rounding aside; NaN where it is not known."""
    return float(np.flatnonzero(share >= 0.5 - 1e-9)[0] + 1) if np.isfinite(share).all() else np.nan


def _unit(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float64)
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    return values / np.where(norms > 0, norms, 1.0)
