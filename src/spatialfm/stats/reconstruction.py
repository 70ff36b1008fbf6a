"""How near predicted values of a marker are to measured ones, by patient, and what that says of other patients."""

from __future__ import annotations

import numpy as np
from scipy import stats

SCORES = ("r", "spearman", "mse", "f1")
LIMITS = {"r": (-1.0, 1.0), "spearman": (-1.0, 1.0), "mse": (0.0, np.inf), "f1": (0.0, 1.0), "ssim": (-1.0, 1.0)}
MIN_ROWS = 10  # cells or pixels of a patient: correlations of fewer say little, and would weigh as much
LEAST = 3  # values without which there is no correlation
N_PIXELS = 7  # side of the window of structural similarity


def scores(measured: np.ndarray, predicted: np.ndarray, threshold: float | np.ndarray) -> dict[str, float]:
    """Pearson's and Spearman's correlation, mean squared error, and F1 of being above a threshold.

    Parameters
    ----------
    measured, predicted
        ``(n,)``, finite.
    threshold
        Value above which one is positive, both measured and predicted ones; one, or one for each.

    Returns
    -------
    ``r``, ``spearman``, ``mse`` and ``f1``. NaN where there is none: correlations of fewer than three values or of a
    constant, F1 where nothing is positive, neither measured nor predicted.

    Examples
    --------
    >>> result = scores(np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.0, 2.0, 1.0, 3.0]), 0.5)
    >>> {name: round(value, 2) for name, value in result.items()}
    {'r': 0.8, 'spearman': 0.8, 'mse': 0.5, 'f1': 1.0}
    """
    measured, predicted = np.asarray(measured, dtype=float).ravel(), np.asarray(predicted, dtype=float).ravel()
    by_score = {"r": pearson(measured, predicted), "spearman": np.nan, "mse": np.nan, "f1": np.nan}
    if not len(measured):
        return by_score
    by_score["spearman"] = pearson(stats.rankdata(measured), stats.rankdata(predicted))
    by_score["mse"] = float(((measured - predicted) ** 2).mean())
    truth, called = measured > threshold, predicted > threshold
    n_positive = int(truth.sum() + called.sum())
    by_score["f1"] = 2 * int((truth & called).sum()) / n_positive if n_positive else np.nan
    return by_score


def pearson(one: np.ndarray, two: np.ndarray) -> float:
    """Correlation; NaN of fewer than three values or of a constant."""
    if len(one) < LEAST:
        return np.nan
    a, b = one - one.mean(), two - two.mean()
    flat = [np.abs(x).max() <= 1e-9 * max(float(np.abs(whole).max()), 1e-300) for x, whole in ((a, one), (b, two))]
    if any(flat):
        return np.nan
    return float(np.clip((a @ b) / np.sqrt((a @ a) * (b @ b)), -1, 1))


def structural_similarity(measured: np.ndarray, predicted: np.ndarray) -> float:
    """Mean structural similarity of two images ``(y, x)`` (Wang et al. 2004), in windows of 7 pixels.

    Both are cut at the 99.9th percentile of the measured one, so that one hot pixel does not decide the range. NaN of
    images below 7 pixels a side, and of constant ones.
    """
    from skimage.metrics import structural_similarity as similarity

    measured, predicted = np.asarray(measured, dtype=float), np.asarray(predicted, dtype=float)
    low, high = float(measured.min()), float(np.percentile(measured, 99.9))
    if min(measured.shape) < N_PIXELS or not high > low:
        return np.nan
    one, two = np.clip(measured, low, high), np.clip(predicted, low, high)
    return float(similarity(one, two, win_size=N_PIXELS, data_range=high - low))


def over_patients(
    values: np.ndarray,
    n_bootstrap: int,
    rng: np.random.Generator,
    level: float = 0.95,
    limits: tuple[float, float] = (-np.inf, np.inf),
) -> tuple[float, float, float]:
    """Mean over patients and an interval for that of other patients, from draws of patients with replacement.

    Percentiles of the bootstrap lie too near to each other for few patients, as if a normal distribution was taken for
    Student's t, and the variance divided by n instead of n - 1. They are taken further out by as much (Hesterberg, The
    American Statistician 2015, *expanded percentile interval*), and the interval is at least Student's, as the draws of
    five patients have no tails. Patients without a value are left out; of fewer than two, or without draws, there is no
    interval. It ends at the `limits` of what is measured.

    Examples
    --------
    >>> mean, low, high = over_patients(np.array([0.5, 0.7, np.nan]), 1000, np.random.default_rng(0))
    >>> round(mean, 2), bool(low < 0.6 < high)
    (0.6, True)
    """
    values = np.asarray(values, dtype=float)
    values = values[np.isfinite(values)]
    n = len(values)
    if not n:
        return np.nan, np.nan, np.nan
    mean = float(values.mean())
    if n < 2 or not n_bootstrap:
        return mean, np.nan, np.nan
    weights = rng.multinomial(n, np.full(n, 1 / n), size=n_bootstrap)
    reach = float(stats.t.ppf((1 + level) / 2, n - 1))
    tail = float(stats.norm.cdf(-np.sqrt(n / (n - 1)) * reach))
    low, high = np.quantile(weights @ values / n, [tail, 1 - tail])
    student = reach * float(values.std(ddof=1)) / np.sqrt(n)
    low, high = np.clip([min(low, mean - student), max(high, mean + student)], *limits)
    return mean, float(low), float(high)
