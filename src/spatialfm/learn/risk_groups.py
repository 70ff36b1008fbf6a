"""Groups of patients by k-means, in an order of their risk, and the test of an order that the outcome made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..cohort.design import adjusting_covariates
from ..cohort.outcome import Outcome, observed_expected
from ..stats.adjusted_logrank import independent_terms
from ..stats.logrank import LogrankTest
from ..stats.null_outcomes import NullOutcomes
from ..stats.permutation import permutation_p, shuffled_order

Place = Callable[[np.ndarray, np.ndarray, np.ndarray | None], np.ndarray]


def kmeans_by_size(
    values: np.ndarray, n_groups: int, random_state: int = 0, weights: np.ndarray | None = None
) -> np.ndarray:
    """Codes ``(n,)`` of k-means clusters, 0 for the largest; of equal ones, the one that appears first goes first."""
    from sklearn.cluster import KMeans

    codes = KMeans(n_groups, n_init=20, random_state=random_state).fit_predict(values, sample_weight=weights)
    sizes, first = np.bincount(codes, minlength=n_groups), [np.argmax(codes == i) for i in range(n_groups)]
    return _relabel(codes, np.lexsort((first, -sizes)))


def merge_by_risk(observed: np.ndarray, expected: np.ndarray, n_merged: int) -> np.ndarray:
    """New code of each cluster: clusters from low to high risk, cut into `n_merged` runs of about equal length."""
    order = np.argsort(observed / expected, kind="stable")
    codes = np.empty(len(order), dtype=int)
    for code, run in enumerate(np.array_split(order, n_merged)):
        codes[run] = code
    return codes


def _relabel(codes: np.ndarray, order: np.ndarray) -> np.ndarray:
    rank = np.empty(len(order), dtype=int)
    rank[order] = np.arange(len(order))
    return rank[codes]


def placement(
    values: np.ndarray,
    codes: np.ndarray,
    rows: np.ndarray,
    n_groups: int,
    merge_into: int,
    n_folds: int | None,
    random_state: int,
) -> Place:
    """Function from the outcomes of `rows` to the groups of all patients; clusters are made here, without outcome."""
    from sklearn.cluster import KMeans

    n = len(values)
    parts = [(np.full(n, True), codes, np.arange(n), codes)]
    if n_folds is not None:
        fold, parts = np.random.default_rng(random_state).permutation(np.arange(n) % n_folds), []
        for i in range(n_folds):
            model = KMeans(n_groups, n_init=20, random_state=random_state).fit(values[fold != i])
            of_train = np.full(n, -1)
            of_train[fold != i] = model.labels_
            parts.append((fold != i, of_train, np.flatnonzero(fold == i), model.predict(values[fold == i])))

    def place(time: np.ndarray, event: np.ndarray, entry: np.ndarray | None = None) -> np.ndarray:
        groups = np.empty(n, int)
        for train, of_train, held_out, clusters in parts:
            known = train[rows]
            since = None if entry is None else entry[known]
            observed, expected = observed_expected(time[known], event[known], of_train[rows[known]], n_groups, since)
            # the risk of a cluster without follow-up is unknown: it counts as average
            ratio = np.divide(observed, expected, out=np.ones(n_groups), where=expected > 0)
            groups[held_out] = merge_by_risk(ratio, np.ones(n_groups), merge_into)[clusters]
        return groups

    return place


@dataclass(frozen=True)
class GroupTest:
    """How the groups are tested, if they are."""

    n_permutations: int
    covariates: list[str]
    blocks: np.ndarray | None
    random_state: int
    key_added: str  # name of the groups, for messages

    def of(self, place: Place, codes: np.ndarray, rows: np.ndarray, outcome: Outcome) -> dict[str, Any] | None:
        """Result for the groups `codes` of the patients with outcome, who are in these rows; None without test."""
        if not self.n_permutations:
            return None
        plan = (self.n_permutations, self.random_state, self.blocks)
        test = permutation_test(place, codes, rows, outcome, *plan)
        if not self.covariates:
            return test
        known = np.unique(codes, return_inverse=True)[1]
        x = adjusting_covariates(outcome, self.covariates, known, None, self.key_added)
        return adjusted_test(place, codes, rows, outcome, x, *plan) | {"p_value_unadjusted": test["p_value"]}


def permutation_test(
    place: Place,
    codes: np.ndarray,
    rows: np.ndarray,
    outcome: Outcome,
    n_permutations: int,
    random_state: int,
    blocks: np.ndarray | None = None,
) -> dict[str, float]:
    """Trend over the groups against that of the same procedure with outcomes shuffled, within blocks if any."""
    rng, null = np.random.default_rng((random_state, 1)), np.empty(n_permutations)
    observed = trend_z(outcome.time, outcome.event, codes, outcome.entry)
    for i in range(n_permutations):
        order = shuffled_order(len(rows), rng, blocks)
        time, event = outcome.time[order], outcome.event[order]
        entry = None if outcome.entry is None else outcome.entry[order]
        null[i] = trend_z(time, event, place(time, event, entry)[rows], entry)
    p_value = float(permutation_p(null, observed))
    return {"statistic": observed, "p_value": p_value, "null_mean": float(null.mean()), "null_sd": float(null.std())}


def adjusted_test(
    place: Place,
    codes: np.ndarray,
    rows: np.ndarray,
    outcome: Outcome,
    x: np.ndarray,
    n_permutations: int,
    random_state: int,
    blocks: np.ndarray | None = None,
) -> dict[str, float]:
    """Trend at equal covariates against that of the same procedure with outcomes that covariates alone tell of.

    Outcomes are drawn by :class:`spatialfm.stats.null_outcomes.NullOutcomes`, within blocks if any.
    """
    rng = np.random.default_rng((random_state, 1))
    observed = adjusted_z(x, outcome.time[None], outcome.event[None], codes[None], outcome.entry)[0]
    times, events = NullOutcomes(x, outcome.time, outcome.event, blocks, outcome.entry).draw(n_permutations, rng)
    groups = [place(time, event, outcome.entry)[rows] for time, event in zip(times, events, strict=True)]
    null = adjusted_z(x, times, events, np.array(groups), outcome.entry)
    p_value = float(permutation_p(null, observed))
    of_null = {"null_mean": float(null.mean()), "null_sd": float(null.std())}
    return {"statistic": float(observed), "p_value": p_value, **of_null}


def adjusted_z(
    x: np.ndarray, time: np.ndarray, event: np.ndarray, codes: np.ndarray, entry: np.ndarray | None = None
) -> np.ndarray:
    """As `trend_z`, of the score of a trend beside covariates ``(n, p)``, of outcomes and groups ``(B, n)``."""
    from ..stats.cut_kernels import column

    terms = np.ascontiguousarray(independent_terms(x, np.zeros(len(x), int))[1])
    entry = np.full(len(x), -np.inf) if entry is None else entry.astype(float)
    return column(time.astype(float), event.astype(bool), entry, terms, codes.astype(float))


def trend_z(time: np.ndarray, event: np.ndarray, codes: np.ndarray, entry: np.ndarray | None = None) -> float:
    """Standardised log-rank statistic of a trend over groups 0, 1, ...; 0 where nothing can be compared."""
    parts = LogrankTest(time, event, None, entry).parts(codes)
    score = np.arange(len(parts.observed))
    variance = score @ parts.covariance @ score
    return float(score @ (parts.observed - parts.expected) / np.sqrt(variance)) if variance > 1e-12 else 0.0
