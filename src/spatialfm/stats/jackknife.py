"""Intervals from estimates that leave one unit out at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats


def jackknife_variance(left_out: Sequence[float] | np.ndarray) -> float:
    """Variance of an estimate from its values without one unit each; NaN below two units.

    Examples
    --------
    Of a mean it is the squared standard error:

    >>> import numpy as np
    >>> x = np.array([1.0, 2.0, 4.0])
    >>> round(jackknife_variance([x[[1, 2]].mean(), x[[0, 2]].mean(), x[[0, 1]].mean()]) - x.var(ddof=1) / 3, 12)
    0.0
    """
    values = np.asarray(left_out, dtype=np.float64)
    values = values[np.isfinite(values)]
    n = len(values)
    return float((n - 1) / n * ((values - values.mean()) ** 2).sum()) if n > 1 else np.nan


def t_limits(value: float, variance: float, freedom: int, level: float = 0.95) -> tuple[float, float]:
    """Student's interval around a value; NaN without a degree of freedom."""
    if freedom < 1 or not np.isfinite(variance):
        return np.nan, np.nan
    half = stats.t.ppf((1 + level) / 2, freedom) * np.sqrt(variance)
    return float(value - half), float(value + half)
