"""Shares of cells compared between patients that have unequal numbers of cells, as they are and in a frame.

The share of a rare type among few cells is 0 in most patients and large in some; among many cells it is small in all.
Ranks, logarithms and roots of such shares differ between patients of 200 and of 5,000 cells though the tissue is the
same. Two things do not: the mean of the shares, and who of two patients has more once the one with more cells has been
thinned to as many as the other. Both are used here.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from scipy.special import gammaln, ndtr

SMOOTH = 25.0  # variance of a thinned count above which its distribution is taken as normal with a skewness
FREQUENT = 5.0  # mean cells of a type in each group, for it to be part of the reference


def matched_placements(counts: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """Of each pair of patients, how likely the second has more of a type, at the same number of cells.

    The patient with more cells is thinned to the number of the other (cells drawn without replacement), in expectation
    rather than by chance. Of patients of one distribution that probability is a half in the mean for any numbers
    of cells, since a thinned sample of a tissue is a sample of it.

    Parameters
    ----------
    counts
        Cells of each type ``(patients, types)``, whole numbers.
    totals
        Cells that they are counted among: ``(patients,)`` or one for each type ``(patients, types)``.

    Returns
    -------
    Placements ``(types, patients, patients)``; a half each for ties.

    Examples
    --------
    One of two cells against two of four: of the four, two are drawn.

    >>> matched_placements(np.array([[1], [2]]), np.array([2, 4]))[0]
    array([[0.5, 0.5],
           [0.5, 0.5]])
    """
    counts = np.asarray(counts, dtype=float)
    totals = np.broadcast_to(np.asarray(totals, dtype=float).reshape(len(counts), -1), counts.shape)
    n = len(counts)
    row, column = np.triu_indices(n, 1)
    above = np.full((counts.shape[1], n, n), 0.5)
    for i, (own_counts, among) in enumerate(zip(counts.T, totals.T, strict=True)):
        deeper = among[row] >= among[column]
        deep, shallow = np.where(deeper, row, column), np.where(deeper, column, row)
        more = _thinned_below(own_counts[deep], among[deep], among[shallow], own_counts[shallow])
        above[i, deep, shallow], above[i, shallow, deep] = more, 1 - more
    return above


def _thinned_below(hits: np.ndarray, total: np.ndarray, drawn: np.ndarray, than: np.ndarray) -> np.ndarray:
    """P(X < than) + P(X = than) / 2 of hypergeometric X: hits among `drawn` of `total` cells."""
    below = 0.5 + 0.5 * np.sign(than - hits)  # nothing is thinned
    rest = np.flatnonzero(drawn < total)
    if not len(rest):
        return below
    hits, total, drawn, than = (part[rest] for part in (hits, total, drawn, than))
    # by symmetry: the rarer kind of cell, and the smaller of what is drawn and what is left
    flip = hits > total / 2
    hits, than = np.where(flip, total - hits, hits), np.where(flip, drawn - than, than)
    left = drawn > total / 2
    drawn, than = np.where(left, total - drawn, drawn), np.where(left, hits - than, than)
    share = hits / total
    mean, variance = drawn * share, drawn * share * (1 - share) * (total - drawn) / np.maximum(total - 1, 1)
    smooth = variance > SMOOTH
    value = np.empty(len(rest))
    root = np.sqrt(np.maximum(variance, 1e-300))
    skewness = (1 - 2 * share) * (total - 2 * drawn) / (np.maximum(total - 2, 1) * root)
    z = np.clip((than - mean) / root, -40, 40)
    edge = ndtr(z) - skewness / 6 * (z**2 - 1) * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    value[smooth] = np.clip(edge, 0, 1)[smooth]
    few = ~smooth
    value[few] = _summed(hits[few], total[few], drawn[few], than[few])
    below[rest] = np.where(flip ^ left, 1 - value, value)
    return below


def _summed(hits: np.ndarray, total: np.ndarray, drawn: np.ndarray, than: np.ndarray) -> np.ndarray:
    """The same by summing the probabilities, each from the last, up to the count that is asked for."""
    # of variance below `SMOOTH` nothing is left beyond
    mean = drawn * hits / total
    than = np.minimum(than, np.ceil(mean + 12 * np.sqrt(mean) + 20))
    order = np.argsort(-than, kind="stable")
    hits, total, drawn, than = (part[order] for part in (hits, total, drawn, than))
    missed = total - hits
    log_none = gammaln(missed + 1) + gammaln(total - drawn + 1) - gammaln(missed - drawn + 1) - gammaln(total + 1)
    probability, below, result = np.exp(log_none), np.zeros(len(hits)), np.zeros(len(hits))
    asked = np.searchsorted(-than, -np.arange(than.max(initial=-1) + 2), side="right")  # how many reach each count
    for k, (n, further) in enumerate(zip(asked[:-1], asked[1:], strict=True)):
        result[further:n] = below[further:n] + probability[further:n] / 2
        below[:further] += probability[:further]
        odds = (hits[:further] - k) * (drawn[:further] - k)
        probability = probability[:further] * odds / ((k + 1) * (missed[:further] - drawn[:further] + k + 1))
    sums = np.empty(len(result))
    sums[order] = result
    return np.clip(sums, 0, 1)


def reference_types(counts: np.ndarray, design: np.ndarray, tested: np.ndarray) -> np.ndarray:
    """The half of the types that changes least: the frame against which a change can be seen.

    Log-ratios are regressed on the design; types are sorted by the distance of their coefficients of the tested columns
    from the median over types. The median holds as long as fewer than half of the frequent types change alike (the
    assumption of all methods that take a shift from the data itself).

    Parameters
    ----------
    counts
        Cells (or shares) of each type ``(patients, types)``.
    design
        Columns of the regression ``(patients, columns)``, with one for the intercept.
    tested
        Which columns are of the groups.

    Returns
    -------
    Mask ``(types,)``; two types at the least.
    """
    counts = np.asarray(counts, dtype=float)
    whole = float(counts.sum(axis=1).max()) > 1.5
    groups = (np.abs(design[:, tested]) > 0.5).astype(int)
    by_group = [counts[(groups == key).all(axis=1)].mean(axis=0) for key in np.unique(groups, axis=0)]
    fewest = np.min(by_group, axis=0)
    frequent = fewest >= (FREQUENT if whole else 0.01)
    if frequent.sum() < 3:
        frequent = fewest >= np.sort(fewest)[-min(3, len(fewest))]
    frequent_counts = counts[:, frequent]
    logs = np.log(frequent_counts + (0.5 if whole else 0.001))
    logs = logs - logs.mean(axis=1, keepdims=True)
    effects = np.vstack([np.zeros(frequent_counts.shape[1]), np.linalg.lstsq(design, logs, rcond=None)[0][tested]])
    sizes = np.concatenate([[(groups.sum(axis=1) == 0).sum()], groups.sum(axis=0)])
    away = np.zeros(frequent_counts.shape[1])
    for one, two in combinations(range(len(effects)), 2):  # all pairs: which group is the first does not matter
        change = effects[two] - effects[one]
        away += sizes[one] * sizes[two] * (change - np.median(change)) ** 2
    away = away.round(9)  # what is left of rounding would choose between types that tie
    chosen = np.argsort(away, kind="stable")[: max(2, -(-len(away) // 2))]
    mask = np.zeros(counts.shape[1], dtype=bool)
    mask[np.flatnonzero(frequent)[chosen]] = True
    return mask


def in_frame(counts: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """What each type is counted among: itself and the types of the reference ``(patients, types)``.

    Examples
    --------
    >>> in_frame(np.array([[1.0, 2.0, 4.0]]), np.array([False, True, True]))
    array([[7., 6., 6.]])
    """
    frame = counts[:, reference].sum(axis=1, keepdims=True)
    return np.where(reference, frame, counts + frame)
