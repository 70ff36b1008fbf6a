"""Markers that were not measured, predicted from those that were, without weights of a model.

These are the floors that a masked model has to pass: the mean, the marker most correlated, a linear regression and the
nearest rows. Rows are cells or pixels alike, columns are markers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._arguments import either
from .._errors import ArgumentError, TableError, counted
from .._threads import one_thread
from .conformal import held_out_patients

METHODS = ("mean", "correlated", "linear", "knn")
PENALTIES = tuple(float(10.0**power) for power in range(-6, 3))  # times the number of rows, on standardised columns
N_NEIGHBORS = 10
MAX_ROWS = 20_000  # among which nearest rows are looked for; more of them cost time and move the mean of ten little


@dataclass(frozen=True)
class Imputer(ABC):
    """What was fitted, for rows that have the same input columns in the same order."""

    method: str
    n_inputs: int
    n_rows: int  # that it was fitted on

    @one_thread()
    def predict(self, x: np.ndarray) -> np.ndarray:
        """``(n, T)`` predicted targets of rows ``(n, M)``.

        Raises
        ------
        TableError
            If the number of columns differs from that of the fit, or a value is not finite.
        """
        x = _finite(x, "x")
        if x.shape[1] != self.n_inputs:
            raise TableError(
                f"The imputer was fitted on {counted(self.n_inputs, 'column')} and x has {x.shape[1]}. "
                "Pass the columns of the fit, in their order."
            )
        return self._predict(x)

    @abstractmethod
    def _predict(self, x: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class MeanImputer(Imputer):
    """The same number for every row: the mean of the rows that it was fitted on."""

    mean: np.ndarray  # (T,)

    def _predict(self, x: np.ndarray) -> np.ndarray:
        return np.tile(self.mean, (len(x), 1))


@dataclass(frozen=True)
class LinearImputer(Imputer):
    """Intercept and one coefficient of each input for each target; of ``"correlated"`` one of them is not 0."""

    intercept: np.ndarray  # (T,)
    coefficients: np.ndarray  # (M, T)
    penalty: np.ndarray  # (T,) in units of the squared standardised input, as scikit-learn's alpha; 0 for none

    def _predict(self, x: np.ndarray) -> np.ndarray:
        return x @ self.coefficients + self.intercept


@dataclass(frozen=True)
class NeighborImputer(Imputer):
    """Mean of the targets of the nearest rows, by Euclidean distance of standardised inputs."""

    center: np.ndarray  # (M,)
    scale: np.ndarray  # (M,)
    neighbors: Any  # sklearn.neighbors.KNeighborsRegressor
    n_targets: int

    def _predict(self, x: np.ndarray) -> np.ndarray:
        if not len(x):
            return np.zeros((0, self.n_targets))
        return self.neighbors.predict((x - self.center) / self.scale)


@one_thread()
def fit_imputer(
    method: str, x: np.ndarray, targets: np.ndarray, groups: np.ndarray | None = None, random_state: int = 0
) -> Imputer:
    """Fit one of the floors.

    Parameters
    ----------
    method
        ``"mean"`` of the targets. ``"correlated"``: least squares on the one input whose correlation with the target is
        the strongest, whatever its sign. ``"linear"``: ridge on standardised inputs, its penalty, of each target, the
        one with the least squared error on rows left out one by one, or, with `groups`, group by group; both in closed
        form. ``"knn"``: mean of the 10 nearest rows, standardised, among at most 20,000, drawn evenly from `groups`.
    x
        ``(n, M)`` measured markers.
    targets
        ``(n, T)`` markers to predict, finite.
    groups
        ``(n,)`` patient of each row. Rows of a patient resemble each other, so that a penalty found on single rows is
        too weak for patients who were not seen.
    random_state
        Of the rows drawn for ``"knn"``.

    Raises
    ------
    ArgumentError
        If `method` is not one of these.
    TableError
        If rows do not fit each other, a value is not finite, or there are fewer than two rows.

    Examples
    --------
    >>> x = np.arange(8.0).reshape(8, 1)
    >>> fit_imputer("linear", x, 2 * x + 1).predict([[10.0]]).round(2).tolist()
    [[21.0]]
    """
    if method not in METHODS:
        raise ArgumentError(f"method={method!r} must be {either([repr(name) for name in METHODS])}.")
    x, targets = _finite(x, "x"), _finite(targets, "targets")
    if len(x) != len(targets) or (groups is not None and len(groups) != len(x)):
        raise TableError(
            f"x has {counted(len(x), 'row')}, targets {len(targets)}"
            + ("" if groups is None else f" and groups {len(groups)}")
            + ". Pass one row of each for each cell or pixel."
        )
    if len(x) < 2:
        raise TableError(f"An imputer needs 2 rows or more and was given {len(x)}.")
    codes = None if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1].ravel()
    if method == "mean" or x.shape[1] == 0:
        return MeanImputer(method, x.shape[1], len(x), targets.mean(axis=0))
    if method == "correlated":
        return _fit_correlated(x, targets)
    if method == "linear":
        return _fit_linear(x, targets, codes)
    return _fit_neighbors(x, targets, codes, random_state)


@one_thread()
def predict_left_out(
    method: str, x: np.ndarray, targets: np.ndarray, groups: np.ndarray, random_state: int = 0
) -> np.ndarray:
    """Predicted targets ``(n, T)`` of each patient by a fit to others: whole patients are held out in turn.

    Up to ten patients each by itself, of more in ten parts.

    Raises
    ------
    TableError
        If there are fewer than two patients.
    """
    x, targets, groups = np.asarray(x, dtype=float), np.asarray(targets, dtype=float), np.asarray(groups)
    if len(np.unique(groups)) < 2:
        raise TableError("Rows are of one patient: nothing is left to fit when it is held out. Pass more patients.")
    predicted = np.full(targets.shape, np.nan)
    for train, test in held_out_patients(groups, random_state):
        predicted[test] = fit_imputer(method, x[train], targets[train], groups[train], random_state).predict(x[test])
    return predicted


def standardised(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns with mean 0 and standard deviation 1, their means and deviations; a constant column becomes 0."""
    center, scale = x.mean(axis=0), x.std(axis=0)
    scale = np.where(scale > 1e-9 * np.maximum(np.abs(center), 1e-300), scale, 1.0)
    return (x - center) / scale, center, scale


def _fit_correlated(x: np.ndarray, targets: np.ndarray) -> LinearImputer:
    z, center, scale = standardised(x)
    covariance = z.T @ (targets - targets.mean(axis=0)) / len(x)  # with columns of one deviation: of r's order
    best, places = np.abs(covariance).argmax(axis=0), np.arange(targets.shape[1])
    coefficients = np.zeros(covariance.shape)
    coefficients[best, places] = covariance[best, places] / scale[best]
    return LinearImputer(
        "correlated",
        x.shape[1],
        len(x),
        targets.mean(axis=0) - center @ coefficients,
        coefficients,
        np.zeros(targets.shape[1]),
    )


def _fit_linear(x: np.ndarray, targets: np.ndarray, codes: np.ndarray | None) -> LinearImputer:
    z, center, scale = standardised(x)
    y_mean = targets.mean(axis=0)
    y = targets - y_mean
    penalties = len(x) * np.array(PENALTIES)
    if codes is not None and codes.max() > 0:
        errors = _errors_of_groups(z, y, codes, penalties)
    else:
        errors = _errors_of_rows(z, y, penalties)
    penalty = penalties[errors.argmin(axis=0)]
    values, axes = np.linalg.eigh(z.T @ z)
    values = np.maximum(values, 0)[:, None]
    beta = axes @ ((axes.T @ (z.T @ y)) / (values + penalty)) / scale[:, None]
    return LinearImputer("linear", x.shape[1], len(x), y_mean - center @ beta, beta, penalty)


def _errors_of_rows(z: np.ndarray, y: np.ndarray, penalties: np.ndarray) -> np.ndarray:
    """Mean squared errors ``(penalties, T)`` of rows left out one by one: residuals over one minus the leverage."""
    values, axes = np.linalg.eigh(z.T @ z)
    values = np.maximum(values, 0)
    turned = z @ axes
    squares, products = turned**2, turned.T @ y
    errors = []
    for penalty in penalties:
        shrunk = 1 / (values + penalty)
        leverage = 1 / len(z) + squares @ shrunk
        left_out = (y - turned @ (shrunk[:, None] * products)) / np.maximum(1 - leverage, 1e-12)[:, None]
        errors.append((left_out**2).mean(axis=0))
    return np.array(errors)


def _errors_of_groups(z: np.ndarray, y: np.ndarray, codes: np.ndarray, penalties: np.ndarray) -> np.ndarray:
    """Mean squared errors ``(penalties, T)`` of groups left out one by one, intercept included, from their products."""
    design = np.column_stack([np.ones(len(z)), z])
    members = [np.flatnonzero(codes == code) for code in range(int(codes.max()) + 1)]
    grams = np.array([design[rows].T @ design[rows] for rows in members])
    crosses = np.array([design[rows].T @ y[rows] for rows in members])
    squares = np.array([(y[rows] ** 2).sum(axis=0) for rows in members])
    gram, cross, errors = grams.sum(axis=0), crosses.sum(axis=0), []
    for penalty in penalties:
        ridge = np.diag(np.r_[0.0, np.full(z.shape[1], penalty)])
        beta = np.linalg.solve(gram - grams + ridge, cross - crosses)
        fitted = (beta * (grams @ beta)).sum(axis=1) - 2 * (beta * crosses).sum(axis=1)
        errors.append((squares + fitted).sum(axis=0) / len(z))
    return np.array(errors)


def _fit_neighbors(x: np.ndarray, targets: np.ndarray, codes: np.ndarray | None, random_state: int) -> NeighborImputer:
    from sklearn.neighbors import KNeighborsRegressor

    z, center, scale = standardised(x)
    rows = drawn_evenly(len(x) if codes is None else codes, MAX_ROWS, random_state)
    model = KNeighborsRegressor(n_neighbors=min(N_NEIGHBORS, len(rows))).fit(z[rows], targets[rows])
    return NeighborImputer("knn", x.shape[1], len(x), center, scale, model, targets.shape[1])


def drawn_evenly(groups: np.ndarray | int, most: int, random_state: int) -> np.ndarray:
    """At most `most` rows, in order, drawn so that each group gives as many as it can of the same number.

    Examples
    --------
    >>> drawn_evenly(np.repeat([0, 1], [2, 98]), 10, 0).tolist()[:2]
    [0, 1]
    """
    codes = np.zeros(groups, int) if isinstance(groups, int) else np.asarray(groups)
    if len(codes) <= most:
        return np.arange(len(codes))
    shuffled = np.random.default_rng(random_state).permutation(len(codes))
    order = shuffled[np.argsort(codes[shuffled], kind="stable")]
    starts = np.r_[0, np.flatnonzero(np.diff(codes[order])) + 1]
    turn = np.arange(len(order)) - np.repeat(starts, np.diff(np.r_[starts, len(order)]))
    return np.sort(order[np.argsort(turn, kind="stable")[:most]])


def _finite(values: np.ndarray, name: str) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    if values.ndim != 2:
        raise TableError(f"{name} has {counted(values.ndim, 'dimension')}; pass rows and columns.")
    wrong = int((~np.isfinite(values)).any(axis=1).sum())
    if wrong:
        raise TableError(
            f"{counted(wrong, 'row')} of {name} hold values that are not finite. Leave out the rows, or the columns, "
            "that were not measured."
        )
    return values
