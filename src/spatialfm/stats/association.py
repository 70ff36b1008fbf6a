"""How much of what differs between patients lies between groups of them."""

from __future__ import annotations

import numpy as np

from .permutation import permutation_p


def explained(values: np.ndarray, codes: np.ndarray, n_permutations: int, random_state: int) -> tuple[float, float]:
    """Share of the variance of rows that lies between groups, and its p-value when groups are shuffled.

    The share is adjusted for the number of groups as Ezekiel's adjusted R²: 0 on average where groups say nothing, 1
    where rows of a group are the same. Of columns of 0 and 1 (categories) it is the share for their indicators.

    Parameters
    ----------
    values
        ``(n, columns)``; columns that do not vary are of no weight.
    codes
        ``(n,)``: group of each row.
    n_permutations
        Shuffles of the groups.

    Returns
    -------
    Share and p-value; NaN where there is one group, every row is a group of its own, or nothing varies.

    Examples
    --------
    >>> import numpy as np
    >>> share, p = explained(np.array([[0.0], [0.0], [1.0], [1.0]]), np.array([0, 0, 1, 1]), 99, 0)
    >>> share
    1.0
    """
    values = np.asarray(values, dtype=float)
    _, codes = np.unique(codes, return_inverse=True)
    n, k = len(codes), int(codes.max()) + 1
    centred = values - values.mean(axis=0)
    total = float((centred**2).sum())
    if k < 2 or n - k < 1 or total <= 1e-12 * max(float((values**2).sum()), 1e-300):
        return float("nan"), float("nan")
    rng = np.random.default_rng(random_state)
    null = np.array([_between(centred, rng.permutation(codes), k) for _ in range(n_permutations)]) / total
    share = _between(centred, codes, k) / total
    adjusted = 1 - (1 - share) * (n - 1) / (n - k)
    return float(adjusted), float(permutation_p(null, share))


def _between(centred: np.ndarray, codes: np.ndarray, k: int) -> float:
    sums = np.zeros((k, centred.shape[1]))
    np.add.at(sums, codes, centred)
    return float((sums**2 / np.bincount(codes, minlength=k)[:, None]).sum())
