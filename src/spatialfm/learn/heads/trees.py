"""Extremely randomised trees: their cuts need no scale, and their votes no straight border."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..column_order import order_of_columns
from .cells import VisibleCells

if TYPE_CHECKING:
    from sklearn.ensemble import ExtraTreesClassifier

N_TREES = 100
UNSEEN = 0.01  # share of a vote that is even: a type that no tree sees in few labelled cells is not excluded


@dataclass(frozen=True)
class Trees:
    """Fitted trees, and the columns in the order that they saw."""

    model: ExtraTreesClassifier
    columns: np.ndarray

    def of_values(self, scaled: np.ndarray) -> np.ndarray:
        """Mean of their votes, and a little of an even one."""
        votes = self.model.predict_proba(scaled[:, self.columns])
        return (1 - UNSEEN) * votes + UNSEEN / votes.shape[1]

    def of_rows(self, rows: np.ndarray) -> None:
        """Those of their values."""


def fit_trees(cells: VisibleCells, rows: np.ndarray, codes: np.ndarray) -> Trees:
    """Fit to labelled rows (Geurts et al., Machine Learning 2006), classes weighing alike.

    Each column has a cut at a random place, and the best column is taken, of all: types differ in few markers, and a
    tree that is shown a random part of the columns cuts by noise where it lacks these. Where the best cut lies, few
    labelled cells do not tell.
    """
    from sklearn.ensemble import ExtraTreesClassifier

    model = ExtraTreesClassifier(
        N_TREES, max_depth=16, max_features=None, class_weight="balanced", random_state=cells.random_state
    )
    values = cells.scaled[rows]
    columns = order_of_columns(values)
    return Trees(model.fit(values[:, columns], codes), columns)
