"""Groups of patients that differ in a covariate: tests with and without it, within sites and within patients."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData

import spatialfm as sfm

from .case import Case

AGE, SITE = {"covariates": "age"}, {"block_key": "site"}


def patients(rng: np.random.Generator, n: int, drives: float) -> pd.DataFrame:
    """Age, and a group that age drives; both groups have five patients or more. Two sites, one with more of group b."""
    while True:
        age = rng.normal(size=n)
        second = rng.random(n) < 1 / (1 + np.exp(-drives * age))
        if 5 <= second.sum() <= n - 5:
            break
    site = np.where(rng.random(n) < np.where(second, 0.5 + 0.15 * drives, 0.5 - 0.15 * drives), "S1", "S2")
    table = pd.DataFrame({"age": age, "group": np.where(second, "b", "a"), "site": site})
    return table.set_axis([f"P{i:02d}" for i in range(n)])


def clumps(
    seed: int, n: int = 24, drives: float = 2.0, of_age: float = 0.25, of_site: float = 0.0, planted: float = 0.0
) -> AnnData:
    """Cells in a square; types are in stripes as clearly as age, site and (planted) group say."""
    rng = np.random.default_rng(seed)
    table, parts, places = patients(rng, n, drives), [], []
    for name, row in table.iterrows():
        k = int(rng.integers(150, 400))
        xy = rng.uniform(0, 10 * np.sqrt(k), (k, 2))
        clear = 0.4 + of_age * row["age"] + of_site * (row["site"] == "S1") + planted * (row["group"] == "b")
        clear = np.clip(clear + 0.15 * rng.normal(), 0, 0.95)
        odds = 0.4 * (1 + clear * np.sign(np.sin(xy[:, 0] / 12)))
        types = np.where(rng.random(k) < odds, "B", "T")
        parts.append(pd.DataFrame({"type": types, "patient": name, "sample": name, **row}, index=range(k)))
        places.append(xy)
    obs = pd.concat(parts, ignore_index=True)
    obs.index = obs.index.astype(str)
    return AnnData(obs=obs, obsm={"spatial": np.concatenate(places)})


def neighbours(seed: int, options: dict, **setting: float) -> list[float]:
    table = sfm.tl.compare_enrichment(clumps(seed, **setting), "type", "group", n_neighbors=6, copy=True, **options)
    return [table["p_value"].iloc[0]]


def neighbours_interval(seed: int, options: dict, **setting: float) -> list[float]:
    table = sfm.tl.compare_enrichment(clumps(seed, **setting), "type", "group", n_neighbors=6, copy=True, **options)
    return [table["low"].iloc[0], table["high"].iloc[0], 0.0]


def paired(seed: int, n: int = 12, planted: float = 0.0) -> list[float]:
    """Two samples of each patient; patients differ by far more than times do."""
    rng, parts, places = np.random.default_rng(seed), [], []
    for i in range(n):
        own = rng.uniform(0.1, 0.7)
        for time in ("1 before", "2 after"):
            k = int(rng.integers(150, 400))
            xy = rng.uniform(0, 10 * np.sqrt(k), (k, 2))
            clear = np.clip(own + 0.1 * rng.normal() + planted * (time == "2 after"), 0, 0.95)
            types = np.where(rng.random(k) < 0.4 * (1 + clear * np.sign(np.sin(xy[:, 0] / 12))), "B", "T")
            columns = {"type": types, "patient": f"P{i:02d}", "sample": f"P{i:02d} {time}", "time": time}
            parts.append(pd.DataFrame(columns))
            places.append(xy)
    obs = pd.concat(parts, ignore_index=True)
    obs.index = obs.index.astype(str)
    cells = AnnData(obs=obs, obsm={"spatial": np.concatenate(places)})
    table = sfm.tl.compare_enrichment(cells, "type", "time", pair_key="patient", n_neighbors=6, copy=True)
    return [table["p_value"].iloc[0]]


def regions(seed: int, options: dict, planted: float = 0.0) -> list[float]:
    """Ten patients; inside is mostly tumor, and B cells are rarer there, or rarer inside (planted)."""
    rng, parts, places = np.random.default_rng(seed), [], []
    for i in range(10):
        k = int(rng.integers(200, 500))
        xy = rng.uniform(0, 10 * np.sqrt(k), (k, 2))
        tumor = xy[:, 0] < np.median(xy[:, 0])
        inside = rng.random(k) < np.where(tumor, 0.7, 0.3)
        patch = np.sin(xy[:, 1] / 15) > 0  # planted: T cells inside lie where B cells are
        inside = inside & (patch | (rng.random(k) > planted))
        b = rng.random(k) < np.where(tumor, 0.2, 0.45) * (1 + planted * np.where(patch, 0.5, -0.5))
        columns = {"type": np.where(b, "B", "T"), "patient": f"P{i}", "sample": f"P{i}", "in": inside}
        parts.append(pd.DataFrame(columns | {"region": np.where(tumor, "tumor", "stroma")}))
        places.append(xy)
    obs = pd.concat(parts, ignore_index=True)
    obs.index = obs.index.astype(str)
    cells = AnnData(obs=obs, obsm={"spatial": np.concatenate(places)})
    table = sfm.tl.neighborhood_contrast(cells, "type", cell_type="T", within="in", n_neighbors=6, copy=True, **options)
    return [table.loc["B", "p_patients"]]


def structures(seed: int, options: dict, planted: float = 0.0, what: str = "p_value") -> list[float]:
    rng = np.random.default_rng(seed)
    table = patients(rng, 80, 1.5)
    log_risk = np.log(0.25) + 0.6 * table["age"].clip(-2, 2) + planted * (table["group"] == "b")
    if "block_key" in options:
        log_risk = np.log(0.25) + 0.9 * (table["site"] == "S1") + planted * (table["group"] == "b")
    table["tls"] = rng.random(80) < np.exp(np.minimum(log_risk, -0.02))
    row = sfm.tl.risk_ratio(AnnData(obs=table), "group", "tls", group="b", copy=True, **options).iloc[0]
    return [row["ci_low"], row["ci_high"], np.exp(planted)] if what == "interval" else [row["p_value"]]


def means(seed: int, options: dict, n: int = 40, planted: float = 0.0, what: str = "p_value") -> list[float]:
    """Mean time up to 2 that falls with age in a straight line; groups are censored differently."""
    rng = np.random.default_rng(seed)
    table = patients(rng, n, 1.5)
    mean = 1.0 - 0.15 * table["age"].clip(-2, 2) + planted * (table["group"] == "b")
    time = (mean * rng.beta(2, 2, n) * 2).to_numpy()  # all below 2 or so
    stop = rng.uniform(0.5, np.where(table["group"] == "b", 4.0, 6.0))
    table["time"], table["event"] = np.minimum(time, stop), (time <= stop).astype(int)
    horizon = float(min(2.0, table.groupby("group")["time"].max().min()))
    found = sfm.tl.rmst(AnnData(obs=table), "group", horizon=horizon, copy=True, **options)
    row = found["differences"].iloc[0]
    return [row["ci_low"], row["ci_high"], 0.0] if what == "interval" else [row["p_value"]]


def deaths(
    seed: int, options: dict, sizes: tuple[int, int] = (20, 20), planted: float = 0.0, terms: int = 1
) -> list[float]:
    """Hazard and group both follow age."""
    rng = np.random.default_rng(seed)
    table = grouped(rng, sizes)
    names = [f"z{i}" for i in range(terms - 1)]
    table[names] = rng.normal(size=(len(table), terms - 1))
    n, second = len(table), (table["group"] == "b").to_numpy()
    time, stop = rng.exponential(np.exp(-table["age"] - planted * second)), rng.uniform(0, 3, n)
    table["time"], table["event"] = np.minimum(time, stop), time <= stop
    given = {"covariates": ["age", *names]} if options else {}
    return [sfm.tl.logrank(AnnData(obs=table), "group", n_permutations=999, copy=True, **given)["p_value"]]


def relapses(seed: int, options: dict, sizes: tuple[int, int] = (40, 40), planted: float = 0.0) -> list[float]:
    """Fine and Gray's model: ``1 - (1 - (1 - exp(-t)) / 2) ** ratio``, where ratio and group follow age."""
    rng = np.random.default_rng(seed)
    table = grouped(rng, sizes)
    n, second = len(table), (table["group"] == "b").to_numpy()
    ratio = np.exp(0.8 * table["age"].to_numpy() + planted * second)
    share = 1 - 0.5**ratio
    one, level = rng.random(n) < share, (1 - rng.random(n) * share) ** (1 / ratio)
    time = np.where(one, -np.log(2 * level - 1), rng.exponential(size=n))
    stop = rng.uniform(0, 4, n)
    table["time"], table["event"] = np.minimum(time, stop), np.where(stop < time, 0, np.where(one, 1, 2))
    plan = {"event_value": 1, "n_permutations": 999, "copy": True}
    result = sfm.tl.cumulative_incidence(AnnData(obs=table), "group", **plan, **options)
    return [result["tests"]["p_value"].iloc[0]]


def grouped(rng: np.random.Generator, sizes: tuple[int, int]) -> pd.DataFrame:
    """Age, and groups of these sizes, of which the second is older."""
    n = sum(sizes)
    age, group = rng.normal(size=n), np.full(n, "a")
    group[np.argsort(1.5 * age + rng.logistic(size=n))[sizes[0] :]] = "b"
    return pd.DataFrame({"age": age, "group": group}).set_axis([f"P{i:02d}" for i in range(n)])


def changed(seed: int, options: dict, n: int = 24, planted: float = 0.0) -> list[float]:
    """Compositions at two times, whose change follows age."""
    rng = np.random.default_rng(seed)
    table, rows, counts = patients(rng, n, 2.0), [], []
    for name, row in table.iterrows():
        base = rng.dirichlet([6, 6, 8])
        for time in ("1 before", "2 after"):
            move = (0.4 * row["age"] + planted * (row["group"] == "b")) * (time == "2 after")
            share = base * np.exp([move, 0, 0])
            counts.append(rng.multinomial(int(rng.integers(200, 2000)), share / share.sum()))
            rows.append({"patient": name, "time": time, **row})
    counts = np.array(counts, dtype=float)
    obs = pd.DataFrame(rows).set_axis([f"R{i}" for i in range(2 * n)])
    samples = AnnData(counts / counts.sum(axis=1, keepdims=True), obs=obs, layers={"counts": counts})
    table = sfm.tl.compare_composition(samples, "group", time_key="time", copy=True, **options)
    return [table["p_value"].iloc[0]]


DRIVEN = "age drives group and outcome"
CASES: list[Case] = [
    Case("tl.logrank", f"20 against 20, {DRIVEN}: covariates", "p_value", lambda s: deaths(s, AGE), 1000, cheap=True),
    Case(
        "tl.logrank",
        f"30 against 5, {DRIVEN}: covariates",
        "p_value",
        lambda s: deaths(s, AGE, (30, 5)),
        1000,
        cheap=True,
    ),
    Case(
        "tl.logrank",
        f"20 against 10, {DRIVEN}: five covariates",
        "p_value",
        lambda s: deaths(s, AGE, (20, 10), terms=5),
        600,
    ),
    Case(
        "tl.logrank",
        "40 against 40, hazard ratio 2.5 and age matters: covariates",
        "power",
        lambda s: deaths(s, AGE, (40, 40), planted=np.log(2.5)),
        400,
    ),
    Case(
        "tl.cumulative_incidence",
        f"40 against 40, {DRIVEN}: covariates",
        "p_value",
        lambda s: relapses(s, AGE),
        600,
        cheap=True,
    ),
    Case(
        "tl.cumulative_incidence",
        f"40 against 6, {DRIVEN}: covariates",
        "p_value",
        lambda s: relapses(s, AGE, (40, 6)),
        150,
    ),
    Case(
        "tl.cumulative_incidence",
        "60 against 60, ratio 3 and age matters: covariates",
        "power",
        lambda s: relapses(s, AGE, (60, 60), np.log(3)),
        200,
    ),
    Case("tl.compare_enrichment", f"24 patients, {DRIVEN}: covariates", "p_value", lambda s: neighbours(s, AGE), 150),
    Case(
        "tl.compare_enrichment",
        f"24 patients, {DRIVEN}: covariates",
        "interval",
        lambda s: neighbours_interval(s, AGE),
        150,
    ),
    Case(
        "tl.compare_enrichment",
        "24 patients, unequal sites that differ: block_key",
        "p_value",
        lambda s: neighbours(s, SITE, of_age=0.0, of_site=0.4),
        150,
    ),
    Case("tl.compare_enrichment", "12 patients before and after: pair_key", "p_value", paired, 150, conservative=True),
    Case(
        "tl.compare_enrichment",
        "24 patients, age and group both matter: covariates",
        "power",
        lambda s: neighbours(s, AGE, planted=0.35),
        100,
    ),
    Case(
        "tl.compare_enrichment",
        "12 patients before and after: pair_key",
        "power",
        lambda s: paired(s, planted=0.2),
        100,
    ),
    Case(
        "tl.neighborhood_contrast",
        "10 patients, inside is mostly tumor: covariates",
        "p_value",
        lambda s: regions(s, {"covariates": "region"}),
        150,
        conservative=True,
    ),
    Case(
        "tl.neighborhood_contrast",
        "10 patients, region and signature both matter: covariates",
        "power",
        lambda s: regions(s, {"covariates": "region"}, planted=0.6),
        60,
    ),
    Case("tl.risk_ratio", f"80 patients, {DRIVEN}: covariates", "p_value", lambda s: structures(s, AGE), 200),
    Case(
        "tl.risk_ratio",
        "80 patients, unequal sites that differ: block_key",
        "p_value",
        lambda s: structures(s, SITE),
        400,
        cheap=True,
        conservative=True,
    ),
    Case(
        "tl.risk_ratio",
        "80 patients, ratio of 2 at equal age: covariates",
        "interval",
        lambda s: structures(s, AGE, np.log(2), "interval"),
        200,
    ),
    Case(
        "tl.risk_ratio",
        "80 patients, ratio of 1.5 in equal sites: block_key",
        "interval",
        lambda s: structures(s, SITE, np.log(1.5), "interval"),
        400,
        cheap=True,
    ),
    Case(
        "tl.risk_ratio",
        "80 patients, ratio of 3 at equal age: covariates",
        "power",
        lambda s: structures(s, AGE, np.log(3)),
        100,
    ),
    Case(
        "tl.rmst",
        f"40 patients, {DRIVEN}, unequal censoring: covariates",
        "p_value",
        lambda s: means(s, AGE),
        400,
        cheap=True,
    ),
    Case(
        "tl.rmst",
        f"40 patients, {DRIVEN}, unequal censoring: covariates",
        "interval",
        lambda s: means(s, AGE, what="interval"),
        400,
        cheap=True,
    ),
    Case(
        "tl.rmst",
        "40 patients, age and group both matter: covariates",
        "power",
        lambda s: means(s, AGE, planted=0.4),
        200,
    ),
    Case(
        "tl.compare_composition",
        f"24 patients, {DRIVEN} of a change: covariates",
        "p_value",
        lambda s: changed(s, AGE),
        150,
        conservative=True,
    ),
    Case(
        "tl.compare_composition",
        "24 patients, changes by age and group: covariates",
        "power",
        lambda s: changed(s, AGE, planted=1.0),
        60,
    ),
]

# the same cohorts without the covariate, for the comparison in the documentation: what is called wrongly there
UNADJUSTED = {
    "tl.compare_enrichment": lambda s: neighbours(s, {}),
    "tl.compare_enrichment, sites": lambda s: neighbours(s, {}, of_age=0.0, of_site=0.4),
    "tl.neighborhood_contrast": lambda s: regions(s, {}),
    "tl.risk_ratio": lambda s: structures(s, {}),
    "tl.rmst": lambda s: means(s, {}),
    "tl.logrank": lambda s: deaths(s, {}),
    "tl.logrank, 30 against 5": lambda s: deaths(s, {}, (30, 5)),
    "tl.cumulative_incidence": lambda s: relapses(s, {}),
    "tl.compare_composition": lambda s: changed(s, {}),
}  # fmt: skip
