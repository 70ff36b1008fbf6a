"""Harrell's concordance: pairs in the right order, and resampled patients. Arrays in, numbers out."""

from __future__ import annotations

import numpy as np

from .paired_concordance import tied_ranks


def concordant_pairs(
    time: np.ndarray, event: np.ndarray, score: np.ndarray, entry: np.ndarray | None = None
) -> tuple[float, int]:
    """Pairs in the right order (ties of the score count one half), and comparable pairs; both 0 without any.

    With `entry`, who has not entered at the time of an event is not compared with who had it.
    """
    right, pairs, score = 0.0, 0, tied_ranks(score)
    for i in np.flatnonzero(event):
        later = (time > time[i]) | ((time == time[i]) & ~event)
        if entry is not None:
            later &= entry < time[i]
        difference = score[i] - score[later]
        right += (difference > 0).sum() + (difference == 0).sum() / 2
        pairs += int(later.sum())
    return float(right), pairs


def bootstrap_c_index(
    time: np.ndarray,
    event: np.ndarray,
    score: np.ndarray,
    n_bootstrap: int,
    rng: np.random.Generator,
    entry: np.ndarray | None = None,
) -> np.ndarray:
    """Harrell's c of resampled patients; resamplings without a comparable pair are left out.

    A pair counts as often as both its patients were drawn, so that the pairs are compared once for all resamplings.
    """
    n, score = time.size, tied_ranks(score)
    weights = rng.multinomial(n, np.full(n, 1 / n), size=n_bootstrap).astype(np.float64)
    numerator, denominator = np.zeros(n_bootstrap), np.zeros(n_bootstrap)
    events = np.flatnonzero(event)
    for block in np.array_split(events, max(1, events.size * n // 10**7)):  # bounds the memory of the pairs
        later = time[None, :] > time[block, None]
        comparable = later | ((time[None, :] == time[block, None]) & ~event[None, :])
        if entry is not None:
            comparable &= entry[None, :] < time[block, None]
        comparable = comparable.astype(np.float64)
        right = comparable * (np.sign(score[block, None] - score[None, :]) + 1) / 2
        numerator += (weights[:, block] * (weights @ right.T)).sum(axis=1)
        denominator += (weights[:, block] * (weights @ comparable.T)).sum(axis=1)
    usable = denominator > 0
    return numerator[usable] / denominator[usable]
