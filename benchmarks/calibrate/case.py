"""One thing that is measured: a public function, a setting that real cohorts have, and what is right there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

Kind = Literal["p_value", "interval", "score", "power"]
LEVEL, COVERAGE = 0.05, 0.95


@dataclass(frozen=True)
class Case:
    """A function on cohorts that `run` makes from a seed.

    `run` returns, by `kind`: ``"p_value"`` the p-values of what is null in the cohort (one or many; NaN where nothing
    was tested); ``"interval"`` rows of low, high and the truth; ``"score"`` rows of score and what is right (chance);
    ``"power"`` the p-values of what was planted.
    """

    function: str  # "tl.logrank"
    setting: str  # "3 against 30 patients"
    kind: Kind
    run: Callable[[int], object]
    cohorts: int = 400
    cheap: bool = False  # the slow tests hold it: all its cohorts within half a minute
    conservative: bool = False  # may be below the level (above the coverage), which the documentation says
    note: str = ""


@dataclass(frozen=True)
class Measured:
    """What `Case.run` gave over all cohorts: a share (or mean score) with its 95 % interval."""

    value: float
    low: float
    high: float
    nominal: float
    cohorts: int


def measure(case: Case, results: list[object]) -> Measured:
    """Share of p-values below the level, of intervals that cover, or mean difference of score and truth.

    Cohorts are the unit: tests of one cohort depend on each other.
    """
    per_cohort = np.array([_of_one(case.kind, one) for one in results])
    per_cohort = per_cohort[np.isfinite(per_cohort)]
    nominal = {"p_value": LEVEL, "interval": COVERAGE, "score": 0.0, "power": np.nan}[case.kind]
    n, value = len(per_cohort), float(per_cohort.mean()) if len(per_cohort) else np.nan
    if not n:  # nothing was said of any cohort
        return Measured(np.nan, np.nan, np.nan, nominal, 0)
    if case.kind != "score" and np.isin(per_cohort, (0, 1)).all():
        ci = stats.binomtest(int(per_cohort.sum()), n).proportion_ci(method="wilson")
        return Measured(value, ci.low, ci.high, nominal, n)
    half = 1.96 * per_cohort.std(ddof=1) / np.sqrt(n)
    return Measured(value, value - half, value + half, nominal, n)


def _of_one(kind: Kind, result: object) -> float:
    values = np.atleast_1d(np.asarray(result, dtype=float))
    if kind in ("p_value", "power"):
        values = values[np.isfinite(values)]
        # of 19, 39, 99 shuffles p may be the level itself
        return float((values <= LEVEL).mean()) if len(values) else np.nan
    rows = values.reshape(-1, 3 if kind == "interval" else 2)
    if kind == "score":
        return float((rows[:, 0] - rows[:, 1]).mean())
    rows = rows[np.isfinite(rows).all(axis=1)]
    return float(((rows[:, 0] <= rows[:, 2]) & (rows[:, 2] <= rows[:, 1])).mean()) if len(rows) else np.nan
