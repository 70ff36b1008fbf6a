"""Many numbers of a row predicted from its embedding: the probe of the HEST-Benchmark, on arrays.

Jaume et al., HEST-1k (NeurIPS 2024): columns are standardised, reduced to 256 principal components, and a ridge
regression or a random forest is fitted to all targets at once. Nothing is taken from rows that are predicted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

PCA_SEED = 1  # of the published code
MAX_ITER = 1000
TOLERANCE = 1e-6
N_INNER = 5
PENALTIES = tuple(float(10.0**power) for power in np.arange(-2, 6.5, 0.5))


@dataclass(frozen=True)
class ProbeRecipe:
    """What decides a probe.

    Attributes
    ----------
    head
        ``"ridge"`` or ``"forest"``.
    pca
        Principal components at most; None: standardised columns as they are.
    alpha
        Penalty of ridge: a number, ``"published"`` (100 over features times targets) or ``"cv"``.
    n_trees
        Of the forest.
    """

    head: Literal["ridge", "forest"]
    pca: int | None
    alpha: float | Literal["published", "cv"]
    n_trees: int


@dataclass(frozen=True)
class ProbePredictions:
    """Predictions ``(rows, targets)``, and what the fit came to."""

    values: np.ndarray
    n_components: int
    alpha: float  # NaN of a forest


def fit_predict(
    x: np.ndarray, y: np.ndarray, groups: np.ndarray, new: np.ndarray, recipe: ProbeRecipe, seed: int, n_jobs: int = 1
) -> ProbePredictions:
    """Fit to rows and predict others.

    The published ridge has no intercept, and its targets are not centred. As the columns are, its coefficients are
    those of a fit with one, and its predictions lack the mean of the training rows, which no correlation sees. Here
    targets are centred first and the mean is added at the end: the solver ends once what is left is small beside the
    targets, and where their mean is large that is before it has found the coefficients.

    Parameters
    ----------
    x, y
        ``(rows, columns)`` and ``(rows, targets)``.
    groups
        Patient of each row, by which the parts of ``"cv"`` are made.
    new
        ``(other rows, columns)``.
    """
    features, others = _features(x, new, recipe.pca)
    if recipe.head == "forest":
        from sklearn.ensemble import RandomForestRegressor

        from .column_order import order_of_columns

        columns = order_of_columns(features)  # columns of a split are drawn by their place
        forest = RandomForestRegressor(recipe.n_trees, random_state=seed, n_jobs=n_jobs)
        forest.fit(features[:, columns], y if y.shape[1] > 1 else y[:, 0])
        predicted = forest.predict(others[:, columns])
        return ProbePredictions(predicted.reshape(len(others), y.shape[1]), features.shape[1], np.nan)
    from sklearn.linear_model import Ridge

    alpha = recipe.alpha
    if alpha == "published":
        alpha = 100 / (features.shape[1] * y.shape[1])
    elif alpha == "cv":
        alpha = chosen_penalty(features, y, groups)
    mean = y.mean(axis=0, dtype=np.float64)
    ridge: Any = Ridge(alpha=float(alpha), solver="lsqr", fit_intercept=False, max_iter=MAX_ITER, tol=TOLERANCE)
    predicted = ridge.fit(features, y - mean).predict(others).reshape(len(others), y.shape[1])
    return ProbePredictions(predicted + mean, features.shape[1], float(alpha))


def _features(x: np.ndarray, new: np.ndarray, pca: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Standardised columns, or their principal components, by the first rows alone."""
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(x)
    features, others = scaler.transform(x), scaler.transform(new)
    if pca is None:
        return features, others
    reduced = PCA(min(pca, *features.shape), random_state=PCA_SEED).fit(features)
    return reduced.transform(features), reduced.transform(others)


def chosen_penalty(x: np.ndarray, y: np.ndarray, groups: np.ndarray) -> float:
    """Penalty with the least squared error in patients held out, targets weighing alike.

    Parts are at most five, of whole patients, as even in rows as these allow.
    """
    from sklearn.model_selection import GroupKFold

    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)  # sums of many cells
    n_parts = min(N_INNER, len(np.unique(groups)))
    spread = y.std(axis=0)
    y = (y - y.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    lost = np.zeros(len(PENALTIES))
    for fit, held_out in GroupKFold(n_parts).split(x, groups=groups):
        mean_x, mean_y = x[fit].mean(axis=0), y[fit].mean(axis=0)
        centred = x[fit] - mean_x
        sizes, axes = np.linalg.eigh(centred.T @ centred)
        target, at = axes.T @ (centred.T @ (y[fit] - mean_y)), (x[held_out] - mean_x) @ axes
        for place, penalty in enumerate(PENALTIES):
            predicted = at @ (target / (np.maximum(sizes, 0) + penalty)[:, None]) + mean_y
            lost[place] += ((predicted - y[held_out]) ** 2).sum()
    return PENALTIES[int(lost.argmin())]


def column_pearson(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Pearson correlation of each column; NaN where the truth does not vary, 0 where the prediction does not.

    Examples
    --------
    >>> truth = np.array([[0.0, 1, 5], [1, 2, 5], [2, 6, 5]])
    >>> column_pearson(truth, truth * [-1, 0, 1]).tolist()
    [-1.0, 0.0, nan]
    """
    (one, varies), (two, moves) = _centred(truth), _centred(predicted)
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = (one * two).sum(axis=0) / np.sqrt((one**2).sum(axis=0) * (two**2).sum(axis=0))
    return np.where(varies, np.where(moves, correlation, 0.0), np.nan)


def _centred(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns less their mean, and whether more is left of each than what rounding leaves of a constant."""
    values = np.asarray(values, np.float64)
    centred = values - values.mean(axis=0)
    return centred, np.abs(centred).max(axis=0, initial=0) > 1e-10 * np.abs(values).max(axis=0, initial=0)
