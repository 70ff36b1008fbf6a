"""Cohorts that are simulated to see how often a test finds what is there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from .composition import matched_placements
from .cox_scores import score_p, score_parts
from .group_tests import placements, two_groups
from .risk_table import risk_table

SHUFFLES = 499  # of labels in groups below 15 patients


@dataclass(frozen=True)
class Spread:
    """Shares of one cell type over patients: mean, and intraclass correlation of a beta distribution."""

    mean: float
    correlation: float

    def draw(self, n: int, rng: np.random.Generator, fold: float = 1.0) -> np.ndarray:
        """Shares ``(n,)`` of patients whose mean share is `fold` times as large."""
        mean = self.mean * fold
        if self.correlation <= 1e-9:
            return np.full(n, mean)
        size = (1 - self.correlation) / self.correlation
        return rng.beta(mean * size, (1 - mean) * size, n)


def spread_of(hits: np.ndarray, totals: np.ndarray, codes: np.ndarray) -> Spread:
    """Mean share and correlation of the beta-binomial, by moments, so that what counting adds is not counted twice.

    Groups of the pilot may have different means; the spread is that within them.

    Examples
    --------
    Shares that differ no more than counting explains have no other spread:

    >>> import numpy as np
    >>> spread_of(np.array([25, 25, 25]), np.array([100, 100, 100]), np.zeros(3, int))
    Spread(mean=0.25, correlation=0.0)
    """
    hits, totals = np.asarray(hits, float), np.asarray(totals, float)
    within = counted = freedom = 0.0
    for code in np.unique(codes):
        in_group = codes == code
        share, among = hits[in_group] / totals[in_group], totals[in_group]
        mean = share.mean()
        within += ((share - mean) ** 2).sum()
        freedom += len(share) - 1
        counted += (mean * (1 - mean) / among).sum() * (len(share) - 1) / len(share)
    mean = float((hits / totals).mean())
    if freedom <= 0 or not 0 < mean < 1:
        return Spread(mean, 0.0)
    # the variance of a share is m (1 - m) (1/n + r (1 - 1/n)); of the mean over patients of unequal n
    between = max(within / freedom - counted / freedom, 0.0)
    left = 1 - float((1 / totals).mean())
    return Spread(mean, float(min(between / (mean * (1 - mean) * left), 0.95)) if left > 0 else 0.0)


def composition_p(spread: Spread, fold: float, sizes: tuple[int, int], n_cells: int, rng: np.random.Generator) -> float:
    """p-value of one simulated cohort: shares of two groups, by the test that compositions are compared with."""
    shares = np.r_[spread.draw(sizes[0], rng), spread.draw(sizes[1], rng, fold)]
    hits = np.asarray(rng.binomial(n_cells, shares))[:, None]
    if not hits.any() or np.ptp(hits) == 0:
        return 1.0
    codes = np.repeat([0, 1], sizes)
    above = matched_placements(hits, np.full(len(hits), n_cells))
    tested = two_groups(above, hits / n_cells, codes, SHUFFLES, rng, shares=True)
    return float(tested["p_value"][0])


def auroc_p(auroc: float, sizes: tuple[int, int], rng: np.random.Generator) -> float:
    """p-value of one simulated cohort: a score of two classes that is normal in both (binormal)."""
    shift = np.sqrt(2) * stats.norm.ppf(auroc)
    values = np.r_[rng.normal(size=sizes[0]), rng.normal(shift, size=sizes[1])][:, None]
    tested = two_groups(placements(values), values, np.repeat([0, 1], sizes), SHUFFLES, rng)
    return float(tested["p_ranks"][0])


@dataclass(frozen=True)
class FollowUp:
    """Survival and censoring of a pilot cohort, as the steps of Kaplan-Meier curves."""

    event_times: np.ndarray
    survival: np.ndarray  # after each
    censor_times: np.ndarray
    uncensored: np.ndarray  # after each
    end: float

    @classmethod
    def of(cls, time: np.ndarray, event: np.ndarray) -> FollowUp:
        """From times and events of patients."""
        return cls(*_kaplan_meier(time, event), *_kaplan_meier(time, ~event), float(time.max()))

    def draw(self, hazard: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Times and events of patients with hazards relative to the pilot's."""
        n = len(hazard)
        with np.errstate(divide="ignore"):
            wanted = np.exp(np.log(rng.random(n)) / hazard)
        at = np.searchsorted(-self.survival, -wanted, side="left")
        died = np.append(self.event_times, np.inf)[at]
        at = np.searchsorted(-self.uncensored, -rng.random(n), side="left")
        left = np.append(self.censor_times, self.end)[at]
        return np.minimum(died, left), died <= left


def survival_p(
    follow_up: FollowUp, hazard_ratio: float, sizes: tuple[int, int] | int, rng: np.random.Generator
) -> tuple[float, int]:
    """p-value of one simulated cohort, and its events: two groups, or a normal feature of that many patients.

    The test is Cox's score test; of two groups it is the log-rank test.
    """
    if isinstance(sizes, tuple):
        x = np.repeat([0.0, 1.0], sizes)
    else:
        x = rng.normal(size=sizes)
    time, event = follow_up.draw(hazard_ratio ** (x - x.mean()), rng)
    return cox_score_p(x, time, event), int(event.sum())


def cox_score_p(x: np.ndarray, time: np.ndarray, event: np.ndarray) -> float:
    """p-value of the score test of one covariate, ties as one multivariate hypergeometric draw (log-rank's).

    Examples
    --------
    >>> import numpy as np
    >>> x, time = np.array([0, 0, 0, 1, 1, 1.0]), np.array([1, 2, 3, 4, 5, 6.0])
    >>> round(cox_score_p(x, time, np.ones(6, bool)), 4)  # as lifelines' log-rank test
    0.0246
    """
    score, variance = score_parts(x[:, None], time, event, one_draw=True)
    return float(score_p(score, variance)[0])


def _kaplan_meier(time: np.ndarray, event: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    table = risk_table(time, event, times=np.unique(time[event]))
    return table.time, table.survival
