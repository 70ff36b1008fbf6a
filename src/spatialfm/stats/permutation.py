"""Shuffles and the p-value of a permutation test, for all tests of the package. Arrays in, numbers out."""

from __future__ import annotations

import numpy as np

TIED = 1e-9  # of one plus the statistic: arrangements closer than this differ by rounding alone


def permutation_p(null: np.ndarray, observed: float | np.ndarray, exact: bool = False) -> np.ndarray:
    """Share of arrangements at least as extreme as the one that was seen, which counts as one of them.

    Statistics are without unit (standardised, or shares), larger for what is more extreme; of two-sided tests they are
    absolute. Arrangements without a statistic (NaN) are left out; without any, or where nothing was seen, it is NaN.

    Parameters
    ----------
    null
        ``(arrangements, ...)``.
    observed
        ``(...)``.
    exact
        Whether these are all arrangements, the one that was seen among them. Random ones need not hold it, and it is
        added (Phipson and Smyth, Statistical Applications in Genetics and Molecular Biology 2010).

    Examples
    --------
    >>> float(permutation_p(np.array([0.5, 0.9, 0.4]), 0.8))
    0.5
    """
    null, observed = np.asarray(null, dtype=float), np.asarray(observed, dtype=float)
    known = ~np.isnan(null)
    least = observed - TIED * (1 + np.where(np.isfinite(observed), np.abs(observed), 0.0))
    hits = (known & (null >= least)).sum(axis=0)
    n = np.broadcast_to(known.sum(axis=0), hits.shape)  # one null may be that of several statistics
    own = 0 if exact else 1
    share = np.divide(hits + own, n + own, out=np.full(hits.shape, np.nan), where=n > 0)
    return np.where(np.isnan(observed), np.nan, share)


def shuffled_order(n: int, rng: np.random.Generator, blocks: np.ndarray | None = None) -> np.ndarray:
    """Places of ``n`` units at random, within blocks (codes) where there are any.

    Examples
    --------
    >>> blocks = np.array([0, 0, 1, 1, 1])
    >>> blocks[shuffled_order(5, np.random.default_rng(0), blocks)].tolist()
    [0, 0, 1, 1, 1]
    """
    if blocks is None:
        return rng.permutation(n)
    order = np.arange(n)
    for block in np.unique(blocks):
        rows = np.flatnonzero(blocks == block)
        order[rows] = rng.permutation(rows)
    return order
