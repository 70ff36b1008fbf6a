"""Probabilities of a cell moved towards those of its spatial neighbours, and what that costs rare types."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..penalty import balanced_loss
from ..temperature import MIN_HELD_OUT, Calibration, calibration_of, find_temperature, held_out_parts, tempered
from .fitted import Fitted

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

N_NEIGHBORS = 10
WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)


def neighbor_means(
    positions: np.ndarray, samples: np.ndarray, k: int = N_NEIGHBORS, *, order: np.ndarray | None = None
) -> csr_matrix:
    """Matrix ``(n, n)`` that gives every cell the mean over its `k` nearest cells of the same sample.

    A cell that is alone in its sample has itself. Of equally far cells the first ones in `order` are taken (default:
    that of the rows).
    """
    from scipy.sparse import csr_matrix
    from sklearn.neighbors import NearestNeighbors

    n, rows, columns, data = len(positions), [], [], []
    codes = pd.factorize(samples)[0]
    order = np.arange(n) if order is None else order
    order = order[np.argsort(codes[order], kind="stable")]
    for mine in np.split(order, np.flatnonzero(np.diff(codes[order])) + 1):
        few = min(k, len(mine) - 1)
        if few == 0:
            rows.append(mine), columns.append(mine), data.append(np.ones(1))
            continue
        near = NearestNeighbors(n_neighbors=few).fit(positions[mine]).kneighbors(return_distance=False)
        rows.append(np.repeat(mine, few))
        columns.append(mine[near].ravel())
        data.append(np.full(near.size, 1 / few))
    parts = np.concatenate(data), (np.concatenate(rows), np.concatenate(columns))
    return csr_matrix(parts, shape=(n, n))


def smoothed(probability: np.ndarray, means: csr_matrix, weight: float) -> np.ndarray:
    """``(1 - weight)`` of a cell's own probabilities and `weight` of the mean of its neighbours'."""
    return probability if weight == 0 else (1 - weight) * probability + weight * (means @ probability)


def weigh_neighbors(
    fit: Callable[[np.ndarray, np.ndarray], Fitted],
    rows: np.ndarray,
    codes: np.ndarray,
    groups: np.ndarray | None,
    means: csr_matrix,
    classes: list[str],
    random_state: int,
    weight: float | None = None,
    calibration: Calibration | None = None,
) -> tuple[float, Calibration, pd.DataFrame]:
    """Weight of least cross-entropy on labelled cells that are held out in turn, and what it does to each class.

    Each class weighs alike, so that a weight that sacrifices rare types is not the best, and each weight has the
    temperature that suits it. With fewer than 10 held-out cells the weight is 0.

    Parameters
    ----------
    fit
        Called with rows and their codes.
    means
        `neighbor_means` of all cells.
    weight
        Given instead of chosen.
    calibration
        Of the method, before its probabilities are averaged.

    Returns
    -------
    The weight; the temperature of what is smoothed, as a mean over neighbours is surer than it looks; and one row per
    class with ``n`` held-out cells, ``recall`` and ``f1`` before and after.
    """
    calibration = Calibration() if calibration is None else calibration
    own, near, places = [], [], []
    for train, test in held_out_parts(codes, groups, random_state):
        model = fit(rows[train], codes[train])
        wanted = means[rows[test]]
        others = np.unique(wanted.indices)
        own.append(calibration.applied(model.predict_seen(rows[test])))
        near.append(wanted[:, others] @ calibration.applied(model.predict_seen(others)))
        places.append(test)
    if sum(map(len, places)) < MIN_HELD_OUT:
        return (
            weight or 0.0,
            Calibration(),
            pd.DataFrame(columns=["n", "recall", "recall_smoothed", "f1", "f1_smoothed"]),
        )
    one, other, truth = np.concatenate(own), np.concatenate(near), codes[np.concatenate(places)]

    def mixed(of: float) -> np.ndarray:
        return (1 - of) * one + of * other

    def loss(of: float) -> float:
        both = mixed(of)
        return balanced_loss(truth, tempered(both, find_temperature(both, truth)), np.arange(len(classes)))

    weight = min(WEIGHTS, key=loss) if weight is None else weight
    after = calibration_of(mixed(weight), truth)
    return weight, after, cost(one, after.applied(mixed(weight)), truth, classes)


def cost(before: np.ndarray, after: np.ndarray, truth: np.ndarray, classes: list[str]) -> pd.DataFrame:
    """Recall and F1 of each class by probabilities ``(n, classes)`` before and after."""
    from sklearn.metrics import f1_score, recall_score

    table = pd.DataFrame(index=pd.Index(classes, name="class"))
    codes = np.arange(len(classes))
    table["n"] = np.bincount(truth, minlength=len(classes))
    for name, score in (("recall", recall_score), ("f1", f1_score)):
        for ending, probability in (("", before), ("_smoothed", after)):
            table[name + ending] = score(truth, probability.argmax(axis=1), labels=codes, average=None, zero_division=0)
    return table[table["n"] > 0]
