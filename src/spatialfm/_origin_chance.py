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
    levels, counts = np.unique(values, return_counts=True)
    if len(levels) < 2 or not is_function(made, values):
        return NEVER
    return log_ways(counts) - (0.0 if same_names else log_maps(len(np.unique(made)), len(levels)))


def of_numbers(made: np.ndarray, values: np.ndarray, few: int) -> float:
    """Evidence that `values` ``(n,)`` were made from the numbers `made`: cut, in ranks, or rising and falling.

    Up to `few` levels are taken as groups, which may be in pieces of the order of `made`; more are numbers.
    """
    levels, counts = np.unique(values, return_counts=True)
    if len(levels) < 2 or not is_function(made, values):
        return NEVER
    steps = np.diff(values[np.argsort(made, kind="stable")])
    ways, k, n_made = log_ways(counts), len(levels), len(np.unique(made))
    if (steps >= 0).all() or (steps <= 0).all():
        return ways - np.log(2)
    if k <= few:
        n_steps = int((steps != 0).sum())
        if n_steps == k - 1:  # each in one piece
            return ways - float(gammaln(k + 1))
        up_to = np.arange(n_steps + 1)  # an order of fewer pieces would have done, too
        orders = log_binomial(n_made - 1, up_to) + up_to * np.log(k - 1)
        return ways - float(np.logaddexp.reduce(orders)) - np.log(k)
    turns = int((np.diff(np.sign(steps[steps != 0])) != 0).sum())
    return ways - len(values) * np.log(turns + 1) - np.log(2) if turns < MOST_PIECES else NEVER


def is_function(made: np.ndarray, values: np.ndarray) -> bool:
    """Whether rows of one value of `made` have one value."""
    order = np.argsort(made, kind="stable")
    same = np.diff(made[order]) == 0
    return not (np.diff(values[order])[same] != 0).any()


def log_separable(n: int, n_columns: int) -> float:
    """Logarithm of the number of ways to divide `n` points by a plane (Cover, IEEE Trans. Electronic Computers 1965).

    Examples
    --------
    >>> round(float(np.exp(log_separable(4, 2)))), round(float(np.exp(log_separable(3, 2))))  # all but XOR's two of 16
    (14, 8)
    """
    return float(np.log(2) + np.logaddexp.reduce(log_binomial(n - 1, np.arange(min(n_columns, n - 1) + 1))))
