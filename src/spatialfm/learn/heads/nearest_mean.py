"""Nearest class mean, in the principal components of all cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .cells import VisibleCells, class_means
from .fitted import softmax


@dataclass(frozen=True)
class NearestMean:
    """Means of classes in principal components, and how far cells of a class are from its mean."""

    cells: VisibleCells
    means: np.ndarray  # (classes, components)
    spread: float  # mean squared distance to the own mean, in one component

    def of_values(self, scaled: np.ndarray) -> np.ndarray:
        """Probabilities of round normal distributions of one width around the means."""
        return self._of_components(self.cells.project(scaled))

    def of_rows(self, rows: np.ndarray) -> np.ndarray:
        """The same of rows whose components are known."""
        return self._of_components(self.cells.components[rows])

    def _of_components(self, values: np.ndarray) -> np.ndarray:
        squares = (self.means**2).sum(axis=1) - 2 * values.astype(np.float64) @ self.means.T
        return softmax(-squares / (2 * self.spread))


def fit_nearest_mean(cells: VisibleCells, rows: np.ndarray, codes: np.ndarray) -> NearestMean:
    """Fit to labelled rows: a mean of each class, and one spread for all.

    Components leave out the directions in which cells hardly differ, whose scale few labelled cells do not tell. With
    one cell of each class the spread is the mean squared distance of all cells to their centre.

    Parameters
    ----------
    cells
        Rows on one scale.
    rows, codes
        Labelled rows ``(n,)`` and their classes, from 0 on, each class at least once.
    """
    values = cells.components[rows].astype(np.float64)
    means = class_means(values, codes)
    freedom = (len(rows) - len(means)) * values.shape[1]
    squares = ((values - means[codes]) ** 2).sum()
    spread = squares / freedom if freedom and squares > 0 else float((cells.components.astype(np.float64) ** 2).mean())
    return NearestMean(cells, means, max(float(spread), np.finfo(np.float32).tiny))
