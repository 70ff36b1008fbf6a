"""Which rows to label next: typical ones of parts without a label, ones far from every label, uncertain ones.

Coreset is the greedy cover of Sener and Savarese (ICLR 2018), TypiClust that of Hacohen, Dekel and Weinshall (ICML
2022, section 3): with few labels typical rows teach more than uncertain ones, with many it is the other way round.
"""

from __future__ import annotations

import numpy as np

from .k_means import k_means

N_TYPICAL = 20  # neighbours that typicality is measured by (Hacohen et al. 2022, section 3.3)
SMALLEST = 5  # rows of a cluster that is looked into (their code leaves smaller ones out)
MOST_CLUSTERS = 500  # as in their code: more cost time and are too small to have typical rows
POOL = 10  # uncertain rows that are compared for each that is chosen
BLOCK = 4_000_000  # distances that are held at once


class Quota:
    """How many rows each group may still give, as even as their numbers allow; and which rows are taken.

    Parameters
    ----------
    groups
        ``(rows,)`` whole numbers, or None: one group.
    taken
        Rows that are not to be chosen.
    n
        Rows that will be chosen.
    """

    def __init__(self, groups: np.ndarray | None, taken: np.ndarray, n_rows: int, n: int) -> None:
        self._codes = np.zeros(n_rows, int) if groups is None else np.unique(groups, return_inverse=True)[1]
        n_groups = int(self._codes.max()) + 1
        self._left = np.full(n_groups, -(-n // n_groups))
        self.free = np.ones(n_rows, bool)
        self.free[taken] = False

    def open(self) -> np.ndarray:
        """Rows that may be chosen now; where all groups that still have rows gave their share, each gives one more."""
        may = self.free & (self._left[self._codes] > 0)
        if not may.any() and self.free.any():
            self._left += 1
            return self.open()
        return may

    def take(self, row: int) -> None:
        """Count a chosen row."""
        self.free[row] = False
        self._left[self._codes[row]] -= 1


class Coreset:
    """The open row that is farthest from its nearest labelled or chosen row, again and again."""

    name = "coreset"

    def __init__(self, values: np.ndarray, labelled: np.ndarray) -> None:
        self._values = values
        self._squares = np.einsum("ij,ij->i", values, values)
        self.nearest = np.full(len(values), np.inf, values.dtype)
        for part in np.array_split(labelled, max(1, -(-len(labelled) * len(values) // BLOCK))):
            if len(part):
                self.nearest = np.minimum(self.nearest, self._to(part).min(axis=1))
        self.empty = not len(labelled)  # nothing is labelled or chosen yet

    def _to(self, rows: np.ndarray) -> np.ndarray:
        """Squared distances ``(n, rows)``."""
        products = self._values @ self._values[rows].T
        return np.maximum(self._squares[:, None] + self._squares[rows] - 2 * products, 0)

    def next(self, quota: Quota) -> tuple[int, float] | None:
        """The row, and its distance to the nearest."""
        may = np.flatnonzero(quota.open())
        if not len(may):
            return None
        if self.empty:  # nothing to be far from: the row in the middle
            center = self._values.mean(axis=0)
            row = int(may[np.argmin(((self._values[may] - center) ** 2).sum(axis=1))])
            return row, 0.0
        row = int(may[np.argmax(self.nearest[may])])
        return row, float(np.sqrt(self.nearest[row]))

    def chose(self, row: int) -> None:
        """Know of a row that this or another strategy has chosen."""
        self.nearest = np.minimum(self.nearest, self._to(np.array([row]))[:, 0])
        self.empty = False


class TypiClust:
    """The most typical open row of the largest cluster with the fewest labelled or chosen rows.

    There are as many clusters as there will be labels; typicality is the inverse of the mean distance to 20 neighbours
    in the cluster.
    """

    name = "typiclust"

    def __init__(self, values: np.ndarray, labelled: np.ndarray, n: int, random_state: int) -> None:
        k = min(len(labelled) + n, MOST_CLUSTERS, max(1, len(values) // SMALLEST))
        self._values = values
        self._codes = k_means(k, len(values), 1, random_state).fit_predict(values)
        self._labels = np.bincount(self._codes[labelled], minlength=k)
        self._sizes = np.bincount(self._codes, minlength=k)
        self._typical: dict[int, np.ndarray] = {}

    def next(self, quota: Quota) -> tuple[int, float] | None:
        """The row, and its typicality."""
        may = quota.open()
        for smallest in (SMALLEST, 1):
            for cluster in np.lexsort((-self._sizes, self._labels)):
                rows = np.flatnonzero(self._codes == cluster)
                if len(rows) < smallest or not may[rows].any():
                    continue
                typical = np.where(may[rows], self._typicality(int(cluster), rows), -1.0)
                place = int(np.argmax(typical))
                return int(rows[place]), float(typical[place])
        return None

    def chose(self, row: int) -> None:
        """Know of a row that this or another strategy has chosen."""
        self._labels[self._codes[row]] += 1

    def _typicality(self, cluster: int, rows: np.ndarray) -> np.ndarray:
        from sklearn.neighbors import NearestNeighbors

        if cluster not in self._typical:
            k = min(N_TYPICAL, len(rows) // 2)
            if k < 1:
                self._typical[cluster] = np.ones(len(rows))
            else:
                near = NearestNeighbors(n_neighbors=k).fit(self._values[rows]).kneighbors()[0].mean(axis=1)
                self._typical[cluster] = 1 / np.maximum(near, np.finfo(float).tiny)
        return self._typical[cluster]


class Margin:
    """Of the most uncertain rows, ten for each that is chosen, the most uncertain, then the ones most unlike these.

    Uncertain rows are often many of one kind, of which one label is enough.
    """

    name = "margin"

    def __init__(self, values: np.ndarray, margin: np.ndarray, n: int) -> None:
        self._margin, self._n = margin, n
        self._values = values
        self._cover: Coreset | None = None
        self._pool = np.zeros(0, int)

    def next(self, quota: Quota) -> tuple[int, float] | None:
        """The row, and its margin."""
        may = quota.open()
        if self._cover is None:
            free = np.flatnonzero(quota.free)
            self._pool = free[np.argsort(self._margin[free], kind="stable")[: POOL * self._n]]
            self._cover = Coreset(self._values[self._pool], np.zeros(0, int))
        inside = np.flatnonzero(may[self._pool])
        if not len(inside):  # the groups that may still give have none of them
            rows = np.flatnonzero(may)
            if not len(rows):
                return None
            row = int(rows[np.argmin(self._margin[rows])])
        elif self._cover.empty:
            row = int(self._pool[inside[0]])
        else:
            row = int(self._pool[inside[np.argmax(self._cover.nearest[inside])]])
        return row, float(self._margin[row])

    def chose(self, row: int) -> None:
        """Know of a row that this or another strategy has chosen."""
        if self._cover is not None and len(place := np.flatnonzero(self._pool == row)):
            self._cover.chose(int(place[0]))


Strategy = Coreset | TypiClust | Margin


def choose(strategies: list[Strategy], quota: Quota, n: int) -> list[tuple[int, str, float]]:
    """Up to `n` rows, one of each strategy in turn, with the strategy's name and score; each knows what all chose."""
    chosen: list[tuple[int, str, float]] = []
    while len(chosen) < n:
        before = len(chosen)
        for strategy in strategies[: n - len(chosen)]:
            suggestion = strategy.next(quota)
            if suggestion is None:
                continue
            row, score = suggestion
            quota.take(row)
            for other in strategies:
                other.chose(row)
            chosen.append((row, strategy.name, score))
        if len(chosen) == before:
            break
    return chosen
