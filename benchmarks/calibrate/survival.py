"""Survival: small groups, clusters, ties, censoring that differs between groups, competing events, late entry.

Times are exponential and censoring uniform unless said; under the null nothing depends on the group or covariate.
"""

from __future__ import annotations

from functools import partial

import anndata as ad
import numpy as np
import pandas as pd

import spatialfm as sfm
from spatialfm._errors import SpatialfmError

from .case import Case


def cohort(seed: int, sizes=(30, 30), ratio: float = 1.0, censoring=(3.0, 3.0), ties: bool = False, x: str = "normal"):
    """Patients of groups a, b, ...; the hazard of the last is `ratio` times that of the others."""
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(len(sizes)), sizes)
    n = codes.size
    limit = np.resize(censoring, len(sizes))[codes]
    time = rng.exponential(1 / np.where(codes == len(sizes) - 1, ratio, 1.0))
    censored = rng.uniform(0, limit)
    event, time = time <= censored, np.minimum(time, censored)
    event[np.argmin(time)] = True
    if ties:
        time = np.ceil(4 * time)
    values = {"normal": rng.normal(size=n), "skewed": np.exp(1.5 * rng.normal(size=n))}[x]
    obs = pd.DataFrame({"time": time, "event": event, "group": np.array(list("abcdef"))[codes], "x": values})
    obs["site"] = rng.choice(["s", "t"], n)
    obs["dose"] = codes
    return ad.AnnData(obs=obs.set_axis([f"P{i}" for i in range(n)]))


def logrank(seed: int, pairwise: bool = False, trend: bool = False, options=None, **cohorts):
    samples = cohort(seed, **cohorts)
    key = "dose" if trend else "group"
    plan = {"n_permutations": 999} | (options or {})
    result = sfm.tl.logrank(samples, key, pairwise=pairwise, trend=trend, copy=True, **plan)
    if pairwise:
        return result["pairwise"]["p_value"]
    return result["trend"]["p_value"] if trend else result["p_value"]


STABLE = 0.7  # index of stable frailties; 1 would be none


def positive_stable(rng: np.random.Generator, n: int) -> np.ndarray:
    """Numbers whose Laplace transform is ``exp(-s**STABLE)`` (Chambers, Mallows and Stuck 1976)."""
    angle, wait, a = rng.uniform(0, np.pi, n), rng.exponential(size=n), STABLE
    return np.sin(a * angle) / np.sin(angle) ** (1 / a) * (np.sin((1 - a) * angle) / wait) ** ((1 - a) / a)


def clustered(seed: int, sizes, within: bool = False, effect: float = 0.0, interval: bool = False):
    """Rows of patients that share a frailty, and the covariate unless it varies within.

    For the interval, frailties are positive stable: then the hazards of all patients together are proportional as well,
    with `STABLE` times the coefficient within a patient (Hougaard 1986), and the truth is known.
    """
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(len(sizes)), sizes)
    n = patient.size
    x = rng.normal(size=n) if within else rng.normal(size=len(sizes))[patient]
    frailty = positive_stable(rng, len(sizes)) if interval else rng.gamma(1, 1, len(sizes))
    within_patient = effect / STABLE if interval else effect
    time = rng.exponential(1 / (frailty[patient] * np.exp(within_patient * x)))
    censored = rng.exponential(2, n)
    obs = pd.DataFrame({"time": np.minimum(time, censored), "event": time <= censored, "x": x, "lesion_of": patient})
    samples = ad.AnnData(obs=obs.set_axis([f"R{i}" for i in range(n)]))
    arguments = {"cluster_key": "lesion_of", "patient_key": None, "test_proportional_hazards": False, "copy": True}
    row = sfm.tl.cox(samples, "x", **arguments)["table"].loc["x"]
    return [np.log(row["ci_low"]), np.log(row["ci_high"]), effect] if interval else row["p_value"]


def cox(seed: int, key="x", what: str = "p_value", beta: float = 0.0, more: int = 0, **cohorts):
    samples = cohort(seed, **cohorts)
    rng = np.random.default_rng((seed, 1))
    names = [f"z{i}" for i in range(more)]
    for name in names:
        samples.obs[name] = rng.normal(size=samples.n_obs)
    if beta:
        time = rng.exponential(np.exp(-beta * samples.obs["x"]))
        censored = rng.uniform(0, 3, samples.n_obs)
        samples.obs["time"], samples.obs["event"] = np.minimum(time, censored), time <= censored
    try:
        result = sfm.tl.cox(samples, [key, *names], copy=True)
    except SpatialfmError:
        return np.nan  # no maximum, which is reported
    row = result["table"].iloc[0]
    if what == "interval":
        return [np.log(row["ci_low"]), np.log(row["ci_high"]), beta]
    return result["lr_p_value"] if what == "lr" else row[what]


def curve(seed: int, at: float = 0.7, median: bool = False, n: int = 30, limit: float = 3.0, **options):
    samples = cohort(seed, sizes=(n,), censoring=(limit,))
    result = sfm.tl.kaplan_meier(samples, copy=True, **options)
    if median:
        row = result["groups"].iloc[0]
        return [row["median_ci_low"], np.nan_to_num(row["median_ci_high"], nan=np.inf), np.log(2)]
    row = result["table"][result["table"]["time"] <= at].iloc[-1]
    return [row["ci_low"], row["ci_high"], np.exp(-at)]


def late(seed: int, what: str):
    """Diagnosed at 0, entered at random; who had the event before is not there."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 2, 400)
    time, entry = rng.exponential(1, 400), rng.uniform(0, 1.5, 400) * np.where(group, 1.0, 0.2)
    seen = entry < time
    limit = entry + rng.uniform(0.5, 2, 400)
    obs = pd.DataFrame({"time": np.minimum(time, limit), "event": time <= limit, "entry": entry, "arm": group})[seen]
    samples = ad.AnnData(obs=obs.set_axis([f"P{i}" for i in range(len(obs))]))
    if what == "cox":
        return sfm.tl.cox(samples, "arm", entry_key="entry", copy=True)["table"]["p_value"]
    if what == "curve":
        table = sfm.tl.kaplan_meier(samples, entry_key="entry", copy=True)["table"]
        row = table[table["time"] <= 1].iloc[-1]
        return [row["ci_low"], row["ci_high"], np.exp(-1)]
    return sfm.tl.logrank(samples, "arm", entry_key="entry", n_permutations=999, copy=True)["p_value"]


def competing(seed: int, sizes=(40, 40), ratio: float = 1.0, other: float = 1.0, what: str = "gray"):
    """Hazards 1 and 1 of two events; `ratio` and `other` times as high in the last group."""
    rng = np.random.default_rng(seed)
    last = np.repeat(np.arange(len(sizes)), sizes) == len(sizes) - 1
    one, two = rng.exponential(1 / np.where(last, ratio, 1)), rng.exponential(1 / np.where(last, other, 1))
    censored = rng.uniform(0, 3, last.size)
    time = np.minimum(np.minimum(one, two), censored)
    cause = np.where(censored <= np.minimum(one, two), 0, np.where(one < two, 1, 2))
    obs = pd.DataFrame({"time": time, "event": cause, "group": last.astype(int), "x": rng.normal(size=last.size)})
    samples = ad.AnnData(obs=obs.set_axis([f"P{i}" for i in range(last.size)]))
    if what in ("skewed", "sandwich"):
        samples.obs["x"] = np.exp(1.5 * samples.obs["x"])
        se = "larger" if what == "skewed" else "sandwich"
        return sfm.tl.fine_gray(samples, "x", event_value=1, se=se, copy=True)["table"]["p_value"]
    if what == "fine_gray":
        return sfm.tl.fine_gray(samples, "group" if ratio != 1 else "x", event_value=1, copy=True)["table"]["p_value"]
    if what == "interval":  # F1(t) = (1 - exp(-2 t)) / 2
        table = sfm.tl.cumulative_incidence(samples, copy=True)["table"].query("event == '1' and time <= 0.7")
        return [*table.iloc[-1][["ci_low", "ci_high"]], (1 - np.exp(-1.4)) / 2]
    result = sfm.tl.cumulative_incidence(samples, "group", n_permutations=999, copy=True)
    return result["tests"]["p_value"].iloc[0]


def rmst(seed: int, ratio: float = 1.0, what: str = "p_value", horizon: float = 1.0, **cohorts):
    samples = cohort(seed, ratio=ratio, **cohorts)
    known = samples.obs.groupby("group", observed=True)["time"].max().min()
    horizon = min(horizon, known)
    result = sfm.tl.rmst(samples, "group", horizon=horizon, n_permutations=999, copy=True)["differences"].iloc[0]
    if what == "p_value":
        return result["p_value"]
    truth = (1 - np.exp(-ratio * horizon)) / ratio - (1 - np.exp(-horizon))
    return [result["ci_low"], result["ci_high"], truth]


def cut_point(seed: int, **cohorts):
    return sfm.tl.cut_point(cohort(seed, **cohorts), "x", n_permutations=199, copy=True)["p_value"]


def stratify(seed: int):
    samples = cohort(seed, sizes=(60,))
    rng = np.random.default_rng((seed, 2))
    samples = ad.AnnData(X=rng.dirichlet(np.ones(4), 60), obs=samples.obs)
    options = {"merge_into": 2, "cross_fit": 3, "n_permutations": 99}
    sfm.tl.stratify(samples, 4, time_key="time", event_key="event", **options)
    return samples.uns["risk_group"]["test"]["p_value"]


def concordance(seed: int, n: int = 40):
    """Covers 1/2 where the score is noise."""
    row = sfm.tl.concordance(cohort(seed, sizes=(n,)), "x", n_bootstrap=300, copy=True)
    return [row["ci_low"], row["ci_high"], 0.5]


def _case(function: str, setting: str, kind: str, run, **more) -> Case:
    return Case(f"tl.{function}", setting, kind, run, **more)


P, I, POWER = "p_value", "interval", "power"
ONE_OF_56 = [60, *[2] * 23]
CASES = [
    _case("logrank", "3 against 30", P, partial(logrank, sizes=(3, 30)), conservative=True, cheap=True),
    _case("logrank", "5 against 30", P, partial(logrank, sizes=(5, 30)), conservative=True),
    _case("logrank", "5 against 30, censored five times as early", P,
          partial(logrank, sizes=(5, 30), censoring=(1, 5)), conservative=True),
    _case("logrank", "30 against 30, one half censored early", P, partial(logrank, censoring=(0.5, 4)), cheap=True),
    _case("logrank", "100 against 100, 10 events", P, partial(logrank, sizes=(100, 100), censoring=(0.1,)),
          cohorts=400, conservative=True),
    _case("logrank", "ties, 40 against 40", P, partial(logrank, sizes=(40, 40), ties=True), cheap=True),
    _case("logrank", "pairs of 5, 10 and 30", P, partial(logrank, sizes=(5, 10, 30), pairwise=True), conservative=True),
    _case("logrank", "trend over 5, 10 and 30", P, partial(logrank, sizes=(5, 10, 30), trend=True)),
    _case("logrank", "within two sites, 8 against 30", P, partial(logrank, sizes=(8, 30), options={"strata": "site"})),
    _case("logrank", "Gehan's weights, 30 against 30", P, partial(logrank, options={"weights": "gehan"}), cheap=True),
    _case("logrank", "late weights, 30 against 30", P, partial(logrank, options={"weights": (0, 1)}), cheap=True),
    _case("logrank", "late entry, later in one group", P, partial(late, what="logrank"), cheap=True),
    _case("logrank", "5 against 30, hazard ratio 6", POWER, partial(logrank, sizes=(30, 5), ratio=6.0)),
    _case("logrank", "40 against 40, hazard ratio 2", POWER, partial(logrank, sizes=(40, 40), ratio=2.0)),
    _case("cox", "30 patients, 1 term", P, partial(cox, sizes=(30,)), cohorts=1000, cheap=True),
    _case("cox", "30 patients, 5 terms", P, partial(cox, sizes=(30,), more=4), cohorts=200),
    _case("cox", "30 patients, 5 terms, none matters", P, partial(cox, sizes=(30,), more=4, what="lr"), cohorts=200,
          note="likelihood ratio"),
    _case("cox", "30 patients, 5 terms, coefficient 0.7", POWER, partial(cox, sizes=(30,), more=4, beta=0.7),
          cohorts=200),
    _case("cox", "30 patients, 8 events", P, partial(cox, sizes=(30,), censoring=(0.6,)), cohorts=200),
    _case("cox", "60 patients, ties", P, partial(cox, sizes=(60,), ties=True), cheap=True),
    _case("cox", "40 patients, skewed covariate", P, partial(cox, sizes=(40,), x="skewed"), cohorts=200),
    _case("cox", "3 of 60 in a level", P, partial(cox, sizes=(57, 3), key="group"), note="warned of", cohorts=200),
    _case("cox", "60 patients, coefficient 0.7", I, partial(cox, sizes=(60,), beta=0.7, what="interval"), cheap=True),
    _case("cox", "60 patients, coefficient 0.7", POWER, partial(cox, sizes=(60,), beta=0.7), cohorts=200),
    _case("cox", "proportional hazards, 60 patients", P, partial(cox, sizes=(60,), what="ph_p_value"), cohorts=200),
    _case("cox", "late entry, later in one group", P, partial(late, what="cox"), cohorts=200),
    _case("cox", "10 patients of 6 rows", P, partial(clustered, sizes=[6] * 10), conservative=True, cohorts=200),
    _case("cox", "20 patients of 6 rows", P, partial(clustered, sizes=[6] * 20), conservative=True, cohorts=200),
    _case("cox", "one of 24 patients has 57 % of the rows", P, partial(clustered, sizes=ONE_OF_56), conservative=True,
          cohorts=200),
    _case("cox", "the same, covariate of the row", P, partial(clustered, sizes=ONE_OF_56, within=True), cohorts=200),
    _case("cox", "20 patients of 6 rows, coefficient 0.7", I,
          partial(clustered, sizes=[6] * 20, effect=0.7, interval=True),
          conservative=True, note="of all patients together", cohorts=200),
    _case("cox", "20 patients of 6 rows, coefficient 0.7", POWER, partial(clustered, sizes=[6] * 20, effect=0.7),
          cohorts=200),
    _case("kaplan_meier", "20 patients", I, partial(curve, n=20), conservative=True, cheap=True),
    _case("kaplan_meier", "20 patients, heavy censoring", I, partial(curve, n=20, limit=1.0), conservative=True,
          cohorts=300),
    _case("kaplan_meier", "20 patients, plain interval", I, partial(curve, n=20, interval="plain"), note="no default",
          cohorts=300),
    _case("kaplan_meier", "median of 30 patients", I, partial(curve, median=True), cohorts=300),
    _case("kaplan_meier", "late entry", I, partial(late, what="curve"), cohorts=300),
    _case("cumulative_incidence", "Gray, 40 against 40", P, competing, cohorts=200),
    _case("cumulative_incidence", "Gray, 5 against 40", P, partial(competing, sizes=(40, 5)), cohorts=150,
          conservative=True),
    _case("cumulative_incidence", "Gray, 60 against 60, hazard ratio 3", POWER,
          partial(competing, sizes=(60, 60), ratio=3.0), cohorts=200),
    _case("cumulative_incidence", "interval, 40 patients", I, partial(competing, sizes=(40,), what="interval"),
          cohorts=200),
    _case("cumulative_incidence", "interval, 15 patients", I, partial(competing, sizes=(15,), what="interval"),
          cohorts=200),
    _case("fine_gray", "80 patients", P, partial(competing, what="fine_gray"), cohorts=400),
    _case("fine_gray", "30 patients", P, partial(competing, sizes=(15, 15), what="fine_gray"), cohorts=400,
          conservative=True),
    _case("fine_gray", "80 patients, skewed covariate", P, partial(competing, what="skewed")),
    _case("fine_gray", "80 patients, skewed covariate, se=\"sandwich\"", P, partial(competing, what="sandwich"),
          note="as in R, for comparison"),
    _case("fine_gray", "120 patients, hazard ratio 3", POWER,
          partial(competing, sizes=(60, 60), ratio=3.0, what="fine_gray")),
    _case("rmst", "30 against 30", P, rmst, cheap=True),
    _case("rmst", "5 against 30", P, partial(rmst, sizes=(30, 5)), conservative=True, cohorts=200),
    _case("rmst", "10 against 30, censored earlier", P, partial(rmst, sizes=(30, 10), censoring=(4, 2)), cohorts=200),
    _case("rmst", "30 against 30, hazard ratio 2", I, partial(rmst, ratio=2.0, what="interval"), cohorts=200),
    _case("rmst", "8 against 30, hazard ratio 2", I, partial(rmst, sizes=(30, 8), ratio=2.0, what="interval"),
          cohorts=200),
    _case("rmst", "40 against 40, hazard ratio 2", POWER, partial(rmst, sizes=(40, 40), ratio=2.0), cohorts=200),
    _case("cut_point", "40 patients", P, partial(cut_point, sizes=(40,)), cohorts=200),
    _case("cut_point", "40 patients, ties, skewed", P, partial(cut_point, sizes=(40,), ties=True, x="skewed"),
          cohorts=200, conservative=True),
    _case("stratify", "60 patients, cross-fitted", P, stratify, cohorts=60, conservative=True),
    _case("concordance", "40 patients", I, concordance, cohorts=200),
    _case("concordance", "15 patients", I, partial(concordance, n=15), cohorts=1000),
]  # fmt: skip
