"""Scores of folds: interval and test of their mean, which count the folds' overlap."""

from __future__ import annotations

import numpy as np
from scipy import stats


def t_interval(values: np.ndarray, partition: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Interval of the mean over folds of one or several partitions, Student's t."""
    error, freedom = _error(values, partition)
    half = stats.t.ppf((1 + level) / 2, freedom) * error
    return float(values.mean() - half), float(values.mean() + half)


def paired_p(differences: np.ndarray, partition: np.ndarray) -> float:
    """Two-sided p-value of a mean of 0 over folds, with the same error."""
    error, freedom = _error(differences, partition)
    if error < 1e-12:
        return 1.0 if abs(differences.mean()) < 1e-12 else np.nan
    return float(2 * stats.t.sf(abs(differences.mean()) / error, freedom))


def _error(values: np.ndarray, partition: np.ndarray) -> tuple[float, int]:
    """Standard error of the mean in other patients, and degrees of freedom.

    Folds share what they are trained on, so that the variance is 1 / K + 1 / (K - 1) of that between folds (Nadeau and
    Bengio, Machine Learning 2003); several partitions add how far their means are apart.
    """
    parts = [values[partition == number] for number in np.unique(partition)]
    k = len(parts[0])
    variance = (1 / k + 1 / (k - 1)) * np.mean([part.var(ddof=1) for part in parts])
    between = np.var([part.mean() for part in parts], ddof=1) if len(parts) > 1 else 0.0
    return float(np.sqrt(variance + between)), k - 1
