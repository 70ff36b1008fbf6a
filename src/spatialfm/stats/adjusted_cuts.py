"""Score tests of every cut of a value in Cox models of covariates, of many outcomes at once. Arrays in and out."""

from __future__ import annotations

import numpy as np

from .adjusted_logrank import independent_terms
from .cut_points import Candidates, cuts_of
from .null_outcomes import NullOutcomes

AT_ONCE = 10**6  # numbers of drawn outcomes in memory


class AdjustedCuts:
    """Standardised score of the upper side of each cut, beside covariates fitted to each outcome (ties: Efron).

    The square of one is the chi-squared of :class:`spatialfm.stats.adjusted_logrank.AdjustedLogrank` of that side.

    Parameters
    ----------
    x
        ``(n, p)`` covariates; of those that repeat others, or are constant, the first are taken.
    values
        What is cut.
    """

    def __init__(
        self, x: np.ndarray, values: np.ndarray, min_share: float, entry: np.ndarray | None = None, key: str = "value"
    ):
        self.order, self.n_low, self.cuts = cuts_of(values, min_share, key)
        self._x = np.ascontiguousarray(independent_terms(x, np.zeros(len(x), int))[1][self.order])
        self._entry = np.full(len(x), -np.inf) if entry is None else entry[self.order].astype(float)

    def told(self) -> np.ndarray:
        """Whether covariates tell the side of every patient, of each cut ``(n_cuts,)``."""
        design = np.column_stack([np.ones(len(self._x)), self._x])
        sides = (np.arange(len(self._x))[:, None] >= self.n_low).astype(float)
        rest = sides - design @ np.linalg.lstsq(design, sides, rcond=None)[0]
        return (rest**2).sum(axis=0) < 1e-9

    def candidates(self, time: np.ndarray, event: np.ndarray) -> Candidates:
        """Every cut with its statistic."""
        return Candidates(self.order, self.n_low, self.cuts, self.statistics(time[None], event[None])[0])

    def maxima(self, null: NullOutcomes, n_draws: int, rng: np.random.Generator) -> np.ndarray:
        """Largest statistic ``(n_draws,)`` over the cuts, of outcomes that covariates alone tell of."""
        size = max(1, AT_ONCE // len(self._x))
        parts = []
        for start in range(0, n_draws, size):
            outcomes = null.draw(min(size, n_draws - start), rng)
            parts.append(np.abs(self.statistics(*outcomes)).max(axis=1))
        return np.concatenate(parts)

    def statistics(self, time: np.ndarray, event: np.ndarray) -> np.ndarray:
        """Statistics ``(B, n_cuts)`` of outcomes ``(B, n)``, positive where the upper side has more events."""
        from .cut_kernels import scan

        rows = (np.ascontiguousarray(values[:, self.order]) for values in (time.astype(float), event.astype(bool)))
        return scan(*rows, self._entry, self._x, self.n_low)
