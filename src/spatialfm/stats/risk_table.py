"""Who is at risk when, and what follows from it: Kaplan-Meier, Nelson-Aalen, Greenwood. Arrays in and out.

All estimates of the package that need numbers at risk begin here, for one set of rows or for many weightings of them at
once: a bootstrap or a permutation test asks for thousands. Rows are at risk at a time t where ``entry < t <= time``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RiskTable:
    """Numbers at some times, along the last axis; before it one axis for the weightings, where there are any."""

    time: np.ndarray  # (n_times,) rising
    at_risk: np.ndarray  # (..., n_times) just before
    events: np.ndarray  # (..., n_times)
    leaving: np.ndarray  # (..., n_times) with or without the event

    @property
    def survival(self) -> np.ndarray:
        """Kaplan-Meier estimate ``(..., n_times)`` from each time on."""
        return product_limit(self.events, self.at_risk)

    @property
    def hazard(self) -> np.ndarray:
        """Nelson-Aalen estimate ``(..., n_times)`` of the cumulative hazard from each time on."""
        return np.cumsum(_share(self.events, self.at_risk), axis=-1)

    @property
    def greenwood(self) -> np.ndarray:
        """Part of each time ``(..., n_times)`` in the variance of the logarithm of survival."""
        return greenwood_parts(self.events, self.at_risk)

    def before(self, values: np.ndarray, at: np.ndarray, start: float) -> np.ndarray:
        """A step function ``(..., n_times)`` just before some times; `start` before the first."""
        return _started(values, start)[..., np.searchsorted(self.time, at, side="left")]

    def at(self, values: np.ndarray, at: np.ndarray, start: float) -> np.ndarray:
        """A step function ``(..., n_times)`` at some times; `start` before the first."""
        return _started(values, start)[..., np.searchsorted(self.time, at, side="right")]


def risk_table(
    time: np.ndarray,
    event: np.ndarray,
    entry: np.ndarray | None = None,
    *,
    times: np.ndarray | None = None,
    weights: np.ndarray | None = None,
) -> RiskTable:
    """Numbers at risk, with the event, and leaving.

    Parameters
    ----------
    times
        Times to count at, rising (default: all distinct times).
    weights
        ``(B, n)``, how often each row counts.

    Examples
    --------
    The second row came after the first had the event:

    >>> result = risk_table(np.array([1.0, 2.0, 3.0]), np.array([True, True, False]), np.array([0.0, 1.5, 0.0]))
    >>> result.at_risk, result.survival.round(3)
    (array([2., 2., 1.]), array([0.5 , 0.25, 0.25]))
    """
    order = np.argsort(time, kind="stable")
    t, times = time[order], np.unique(time) if times is None else times
    row_weights = np.ones(t.size) if weights is None else np.asarray(weights, dtype=float)[..., order]
    first, after = np.searchsorted(t, times, side="left"), np.searchsorted(t, times, side="right")
    gone, died = _totals(row_weights), _totals(row_weights * event[order])
    at_risk = gone[..., -1:] - gone[..., first]
    if entry is not None:
        by_entry = np.argsort(entry[order], kind="stable")
        entered = _totals(row_weights[..., by_entry])
        n_entered = np.searchsorted(entry[order][by_entry], times, side="left")
        at_risk = at_risk - (entered[..., -1:] - entered[..., n_entered])
    return RiskTable(times, at_risk, died[..., after] - died[..., first], gone[..., after] - gone[..., first])


def product_limit(events: np.ndarray, at_risk: np.ndarray) -> np.ndarray:
    """Product of the shares that stay ``(..., n_times)``; if no patient is at risk, all do.

    Examples
    --------
    >>> product_limit(np.array([1, 0, 1]), np.array([4, 3, 2]))
    array([0.75 , 0.75 , 0.375])
    """
    return np.cumprod(1 - _share(events, at_risk), axis=-1)


def greenwood_parts(events: np.ndarray, at_risk: np.ndarray) -> np.ndarray:
    """Greenwood's ``d / (r (r - d))`` ``(..., n_times)``; 0 if no patient is left.

    Examples
    --------
    >>> greenwood_parts(np.array([1, 2]), np.array([4, 2])).round(4)
    array([0.0833, 0.    ])
    """
    at_risk = np.asarray(at_risk, dtype=float)
    return _share(events, at_risk * (at_risk - events))


def martingale_residuals(
    time: np.ndarray, event: np.ndarray, entry: np.ndarray | None = None, weights: np.ndarray | None = None
) -> np.ndarray:
    """Event less the hazard that each row passed through, ``(n,)`` or ``(B, n)``, of the model without predictors.

    Summed over a group they are its observed less its expected events, those of the log-rank test. Rows of weight 0 are
    0.

    Examples
    --------
    >>> martingale_residuals(np.array([1.0, 2.0]), np.ones(2, bool), np.array([0.0, 1.5]))
    array([0., 0.])
    """
    expected = expected_events(time, event, entry, weights)
    residuals = np.asarray(event, dtype=float) - expected
    return residuals if weights is None else weights * residuals


def expected_events(
    time: np.ndarray, event: np.ndarray, entry: np.ndarray | None = None, weights: np.ndarray | None = None
) -> np.ndarray:
    """Pooled Nelson-Aalen cumulative hazard of each row ``(n,)`` or ``(B, n)`` from its entry to its time.

    Examples
    --------
    The second patient came after the first had the event:

    >>> expected_events(np.array([1.0, 2.0]), np.ones(2, bool), np.array([0.0, 1.5]))
    array([1., 1.])
    """
    table = risk_table(time, event, entry, weights=weights)
    hazard = table.hazard
    passed = table.at(hazard, time, 0.0)
    return passed if entry is None else passed - table.at(hazard, entry, 0.0)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    part, whole = np.asarray(part, dtype=float), np.asarray(whole, dtype=float)
    return np.divide(part, whole, out=np.zeros(np.broadcast(part, whole).shape), where=whole > 0)


def _totals(values: np.ndarray) -> np.ndarray:
    return _started(np.cumsum(values, axis=-1), 0.0)


def _started(values: np.ndarray, start: float) -> np.ndarray:
    return np.concatenate([np.full((*values.shape[:-1], 1), start), values], axis=-1)
