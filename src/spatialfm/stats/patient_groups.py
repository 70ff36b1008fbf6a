"""Groups of patients compared: tests that do not assume equal spread, with effect size and interval."""

from __future__ import annotations

import numpy as np
import pandas as pd

from . import group_tests

LEAST = 3  # patients in a group
SHUFFLES = 4999


def rank_biserial(one: np.ndarray, two: np.ndarray, n_permutations: int = SHUFFLES) -> tuple[float, float]:
    """Rank-biserial correlation, positive where `two` is larger, and the p-value of `group_tests.two_groups`."""
    tested = _tested(one, two, n_permutations)
    return tested["effect"], tested["p_value"]


def two_groups(one: np.ndarray, two: np.ndarray, n_permutations: int = SHUFFLES) -> dict[str, float]:
    """Two groups by ranks and by means, with medians and the rank-biserial correlation.

    Returns
    -------
    ``n_1``, ``n_2``, ``median_1``, ``median_2``, their ``difference`` (2 minus 1), ``effect`` (positive where group 2
    is higher) with its 95 % interval ``effect_low`` to ``effect_high``, ``p_value``. With fewer than three patients in
    a group, effect and p are NaN.

    Examples
    --------
    >>> import numpy as np
    >>> result = two_groups(np.arange(5.0), np.arange(3.0, 8.0))
    >>> result["difference"], round(result["effect"], 2)
    (3.0, 0.84)
    """
    row: dict[str, float] = {"n_1": len(one), "n_2": len(two)}
    row["median_1"] = float(np.median(one)) if len(one) else np.nan
    row["median_2"] = float(np.median(two)) if len(two) else np.nan
    row["difference"] = row["median_2"] - row["median_1"]
    row |= dict.fromkeys(("effect", "effect_low", "effect_high", "p_value"), np.nan)
    if min(len(one), len(two)) >= LEAST:
        tested = _tested(one, two, n_permutations)
        row |= {name: tested[name] for name in ("effect", "effect_low", "effect_high", "p_value")}
    return row


def _tested(one: np.ndarray, two: np.ndarray, n_permutations: int) -> dict[str, float]:
    values, codes = np.concatenate([one, two]).astype(float)[:, None], np.repeat([0, 1], [len(one), len(two)])
    rng = np.random.default_rng(0)
    table = group_tests.two_groups(group_tests.placements(values), values, codes, n_permutations, rng)
    return {name: float(part[0]) for name, part in table.items()}


def benjamini_hochberg(p: pd.Series) -> np.ndarray:
    """Corrected p-values; NaN where there was no test."""
    from scipy import stats

    q, tested = np.full(len(p), np.nan), p.notna().to_numpy()
    if tested.any():
        q[tested] = stats.false_discovery_control(p[tested])
    return q
