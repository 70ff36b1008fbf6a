"""Whether one answer on labelled cells that were held out is better than another by more than chance."""

from __future__ import annotations

import numpy as np

from ..temperature import find_temperature, tempered
from .mixture import FLOOR, SPREAD, class_shares

N_ERRORS = 1.0  # standard errors by which another must be better


def error_of_sum(values: np.ndarray, groups: np.ndarray | None) -> float:
    """Standard error of a sum over rows, or over patients where there are five or more.

    Examples
    --------
    >>> error_of_sum(np.array([1.0, 1.0, 1.0]), None)
    0.0
    """
    if groups is not None and len(np.unique(groups)) >= 5:
        values = np.bincount(np.unique(groups, return_inverse=True)[1], values)
    return float(np.sqrt(len(values)) * values.std(ddof=1))


def is_better(other: np.ndarray, first: np.ndarray, codes: np.ndarray, groups: np.ndarray | None) -> bool:
    """Whether the cross-entropy of other probabilities is lower by more than its standard error.

    Each class weighs alike, and each answer has the temperature that suits it.

    Parameters
    ----------
    other, first
        Probabilities ``(n, classes)`` of rows by fits that had not seen them.
    codes, groups
        Class of each row, from 0 on, and its patient, if that is known.
    """
    share, rows = class_shares(codes), np.arange(len(codes))
    by_answer = [tempered(one, find_temperature(one, codes, share, SPREAD)) for one in (first, other)]
    losses = [-share * np.log(np.maximum(one[rows, codes], FLOOR)) for one in by_answer]
    apart = losses[0] - losses[1]
    return bool(apart.sum() > N_ERRORS * error_of_sum(apart, groups))
