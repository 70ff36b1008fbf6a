"""Concordance of scores with survival: who is compared with whom, of one score, of many, and of weighted patients.

Pairs are those of scikit-survival and R: the one who had the event against all who were seen longer, and against those
who were censored at that very time. Scikit-survival has neither late entry, nor weights, nor what is left of a score
without each patient.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

BLOCK = 5 * 10**6  # pairs held at once


def tied_ranks(score: np.ndarray) -> np.ndarray:
    """Ranks ``(n,)`` from 0 on; scores that differ by rounding alone have one, on any scale.

    Examples
    --------
    >>> tied_ranks(np.array([3e-12, 1e-12, 0.1 + 0.2, 0.3]))
    array([1., 0., 2., 2.])
    """
    levels, place = np.unique(np.asarray(score, dtype=np.float64), return_inverse=True)
    if levels.size == 0:
        return place.astype(float)
    with np.errstate(over="ignore"):
        apart = np.diff(levels) > np.maximum(1e-10 * np.abs(levels[1:]), 1e-15 * np.abs(levels).max())
    return np.append(0, np.cumsum(apart)).astype(float)[place]


def comparable(time: np.ndarray, event: np.ndarray, rows: np.ndarray, entry: np.ndarray | None = None) -> np.ndarray:
    """Whether each patient was seen without event up to the time of each of `rows`, who had theirs ``(rows, n)``.

    With `entry`, who has not entered by then is not compared.

    Examples
    --------
    >>> comparable(np.array([1.0, 1.0, 2.0]), np.array([True, False, False]), np.array([0]))
    array([[False,  True,  True]])
    """
    at = time[rows, None]
    later = (time > at) | ((time == at) & ~event)
    return later if entry is None else later & (entry < at)


def pairs(
    time: np.ndarray, event: np.ndarray, entry: np.ndarray | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows with the event and :func:`comparable` of them, so many at a time that all pairs fit into memory."""
    rows = np.flatnonzero(event)
    for block in np.array_split(rows, max(1, -(-rows.size * time.size // BLOCK))):
        yield block, comparable(time, event, block, entry)


def higher(ranks: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """1 where `rows` rank above another patient, 1/2 where both have one rank, ``(rows, n)``."""
    return (np.sign(ranks[rows, None] - ranks) + 1) / 2


def concordant_pairs(
    time: np.ndarray, event: np.ndarray, score: np.ndarray, entry: np.ndarray | None = None
) -> tuple[float, int]:
    """Pairs in the right order (ties of the score count one half), and comparable pairs; both 0 without any."""
    right, n_pairs, ranks = 0.0, 0, tied_ranks(score)
    for rows, later in pairs(time, event, entry):
        right += float(higher(ranks, rows)[later].sum())
        n_pairs += int(later.sum())
    return right, n_pairs


@dataclass(frozen=True)
class Concordances:
    """Harrell's c of each score, and what it is without each patient.

    Attributes
    ----------
    value
        ``(m,)``.
    left_out
        ``(n, m)``, NaN where no pair is left.
    n_pairs
        Comparable pairs.
    """

    value: np.ndarray
    left_out: np.ndarray
    n_pairs: int


def concordances(
    time: np.ndarray, event: np.ndarray, scores: np.ndarray, entry: np.ndarray | None = None
) -> Concordances:
    """Harrell's c of scores ``(n, m)``, higher for an earlier event.

    Examples
    --------
    Without censoring and ties it is Kendall's tau, moved to 0 to 1:

    >>> from scipy.stats import kendalltau
    >>> time, score = np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.9, 0.2, 0.4, 0.1])
    >>> c = concordances(time, np.ones(4, bool), score[:, None]).value[0]
    >>> bool(np.isclose(c, (1 - kendalltau(time, score).statistic) / 2))
    True
    """
    n, m = scores.shape
    ranks = [tied_ranks(score) for score in scores.T]
    right, of_patient, n_pairs = np.zeros((n, m)), np.zeros(n), 0
    for rows, later in pairs(time, event, entry):
        of_patient[rows] += later.sum(axis=1)
        of_patient += later.sum(axis=0)
        n_pairs += int(later.sum())
        for j, own_ranks in enumerate(ranks):
            agree = higher(own_ranks, rows) * later
            right[rows, j] += agree.sum(axis=1)
            right[:, j] += agree.sum(axis=0)
    total = right.sum(axis=0) / 2  # each pair is two patients'
    with np.errstate(invalid="ignore", divide="ignore"):
        left_out = (total - right) / (n_pairs - of_patient)[:, None]
        value = total / n_pairs if n_pairs else np.full(m, np.nan)
    return Concordances(value, left_out, n_pairs)


def weighted_concordances(
    time: np.ndarray,
    event: np.ndarray,
    score: np.ndarray,
    weights: np.ndarray,
    factors: Sequence[np.ndarray],
    *,
    entry: np.ndarray | None = None,
    fold: np.ndarray | None = None,
) -> list[np.ndarray]:
    """Concordance ``(B,)`` for each of the factors; NaN without a comparable pair.

    A pair counts as often as both its patients do, so that pairs are compared once for all weightings.

    Parameters
    ----------
    weights
        ``(B, n)``, how often each patient counts.
    factors
        ``(B, n)`` each: how much a pair counts by the one of its patients who had the event; ``weights`` for Harrell's.
    fold
        ``(n,)`` codes: pairs are compared within.
    """
    ranks, sums = tied_ranks(score), np.zeros((len(factors), 2, len(weights)))
    for rows, later in pairs(time, event, entry):
        if fold is not None:
            later = later & (fold[rows, None] == fold)
        seen = later.astype(np.float64)
        right, n_pairs = weights @ (higher(ranks, rows) * seen).T, weights @ seen.T
        for i, factor in enumerate(factors):
            sums[i] += (factor[:, rows] * right).sum(axis=1), (factor[:, rows] * n_pairs).sum(axis=1)
    return [np.divide(one, all_, out=np.full(one.shape, np.nan), where=all_ > 0) for one, all_ in sums]


def bootstrap_c_index(
    time: np.ndarray,
    event: np.ndarray,
    score: np.ndarray,
    n_bootstrap: int,
    rng: np.random.Generator,
    entry: np.ndarray | None = None,
) -> np.ndarray:
    """Harrell's c of resampled patients; resamplings without a comparable pair are left out."""
    n = time.size
    weights = rng.multinomial(n, np.full(n, 1 / n), size=n_bootstrap).astype(np.float64)
    (draws,) = weighted_concordances(time, event, score, weights, [weights], entry=entry)
    return draws[np.isfinite(draws)]
