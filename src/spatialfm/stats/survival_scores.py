"""Scores of risk under censoring, for many weightings of the patients at once.

`weights` is ``(n_draws, n)``: how often each patient counts. A row of ones gives the score itself, rows of multinomial
counts its bootstrap; censoring is estimated again in each.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .concordance import higher, tied_ranks, weighted_concordances
from .concordance import pairs as pairs_of
from .risk_table import product_limit, risk_table


@dataclass(frozen=True)
class ScoredPatients:
    """Outcome, risk, and which patients are compared."""

    time: np.ndarray  # (n,)
    event: np.ndarray  # (n,) bool
    risk: np.ndarray  # (n,)
    fold: np.ndarray  # (n,) codes: pairs are compared within

    @cached_property
    def _times(self) -> np.ndarray:
        return np.unique(self.time)

    def survival(self, weights: np.ndarray, *, censoring: bool = False) -> np.ndarray:
        """Kaplan-Meier estimate ``(n_draws, 1 + n_distinct_times)``, from 1 on, of the event or of being censored."""
        table = risk_table(self.time, self.event, times=self._times, weights=weights)
        curve = table.survival
        if censoring:  # at one time, events come before censoring
            curve = product_limit(table.leaving - table.events, table.at_risk - table.events)
        return np.concatenate([np.ones((len(weights), 1)), curve], axis=1)

    def index(self, at: np.ndarray) -> np.ndarray:
        """Columns of :meth:`survival` that hold the estimate at some times."""
        return np.searchsorted(self._times, at, side="right")


def concordance_of(patients: ScoredPatients, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Harrell's and Uno's concordance ``(n_draws,)``; NaN without a comparable pair."""
    inverse = _inverse(patients.survival(weights, censoring=True)[:, patients.index(patients.time)])
    harrell, uno = weighted_concordances(
        patients.time, patients.event, patients.risk, weights, [weights, weights * inverse**2], fold=patients.fold
    )
    return harrell, uno


def dynamic_auc(patients: ScoredPatients, weights: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cumulative/dynamic AUC ``(n_draws, n_times)`` and its mean over time ``(n_draws,)``.

    Cases had the event by a time, weighted by the inverse probability of not being censored before; controls are
    without event after it (Uno et al., JASA 2007). The mean weighs times by the fall of the Kaplan-Meier estimate
    (Lambert and Chevret 2014).
    """
    inverse = _inverse(patients.survival(weights, censoring=True)[:, patients.index(patients.time)])
    right, pairs = np.zeros((2, len(weights), times.size))
    ranks = tied_ranks(patients.risk)
    for rows, _ in pairs_of(patients.time, patients.event):
        same = (patients.fold[rows, None] == patients.fold).astype(np.float64)
        above = higher(ranks, rows) * same
        for i, time in enumerate(times):
            cases, controls = rows[patients.time[rows] <= time], patients.time > time
            is_case = patients.time[rows] <= time
            if not cases.size or not controls.any():
                continue
            factor, of_controls = weights[:, cases] * inverse[:, cases], weights[:, controls]
            right[:, i] += (factor * (of_controls @ above[np.ix_(is_case, controls)].T)).sum(axis=1)
            pairs[:, i] += (factor * (of_controls @ same[np.ix_(is_case, controls)].T)).sum(axis=1)
    auc = _ratio(right, pairs)
    survival = patients.survival(weights)[:, patients.index(times)]
    fall = -np.diff(survival, axis=1, prepend=1.0)
    mean = _ratio((auc * fall).sum(axis=1), fall.sum(axis=1)) if times.size > 1 else auc[:, 0]
    return auc, mean


def brier(patients: ScoredPatients, weights: np.ndarray, times: np.ndarray, survival: np.ndarray) -> np.ndarray:
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
    """1 / probability; 0 if no patient can have been seen."""
    return np.divide(1.0, probability, out=np.zeros_like(probability), where=probability > 0)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0)


def decile_times(time: np.ndarray, event: np.ndarray) -> np.ndarray:
    """Distinct deciles 1 to 9 of the times of event, of those after which a patient is still seen."""
    at = np.unique(np.quantile(time[event], np.arange(0.1, 0.95, 0.1), method="lower"))
    return at[at < time.max()] if at[0] < time.max() else at[:1]
