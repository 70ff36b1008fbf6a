"""The search for signatures: on all patients, as published; without each fold's patients; and on shuffled outcomes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..cohort.signature_patients import SignaturePatients
from ..stats.folds import fold_masks
from ..stats.permutation import shuffled_order
from ..stats.signature_outcome import Outcome, multivariate, univariate
from . import signature_clusters as clustering

OPTIMISTIC, NESTED = "as published (optimistic)", "nested"


@dataclass(frozen=True)
class SearchPlan:
    """Numbers of the procedure; names as the arguments."""

    n_signatures: int
    n_folds: int
    n_repeats: int
    n_repeats_model: int
    min_patients: int


@dataclass(frozen=True)
class RankedFold:
    """Ranks of all patients by clusters of the training patients."""

    test: np.ndarray  # (patients,) bool
    ranks: np.ndarray  # (patients, clusters)
    repeat: int


@dataclass(frozen=True)
class JudgedClusters:
    """Clusters judged on all patients."""

    scores: np.ndarray  # (clusters,)
    ratio: tuple[np.ndarray, np.ndarray, np.ndarray]
    chosen: list[int]


def nested_folds(
    values: np.ndarray,
    patients: SignaturePatients,
    resolutions: Sequence[float],
    limit: float,
    overlap: float,
    n_neighbors: int,
    n_assign: int,
    n_folds: int,
    n_repeats: int,
    n_jobs: int,
    random_state: int,
) -> Iterator[RankedFold]:
    """Clusters and ranks of every fold; the outcome plays no part, not even in who is in which fold."""
    from .._progress import progress_bar

    n = len(patients.names)
    masks = fold_masks(np.zeros(n), n_folds, n_repeats, np.random.default_rng((random_state, 1)))
    for i, test in enumerate(
        progress_bar(
            masks,
            desc="clusters of folds",
        )
    ):
        held_out = test[patients.codes]
        codes = clustering.cluster_cells(values[~held_out], resolutions, n_neighbors, random_state, n_jobs)
        clusters = clustering.candidates(codes, limit * (~held_out).mean(), overlap)
        shares = clustering.fractions(clusters, patients.codes[~held_out], n)
        cuts = clustering.cut_points(shares)
        assigned = clustering.assign(values[~held_out], codes, values[held_out], n_assign, random_state)
        shares += clustering.fractions(clusters, patients.codes[held_out], n, assigned)
        yield RankedFold(test, clustering.ranks_of(shares, cuts), i // n_folds)


def _choose(ranks: np.ndarray, outcome: Outcome, plan: SearchPlan, seed: tuple[int, ...]) -> tuple:
    """Scores of all clusters alone, their ratios, and the best on either side; the favourable side first."""
    tests = fold_masks(outcome.strata, plan.n_folds, plan.n_repeats, np.random.default_rng(seed))
    scores = mean_of_folds(univariate(outcome, ranks, tests))
    ratio = outcome.ratio(ranks > 1)
    usable = usable_clusters(ranks, plan.min_patients)
    above, chosen = ratio[0] > 1, []
    for side in (above, ~above) if outcome.good[0] else (~above, above):
        candidates = np.flatnonzero(side & usable & np.isfinite(scores))
        chosen += candidates[np.argsort(-scores[candidates], kind="stable")][: plan.n_signatures].tolist()
    return scores, ratio, chosen


def chosen_clusters(ranks: np.ndarray, outcome: Outcome, plan: SearchPlan, random_state: int) -> JudgedClusters:
    """Clusters that the search chooses, and their model."""
    return JudgedClusters(*_choose(ranks, outcome, plan, (random_state, 2)))


def published_score(ranks: np.ndarray, outcome: Outcome, plan: SearchPlan, random_state: int) -> np.ndarray:
    """Scores ``(folds,)`` of the best of all clusters together, as published: on the patients that chose them."""
    chosen = _choose(ranks, outcome, replace(plan, min_patients=0), (random_state, 2))[2]
    rng = np.random.default_rng((random_state, 3))
    tests = fold_masks(outcome.strata, plan.n_folds, plan.n_repeats_model, rng)
    return multivariate(outcome, ranks[:, chosen], tests) if chosen else np.full(len(tests), 0.5)


def nested_predictions(folds: list[RankedFold], outcome: Outcome, plan: SearchPlan, random_state: int) -> np.ndarray:
    """Prediction of each fold's model for its held-out patients ``(folds, patients)``; NaN elsewhere."""
    out = np.full((len(folds), len(outcome)), np.nan)
    for i, fold in enumerate(folds):
        train = np.flatnonzero(~fold.test)
        train_outcome = outcome.take(train)
        if not train_outcome.learnable:
            continue  # nothing to learn from; such a fold has no score
        _, _, chosen = _choose(fold.ranks[train], train_outcome, plan, (random_state, 4, i))
        if chosen:
            beta = train_outcome.fit(fold.ranks[train][:, chosen], np.ones((1, len(train)), bool))[0]
            out[i, fold.test] = fold.ranks[fold.test][:, chosen] @ beta
        else:
            out[i, fold.test] = 0.0
    return out


def fold_scores(predictions: np.ndarray, outcome: Outcome) -> np.ndarray:
    """Score of each fold, NaN where it cannot be computed."""
    out = np.full(len(predictions), np.nan)
    for i, row in enumerate(predictions):
        tested = np.flatnonzero(np.isfinite(row))
        if len(tested):
            out[i] = outcome.take(tested).discrimination_of(row[tested])
    return out


def mean_of_folds(values: np.ndarray) -> np.ndarray:
    """Mean of each column over the rows that are not NaN; NaN where all are."""
    known = np.isfinite(values)
    n = known.sum(axis=0)
    return np.divide(np.where(known, values, 0).sum(axis=0), n, out=np.full(n.shape, np.nan), where=n > 0)


def mean_score(scores: np.ndarray) -> float:
    """Mean of the scores that are finite; NaN if none is."""
    return float(np.nanmean(scores)) if np.isfinite(scores).any() else np.nan


def shuffled(
    ranks: np.ndarray,
    published: np.ndarray,
    folds: list[RankedFold],
    outcome: Outcome,
    plan: SearchPlan,
    n_permutations: int,
    n_jobs: int,
    random_state: int,
    blocks: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Scores of the whole procedure on shuffled outcomes; `published` are the ranks of all clusters of all cells.

    Outcomes change places within `blocks` (codes of the patients) only.
    """
    from joblib import Parallel, delayed

    from .._progress import progress_bar

    def once(i: int) -> tuple[float, float, float]:
        order = shuffled_order(len(outcome), np.random.default_rng((random_state, 5, i)), blocks)
        outcomes = outcome.take(order)
        model = published_score(published, outcomes, plan, random_state)
        scores = chosen_clusters(ranks, outcomes, plan, random_state).scores
        usable = usable_clusters(ranks, plan.min_patients)
        nested = fold_scores(nested_predictions(folds, outcomes, plan, random_state), outcomes)
        return mean_score(model), mean_score(nested), float(np.nanmax(scores[usable]))

    # a generator, so that the bar moves with what is done
    work = Parallel(n_jobs=n_jobs, prefer="threads", return_as="generator")(
        delayed(once)(i) for i in range(n_permutations)
    )
    bar = progress_bar(work, total=n_permutations, desc="shuffles", hidden=not n_permutations)
    shuffles = np.array(list(bar)).reshape(-1, 3)
    return {OPTIMISTIC: shuffles[:, 0], NESTED: shuffles[:, 1], "best cluster": shuffles[:, 2]}


def usable_clusters(ranks: np.ndarray, min_patients: int) -> np.ndarray:
    """Which clusters enough patients have, with high and low ranks in both."""
    high = (ranks > 1).sum(axis=0)
    return ((ranks > 0).sum(axis=0) >= min_patients) & (high > 0) & (high < len(ranks))


def interval_of(predictions: np.ndarray, outcome: Outcome, rng: np.random.Generator) -> tuple[float, float]:
    """95 % interval of the mean over folds: patients are drawn again within each fold."""
    folds = [row for row in (np.flatnonzero(np.isfinite(p)) for p in predictions) if len(row)]
    if not folds:
        return np.nan, np.nan
    kept = [p for p in predictions if np.isfinite(p).any()]
    draws = []
    for _ in range(500):
        scores = []
        for row, values in zip(folds, kept, strict=True):
            drawn = rng.choice(row, len(row))
            scores.append(outcome.take(drawn).discrimination_of(values[drawn]))
        draws.append(mean_score(np.array(scores)))
    return tuple(float(q) for q in np.nanquantile(draws, [0.025, 0.975]))
