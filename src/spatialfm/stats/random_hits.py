"""What a search scores that finds at random."""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln


def chance_of_any(n: np.ndarray, n_right: np.ndarray, k: int | np.ndarray) -> np.ndarray:
    """Probability that one of `k` rows drawn without replacement from `n` is among the `n_right` right ones.

    Examples
    --------
    Of three rows of which one is right, two are drawn:

    >>> chance_of_any(np.array([3]), np.array([1]), 2).round(3).tolist()
    [0.667]
    """
    n, n_right = np.asarray(n, dtype=np.float64), np.asarray(n_right, dtype=np.float64)
    k = np.minimum(k, n)
    wrong = n - n_right
    possible = wrong >= k
    wrong = np.where(possible, wrong, k)
    none = gammaln(wrong + 1) - gammaln(wrong - k + 1) - gammaln(n + 1) + gammaln(n - k + 1)
    return np.where(n > 0, 1 - np.where(possible, np.exp(none), 0.0), np.nan)


def draw_rows(n: int, size: int, k: int, rng: np.random.Generator) -> np.ndarray:
    """`size` draws of `k` of `n` rows ``(size, k)``, none twice in a draw."""
    k = min(k, n)
    if n <= 20 * k:
        return np.argsort(rng.random((size, n)), axis=1)[:, :k]
    drawn = rng.integers(0, n, (size, k))
    while len(again := np.flatnonzero((np.diff(np.sort(drawn, axis=1), axis=1) == 0).any(axis=1))):
        drawn[again] = rng.integers(0, n, (len(again), k))
    return drawn
