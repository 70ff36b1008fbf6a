"""Scores of many draws of the same cases into training and test: how far their mean is from that in other cases."""

from __future__ import annotations

import numpy as np
from scipy import stats

# Nadeau and Bengio (Machine Learning 2003) take the correlation of two draws for the share of cases that their tests
# have in common, which makes test over training cases the allowance. What training parts have in common comes on top:
# on cohorts of 20 to 60 patients with and without effect, twice that covers (one allowance: 0.88 to 0.93). Where tests
# are most of the cases (few-shot), draws differ by their support, and the allowance is less than one variance.
TIMES, MOST = 2.0, 1.0


def variance_of_mean(n_draws: int, ratio: float) -> float:
    """Variance of the mean over draws, as a multiple of the variance between draws.

    Parameters
    ----------
    ratio
        Test over training cases of a draw.

    Examples
    --------
    However many draws are made of the same patients, half a variance stays where a fifth is held out:

    >>> variance_of_mean(100, 0.25), variance_of_mean(10**6, 0.25)
    (0.51, 0.500001)
    """
    return 1 / max(n_draws, 1) + min(TIMES * ratio, MOST)


def mean_above_zero(differences: np.ndarray, ratio: float, freedom: int) -> float:
    """One-sided p-value that the mean over draws is above 0 in other cases.

    Draws that all differ by the same have no spread to be judged by: 0.5 if the difference is 0, otherwise NaN.
    """
    mean = float(differences.mean())
    error = float(np.sqrt(variance_of_mean(len(differences), ratio) * differences.var(ddof=1)))
    if error < 1e-12:
        return 0.5 if abs(mean) < 1e-12 else np.nan
    return float(stats.t.sf(mean / error, max(freedom, 1)))
