"""Net benefit of acting on a predicted risk, under censoring. Arrays in and out."""

from __future__ import annotations

import numpy as np

from .calibration import survival_at


def net_benefit(
    predicted: np.ndarray,
    time: np.ndarray,
    event: np.ndarray,
    horizon: float,
    thresholds: np.ndarray,
    weights: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Net benefit ``(B, n_thresholds)`` of treating those at or above each threshold, and that of treating all.

    Per patient, in true positives: the share of patients who are treated and would have the event by the horizon, less
    those treated in vain, weighted by the odds of the threshold. Among those treated the share with the event is 1 less
    their Kaplan-Meier estimate (Vickers et al., BMC Medical Informatics and Decision Making 2008).

    Parameters
    ----------
    predicted
        ``(n,)`` probabilities of the event by the horizon.
    weights
        ``(B, n)``, how often each patient counts.

    Examples
    --------
    Four patients, all seen to the horizon; at a threshold of 0.5 two are treated, one of them in vain:

    >>> predicted, time = np.array([0.9, 0.6, 0.2, 0.1]), np.array([1.0, 9.0, 2.0, 9.0])
    >>> treat, everyone = net_benefit(predicted, time, np.array([1, 0, 1, 0], bool), 5.0, np.array([0.5, 0.2]))
    >>> treat.round(4), everyone.round(4)  # 1/4 - 1/4 * 1, and 2/4 - 1/4 * 0.25
    (array([[0.    , 0.4375]]), array([[0.   , 0.375]]))
    """
    weights = np.ones((1, len(time))) if weights is None else weights
    total, at, odds = weights.sum(axis=1), np.array([horizon]), thresholds / (1 - thresholds)
    free = survival_at(time, event, at, weights)[0]  # (B, 1)
    everyone = (1 - free) - free * odds
    treated: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    order = np.argsort(-predicted, kind="stable")
    benefit = np.zeros((len(weights), len(thresholds)))
    n_treated = (predicted[:, None] >= thresholds - 1e-12).sum(axis=0)
    for i, n in enumerate(n_treated):
        if not n:
            continue
        if int(n) not in treated:
            rows = order[:n]
            share = weights[:, rows].sum(axis=1) / total
            treated[int(n)] = share, survival_at(time[rows], event[rows], at, weights[:, rows])[0][:, 0]
        share, of_treated = treated[int(n)]
        with np.errstate(invalid="ignore"):
            value = (1 - of_treated) * share - of_treated * share * odds[i]
        benefit[:, i] = np.where(share > 0, value, 0.0)  # without drawn patients none is treated
    return benefit, everyone
