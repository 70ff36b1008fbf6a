"""Groups compared by ranks, without assuming that they scatter alike.

Everything rests on placements: for each pair of patients, how likely the second has more than the first (0, a half for
ties, or 1 for numbers; in between for shares of unequal numbers of cells, see :mod:`spatialfm.stats.composition`).
"""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
from scipy import stats

from .mean_shares import odds_p
from .permutation import permutation_p

EXACT = 10_000  # so many ways to form the groups are all gone through
LARGE = 15  # patients in the smallest group from which on Student's distribution does; below, labels are shuffled
TINY = 1e-12  # variances of placements below are what is left of rounding


def placements(values: np.ndarray) -> np.ndarray:
    """Of each pair of rows, whether the second has more, for each column: ``(columns, rows, rows)``.

    Examples
    --------
    >>> placements(np.array([[1.0], [3.0], [3.0]]))[0]
    array([[0.5, 1. , 1. ],
           [0. , 0.5, 0.5],
           [0. , 0.5, 0.5]])
    """
    columns = np.asarray(values, dtype=float).T
    return 0.5 + 0.5 * np.sign(columns[:, None, :] - columns[:, :, None])


def ranks_of(above: np.ndarray) -> np.ndarray:
    """Scaled ranks ``(rows, columns)`` from placements; their mean differs between two groups by the rank-biserial.

    Examples
    --------
    >>> ranks_of(placements(np.array([[1.0], [2.0], [4.0]]))).ravel().round(2)
    array([0.33, 1.  , 1.67])
    """
    return 2 * above.mean(axis=1).T


def two_groups(
    above: np.ndarray,
    values: np.ndarray,
    codes: np.ndarray,
    n_permutations: int,
    rng: np.random.Generator,
    shares: bool = False,
) -> dict[str, np.ndarray]:
    """Code 0 against 1, by ranks and by means, neither of which assumes that the groups scatter alike.

    By ranks: Brunner and Munzel (2000), whose hypothesis is that a patient of the second group has more than one of the
    first as often as less. By means: Welch; of shares in their logits (:mod:`spatialfm.stats.mean_shares`). Of skewed
    values that scatter differently, ranks differ where means do not and means where ranks do not; ``p_value``, the
    larger of both, calls a difference where both see one.

    Below `LARGE` patients the studentised statistics are compared with those of shuffled labels (Neubert and Brunner
    2007, Janssen 1997), which is exact where the groups have one distribution; all ways are gone through where they are
    few. The interval of the effect is Wilson's with an effective number of patients.

    Parameters
    ----------
    above
        Placements ``(columns, rows, rows)``.
    values
        ``(rows, columns)``.
    codes
        0 and 1 ``(rows,)``.
    shares
        Whether `values` are shares, from 0 to 1.

    Returns
    -------
    ``effect`` (rank-biserial correlation), ``effect_low``, ``effect_high`` (95 %), ``p_ranks``, ``p_means``,
    ``p_value``, each ``(columns,)``.

    Examples
    --------
    >>> values = np.array([1.0, 2, 1, 1, 1, 1, 1, 1, 1, 1, 2, 4, 1, 1, 3, 3, 4, 3, 1, 2, 3, 1, 1, 5, 4])[:, None]
    >>> rng = np.random.default_rng(0)
    >>> result = two_groups(placements(values), values, np.repeat([0, 1], [14, 11]), 999, rng)
    >>> round(float(result["effect"][0] + 1) / 2, 4)  # the example of Brunner and Munzel
    0.789
    """
    codes, values = np.asarray(codes), np.asarray(values, dtype=float)
    n_1, n_2 = int((codes == 0).sum()), int((codes == 1).sum())
    observed = (codes == 1).astype(float)[None]
    shuffled, exact = labels(codes, n_permutations, rng) if min(n_1, n_2) < LARGE else (None, True)
    table = {name: np.full(len(above), np.nan) for name in ("effect", "effect_low", "effect_high", "p_ranks")}
    least = 2 / comb(n_1 + n_2, n_2)  # no shuffle can give less
    for i, placements_of_type in enumerate(above):
        theta, var_1, var_2 = (part[0] for part in _parts(placements_of_type, observed))
        variance = var_1 + var_2
        statistic = _studentised(theta, variance)
        if shuffled is None:
            freedom = variance**2 / (var_1**2 / (n_1 - 1) + var_2**2 / (n_2 - 1)) if variance > TINY else np.inf
            p = max(2 * stats.t.sf(abs(statistic), freedom), least)
        else:
            parts = _parts(placements_of_type, shuffled)
            p = permutation_p(np.abs(_studentised(parts[0], parts[1] + parts[2])), abs(statistic), exact)
        low, high = wilson(theta, variance, min(n_1, n_2), (n_1 + n_2 + 1) / (3 * n_1 * n_2))
        for name, value in zip(table, (2 * theta - 1, 2 * low - 1, 2 * high - 1, p), strict=True):
            table[name][i] = value
    member = None if shuffled is None else shuffled[:, None] == [[0], [1]]
    if shares:
        table["p_means"] = odds_p(values, codes, member, exact, least)
    elif member is None:
        table["p_means"] = np.maximum(_welch_p(values, codes), least)
    else:
        table["p_means"] = _shuffled_means(values, codes, member, exact)
    return table | {"p_value": np.maximum(table["p_ranks"], table["p_means"])}


def wilson(
    theta: float, variance: float, fewer: int, floor: float = 0.0, quantile: float = 1.96
) -> tuple[float, float]:
    """Interval of the probability to have more, from its estimate and variance.

    Wilson's interval of a share, of the effective number of patients by the variance. A quarter of a patient of the
    smaller group is added, so that groups fully apart, whose variance is 0, have a width.

    Parameters
    ----------
    theta, variance
        Estimate and its variance.
    fewer
        Patients of the smaller group.
    floor
        Least variance, in units of ``theta * (1 - theta)``; of two groups that of the rank test without a difference.

    Examples
    --------
    Four patients fully above four others:

    >>> [round(value, 2) for value in wilson(1.0, 0.0, 4)]
    [0.51, 1.0]
    """
    theta, added = float(np.clip(theta, 0, 1)), 0.25 / fewer
    share = quantile**2 * max((variance + added / fewer) / (theta * (1 - theta) + added), floor)
    centre, half = theta + share / 2, np.sqrt(share * theta * (1 - theta) + share**2 / 4)
    ends = np.clip(np.array([centre - half, centre + half]) / (1 + share), 0, 1)
    return float(ends[0]), float(ends[1])


def several_groups(
    above: np.ndarray,
    values: np.ndarray,
    codes: np.ndarray,
    n_permutations: int,
    rng: np.random.Generator,
    shares: bool = False,
) -> dict[str, np.ndarray]:
    """Whether any of several groups differs, by ranks and by means, labels shuffled.

    By ranks: Wald's test that all have the same relative effect, which is the probability that one of its patients has
    more than one drawn from all groups alike (Konietschke et al. 2012); of two groups it is Brunner and Munzel's. By
    means: Welch's analysis of variance, with `shares` of their logits. Both estimate variances within each group.
    ``effect`` is epsilon squared, the share of the variance of ranks between groups; ``p_value`` the larger of
    ``p_ranks`` and ``p_means``.
    """
    codes, n_groups = np.asarray(codes), int(codes.max()) + 1
    observed = np.stack([codes == i for i in range(n_groups)]).astype(float)[None]
    shuffled, exact = labels(codes, n_permutations, rng)
    shuffled = shuffled[:, None] == np.arange(n_groups)[:, None]
    table = {name: np.full(len(above), np.nan) for name in ("effect", "p_ranks")}
    for i, placements_of_type in enumerate(above):
        ranks = placements_of_type.mean(axis=0)
        means = observed[0] @ ranks / observed[0].sum(axis=1)
        between = float((observed[0].sum(axis=1) * (means - ranks.mean()) ** 2).sum())
        total = float(((ranks - ranks.mean()) ** 2).sum())
        table["effect"][i] = between / total if total > TINY else 0.0
        statistic = _wald(placements_of_type, observed)[0]
        pieces = np.array_split(shuffled, max(1, shuffled.size // 2_000_000))
        table["p_ranks"][i] = permutation_p(
            np.concatenate([_wald(placements_of_type, g.astype(float)) for g in pieces]), statistic, exact
        )
    if shares:
        table["p_means"] = odds_p(values, codes, shuffled, exact)
    else:
        table["p_means"] = _shuffled_means(np.asarray(values, dtype=float), codes, shuffled, exact)
    return table | {"p_value": np.maximum(table["p_ranks"], table["p_means"])}


def labels(codes: np.ndarray, n_permutations: int, rng: np.random.Generator) -> tuple[np.ndarray, bool]:
    """Shuffled codes ``(shuffles, rows)``; all ways to form two groups, and True, where these are few."""
    n, n_2 = len(codes), int((codes == 1).sum())
    if codes.max() == 1 and comb(n, n_2) <= EXACT:
        ways = np.zeros((comb(n, n_2), n))
        chosen = np.array(list(combinations(range(n), n_2)))
        np.put_along_axis(ways, chosen, 1.0, axis=1)
        return ways, True
    return rng.permuted(np.tile(codes.astype(float), (n_permutations, 1)), axis=1), False


def _parts(above: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Relative effect and the two parts of its variance, for each row of labels ``(shuffles, rows)``."""
    n_2 = second.sum(axis=1, keepdims=True)
    first, n_1 = 1 - second, second.shape[1] - n_2
    over_first, over_second = first @ above / n_1, second @ above / n_2
    theta = (second * over_first).sum(axis=1, keepdims=True) / n_2
    var_2 = (second * (over_first - theta) ** 2).sum(axis=1, keepdims=True) / (n_2 - 1) / n_2
    var_1 = (first * (over_second - (1 - theta)) ** 2).sum(axis=1, keepdims=True) / (n_1 - 1) / n_1
    return theta[:, 0], var_1[:, 0], var_2[:, 0]


def _studentised(theta: np.ndarray, variance: np.ndarray) -> np.ndarray:
    apart = np.asarray(theta) - 0.5
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = apart / np.sqrt(np.where(variance > TINY, variance, 0.0))
    return np.where(np.abs(apart) < TINY, 0.0, statistic)


def _wald(above: np.ndarray, member: np.ndarray) -> np.ndarray:
    """Statistic for each set of labels ``(shuffles, groups, rows)``."""
    sizes = member.sum(axis=2, keepdims=True)
    over = member @ above / sizes  # of each row, its placement in each group
    n_groups = member.shape[1]
    overall = over.mean(axis=1)
    effects = np.einsum("bgn,bn->bg", member, overall) / sizes[:, :, 0]
    covariance = np.zeros((len(member), n_groups, n_groups))
    for group in range(n_groups):
        in_group = member[:, group]
        size = sizes[:, group]
        influence = -over / n_groups
        influence[:, group] += overall
        mean = np.einsum("bgn,bn->bg", influence, in_group) / size
        influence = (influence - mean[:, :, None]) * in_group[:, None, :]
        covariance += influence @ influence.transpose(0, 2, 1) / (size * (size - 1))[:, :, None]
    contrast = np.eye(n_groups)[1:] - np.eye(n_groups)[:1]
    apart = effects @ contrast.T
    spread = contrast @ covariance @ contrast.T
    spread = spread + 1e-9 * np.eye(n_groups - 1)  # groups fully apart have none
    return np.einsum("bi,bi->b", apart, np.linalg.solve(spread, apart[:, :, None])[:, :, 0])


def _welch_p(values: np.ndarray, codes: np.ndarray) -> np.ndarray:
    one, two = values[codes == 0], values[codes == 1]
    p_values = np.ones(values.shape[1])
    vary = np.ptp(one, axis=0) + np.ptp(two, axis=0) > 0
    p_values[vary] = stats.ttest_ind(two[:, vary], one[:, vary], equal_var=False).pvalue
    p_values[~vary & (one[0] != two[0])] = 0.0
    return p_values


def _shuffled_means(values: np.ndarray, codes: np.ndarray, member: np.ndarray, exact: bool) -> np.ndarray:
    scale = values.std(axis=0)
    values = (values - values.mean(axis=0)) / np.where(scale > 0, scale, 1.0)
    groups = np.arange(member.shape[1])[:, None]
    observed = _welch(values, (codes == groups).astype(float)[None])[0]
    pieces = np.array_split(member, max(1, member.size * values.shape[1] // member.shape[2] // 2_000_000))
    shuffled = np.concatenate([_welch(values, piece.astype(float)) for piece in pieces])
    return permutation_p(shuffled, observed, exact)


def _welch(values: np.ndarray, member: np.ndarray) -> np.ndarray:
    """Welch's statistic ``(shuffles, columns)`` of standardised values; squared t of two groups."""
    sizes = member.sum(axis=2, keepdims=True)
    means = member @ values / sizes
    spread = np.maximum(member @ values**2 / sizes - means**2, 0) * sizes / (sizes - 1)
    weight = sizes / np.maximum(spread, 1e-9)
    centre = (weight * means).sum(axis=1, keepdims=True) / weight.sum(axis=1, keepdims=True)
    statistic = (weight * (means - centre) ** 2).sum(axis=1) / (member.shape[1] - 1)
    if member.shape[1] == 2:
        return statistic
    lost = ((1 - weight / weight.sum(axis=1, keepdims=True)) ** 2 / (sizes - 1)).sum(axis=1)
    n = member.shape[1]
    return statistic / (1 + 2 * (n - 2) / (n**2 - 1) * lost)
