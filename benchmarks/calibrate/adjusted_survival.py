"""Cuts and groups of patients whose age drives both what is measured and how long they live: at equal age.

Hazards are `exp(age)` times as high; values are age and as much noise, compositions follow age. The null is that age
tells all that the value, or the composition, tells of survival.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from anndata import AnnData

import spatialfm as sfm

from .case import Case

AGE = {"covariates": "age"}
TIMES = {"time_key": "time", "event_key": "event"}
FEWER, LIGHT, HEAVY = 3.0, 10.0, 1.0  # longest follow-up, in mean times to death at mean age


def followed(
    rng: np.random.Generator, table: pd.DataFrame, log_hazard: np.ndarray, limit: float, ties: bool, late: bool
) -> pd.DataFrame:
    """Times with uniform censoring; `late`: entries that are later with age, of those who lived until then."""
    n = len(table)
    time, stop = rng.exponential(np.exp(-log_hazard)), rng.uniform(0, limit, n)
    table = table.assign(time=np.minimum(time, stop), event=time <= stop)
    if ties:
        table["time"] = np.ceil(4 * table["time"])
    if late:
        table["entry"] = 0.3 * rng.random(n) * np.exp(0.5 * table["age"])
        table = table[table["entry"] < table["time"]]
    return table.set_axis([f"P{i:03d}" for i in range(len(table))])


def valued(
    seed: int, n: int = 40, limit: float = FEWER, ties: bool = False, late: bool = False, noise: float = 1.0,
    planted: float = 0.0, site: float = 0.0,
) -> AnnData:  # fmt: skip
    """A value that follows age; `planted` is the log hazard ratio above its upper 40 %; sites differ in all of it."""
    rng = np.random.default_rng(seed)
    age, there = rng.normal(size=n), rng.random(n) < 0.5
    value = age + noise * rng.normal(size=n) + site * there
    above = value > np.quantile(value, 0.6)
    table = pd.DataFrame({"age": age, "value": value, "above": np.where(above, "b", "a")})
    table["site"] = np.where(there, "S1", "S2")
    return AnnData(obs=followed(rng, table, age + planted * above + site * there, limit, ties, late))


def cut(seed: int, options: dict, what: str = "p_value", **cohorts: float) -> float:
    patients = valued(seed, **cohorts)
    late = {"entry_key": "entry"} if "entry" in patients.obs else {}
    plan = {"n_permutations": 199, "random_state": 10_000 + seed, "copy": True}
    return sfm.tl.cut_point(patients, "value", **plan, **late, **options)[what]


def known(seed: int, options: dict, **cohorts: float) -> float:
    """The test of the cut that was planted."""
    return sfm.tl.logrank(valued(seed, **cohorts), "above", n_permutations=999, copy=True, **options)["p_value"]


def composed(
    seed: int, n: int = 60, limit: float = FEWER, ties: bool = False, late: bool = False, planted: float = 0.0,
    site: float = 0.0,
) -> AnnData:  # fmt: skip
    """Four types, of which age moves the first two; `planted` is the log hazard ratio for much of the third.

    Sites differ in the first and the last type, and in the hazard.
    """
    rng = np.random.default_rng(seed)
    age, there = rng.normal(size=n), np.random.default_rng((seed, 1)).random(n) < 0.5
    logits = 0.6 * rng.normal(size=(n, 4)) + np.outer(age, [1.0, -1.0, 0.0, 0.0])
    logits[:, 2] += 1.2 * (much := rng.random(n) < 0.4)
    logits += site * np.outer(there, [1.0, 0.0, 0.0, -1.0])
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    table = pd.DataFrame({"age": age, "row": np.arange(n), "site": np.where(there, "S1", "S2")})
    table = followed(rng, table, age + planted * much + site * there, limit, ties, late)
    return AnnData(shares[table["row"]], obs=table, var=pd.DataFrame(index=list("ABCD")))


def grouped(seed: int, options: dict, groups: dict, **cohorts: float) -> float:
    patients = composed(seed, **cohorts)
    late = {"entry_key": "entry"} if "entry" in patients.obs else {}
    plan = {"n_permutations": 99, "random_state": 10_000 + seed}
    sfm.tl.stratify(patients, **groups, **TIMES, **plan, **late, **options)
    return patients.uns["risk_group"]["test"]["p_value"]


CUT, STRATA = "tl.cut_point", "tl.stratify"
MERGED, FOLDS, NAMED = {"n_groups": 4, "merge_into": 2}, {"n_groups": 4, "merge_into": 2, "cross_fit": 5}, {}
DRIVEN = "age drives value and death: covariates"
MATTER = "age and value both matter: covariates"
TISSUE = "age drives tissue and death"
P = "p_value"
CASES: list[Case] = [
    Case(CUT, f"40 patients, {DRIVEN}", P, partial(cut, options=AGE), 1000, cheap=True),
    Case(CUT, f"40 patients, censored early, {DRIVEN}", P, partial(cut, options=AGE, limit=HEAVY), 1200),
    Case(CUT, f"40 patients, ties, few censored, {DRIVEN}", P, partial(cut, options=AGE, limit=LIGHT, ties=True), 600),
    Case(CUT, f"40 patients, the value is nearly age, {DRIVEN}", P, partial(cut, options=AGE, noise=0.4), 600),
    Case(CUT, f"60 patients, late entry, {DRIVEN}", P, partial(cut, options=AGE, n=60, late=True), 600),
    Case(CUT, f"100 patients, {DRIVEN}", P, partial(cut, options=AGE, n=100), 600),
    Case(CUT, f"100 patients, censored early, {DRIVEN}", P, partial(cut, options=AGE, n=100, limit=HEAVY), 400),
    Case(
        CUT, f"60 patients, sites that differ, {DRIVEN} and block_key", P,
        partial(cut, options=AGE | {"block_key": "site"}, n=60, site=1.0), 600,
    ),
    Case(
        CUT, f"100 patients, {MATTER}", "power", partial(cut, options=AGE, n=100, planted=np.log(2.5)), 200,
        note="hazard ratio 2.5 above the upper 40 %",
    ),
    Case(
        "tl.logrank", f"100 patients, cut that is known, {MATTER}", "power",
        partial(known, options=AGE, n=100, planted=np.log(2.5)), 200, note="the same cohorts, for comparison",
    ),
    Case(STRATA, f"60 patients, merged, {TISSUE}: covariates", P, partial(grouped, options=AGE, groups=MERGED), 200),
    Case(
        STRATA, f"60 patients, cross-fitted, {TISSUE}: covariates", P,
        partial(grouped, options=AGE, groups=FOLDS), 100,
    ),
    Case(
        STRATA, f"60 patients, two groups, {TISSUE}: covariates", P, partial(grouped, options=AGE, groups=NAMED), 1000
    ),
    Case(
        STRATA, f"40 patients, merged, censored early, {TISSUE}: covariates", P,
        partial(grouped, options=AGE, groups=MERGED, n=40, limit=HEAVY), 120,
    ),
    Case(
        STRATA, f"100 patients, merged, ties, few censored, {TISSUE}: covariates", P,
        partial(grouped, options=AGE, groups=MERGED, n=100, limit=LIGHT, ties=True), 100,
    ),
    Case(
        STRATA, f"80 patients, merged, late entry, {TISSUE}: covariates", P,
        partial(grouped, options=AGE, groups=MERGED, n=80, late=True), 300,
    ),
    Case(
        STRATA, f"60 patients, merged, sites that differ, {TISSUE}: covariates and block_key", P,
        partial(grouped, options=AGE | {"block_key": "site"}, groups=MERGED, site=1.0), 400,
    ),
    Case(
        STRATA, f"100 patients, merged, {TISSUE}: covariates", "power",
        partial(grouped, options=AGE, groups=MERGED, n=100, planted=np.log(2.5)), 200,
        note="hazard ratio 2.5 with much of the third type",
    ),
]  # fmt: skip

# the same cohorts without the covariate, for the comparison in the documentation
UNADJUSTED = {
    "tl.cut_point": partial(cut, options={}),
    "tl.cut_point, 100 patients": partial(cut, options={}, n=100),
    "tl.stratify, merged": partial(grouped, options={}, groups=MERGED),
    "tl.stratify, cross-fitted": partial(grouped, options={}, groups=FOLDS),
}
