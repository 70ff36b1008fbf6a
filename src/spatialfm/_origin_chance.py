"""How unlikely it is that one column follows from another by chance: logarithms of the number of ways.

A column that is dealt out to the rows at random has a number of arrangements; in few of these it follows from the
other. The logarithm of the ratio is the evidence that it was made from it, for any content of the two.
"""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln

NEVER = -np.inf
MOST_PIECES = 6  # in which numbers may rise and fall


def log_ways(counts: np.ndarray) -> float:
    """Logarithm of the number of ways to deal groups of these sizes out to the rows."""
    return float(gammaln(counts.sum() + 1) - gammaln(counts + 1).sum())


def log_maps(n: int, k: int) -> float:
    """Logarithm of the number of maps from `n` names onto `k`, none left out.

    Examples
    --------
    >>> [round(float(np.exp(log_maps(n, k)))) for n, k in ((2, 2), (3, 2), (4, 3), (2, 3))]
    [2, 6, 36, 0]
    """
    if k > n:
        return NEVER
    if n > 40:  # an upper bound, close where k is small
        return n * np.log(k)
    numbers = np.arange(k + 1)
    signs = (-1.0) ** numbers
    binomials = np.exp(log_binomial(k, numbers))
    return float(np.log(max((signs * binomials * (k - numbers).astype(float) ** n).sum(), 1.0)))


def log_binomial(n: int, k: np.ndarray | int) -> np.ndarray:
    """Logarithm of the number of ways to take `k` of `n`."""
    return gammaln(n + 1) - gammaln(np.asarray(k) + 1) - gammaln(n - np.asarray(k) + 1)


def of_groups(made: np.ndarray, values: np.ndarray, same_names: bool = False) -> float:
    """Evidence that `values` ``(n,)`` are a function of the groups `made`; minus infinity where they are not.

    Examples
    --------
    >>> made = np.repeat([0.0, 1.0], 10)
    >>> round(of_groups(made, 1 - made), 2), of_groups(made, made[::-1] * np.arange(20))
    (11.43, -inf)
    """
    if not is_function(made, values) or n_levels(values) < 2:
        return NEVER
    levels, counts = np.unique(values, return_counts=True)
    return log_ways(counts) - (0.0 if same_names else log_maps(len(np.unique(made)), len(levels)))


def of_numbers(made: np.ndarray, values: np.ndarray, few: int) -> float:
    """Evidence that `values` ``(n,)`` were made from the numbers `made`: cut, in ranks, or rising and falling.

    Up to `few` levels are taken as groups, which may be in pieces of the order of `made`; more are numbers.
    """
    made, values = _ordered(made, values)
    steps, k = values[1:] - values[:-1], n_levels(values)
    if k < 2 or (steps[made[1:] - made[:-1] == 0] != 0).any():
        return NEVER
    one_way, turns = bool((steps >= 0).all() or (steps <= 0).all()), 0
    if k > few and not one_way:
        turns = int((np.diff(np.sign(steps[steps != 0])) != 0).sum())
        if turns >= MOST_PIECES:
            return NEVER
    ways = log_ways(np.unique(values, return_counts=True)[1])
    if one_way:
        return ways - np.log(2)
    if k <= few:
        n_made = n_levels(made)
        n_steps = int((steps != 0).sum())
        if n_steps == k - 1:  # each in one piece
            return ways - float(gammaln(k + 1))
        up_to = np.arange(n_steps + 1)  # an order of fewer pieces would have done, too
        orders = log_binomial(n_made - 1, up_to) + up_to * np.log(k - 1)
        return ways - float(np.logaddexp.reduce(orders)) - np.log(k)
    return ways - len(values) * np.log(turns + 1) - np.log(2)


def is_function(made: np.ndarray, values: np.ndarray) -> bool:
    """Whether rows of one value of `made` have one value."""
    made, values = _ordered(made, values)
    same = made[1:] - made[:-1] == 0  # this is asked of each column and each remembered one: `np.diff` takes longer
    return not ((values[1:] - values[:-1])[same] != 0).any()


def _ordered(made: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as numbers, in the order of the first."""
    order = np.argsort(made, kind="stable")
    return np.asarray(made, float)[order], np.asarray(values, float)[order]


def n_levels(values: np.ndarray) -> int:
    """How many different values ``(n,)`` there are, of which none is missing.

    Examples
    --------
    >>> n_levels(np.array([2.0, 1.0, 2.0])), n_levels(np.array([]))
    (2, 0)
    """
    ordered = np.sort(values)
    return int((ordered[1:] != ordered[:-1]).sum()) + min(len(ordered), 1)


def log_separable(n: int, n_columns: int) -> float:
    """Logarithm of the number of ways to divide `n` points by a plane (Cover, IEEE Trans. Electronic Computers 1965).

    Examples
    --------
    >>> round(float(np.exp(log_separable(4, 2)))), round(float(np.exp(log_separable(3, 2))))  # all but XOR's two of 16
    (14, 8)
    """
    return float(np.log(2) + np.logaddexp.reduce(log_binomial(n - 1, np.arange(min(n_columns, n - 1) + 1))))
