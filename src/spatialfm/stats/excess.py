"""Counts in a part of each patient's cells against those expected from the whole, over patients.

A logarithm of each patient's ratio is not a measure of rare types: where 0.2 cells are expected, most patients have
none and a few have five times too many, and the constant that is added to the counts decides the mean of logarithms.
Counts minus their expectations have mean zero however few there are. They are added up over patients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

LEAST = 5  # patients for a test
FULL = 20.0  # cells in the part from which a patient weighs as much as any other


@dataclass(frozen=True)
class Excess:
    """Of each type."""

    log2: np.ndarray  # of observed over expected; 0 as expected
    p_value: np.ndarray  # NaN with fewer than five patients
    observed: np.ndarray  # all counts in the part
    expected: np.ndarray


def hypergeometric(inside: np.ndarray, whole: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of counts in a random part of as many cells ``(patients, types)``.

    Parameters
    ----------
    inside, whole
        ``(patients, types)`` counts in the part and in the whole, the part among it.

    Examples
    --------
    >>> import numpy as np
    >>> hypergeometric(np.array([[1, 1]]), np.array([[1, 9]]))
    (array([[0.2, 1.8]]), array([[0.16, 0.16]]))
    """
    n, total = inside.sum(axis=1, keepdims=True), whole.sum(axis=1, keepdims=True)
    share = np.divide(whole, total, out=np.zeros(whole.shape), where=total > 0)
    left = np.divide(total - n, total - 1, out=np.zeros(total.shape), where=total > 1)
    return n * share, n * share * (1 - share) * left


def pooled_excess(
    observed: np.ndarray, expected: np.ndarray, variance: np.ndarray, sizes: np.ndarray, full: float = FULL
) -> Excess:
    """Sums over patients of observed and expected counts, and a test of their difference over patients.

    Each patient's difference is divided by the number of its cells in the part, or by `full` if that is more: patients
    weigh alike, but one with next to no cells does not. The p-value is the larger of two: of Student's test with the
    variance of the ratio between patients (linearised), and of a normal test with `variance`, as of a rare type most
    patients have none and look more alike than they are.

    Parameters
    ----------
    observed, expected, variance
        ``(patients, types)``.
    sizes
        ``(patients,)`` cells in the part; patients without any are left out.
    """
    has = sizes > 0
    n, weights = int(has.sum()), 1 / np.maximum(sizes[has], full)[:, None]
    observed, expected = observed[has], expected[has]
    one, two = (weights * observed).sum(axis=0), (weights * expected).sum(axis=0)
    # half a cell on both sides: of no cells the ratio is 1, never far from it because of few
    half = 0.5 * float(weights.mean()) if n else 0.0
    ratio = np.divide(one + half, two + half, out=np.ones(one.shape), where=two + half > 0)
    p = np.full(one.shape, np.nan)
    if n >= LEAST:
        d = weights * (observed - expected)
        scale = np.divide(one, two, out=np.ones(one.shape), where=two > 0)
        between = n / (n - 1) * ((weights * (observed - scale * expected)) ** 2).sum(axis=0)
        least = (weights**2 * variance[has]).sum(axis=0)
        total = d.sum(axis=0)
        # patients who agree to the digit leave the other test to decide
        without = np.where(np.abs(total) > 1e-12, np.inf, 0.0)
        t, z = (np.divide(total, np.sqrt(v), out=without.copy(), where=v > 1e-24) for v in (between, least))
        p = np.maximum(2 * stats.t.sf(np.abs(t), n - 1), 2 * stats.norm.sf(np.abs(z)))
    return Excess(np.log2(ratio), p, observed.sum(axis=0), expected.sum(axis=0))
