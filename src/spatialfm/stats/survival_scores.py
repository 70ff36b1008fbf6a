"""Scores of risk under censoring, for many weightings of the patients at once.

`weights` is ``(n_draws, n)``: how often each patient counts. A row of ones gives the score itself, rows of multinomial
counts its bootstrap; censoring is estimated anew in each.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .paired_concordance import tied_ranks

BLOCK = 5 * 10**6  # pairs held at once


@dataclass(frozen=True)
class Patients:
    """Outcome, risk, and which patients are compared."""

    time: np.ndarray  # (n,)
    event: np.ndarray  # (n,) bool
    risk: np.ndarray  # (n,)
    fold: np.ndarray  # (n,) codes: pairs are compared within

    @cached_property
    def _order(self) -> tuple[np.ndarray, np.ndarray]:
        return np.unique(self.time, return_inverse=True)

    @property
    def blocks(self) -> list[np.ndarray]:
        """Rows with the event, so many at a time that all pairs with them fit into memory."""
        rows = np.flatnonzero(self.event)
        return np.array_split(rows, max(1, -(-rows.size * self.time.size // BLOCK)))

    @cached_property
    def _ranks(self) -> np.ndarray:
        return tied_ranks(self.risk)

    def higher(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of `rows` against all: 1 where their risk is higher, 1/2 where tied; and 1 where both are in one fold."""
        same = (self.fold[rows, None] == self.fold[None, :]).astype(np.float64)
        return (np.sign(self._ranks[rows, None] - self._ranks[None, :]) + 1) / 2 * same, same

    def comparable(self, rows: np.ndarray) -> np.ndarray:
        """1 where a patient was seen without event up to the time of one of `rows`."""
        later = self.time[None, :] > self.time[rows, None]
        return (later | ((self.time[None, :] == self.time[rows, None]) & ~self.event)).astype(np.float64)

    def at_times(self, values: np.ndarray) -> np.ndarray:
        """Sum of ``(n_draws, n)`` values over the patients of each distinct time."""
        times, index = self._order
        order = np.argsort(index, kind="stable")
        return np.add.reduceat(values[:, order], np.searchsorted(index[order], np.arange(times.size)), axis=1)

    def survival(self, weights: np.ndarray, *, censoring: bool = False) -> np.ndarray:
        """Kaplan-Meier estimate ``(n_draws, 1 + n_distinct_times)``, from 1 on, of the event or of being censored."""
        leaving, events = self.at_times(weights), self.at_times(weights * self.event)
        at_risk = leaving[:, ::-1].cumsum(axis=1)[:, ::-1]
        # at one time, events come before censoring
        lost, at_risk = (leaving - events, at_risk - events) if censoring else (events, at_risk)
        kept = 1 - np.divide(lost, at_risk, out=np.zeros_like(lost), where=at_risk > 0)
        return np.concatenate([np.ones((len(weights), 1)), np.cumprod(kept, axis=1)], axis=1)

    def index(self, at: np.ndarray) -> np.ndarray:
        """Columns of :meth:`survival` that hold the estimate at some times."""
        return np.searchsorted(self._order[0], at, side="right")


def concordance(patients: Patients, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Harrell's and Uno's concordance ``(n_draws,)``; NaN without a comparable pair."""
    inverse = _inverse(patients.survival(weights, censoring=True)[:, patients.index(patients.time)])
    sums = np.zeros((2, 2, len(weights)))  # Harrell and Uno; right and comparable
    for rows in patients.blocks:
        higher, same = patients.higher(rows)
        comparable = patients.comparable(rows)
        right, pairs = weights @ (higher * comparable).T, weights @ (same * comparable).T
        for i, factor in enumerate((weights[:, rows], weights[:, rows] * inverse[:, rows] ** 2)):
            sums[i] += (factor * right).sum(axis=1), (factor * pairs).sum(axis=1)
    harrell, uno = (_ratio(right, pairs) for right, pairs in sums)
    return harrell, uno


def dynamic_auc(patients: Patients, weights: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cumulative/dynamic AUC ``(n_draws, n_times)`` and its mean over time ``(n_draws,)``.

    Cases had the event by a time, weighted by the inverse probability of not being censored before; controls are
    without event after it (Uno et al., JASA 2007). The mean weighs times by the fall of the Kaplan-Meier estimate
    (Lambert and Chevret 2014).
    """
    inverse = _inverse(patients.survival(weights, censoring=True)[:, patients.index(patients.time)])
    right, pairs = np.zeros((2, len(weights), times.size))
    for rows in patients.blocks:
        higher, same = patients.higher(rows)
        for i, time in enumerate(times):
            cases, controls = rows[patients.time[rows] <= time], patients.time > time
            mine = patients.time[rows] <= time
            if not cases.size or not controls.any():
                continue
            factor, of_controls = weights[:, cases] * inverse[:, cases], weights[:, controls]
            right[:, i] += (factor * (of_controls @ higher[np.ix_(mine, controls)].T)).sum(axis=1)
            pairs[:, i] += (factor * (of_controls @ same[np.ix_(mine, controls)].T)).sum(axis=1)
    auc = _ratio(right, pairs)
    survival = patients.survival(weights)[:, patients.index(times)]
    fall = -np.diff(survival, axis=1, prepend=1.0)
    mean = _ratio((auc * fall).sum(axis=1), fall.sum(axis=1)) if times.size > 1 else auc[:, 0]
    return auc, mean


def brier(patients: Patients, weights: np.ndarray, times: np.ndarray, survival: np.ndarray) -> np.ndarray:
    """Brier score ``(n_draws, n_times)`` of survival probabilities ``(n, n_times)`` (Graf et al. 1999)."""
    censoring = patients.survival(weights, censoring=True)
    of_patients = _inverse(censoring[:, patients.index(patients.time)])
    scores = np.empty((len(weights), times.size))
    for i, (time, inverse) in enumerate(zip(times, _inverse(censoring[:, patients.index(times)]).T, strict=True)):
        had = np.where((patients.time <= time) & patients.event, survival[:, i] ** 2, 0)
        free = np.where(patients.time > time, (1 - survival[:, i]) ** 2, 0)
        scores[:, i] = (weights * of_patients) @ had + inverse * (weights @ free)
    return scores / weights.sum(axis=1, keepdims=True)


def integrated(scores: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Mean over time ``(n_draws,)`` by the trapezoidal rule."""
    return np.trapezoid(scores, times, axis=1) / (times[-1] - times[0])


def _inverse(probability: np.ndarray) -> np.ndarray:
    """1 / probability; 0 where nobody can have been seen."""
    return np.divide(1.0, probability, out=np.zeros_like(probability), where=probability > 0)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0)


def decile_times(time: np.ndarray, event: np.ndarray) -> np.ndarray:
    """Distinct deciles 1 to 9 of the times of event, of those after which somebody is still seen."""
    at = np.unique(np.quantile(time[event], np.arange(0.1, 0.95, 0.1), method="lower"))
    return at[at < time.max()] if at[0] < time.max() else at[:1]
