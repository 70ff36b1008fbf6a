"""Mean shares of groups compared, where a mean may be that of few patients. Arrays in and out.

The share of a rare type is skewed: most patients have next to none, one or two have most. A mean that misses these is
too low, and so is the standard error that comes with it, so that Welch's test calls such a group lower (10 patients
that scatter against 30 that do not, a type of 1 %: 19 % of cohorts without a difference). The error of the *logarithm*
of a mean is that of the ratio of spread and mean, which does not fall with the mean; its degrees of freedom are those
of the patients who carry the mean.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from .permutation import permutation_p

NONE = 1e-12  # a mean share below (above 1 minus it) has no odds
SHRINK = 0.75  # by simulation: with 0 rare types that scatter more are called too often, with 1 next to never
FLOOR = 1e-9  # of a variance: what is left of rounding


def odds_p(
    shares: np.ndarray, codes: np.ndarray, member: np.ndarray | None = None, exact: bool = False, least: float = 0.0
) -> np.ndarray:
    """p-values that groups have the same mean share, by Welch's test of the logits of the means.

    Of two groups the statistic is the difference of the logits of the mean shares over its standard error (by the
    delta method, as in a quasi-binomial regression without equal spread); of several Welch's analysis of variance of
    the same.
    A group of `n` patients counts for ``(n - 1) * (carriers / n) ** 0.75`` degrees of freedom (`carriers`; by
    simulation: with ``n - 1`` the type of the text above is called in 8 to 13 % of cohorts). Where labels are shuffled
    the larger of both p-values counts. Where a group has none of a type, or nothing else, means are compared as they
    are.

    Parameters
    ----------
    shares
        From 0 to 1 ``(rows, columns)``.
    codes
        Groups from 0 on ``(rows,)``.
    member
        Shuffled labels ``(shuffles, groups, rows)``, if they are to be compared with.
    exact
        Whether these are all ways to form the groups.
    least
        Smallest p-value.

    Examples
    --------
    Thirty patients with 1 % each; and ten of whom two have 2 %:

    >>> shares = np.r_[np.linspace(0.008, 0.012, 30), 0.02, 0.02, np.zeros(8)][:, None]
    >>> codes = np.repeat([0, 1], [30, 10])
    >>> bool(odds_p(shares, codes)[0] > 0.1)
    True
    >>> bool(stats.ttest_ind(shares[:30, 0], shares[30:, 0], equal_var=False).pvalue < 0.07)
    True
    """
    shares, codes = np.asarray(shares, dtype=float), np.asarray(codes)
    observed = (codes == np.arange(codes.max() + 1)[:, None]).astype(float)[None]
    statistic, freedom = _welch(shares, observed)
    p = np.maximum(stats.f.sf(statistic[0], observed.shape[1] - 1, freedom[0]), least)
    if member is None:
        return p
    pieces = np.array_split(member, max(1, member.size * shares.shape[1] // member.shape[2] // 2_000_000))
    shuffled = np.concatenate([_welch(shares, piece.astype(float))[0] for piece in pieces])
    return np.maximum(p, permutation_p(shuffled, statistic[0], exact))


def carriers(shares: np.ndarray) -> np.ndarray:
    """How many patients carry each mean share: their number if all have the same, 1 if one has all ``(columns,)``.

    ``sum(x)**2 / sum(x**2)``, Kish's effective number, of the rarer of a type and all others; 0 where nobody has any.

    Examples
    --------
    >>> carriers(np.array([[0.1, 0.3], [0.1, 0.0], [0.1, 0.0]])).round(2).tolist()
    [3.0, 1.0]
    """
    shares = np.asarray(shares, dtype=float)
    rarer = np.where(shares.mean(axis=0) > 0.5, 1 - shares, shares)
    squares = (rarer**2).sum(axis=0)
    return np.divide(rarer.sum(axis=0) ** 2, squares, out=np.zeros(shares.shape[1]), where=squares > 0)


def _welch(shares: np.ndarray, member: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """F and its degrees of freedom ``(shuffles, columns)``, for each set of labels; squared t of two groups."""
    sizes, n_groups = member.sum(axis=2, keepdims=True), member.shape[1]
    means = member @ shares / sizes
    spread = np.maximum(member @ shares**2 / sizes - means**2, 0)
    rarer = np.maximum(np.minimum(means, 1 - means), NONE)
    counted = (sizes - 1) / (1 + spread / rarer**2) ** SHRINK
    spread = spread * sizes / (sizes - 1)
    odd = (np.minimum(means, 1 - means) <= NONE).any(axis=1, keepdims=True)
    inner = np.clip(means, NONE, 1 - NONE)
    scale = np.maximum(shares.std(axis=0), NONE)
    at = np.where(odd, means / scale, np.log(inner / (1 - inner)))
    variance = np.where(odd, spread / scale**2, spread / (inner * (1 - inner)) ** 2)
    weight = sizes / np.maximum(variance, FLOOR)
    part = weight / weight.sum(axis=1, keepdims=True)
    apart = at - (part * at).sum(axis=1, keepdims=True)
    apart = np.where(np.abs(apart) < NONE, 0.0, apart)
    statistic = (weight * apart**2).sum(axis=1) / (n_groups - 1)
    lost = (1 - part) ** 2
    if n_groups > 2:
        statistic = statistic / (1 + 2 * (n_groups - 2) / (n_groups**2 - 1) * (lost / (sizes - 1)).sum(axis=1))
    return statistic, (n_groups**2 - 1) / (3 * (lost / counted).sum(axis=1))
