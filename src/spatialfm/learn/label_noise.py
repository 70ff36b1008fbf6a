"""Labels that are likely wrong: what a classifier says of cells that it was not fitted to.

Confident learning (Northcutt, Jiang and Chuang, Journal of Artificial Intelligence Research 2021, section 3.1): a
label is doubted where another type is more probable, and at least as probable as it is on average for the cells that
bear its name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .probe import fit_probe

if TYPE_CHECKING:
    from sklearn.preprocessing import StandardScaler

    from .arcsinh import IntensityScaler

FEWEST_GROUPS = 5  # patients from which on whole ones are held out, as for the penalty of the probe
NEAR_ROWS, AMONG = 2_000, 50_000  # rows whose nearest neighbours say what is near; rows among which these are
N_NEAREST = 5  # neighbours that each label is compared with


@dataclass(frozen=True)
class Doubts:
    """What speaks against each label.

    Attributes
    ----------
    probability
        ``(n, classes)`` by classifiers that have not seen the row; NaN where its class is too rare to hold out.
    likelier
        ``(n,)`` class that is confidently another one, otherwise its own.
    score
        ``(n,)`` 0 to 1: by how much the most probable other class is ahead of the own one; 0.5 where both are equal.
    """

    probability: np.ndarray
    likelier: np.ndarray
    score: np.ndarray


def held_out_probability(
    values: np.ndarray,
    codes: np.ndarray,
    groups: np.ndarray | None,
    *,
    scaler: StandardScaler | IntensityScaler,
    C: float | str = "grid",
    n_folds: int = 5,
    random_state: int = 0,
) -> np.ndarray:
    """Probabilities ``(n, classes)`` of a linear probe for rows that it was not fitted to.

    Parameters
    ----------
    values, codes
        ``(n, columns)`` and ``(n,)`` classes 0, 1, ...
    groups
        Patient of each row; whole ones are held out where there are at least five and every class is in several.
    scaler
        Scale of the columns, by all rows that may be seen (`column_scaler`).

    Returns
    -------
    NaN in rows whose class has no other row to be fitted to.
    """
    n_classes = int(codes.max()) + 1
    out = np.full((len(codes), n_classes), np.nan)
    for train, test in judged_parts(codes, groups, n_folds, random_state):
        names = np.array([f"{code:06d}" for code in codes[train]])
        own = None if groups is None else groups[train]
        probe, _ = fit_probe(
            values[train], names, head="linear", C=C, groups=own, scaler=scaler, random_state=random_state
        )
        out[np.ix_(test, [int(name) for name in probe.classes])] = probe.predict_proba(values[test])
        out[test] = np.nan_to_num(out[test])
    return out


def judged_parts(
    codes: np.ndarray, groups: np.ndarray | None, n_folds: int, random_state: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows to fit, of two classes or more, and rows to judge, of these classes: no other can be predicted."""
    for train, test in _folds(codes, groups, n_folds, random_state):
        test = test[np.isin(codes[test], codes[train])]
        if len(test) and len(np.unique(codes[train])) > 1:
            yield train, test


def _folds(
    codes: np.ndarray, groups: np.ndarray | None, n_folds: int, random_state: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Parts with every class on both sides where its rows allow it; of a class with fewer rows than folds one each."""
    from sklearn.model_selection import StratifiedGroupKFold

    if groups is not None and len(np.unique(groups)) >= FEWEST_GROUPS and _in_several(codes, groups):
        # of a class in fewer patients than folds some folds judge none: fewer folds would leave all classes less to fit
        n_folds = min(n_folds, len(np.unique(groups)))
        rows = np.repeat(np.arange(len(codes)), n_folds)  # no share changes, and no class has fewer rows than folds
        splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=random_state)
        for train, test in splitter.split(rows, codes[rows], groups[rows]):
            yield np.unique(rows[train]), np.unique(rows[test])
        return
    rng, fold = np.random.default_rng(random_state), np.empty(len(codes), int)
    start = 0
    for code in np.unique(codes):  # in turn, so that folds are of one size and each class is spread over them
        rows = rng.permutation(np.flatnonzero(codes == code))
        fold[rows] = (start + np.arange(len(rows))) % n_folds
        start += len(rows)
    for number in range(n_folds):
        yield np.flatnonzero(fold != number), np.flatnonzero(fold == number)


def _in_several(codes: np.ndarray, groups: np.ndarray) -> bool:
    return all(len(np.unique(groups[codes == code])) > 1 for code in np.unique(codes))


def doubts(probability: np.ndarray, codes: np.ndarray) -> Doubts:
    """Which labels are likely wrong, by probabilities of rows that were held out.

    Examples
    --------
    Of the four rows that are called 0, the last looks like 1 more than those that are called 1 do:

    >>> p = np.array([[0.9, 0.1], [0.8, 0.2], [0.9, 0.1], [0.1, 0.9], [0.3, 0.7], [0.4, 0.6]])
    >>> result = doubts(p, np.array([0, 0, 0, 0, 1, 1]))
    >>> result.likelier.tolist(), result.score.round(2).tolist()
    ([0, 0, 0, 1, 1, 1], [0.1, 0.2, 0.1, 0.9, 0.3, 0.4])
    """
    rows, judged = np.arange(len(codes)), np.isfinite(probability).all(axis=1)
    own = probability[rows, codes]
    usual = np.array([_mean(own[judged & (codes == code)]) for code in range(probability.shape[1])])
    confident = np.where(judged[:, None] & (probability >= usual), probability, -1.0)  # NaN: a class not to be judged
    best = confident.argmax(axis=1)
    # a class that is probable for its kind, but less so than the row's own, is not a reason to doubt it
    likelier = np.where(confident[rows, best] > np.nan_to_num(own), best, codes)
    others = probability.copy()
    others[rows, codes] = -np.inf
    score = np.where(judged, (1 + others.max(axis=1) - own) / 2, np.nan)
    return Doubts(probability, likelier, score)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else np.nan


def usual_distance(values: np.ndarray, order: np.ndarray, random_state: int) -> float:
    """Median distance of a row to its nearest, by some rows: what is nearer is nearly identical.

    Parameters
    ----------
    order
        ``(n,)`` rows in the order of their names, from which some are drawn.
    """
    from sklearn.neighbors import NearestNeighbors

    some = values[order[np.random.default_rng(random_state).permutation(len(values))[:AMONG]]]
    near = NearestNeighbors(n_neighbors=min(2, len(some))).fit(some).kneighbors(some[:NEAR_ROWS])[0]
    return float(np.median(near[:, -1]))


def near_pairs(values: np.ndarray, codes: np.ndarray, nearer_than: float) -> tuple[np.ndarray, np.ndarray]:
    """Pairs ``(m, 2)`` of rows with different classes that are at most so far apart, nearest first; and distances.

    Each row is compared with its five nearest.
    """
    from sklearn.neighbors import NearestNeighbors

    k = min(N_NEAREST, len(values) - 1)
    distance, other = NearestNeighbors(n_neighbors=k).fit(values).kneighbors()
    row = np.repeat(np.arange(len(values)), k)
    distance, other = distance.ravel(), other.ravel()
    is_pair = (distance <= nearer_than) & (codes[row] != codes[other])
    pairs = np.sort(np.column_stack([row, other])[is_pair], axis=1)
    pairs, first = np.unique(pairs, axis=0, return_index=True)
    distance = distance[is_pair][first]
    order = np.lexsort((pairs[:, 1], pairs[:, 0], distance))
    return pairs[order], distance[order]
