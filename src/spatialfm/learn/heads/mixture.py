"""Several fitted methods as one: the weighted geometric mean of their probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..temperature import MIN_HELD_OUT, Calibration, calibration_of, find_temperature, tempered
from .fitted import Fitted, called_shares, held_out_probability, softmax

FLOOR = 1e-3  # a tree that has seen five cells of a type excludes none
USUAL = 0.65  # temperature of what is pooled, in nine of twelve sets: parts that differ are together too unsure
SPREAD = 0.5  # of the logarithm of the temperature of a part, before anything is known: half as sure again is usual
PULL = 0.02  # towards equal weights, in cross-entropy: few held-out cells tell little about weights


@dataclass(frozen=True)
class Mixture:
    """Fitted methods, the columns that each of them sees, their weights, which add up to 1, and temperatures."""

    parts: Sequence[Fitted] = field(repr=False)
    columns: Sequence[slice] = field(repr=False)
    weights: np.ndarray = field(repr=False)
    temperatures: np.ndarray = field(repr=False)  # of each part before it is pooled; `calibration` is that after
    calibration: Calibration = Calibration()
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def classes(self) -> list[str]:
        """Names of the columns of probabilities."""
        return self.parts[0].classes

    def predict_proba(self, values: np.ndarray) -> np.ndarray:
        """Probabilities ``(m, classes)`` of rows ``(m, columns)``, not yet scaled."""
        by_part = zip(self.parts, self.columns, strict=True)
        return self._pooled([part.predict_proba(values[:, columns]) for part, columns in by_part])

    def predict_seen(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Probabilities of rows of the cells."""
        return self._pooled([part.predict_seen(rows) for part in self.parts])

    def _pooled(self, by_part: Sequence[np.ndarray]) -> np.ndarray:
        return self.calibration.applied(pooled(each_tempered(by_part, self.temperatures), self.weights))


def each_tempered(probabilities: Sequence[np.ndarray], temperatures: np.ndarray) -> list[np.ndarray]:
    """Probabilities of each part, divided by its temperature."""
    return [tempered(one, float(own)) for one, own in zip(probabilities, temperatures, strict=True)]


def pooled(probabilities: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """Weighted geometric mean of probabilities ``(n, classes)``, with a floor, so that rows add up to 1.

    Examples
    --------
    >>> pooled([np.array([[0.9, 0.1]]), np.array([[0.5, 0.5]])], np.array([0.5, 0.5])).round(2).tolist()
    [[0.75, 0.25]]
    """
    logs = sum(weight * np.log(np.maximum(one, FLOOR)) for one, weight in zip(probabilities, weights, strict=True))
    return softmax(np.asarray(logs))


def fit_mixture(
    fits: Sequence[Callable[[np.ndarray, np.ndarray], Fitted]],
    columns: Sequence[slice],
    rows: np.ndarray,
    codes: np.ndarray,
    *,
    groups: np.ndarray | None,
    random_state: int,
    weigh: bool,
    calibrate: bool,
    temper: bool = False,
    seen: np.ndarray | None = None,
    parts: Sequence[Fitted] | None = None,
    like: Fitted | None = None,
) -> Mixture:
    """Fit all, and find on labelled rows that are held out in turn what is asked for.

    Parameters
    ----------
    fits, columns
        Called with rows and their codes; the columns that each of them sees.
    rows, codes
        Labelled rows ``(n,)`` and their classes, from 0 on.
    groups
        Patient of each labelled row.
    weigh
        Whether weights are found (of least cross-entropy, each class weighing alike, pulled towards equal ones);
        otherwise they are equal.
    calibrate
        Whether a temperature of what is pooled is found.
    temper
        Whether a part that is too sure is divided by a temperature of its own before it is pooled, so that it does not
        overrule the others: each class weighs alike, and the fewer rows the nearer it is to 1. None is made surer:
        that is left to the temperature of what is pooled.
    seen
        Rows of the cells, drawn at random, in whose shares of types the temperature holds; default: in those of the
        labelled rows.
    parts
        What `fits` make of all labelled rows, if that is known.
    like
        If it is a mixture, its weights and temperatures are kept, and nothing is found.
    """
    parts = [fit(rows, codes) for fit in fits] if parts is None else parts
    if isinstance(like, Mixture):
        return Mixture(parts, columns, like.weights, like.temperatures)
    weights, temperatures = np.full(len(fits), 1 / len(fits)), np.ones(len(fits))
    fitted = Mixture(parts, columns, weights, temperatures)
    if not (weigh or calibrate or temper):
        return fitted
    held_out = [held_out_probability(fit, rows, codes, groups, random_state) for fit in fits]
    places = held_out[0][1]
    if len(places) < MIN_HELD_OUT:
        return fitted
    probabilities, truth = [probability for probability, _ in held_out], codes[places]
    if temper:
        temperatures = damping(probabilities, truth)
        probabilities = each_tempered(probabilities, temperatures)
    if weigh:
        weights = best_weights(probabilities, truth)
    fitted = replace(fitted, weights=weights, temperatures=temperatures)
    if not calibrate:
        return fitted
    shares = None if seen is None else called_shares(fitted, seen)
    patients = None if groups is None else groups[places]
    calibration = calibration_of(pooled(probabilities, weights), truth, shares, True, USUAL, patients)
    return replace(fitted, calibration=calibration)


def damping(probabilities: Sequence[np.ndarray], codes: np.ndarray) -> np.ndarray:
    """Temperature of each part, 1 or more, that suits rows which it had not seen."""
    share = class_shares(codes)
    return np.array([max(1.0, find_temperature(one, codes, share, SPREAD)) for one in probabilities])


def class_shares(codes: np.ndarray) -> np.ndarray:
    """Weights of rows, of which those of each class that occurs add up to the same, and all to 1.

    Examples
    --------
    >>> class_shares(np.array([0, 2, 2])).tolist()
    [0.5, 0.25, 0.25]
    """
    of_class = np.bincount(codes)
    return 1 / (of_class[codes] * (of_class > 0).sum())


def best_weights(probabilities: Sequence[np.ndarray], codes: np.ndarray) -> np.ndarray:
    """Weights of least cross-entropy of held-out rows, each class weighing alike, pulled towards equal ones."""
    from scipy.optimize import minimize

    share = class_shares(codes)
    rows, n = np.arange(len(codes)), len(probabilities)

    def loss(scores: np.ndarray) -> float:
        weights = softmax(scores[None])[0]
        of_truth = pooled(probabilities, weights)[rows, codes]
        return float(-(share * np.log(of_truth)).sum() + PULL * n * ((weights - 1 / n) ** 2).sum())

    return softmax(minimize(loss, np.zeros(n), method="Nelder-Mead" if n < 4 else "BFGS").x[None])[0]
