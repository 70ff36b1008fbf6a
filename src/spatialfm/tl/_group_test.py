"""Groups of patients compared: rank tests with effect size and interval."""

from __future__ import annotations

import numpy as np
import pandas as pd

LEAST = 3  # patients in a group


def rank_biserial(one: np.ndarray, two: np.ndarray) -> tuple[float, float]:
    """Rank-biserial correlation, positive where `two` is larger, and the p-value of the Mann-Whitney test."""
    from scipy import stats

    if np.ptp(np.concatenate([one, two])) == 0:
        return 0.0, 1.0
    found = stats.mannwhitneyu(two, one)
    return float(2 * found.statistic / (len(one) * len(two)) - 1), float(found.pvalue)


def two_groups(one: np.ndarray, two: np.ndarray, n_bootstrap: int, rng: np.random.Generator) -> dict[str, float]:
    """Mann-Whitney test of two groups, with medians and the rank-biserial correlation.

    Returns
    -------
    ``n_1``, ``n_2``, ``median_1``, ``median_2``, their ``difference`` (2 minus 1), ``effect`` (positive where group 2
    is higher) with the percentile interval ``effect_low`` to ``effect_high`` of patients drawn again within their
    group, ``p_value``. With fewer than three patients in a group, effect and p are NaN.

    Examples
    --------
    >>> import numpy as np
    >>> found = two_groups(np.arange(5.0), np.arange(3.0, 8.0), 100, np.random.default_rng(0))
    >>> found["difference"], round(found["effect"], 2)
    (3.0, 0.84)
    """
    row = {"n_1": len(one), "n_2": len(two)}
    row["median_1"] = float(np.median(one)) if len(one) else np.nan
    row["median_2"] = float(np.median(two)) if len(two) else np.nan
    row["difference"] = row["median_2"] - row["median_1"]
    row |= dict.fromkeys(("effect", "effect_low", "effect_high", "p_value"), np.nan)
    if min(len(one), len(two)) >= LEAST:
        row["effect"], row["p_value"] = rank_biserial(one, two)
        row["effect_low"], row["effect_high"] = effect_interval(one, two, n_bootstrap, rng)
    return row


def effect_interval(
    one: np.ndarray, two: np.ndarray, n_bootstrap: int, rng: np.random.Generator, level: float = 0.95
) -> tuple[float, float]:
    """Bootstrap interval of the rank-biserial correlation, patients drawn within their group."""
    if n_bootstrap < 1:
        return np.nan, np.nan
    above = np.sign(two[:, None] - one[None, :])
    # how often each patient is drawn
    times_1 = rng.multinomial(len(one), np.full(len(one), 1 / len(one)), n_bootstrap)
    times_2 = rng.multinomial(len(two), np.full(len(two), 1 / len(two)), n_bootstrap)
    drawn = ((times_2 @ above) * times_1).sum(axis=1) / (len(one) * len(two))
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def benjamini_hochberg(p: pd.Series) -> np.ndarray:
    """Corrected p-values; NaN where there was no test."""
    from scipy import stats

    q, tested = np.full(len(p), np.nan), p.notna().to_numpy()
    if tested.any():
        q[tested] = stats.false_discovery_control(p[tested])
    return q
