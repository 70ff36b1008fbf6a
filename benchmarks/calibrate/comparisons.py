"""Scores compared on the same patients, and features next to clinical covariates."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd

import spatialfm as sfm

from .case import Case

# share of 200,000 cohorts of 40 against 40 exponential times, hazard ratio 1.7 and all events, whose log-rank test has
# a p-value of 0.05 or less (error 0.001; the test is that of lifelines, to 1e-12). Schoenfeld's formula (1981): 0.660
POWER_OF_LOGRANK = 0.641
# the same of Brunner and Munzel's test of 30 against 30 normal values one AUROC of 0.7 apart (that of scipy, to 1e-12).
# Noether's formula (1987) for the Mann-Whitney test takes the variance of no effect and gives 0.765
POWER_OF_BRUNNER_MUNZEL = 0.793


def patients(seed: int, n: int, censored: float, **columns) -> ad.AnnData:
    """A cohort whose risk is ``age`` (hazard ratio 2 for one sd) and the columns that functions of it make."""
    rng = np.random.default_rng(seed)
    age = rng.normal(size=n)
    time = rng.exponential(np.exp(-0.7 * age))
    limit = rng.exponential(np.exp(-0.7 * age)) * (1 - censored) / censored if censored else np.full(n, np.inf)
    obs = pd.DataFrame({"age": age, "time": np.minimum(time, limit), "event": (time <= limit).astype(int)})
    for name, make in columns.items():
        obs[name] = make(rng, age)
    return ad.AnnData(obs=obs.set_axis([f"P{i}" for i in range(n)]))


def _noisy(sd: float):
    return lambda rng, age: age + sd * rng.normal(size=len(age))


def _noise(rng, age):
    return rng.normal(size=len(age))


def _difference(seed: int, n: int, censored: float, first, second) -> float:
    table = patients(seed, n, censored, one=first, two=second)
    return sfm.tl.compare_concordance(table, ["one", "two"], copy=True)["table"]["p_value"].iloc[0]


def _covers(seed: int, n: int, censored: float) -> tuple[float, float, float]:
    row = sfm.tl.compare_concordance(
        patients(seed, n, censored, one=_noisy(1.0), two=_noisy(1.0)), ["one", "two"], copy=True
    )["table"].iloc[0]
    return row["ci_low"], row["ci_high"], 0.0


def _added(seed: int, n: int, censored: float, feature) -> float:
    table = patients(seed, n, censored, new=feature)
    return sfm.tl.added_value(table, "new", ["age"], n_bootstrap=0, copy=True)["p_value"]


def _along(rng, age):
    """Correlated with the covariate, and nothing beyond it."""
    return 0.7 * age + 0.7 * rng.normal(size=len(age))


def _unmeasured(seed: int, n: int) -> float:
    """The covariate is a poor measure of what matters, the feature a good one."""
    table = patients(seed, n, 0.5, new=_noisy(0.3), old=_noisy(1.5))
    return sfm.tl.added_value(table, "new", ["old"], n_bootstrap=0, copy=True)["p_value"]


def _power_of(seed: int, question: str, effect: float, n: int) -> tuple[float, float]:
    """Power, and what it is by 200,000 cohorts."""
    table = patients(seed, 300, 0.0)
    options = {"n_patients": [n], "n_simulations": 200, "random_state": seed, "copy": True}
    if question == "survival":
        row = sfm.tl.power(table, question, effect, share=0.5, **options)["table"].iloc[0]
        return row["power"], POWER_OF_LOGRANK
    row = sfm.tl.power(table, question, effect, **options)["table"].iloc[0]
    return row["power"], POWER_OF_BRUNNER_MUNZEL


CASES = [
    Case("tl.compare_concordance", "two scores alike, 40 patients, half censored", "p_value",
         lambda s: _difference(s, 40, 0.5, _noisy(1.0), _noisy(1.0)), 1000, cheap=True),
    Case("tl.compare_concordance", "two scores alike, 20 patients, half censored", "p_value",
         lambda s: _difference(s, 20, 0.5, _noisy(1.0), _noisy(1.0)), 1000, conservative=True),
    Case("tl.compare_concordance", "two scores of nothing, 100 patients, 80 % censored", "p_value",
         lambda s: _difference(s, 100, 0.8, _noise, _noise), 600),
    Case("tl.compare_concordance", "two scores alike, 40 patients", "interval", lambda s: _covers(s, 40, 0.5), 600),
    Case("tl.compare_concordance", "noise of 0.5 against 2 sd, 100 patients", "power",
         lambda s: _difference(s, 100, 0.5, _noisy(0.5), _noisy(2.0)), 300),
    Case("tl.added_value", "a feature of nothing, 60 patients, half censored", "p_value",
         lambda s: _added(s, 60, 0.5, _noise), 1000, cheap=True),
    Case("tl.added_value", "a feature that follows the covariate, 60 patients", "p_value",
         lambda s: _added(s, 60, 0.5, _along), 600),
    Case("tl.power", "hazard ratio 1.7, 80 patients, less its share of 200,000 cohorts", "score",
         lambda s: _power_of(s, "survival", 1.7, 80), 150,
         note="chance: 0.002 (-0.003 to 0.007) with 200 other pilots, seeds 5000 to 5199"),
    Case("tl.power", "AUROC 0.7, 60 patients, less its share of 200,000 cohorts", "score",
         lambda s: _power_of(s, "auroc", 0.7, 60), 150),
    Case("tl.added_value", "the feature measures what the covariate measures poorly, 100 patients", "power",
         lambda s: _unmeasured(s, 100), 300),
]  # fmt: skip
