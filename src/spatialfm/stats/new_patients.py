"""Whether new patients are like those that something was fitted or calibrated on: tests whose cases are patients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from .permutation import permutation_p


@dataclass(frozen=True)
class Shift:
    """Of new patients against known ones.

    Attributes
    ----------
    p_value
        That all come from one population: labels of patients shuffled, the largest difference of means over columns,
        in standard deviations of patients.
    column
        Number of the column that differs most.
    p_of_patient, column_of_patient
        ``(new,)`` each, by itself: share of patients, itself and the known ones, that are as far from the others of
        these as it is. With K known ones it is 1 / (K + 1) at the least.
    """

    p_value: float
    column: int
    p_of_patient: np.ndarray
    column_of_patient: np.ndarray


def mean_ranks(values: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Names of the groups, and of each the mean rank (0 to 1) of its rows in each column, ``(groups, columns)``.

    Ranks are not moved by the few brightest cells, and need no transformation of intensities.
    """
    names, codes = np.unique(groups, return_inverse=True)
    codes = codes.ravel()
    sums = np.zeros((len(names), values.shape[1]))
    np.add.at(sums, codes, (rankdata(values, axis=0) - 0.5) / len(values))
    return names, sums / np.bincount(codes)[:, None]


def shift(known: np.ndarray, new: np.ndarray, n_permutations: int, rng: np.random.Generator) -> Shift:
    """Test new patients against known ones.

    Both p-values are exact where patients are exchangeable, of however few: the order of the labels is all that is used
    (for a patient by itself: Vovk, Gammerman and Shafer, *Algorithmic learning in a random world*, 2005).

    Parameters
    ----------
    known, new
        ``(K, columns)`` and ``(J, columns)``: one row per patient, such as of `mean_ranks`.

    Examples
    --------
    >>> known = np.linspace(-1, 1, 19)[:, None]
    >>> result = shift(known, np.array([[0.1], [7.0]]), 199, np.random.default_rng(0))
    >>> result.p_of_patient.round(2).tolist()
    [0.95, 0.05]
    """
    together = np.vstack([known, new])
    is_new = np.arange(len(together)) >= len(known)
    orders = np.array([rng.permutation(is_new) for _ in range(n_permutations)]).reshape(-1, len(together))
    observed = _apart(together, is_new[None])[0]
    null = _apart(together, orders).max(axis=1) if len(orders) else np.zeros(0)
    own = [_alone(np.vstack([known, row])) for row in new]
    return Shift(
        float(permutation_p(null, observed.max())),
        int(observed.argmax()),
        np.array([p for p, _ in own]),
        np.array([column for _, column in own], dtype=int),
    )


def _apart(values: np.ndarray, is_new: np.ndarray) -> np.ndarray:
    """Absolute differences of means ``(orders, columns)``, in standard deviations of all patients."""
    n_new = is_new.sum(axis=1, keepdims=True)
    of_new = is_new @ values / n_new
    of_known = (~is_new) @ values / (is_new.shape[1] - n_new)
    return np.abs(of_new - of_known) / _deviations(values)


def _alone(values: np.ndarray) -> tuple[float, int]:
    """Share of rows as far from the others as the last one, and the column in which that one is furthest."""
    n = len(values)
    others = (values.sum(axis=0) - values) / (n - 1)
    away = np.abs(values - others) / _deviations(values)
    furthest = away.max(axis=1)
    return float((furthest >= furthest[-1] * (1 - 1e-9)).mean()), int(away[-1].argmax())


def _deviations(values: np.ndarray) -> np.ndarray:
    deviations = values.std(axis=0)
    return np.where(deviations > 1e-12, deviations, 1.0)
