"""Shrinkage discriminant analysis: one covariance for all classes, shrunk by Ledoit and Wolf."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .cells import VisibleCells, class_means
from .fitted import softmax


@dataclass(frozen=True)
class Discriminant:
    """Linear scores of classes that weigh alike."""

    coefficients: np.ndarray  # (columns, classes)
    intercepts: np.ndarray  # (classes,)
    shrinkage: float

    def of_values(self, scaled: np.ndarray) -> np.ndarray:
        """Posterior probabilities of normal distributions with a common covariance."""
        return softmax(scaled @ self.coefficients + self.intercepts)

    def of_rows(self, rows: np.ndarray) -> None:
        """Those of their values."""


def fit_discriminant(cells: VisibleCells, rows: np.ndarray, codes: np.ndarray) -> Discriminant:
    """Fit to labelled rows.

    The covariance is that of the distances to the means of the classes, of all classes together, which five cells of
    each suffice for: scikit-learn's shrinks that of every class by itself. Shrinkage is towards a multiple of the
    identity (Ledoit and Wolf, Journal of Multivariate Analysis 2004), which is what columns without labels show: they
    were brought to one scale. With one cell of each class there is no distance to a mean, and the covariance is the
    identity.

    Parameters
    ----------
    cells
        Rows on one scale.
    rows, codes
        Labelled rows ``(n,)`` and their classes, from 0 on, each class at least once.
    """
    values = cells.scaled[rows].astype(np.float64)
    means = class_means(values, codes)
    covariance, shrinkage = common_covariance(values - means[codes], len(rows) - len(means))
    coefficients = np.linalg.solve(covariance, means.T)
    return Discriminant(coefficients, -0.5 * (means.T * coefficients).sum(axis=0), shrinkage)


def common_covariance(residuals: np.ndarray, freedom: int) -> tuple[np.ndarray, float]:
    """Covariance ``(columns, columns)`` of residuals with so many degrees of freedom, and how far it was shrunk."""
    from sklearn.covariance import ledoit_wolf

    width = residuals.shape[1]
    if freedom < 1 or not np.any(residuals):
        return np.eye(width), 1.0
    covariance, shrinkage = ledoit_wolf(residuals, assume_centered=True)
    covariance = covariance * (len(residuals) / freedom)
    # two columns that are one, in cells of several classes that are alike: the inverse needs some width everywhere
    floor = 1e-6 * np.trace(covariance) / width
    return covariance + floor * np.eye(width), float(shrinkage)
