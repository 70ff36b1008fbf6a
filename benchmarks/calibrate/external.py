"""Models of one cohort on another: intervals of calibration and concordance, groups that a cut makes.

The model is the one that the target comes from (slope 1, events as expected), or independent of it (concordance 0.5).
"""

from __future__ import annotations

from functools import cache, partial

import anndata as ad
import numpy as np
import pandas as pd

import spatialfm as sfm

from .case import Case

STEPS = np.arange(1, 800) / 100


def cohort(seed: int, n: int, name: str, beta: float, limit: float = 3.0, ties: bool = False) -> ad.AnnData:
    """Times with hazard ``exp(beta * x)``, censored uniformly up to `limit`."""
    rng = np.random.default_rng((seed, len(name)))
    x = rng.normal(size=n)
    time, censored = rng.exponential(np.exp(-beta * x)), rng.uniform(0, limit, n)
    event, time = time <= censored, np.minimum(time, censored)
    event[np.argmin(time)] = True
    if ties:
        time = np.ceil(8 * time) / 8
    obs = pd.DataFrame({"time": time, "event": event, "x": x}, index=[f"{name}{i}" for i in range(n)])
    return ad.AnnData(obs=obs)


@cache  # several scores of the same cohort are cases
def validated(
    seed: int, n: int, beta: float, effect: float, limit: float, ties: bool
) -> tuple[pd.DataFrame, float] | None:
    source = cohort(seed, 60, "source ", beta)
    sfm.tl.cox(source, "x", test_proportional_hazards=False)
    source.uns["cox"]["model"] |= {
        "coef": np.array([beta]),
        "center": 0.0,
        "baseline": pd.DataFrame({"stratum": 0, "time": STEPS, "hazard": STEPS}),
    }
    target = cohort(seed, n, "target", effect, limit, ties)
    if target.obs["event"].sum() < 3:
        return None
    times = [float(target.obs.loc[target.obs["event"], "time"].quantile(0.5, interpolation="lower"))]
    found = sfm.tl.predict_survival(
        source, target, cut="median", times=times, thresholds=[0.5], n_bootstrap=200, random_state=seed, copy=True
    )
    return found["scores"], found["p_value"]


def external(
    seed: int,
    what: str,
    n: int = 100,
    beta: float = 1.0,
    effect: float | None = None,
    limit: float = 3.0,
    ties: bool = False,
):
    """Rows of low, high and truth of a score, or the p-value of the two groups."""
    found = validated(seed, n, beta, beta if effect is None else effect, limit, ties)
    if found is None:
        return np.nan if what == "p_value" else [np.nan, np.nan, 0.0]
    if what == "p_value":
        return found[1]
    truth = {"calibration_slope": 1.0, "observed_expected": 1.0, "harrell": 0.5}[what]
    return [*found[0].loc[what, ["ci_low", "ci_high"]], truth]


SLOPE, RATIO = "calibration_slope", "observed_expected"
CASES = [
    Case("tl.predict_survival", "slope, 100 patients", "interval", partial(external, what=SLOPE), 150),
    Case("tl.predict_survival", "slope, 30 patients", "interval", partial(external, what=SLOPE, n=30), 150),
    Case("tl.predict_survival", "slope, 100 patients, 3 of 4 censored", "interval",
         partial(external, what=SLOPE, limit=0.6), 150),
    Case("tl.predict_survival", "slope, ties", "interval", partial(external, what=SLOPE, ties=True), 150),
    Case("tl.predict_survival", "events over expected, 100 patients", "interval",
         partial(external, what=RATIO), 150, conservative=True,
         note="Poisson, which allows for more events than there are patients"),
    Case("tl.predict_survival", "events over expected, 3 of 4 censored", "interval",
         partial(external, what=RATIO, limit=0.6), 150, conservative=True),
    Case("tl.predict_survival", "concordance of nothing, 100 patients", "interval",
         partial(external, what="harrell", effect=0.0), 150),
    Case("tl.predict_survival", "groups of nothing, 60 patients", "p_value",
         partial(external, what="p_value", effect=0.0, n=60), 150),
    Case("tl.predict_survival", "groups, hazard ratio 2 a standard deviation, 100 patients", "power",
         partial(external, what="p_value", beta=0.7), 100),
]  # fmt: skip
