"""Score tests and fits of Cox's model for many columns or many subsets of the rows at once. Arrays in and out.

Risk sets are those of :mod:`spatialfm.stats.cox`. A fit of lifelines takes some 50 ms; a search over clusters and folds
makes hundreds of thousands.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import stats

from .cox import RiskSets

STEPS = 50


def score_parts(
    x: np.ndarray,
    time: np.ndarray,
    event: np.ndarray,
    strata: np.ndarray | None = None,
    one_draw: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Score at 0 and its variance ``(p,)`` of each column ``(n, p)`` alone.

    Parameters
    ----------
    one_draw
        Whether events at one time are one draw without replacement from those at risk, as in the log-rank test, and not
        one draw with replacement each (Breslow).
    """
    sets = RiskSets(time, event, strata, "breslow")
    values = x[sets.order].astype(float)
    size = np.bincount(sets.stratum)
    mean = np.stack([np.bincount(sets.stratum, weights=column) / size for column in values.T], axis=1)
    values = values - mean[sets.stratum]  # squares of large values would cancel a small variance
    at_risk = sets.totals(np.ones(len(values)))[:, None]
    mean = sets.totals(values) / at_risk
    spread = sets.totals(values**2) / at_risk - mean**2
    if one_draw:
        n_events = sets.n_events[sets.term][:, None]
        spread = spread * np.divide(at_risk - n_events, at_risk - 1, out=np.zeros(at_risk.shape), where=at_risk > 1)
    return (values[sets.event] - mean).sum(axis=0), spread.sum(axis=0)


def score_p(score: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Two-sided p-values ``(p,)``; 1 where nothing varies among those at risk."""
    z = np.divide(score, np.sqrt(np.maximum(variance, 0)), out=np.zeros(np.shape(score)), where=variance > 1e-12)
    return 2 * stats.norm.sf(np.abs(z))


def ridge_fits(x: np.ndarray, time: np.ndarray, event: np.ndarray, masks: np.ndarray, ridge: float) -> np.ndarray:
    """Coefficients ``(subsets, p)`` of Cox regressions (ties after Breslow) of subsets of the rows ``(subsets, n)``.

    The penalty is `ridge` times half the squared coefficients.
    """
    sets = RiskSets(time, event, None, "breslow")
    x = x[sets.order].astype(float)
    x = x - x.mean(axis=0)
    n, p = x.shape
    weights = masks[:, sets.order].T.astype(float)  # (n, subsets)
    seen = weights[sets.event]  # (n_events, subsets)
    outer = (x[:, :, None] * x[:, None, :]).reshape(n, -1)
    penalty = ridge * np.eye(p)

    def step(beta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        risk = weights * np.exp(np.clip(x @ beta.T, -30, 30))
        total = np.maximum(sets.totals(risk), 1e-300)
        each = seen / total
        mean = _in_sets(sets, risk, x) / total[..., None]
        square = np.einsum("tf,tfk->fk", each, _in_sets(sets, risk, outer)).reshape(-1, p, p)
        gradient = np.einsum("tf,tfp->fp", seen, x[sets.event][:, None] - mean) - beta @ penalty
        return gradient, square - np.einsum("tf,tfp,tfq->fpq", seen, mean, mean, optimize=True) + penalty

    return newton(step, len(masks), p)


def newton(step: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]], n_fits: int, width: int) -> np.ndarray:
    """Zero ``(n_fits, width)`` of the gradients of penalised convex losses, which each have one.

    `step` gives gradients and second derivatives at coefficients.
    """
    beta = np.zeros((n_fits, width))
    for _ in range(STEPS):
        gradient, hessian = step(beta)
        move = np.linalg.solve(hessian, gradient[..., None])[..., 0]
        move /= np.maximum(1, np.abs(move).max(axis=1, keepdims=True) / 2)  # a longer step may overshoot
        beta += move
        if np.abs(move).max() < 1e-10:
            break
    return beta


def _in_sets(sets: RiskSets, risk: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Sums over risk sets of ``(n, k)`` values, weighted by each subset ``(n, subsets)``: ``(n_terms, subsets, k)``."""
    products = risk[:, :, None] * values[:, None, :]
    return sets.totals(products.reshape(len(values), -1)).reshape(-1, risk.shape[1], values.shape[1])
