"""Self-training: what a probe is sure of becomes labels, as long as its confidence is calibrated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..penalty import prior_C
from ..temperature import MIN_HELD_OUT, find_temperature, predicted_without, tempered
from .cells import VisibleCells

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

N_ROUNDS = 4
MIN_CONFIDENCE = 0.8  # calibrated probability from which on a cell without label is taken to have it
MAX_LOOKED_AT = 20_000  # cells without label


@dataclass(frozen=True)
class SelfTrained:
    """Logistic regression on labelled cells and on those that it was sure of."""

    model: LogisticRegression
    n_added: int
    n_rounds: int

    def of_values(self, scaled: np.ndarray) -> np.ndarray:
        """Its probabilities."""
        return self.model.predict_proba(scaled)

    def of_rows(self, rows: np.ndarray) -> None:
        """Those of their values."""


def fit_self_training(
    cells: VisibleCells, rows: np.ndarray, codes: np.ndarray, min_confidence: float = MIN_CONFIDENCE
) -> SelfTrained:
    """Fit to labelled rows, then to them and to the others that are sure, in up to four rounds.

    Confidence is calibrated by the temperature that suits labelled rows which were held out in turn: a probe on few
    labels is too sure of itself, and would teach itself its errors. Of each class the same number of cells is added at
    most, that of the class with the second fewest sure cells, so that no class grows at the expense of others; added
    cells of a class weigh together what its labelled ones do.

    Parameters
    ----------
    cells
        Rows on one scale; of those without label, 20,000 drawn at random are looked at.
    rows, codes
        Labelled rows ``(n,)`` and their classes, from 0 on, each class at least once.
    min_confidence
        Calibrated probability from which on a cell is added.
    """
    k = int(codes.max()) + 1
    values = cells.scaled[rows]
    model = _fit(values, codes, np.ones(len(rows)), cells.random_state)
    temperature = _temperature(cells, rows, codes)
    others = cells.drawn(MAX_LOOKED_AT, ~np.isin(np.arange(len(cells)), rows))
    pool, before = cells.scaled[others], np.full(len(others), -1)
    for number in range(N_ROUNDS if len(others) else 0):
        taken = sure_of(tempered(model.predict_proba(pool), temperature), min_confidence)
        if np.array_equal(taken, before):
            return SelfTrained(model, int((before >= 0).sum()), number)
        added = np.flatnonzero(taken >= 0)
        weights = np.concatenate([np.ones(len(rows)), added_weights(taken[added], codes, k)])
        both = np.concatenate([codes, taken[added]])
        model = _fit(np.concatenate([values, pool[added]]), both, weights, cells.random_state)
        before = taken
    return SelfTrained(model, int((before >= 0).sum()), N_ROUNDS if len(others) else 0)


def sure_of(probability: np.ndarray, least: float) -> np.ndarray:
    """Class of each row that is sure, -1 of others; the surest of each class, the same number of all but the rarest.

    Examples
    --------
    >>> sure_of(np.array([[0.99, 0.01], [0.95, 0.05], [0.92, 0.08], [0.05, 0.95], [0.6, 0.4]]), 0.9).tolist()
    [0, -1, -1, 1, -1]
    """
    predicted, confidence = probability.argmax(axis=1), probability.max(axis=1)
    sure = np.flatnonzero(confidence >= least)
    counts = np.bincount(predicted[sure], minlength=probability.shape[1])
    occurring = np.sort(counts[counts > 0])
    most = int(occurring[1 if len(occurring) > 2 else 0]) if len(occurring) else 0
    out = np.full(len(probability), -1)
    for code in range(probability.shape[1]):
        mine = sure[predicted[sure] == code]
        out[mine[np.argsort(-confidence[mine], kind="stable")][:most]] = code
    return out


def added_weights(added: np.ndarray, codes: np.ndarray, k: int) -> np.ndarray:
    """Weights of added rows: those of a class weigh together what its labelled ones do, and none more than these."""
    labelled, new = np.bincount(codes, minlength=k), np.bincount(added, minlength=k)
    return np.minimum(labelled / np.maximum(new, 1), 1.0)[added]


def _fit(values: np.ndarray, codes: np.ndarray, weights: np.ndarray, random_state: int) -> LogisticRegression:
    from sklearn.linear_model import LogisticRegression

    of_class = np.bincount(codes, weights)
    balanced = weights * (weights.sum() / len(of_class) / of_class)[codes]
    model = LogisticRegression(C=prior_C(values.shape[1]), max_iter=1000, random_state=random_state)
    return model.fit(values, codes, sample_weight=balanced)


def _temperature(cells: VisibleCells, rows: np.ndarray, codes: np.ndarray) -> float:
    def predict(train: np.ndarray, test: np.ndarray) -> np.ndarray:
        model = _fit(cells.scaled[rows[train]], codes[train], np.ones(len(train)), cells.random_state)
        return model.predict_proba(cells.scaled[rows[test]])

    probability, places = predicted_without(predict, codes, cells.groups_of(rows), cells.random_state)
    return 1.0 if len(places) < MIN_HELD_OUT else find_temperature(probability, codes[places])
