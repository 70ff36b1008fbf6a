"""Cells of types that nobody labelled: doubted by a classifier, and far from every label.

A classifier doubts a cell by one minus its highest probability, averaged over its neighbours in the embedding, as
single cells between two known types are doubted too. Of a type without labels, no label is near on the graph of
neighbours, either. Both are ranked among all cells, and the ranks are added: a type that lies beyond a known one, where
the classifier is sure, is still missed. How much of both is usual is read from labelled cells that were held out,
ranked in the same way by what was fitted without them:
the novelty of a cell is the weighted share of them that are doubted less (conformal prediction, Vovk et al. 2005; the
weights are ours). Held-out cells of the type that the cell would be given weigh more than others, so that a type which
is hard to tell from others is not taken for a new one. Few labels are held out several times, in other folds: what is
usual would otherwise be decided by the draw.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .label_noise import judged_parts
from .leiden import leiden
from .probe import column_scaler, fit_head, fit_probe

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix
    from sklearn.preprocessing import StandardScaler

    from .arcsinh import IntensityScaler

POOLED = 20.0  # held-out cells of all types together count as so many of the cell's own type
N_COMPONENTS = 20  # of an embedding, in which neighbours are looked for
TOGETHER = 0.1  # resolution at which doubted clusters are joined: those of one type are neighbours
NEARNESS = 1.0  # weight of the nearness of labels beside the doubt of the classifier
ENOUGH = 1000  # held-out cells from which on another draw of folds tells nothing new
MOST_DRAWS = 8
STEP, N_STEPS = 0.9, 30  # share of walks that go on at each step over the graph, and steps that are followed


@dataclass(frozen=True)
class Doubt:
    """How doubtful each row is.

    Attributes
    ----------
    score
        ``(n,)`` rank of the doubt of a classifier less the rank of the nearness of labels, each 0 to 1 among all rows.
    held_out
        ``(draws, labelled)`` the same of labelled rows by what was fitted without them; NaN of a class with one row.
    predicted
        ``(n,)`` most probable class.
    C
        Penalty of the classifier.
    """

    score: np.ndarray
    held_out: np.ndarray
    predicted: np.ndarray
    C: float


def components(values: np.ndarray, random_state: int) -> np.ndarray:
    """First principal components of wide values, narrow ones as they are."""
    from sklearn.decomposition import PCA

    if values.shape[1] <= N_COMPONENTS or len(values) <= N_COMPONENTS:
        return values
    return PCA(N_COMPONENTS, random_state=random_state).fit_transform(values)


def doubt(
    values: np.ndarray,
    labelled: np.ndarray,
    codes: np.ndarray,
    graph: csr_matrix,
    *,
    groups: np.ndarray | None = None,
    scaler: StandardScaler | IntensityScaler | None = None,
    C: float | str = "grid",
    n_folds: int = 5,
    random_state: int = 0,
) -> Doubt:
    """Doubt of a linear probe about each row, and about labelled rows that were held out.

    Parameters
    ----------
    values
        ``(n, columns)``.
    labelled, codes
        Rows with a label, and their classes; a number may have no row.
    graph
        ``(n, n)`` weights of neighbours.
    groups
        Patient of each labelled row.
    scaler
        Scale of the columns; default: to mean 0 and standard deviation 1 over all rows.
    """
    mean = _mean_of_neighbours(graph)
    scaler = column_scaler(values) if scaler is None else scaler
    names = np.array([f"{code:06d}" for code in codes])
    probe, C = fit_probe(
        values[labelled], names, head="linear", C=C, groups=groups, scaler=scaler, random_state=random_state
    )
    probability = probe.predict_proba(values)
    predicted = np.unique(codes)[probability.argmax(axis=1)]  # columns are classes that occur

    def score(probability: np.ndarray, part: np.ndarray) -> np.ndarray:
        near = labels_near(mean, labelled[part], codes[part], predicted)
        return _rank(mean @ (1 - probability.max(axis=1))) - NEARNESS * _rank(near)

    held_out = np.full((n_draws(len(codes)), len(codes)), np.nan)
    for draw in range(len(held_out)):
        for train, test in judged_parts(codes, groups, n_folds, random_state + draw):
            without = fit_head(values[labelled[train]], names[train], "linear", C, scaler=scaler)
            held_out[draw, test] = score(without.predict_proba(values), train)[labelled[test]]
    return Doubt(score(probability, np.arange(len(codes))), held_out, predicted, C)


def n_draws(n_labelled: int) -> int:
    """How often labelled rows are divided into folds.

    Examples
    --------
    >>> n_draws(80), n_draws(300), n_draws(5000)
    (8, 4, 1)
    """
    return int(np.clip(np.ceil(ENOUGH / n_labelled), 1, MOST_DRAWS))


def labels_near(mean: csr_matrix, rows: np.ndarray, codes: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """How many labels ``(n,)`` a walk over neighbours meets from each row, later steps counting less.

    A label counts as many rows as are predicted of its class for each label of it, and itself at least: of a common
    type few cells are labelled, and of a rare one most.

    Parameters
    ----------
    mean
        ``(n, n)`` averages over a row and its neighbours.
    rows, codes
        Rows with a label, and their classes.
    predicted
        ``(n,)`` class of every row.
    """
    met = np.zeros(mean.shape[0])
    met[rows] = np.maximum(_stands_for(codes, predicted), 1)
    near, weight = np.zeros(len(met)), 1.0
    for _ in range(N_STEPS):
        met = mean @ met
        near += weight * met
        weight *= STEP
    return near


def _stands_for(codes: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """How many rows are predicted of its class for each labelled row ``(labelled,)`` of that class."""
    n_classes = int(max(codes.max(), predicted.max())) + 1
    return np.bincount(predicted, minlength=n_classes)[codes] / np.bincount(codes, minlength=n_classes)[codes]


def _rank(values: np.ndarray) -> np.ndarray:
    from scipy.stats import rankdata

    return rankdata(values) / len(values)


def _mean_of_neighbours(graph: csr_matrix) -> csr_matrix:
    """Averages over a row and its neighbours, by their weights; the row itself weighs 1."""
    from scipy.sparse import diags, identity

    with_itself = graph + identity(graph.shape[0])
    return (diags(1 / np.asarray(with_itself.sum(axis=1)).ravel()) @ with_itself).tocsr()


def novelty(doubts: Doubt, codes: np.ndarray, pooled: float = POOLED) -> np.ndarray:
    """Share ``(n,)`` of held-out labelled rows that are doubted less than each row.

    Those of the class that a row would be given weigh 1 each, and once more together with all others, classes weighing
    as they are predicted, as `pooled` rows. Of several draws of folds each has its part of these weights. A row counts
    itself, so that no share reaches 1.

    Examples
    --------
    >>> result = Doubt(np.array([0.15, 0.9]), np.array([[0.1, 0.2, 0.3, 0.4]]), np.array([0, 0]), 1.0)
    >>> novelty(result, np.array([0, 0, 1, 1]), pooled=0.0).round(3).tolist()
    [0.333, 0.667]
    """
    judged = np.isfinite(doubts.held_out)
    scores, codes = doubts.held_out[judged], np.broadcast_to(codes, judged.shape)[judged]
    order = np.argsort(scores, kind="stable")
    # types weigh as they occur among all rows, by what they are predicted as: a rare one that is never recognised when
    # it is held out would otherwise decide what doubt is usual
    alike = _stands_for(codes, doubts.predicted)
    alike = alike * pooled / max(alike.sum(), 1)
    out = np.zeros(len(doubts.score))
    for code in np.unique(doubts.predicted):
        weight = (alike + (codes == code) / len(judged))[order]
        reached = np.concatenate([[0.0], np.cumsum(weight)]) / (weight.sum() + 1)
        rows = doubts.predicted == code
        out[rows] = reached[np.searchsorted(scores[order], doubts.score[rows], side="left")]
    return out


def doubted_clusters(
    graph: csr_matrix, novel: np.ndarray, *, resolution: float, min_cells: int, min_share: float, random_state: int
) -> np.ndarray:
    """Number ``(n,)`` of the proposed type of each row, from the largest, -1 where there is none.

    Parameters
    ----------
    novel
        ``(n,)`` rows that are more novel than the threshold.
    resolution
        Of the clusters that are looked at.
    min_share
        Share of novel rows from which a cluster is doubted.
    """
    clusters = leiden(graph, resolution, random_state)
    sizes = np.bincount(clusters)
    doubted = (np.bincount(clusters, novel) / sizes > min_share) & (sizes >= min_cells)
    rows = np.flatnonzero(doubted[clusters])
    out = np.full(len(novel), -1)
    if len(rows):
        out[rows] = leiden(graph[rows][:, rows].tocsr(), TOGETHER, random_state)
        out[rows[np.bincount(out[rows])[out[rows]] < min_cells]] = -1
    return out
