"""Rows of Fine and Gray's regression: who had another event stays at risk, with a falling weight. Arrays in and out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._errors import SurvivalError
from .risk_table import product_limit, risk_table


@dataclass(frozen=True)
class Expanded:
    """Follow-up in pieces: at risk in ``(start, stop]`` with a weight; the event of interest, if it came, at `stop`."""

    patient: np.ndarray  # (n_rows,) row of the patient
    start: np.ndarray  # (n_rows,)
    stop: np.ndarray  # (n_rows,)
    event: np.ndarray  # (n_rows,) bool
    weight: np.ndarray  # (n_rows,)


def expand(time: np.ndarray, cause: np.ndarray, which: int, entry: np.ndarray | None = None) -> Expanded:
    """Pieces of follow-up whose Cox regression is that of the subdistribution hazard (Geskus, Biometrics 2011).

    Whoever had another event at T stays at risk until the last event of interest, at t with weight ``G(t-) / G(T-)``: G
    is the Kaplan-Meier estimate of being uncensored, in which an event comes before a censoring at the same time.

    With `entry`, who is at risk from then on, the weight is ``G(t-) H(t-) / (G(T-) H(T-))``: H is the chance to have
    entered by a time, estimated in reversed time. It rises, since patients with another event represent those, too, who
    would have entered later and had theirs unseen.

    Raises
    ------
    SurvivalError
        If all who were under observation at a time had just entered, so that H is 0 before it.
    """
    n, last = time.size, time[cause == which].max()
    other = np.flatnonzero((cause > 0) & (cause != which) & (time < last))
    times, after = _uncensored(time, cause, entry)
    if entry is not None:
        times, after = _product((times, after), _entered(time, entry))
    start = np.full(n, -np.inf) if entry is None else entry
    pieces = [(np.arange(n), start, time, cause == which, np.ones(n))]
    for i in other:
        later = times[(times > time[i]) & (times < last)]
        start, stop = np.append(time[i], later), np.append(later, last)
        start_of = float(_before(time[i : i + 1], times, after)[0])
        if start_of <= 0:
            raise SurvivalError(
                f"All who were under observation at some time before {time[i]:g} had just entered, so that the weight "
                "of an earlier event of another kind is not defined. Few are at risk early with late entry: start the "
                "clock later, or leave the earliest rows out."
            )
        weight = _before(stop, times, after) / start_of
        pieces.append((np.full(stop.size, i), start, stop, np.zeros(stop.size, bool), weight))
    return Expanded(*(np.concatenate(part) for part in zip(*pieces, strict=True)))


def _uncensored(time: np.ndarray, cause: np.ndarray, entry: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Times of censoring, and the estimate from each on."""
    times = np.unique(time[cause == 0])
    table = risk_table(time, cause > 0, entry, times=times)
    return times, product_limit(table.leaving - table.events, table.at_risk - table.events)


def _entered(time: np.ndarray, entry: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Times of entry, and the estimate of having entered from each on; 1 from the last."""
    times, entering = np.unique(entry, return_counts=True)
    n_entered = np.searchsorted(np.sort(entry), times, side="right")
    gone = np.searchsorted(np.sort(time), times, side="right")
    later = product_limit(entering[:0:-1], (n_entered - gone)[:0:-1])[::-1]
    return times, np.append(later, 1.0)


def _product(one: tuple[np.ndarray, np.ndarray], two: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Two step functions multiplied: the first is 1 before its first time, the second not looked at there."""
    times = np.union1d(one[0], two[0])
    first = np.append(1.0, one[1])[np.searchsorted(one[0], times, side="right")]
    second = two[1][np.maximum(np.searchsorted(two[0], times, side="right") - 1, 0)]
    return times, first * second


def _before(at: np.ndarray, times: np.ndarray, after: np.ndarray) -> np.ndarray:
    return np.append(1.0, after)[np.searchsorted(times, at, side="left")]
