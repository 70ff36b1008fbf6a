"""Outcomes that signatures are judged by: yes or no, and time to an event. Arrays in, arrays out.

Both have one interface, and everything is done for all folds and all clusters at once: a permutation test repeats the
whole search hundreds of times. Masks of folds are ``(folds, n)``, ranks of clusters ``(n, clusters)``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .auroc import auroc, auroc_of_levels
from .concordance import comparable, concordant_pairs
from .cox_scores import newton, ridge_fits, score_p, score_parts
from .risk_table import martingale_residuals

RIDGE = 1.0  # penalty on half the squared coefficients: scikit-learn's default, C = 1
_Z = 1.959963984540054


@dataclass(frozen=True)
class Binary:
    """Who responded."""

    y: np.ndarray  # (n,) bool
    score_name = "AUROC"
    sides = ("response", "non-response")  # of a cluster with ratio above 1, below 1
    good = (True, False)

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: np.ndarray) -> Binary:
        """The outcome of some patients."""
        return Binary(self.y[rows])

    @property
    def strata(self) -> np.ndarray:
        """What folds are balanced by, ``(n,)``."""
        return self.y

    @property
    def learnable(self) -> bool:
        """Whether there is anything to learn: patients of both kinds, or an event."""
        return bool(self.y.any() and not self.y.all())

    def residuals(self, masks: np.ndarray) -> np.ndarray:
        """Score of the model without predictors, one row per fold: its product with a predictor has the slope's sign.

        The penalised loss is convex and the intercept is free, so the sign of the slope is that of the gradient at 0.
        """
        share = (masks @ self.y.astype(float)) / np.maximum(masks.sum(axis=1), 1)  # bool @ bool would be bool
        return masks * (self.y - share[:, None])

    def discrimination(self, ranks: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """AUROC ``(folds, clusters)`` of ranks that are small integers; NaN where a fold holds one class."""
        return auroc_of_levels(self.y, ranks, masks)

    def discrimination_of(self, values: np.ndarray) -> float:
        """AUROC of one predictor."""
        return auroc(self.y, values)

    def fit(self, predictors: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Coefficients ``(folds, p)`` of logistic regression with a free intercept."""
        design = np.column_stack([predictors, np.ones(len(predictors))])
        penalty = np.diag([RIDGE] * predictors.shape[1] + [1e-9])

        def step(beta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            p = 1 / (1 + np.exp(-np.clip(beta @ design.T, -30, 30)))
            gradient = (masks * (self.y - p)) @ design - beta @ penalty
            hessian = np.einsum("fn,np,nq->fpq", masks * p * (1 - p), design, design, optimize=True) + penalty
            return gradient, hessian

        return newton(step, len(masks), design.shape[1])[:, :-1]

    def ratio(self, high: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Risk ratio of response with high presence over that without, and its 95 % interval, for each cluster.

        The paper conditions on presence here (Methods, *Identification of FM-based biomarkers*). Where one of the four
        counts is 0, a patient who responds as often as all do is added on either side, so that the ratio is a number.
        Half a responder on either side would make a cluster of few patients, none of whom responds, one of response.
        """
        y = self.y.astype(float)  # bool @ bool would be bool
        a, n1 = y @ high, high.sum(axis=0)
        c, n0 = y @ ~high, (~high).sum(axis=0)
        added = 1.0 * ((a == 0) | (c == 0) | (a == n1) | (c == n0))
        share = y.mean() if len(y) else 0.0
        a, c, n1, n0 = a + added * share, c + added * share, n1 + added, n0 + added
        log = np.log(a / n1) - np.log(c / n0)
        error = np.sqrt(np.maximum(1 / a - 1 / n1 + 1 / c - 1 / n0, 0))
        return np.exp(log), np.exp(log - _Z * error), np.exp(log + _Z * error)

    def test(self, ranks: np.ndarray) -> np.ndarray:
        """Two-sided p-values of the score test of logistic regression (Cochran and Armitage's test for trend)."""
        share = self.y.mean()
        u = (self.y - share) @ ranks
        n = len(ranks)
        variance = share * (1 - share) * ((ranks - ranks.mean(axis=0)) ** 2).sum(axis=0) * n / max(n - 1, 1)
        return score_p(u, variance)


@dataclass(frozen=True)
class Survival:
    """Times to an event or to the end of observation."""

    time: np.ndarray  # (n,)
    event: np.ndarray  # (n,) bool
    score_name = "concordance"
    sides = ("adverse", "favorable")
    good = (False, True)

    def __len__(self) -> int:
        return len(self.time)

    def take(self, rows: np.ndarray) -> Survival:
        """The outcome of some patients."""
        return Survival(self.time[rows], self.event[rows])

    @property
    def strata(self) -> np.ndarray:
        """What folds are balanced by, ``(n,)``."""
        return self.event

    @property
    def learnable(self) -> bool:
        """Whether there is anything to learn: patients of both kinds, or an event."""
        return bool(self.event.any())

    def residuals(self, masks: np.ndarray) -> np.ndarray:
        """Martingale residuals of the model without predictors, one row per fold (see `Binary.residuals`)."""
        return martingale_residuals(self.time, self.event, weights=masks.astype(float))

    def discrimination(self, ranks: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Harrell's concordance ``(folds, clusters)``; NaN if a fold has no comparable pair."""
        i, j = self._pairs()
        inside = (masks[:, i] & masks[:, j]).astype(np.float32)
        ranks = ranks.astype(np.float32)
        won = (np.sign(ranks[i] - ranks[j]) + 1) / 2
        pairs = inside.sum(axis=1, keepdims=True)
        return np.where(pairs > 0, inside @ won / np.maximum(pairs, 1), np.nan).astype(np.float64)

    def discrimination_of(self, values: np.ndarray) -> float:
        """Harrell's concordance of one predictor, of which larger values mean earlier events."""
        right, n_pairs = concordant_pairs(self.time, self.event, values)
        return right / n_pairs if n_pairs else np.nan

    def fit(self, predictors: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Coefficients ``(folds, p)`` of Cox regression (ties after Breslow)."""
        return ridge_fits(predictors, self.time, self.event, masks, RIDGE)

    def ratio(self, high: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ratio of observed over expected events, high presence over low, and its 95 % interval, for each cluster.

        Half an event is added to each where a group has none, so that the ratio is a number.
        """
        event = self.event.astype(float)  # bool @ bool would be bool
        hazard = event - self.residuals(np.ones((1, len(self)), bool))[0]
        observed, expected = [event @ high, event @ ~high], [hazard @ high, hazard @ ~high]
        half = 0.5 * ((observed[0] == 0) | (observed[1] == 0) | (expected[0] <= 0) | (expected[1] <= 0))
        one, two = ((o + half) / (e + half) for o, e in zip(observed, expected, strict=True))
        error = np.sqrt(sum(1 / (e + half) for e in expected))
        return one / two, one / two * np.exp(-_Z * error), one / two * np.exp(_Z * error)

    def test(self, ranks: np.ndarray) -> np.ndarray:
        """Two-sided p-values of the score test of Cox regression (the log-rank test for trend)."""
        return score_p(*score_parts(ranks, self.time, self.event))

    def _pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of which the first is known to have had its event before the second."""
        rows = np.flatnonzero(self.event)
        i, j = np.nonzero(comparable(self.time, self.event, rows))
        return rows[i], j


Outcome = Binary | Survival


def univariate(outcome: Outcome, ranks: np.ndarray, tests: np.ndarray) -> np.ndarray:
    """Held-out score ``(folds, clusters)`` of each cluster's rank as the only predictor.

    A rank is a single predictor, so a fitted model orders patients by it, upwards or downwards as the sign of its slope
    says: the score of logistic (Cox) regression follows without fitting it.
    """
    sign = np.sign(np.round(outcome.residuals(~tests) @ ranks, 9))
    scores = outcome.discrimination(ranks, tests)
    return 0.5 + sign * (scores - 0.5)


def multivariate(outcome: Outcome, predictors: np.ndarray, tests: np.ndarray) -> np.ndarray:
    """Held-out score ``(folds,)`` of all predictors together."""
    coefficients = outcome.fit(predictors, ~tests)
    return np.array(
        [
            outcome.take(np.flatnonzero(test)).discrimination_of(predictors[test] @ beta)
            for test, beta in zip(tests, coefficients, strict=True)
        ]
    )
