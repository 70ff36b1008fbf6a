"""Cells of types that nobody labelled: where a classifier doubts whole neighbourhoods more than labels it has not seen.

A cell is doubted by one minus its highest probability, averaged over its neighbours in the embedding, as single cells
between two known types are doubted too. How much doubt is usual is read from labelled cells that were held out: the
novelty of a cell is the weighted share of them that are doubted less (conformal prediction, Vovk et al. 2005; the
weights are ours). Held-out cells of the type that the cell would be given weigh more than others, so that a type which
is hard to tell from others is not taken for a new one.
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


@dataclass(frozen=True)
class Doubt:
    """How doubtful each row is.

    Attributes
    ----------
    score
        ``(n,)`` one minus the highest probability, averaged over neighbours.
    held_out
        ``(labelled,)`` the same of labelled rows by classifiers that have not seen them; NaN of a class with one row.
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
        Rows with a label, and their classes 0, 1, ...
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
    held_out = np.full(len(codes), np.nan)
    for train, test in judged_parts(codes, groups, n_folds, random_state):
        held_out[test] = _without(values, labelled[train], names[train], mean, scaler, C)[labelled[test]]
    return Doubt(mean @ (1 - probability.max(axis=1)), held_out, probability.argmax(axis=1), C)


def _without(
    values: np.ndarray,
    rows: np.ndarray,
    names: np.ndarray,
    mean: csr_matrix,
    scaler: StandardScaler | IntensityScaler,
    C: float,
) -> np.ndarray:
    probability = fit_head(values[rows], names, "linear", C, scaler=scaler).predict_proba(values)
    return mean @ (1 - probability.max(axis=1))


def _mean_of_neighbours(graph: csr_matrix) -> csr_matrix:
    """Averages over a row and its neighbours, by their weights; the row itself weighs 1."""
    from scipy.sparse import diags, identity

    with_itself = graph + identity(graph.shape[0])
    return (diags(1 / np.asarray(with_itself.sum(axis=1)).ravel()) @ with_itself).tocsr()


def novelty(doubts: Doubt, codes: np.ndarray, pooled: float = POOLED) -> np.ndarray:
    """Share ``(n,)`` of held-out labelled rows that are doubted less than each row.

    Those of the class that a row would be given weigh 1 each, and once more together with all others, classes weighing
    as they are predicted, as `pooled` rows. A row counts itself, so that no share reaches 1.

    Examples
    --------
    >>> result = Doubt(np.array([0.15, 0.9]), np.array([0.1, 0.2, 0.3, 0.4]), np.array([0, 0]), 1.0)
    >>> novelty(result, np.array([0, 0, 1, 1]), pooled=0.0).round(3).tolist()
    [0.333, 0.667]
    """
    judged = np.isfinite(doubts.held_out)
    scores, codes = doubts.held_out[judged], codes[judged]
    order = np.argsort(scores, kind="stable")
    # types weigh as they occur among all rows, by what they are predicted as: a rare one that is never recognised when
    # it is held out would otherwise decide what doubt is usual
    n_classes = int(max(codes.max(), doubts.predicted.max())) + 1
    alike = np.bincount(doubts.predicted, minlength=n_classes)[codes] / np.bincount(codes, minlength=n_classes)[codes]
    alike = alike * pooled / max(alike.sum(), 1)
    out = np.zeros(len(doubts.score))
    for code in np.unique(doubts.predicted):
        weight = (alike + (codes == code))[order]
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
