"""Compositions of groups: unequal cells, unequal spread, small groups, repeated samples, sites, one type growing."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
from anndata import AnnData

import spatialfm as sfm

from .case import Case

SHARES = np.array([0.34, 0.24, 0.15, 0.10, 0.08, 0.05, 0.03, 0.01])
TYPES = [f"type {i}" for i in range(len(SHARES))]
QUICK = {"n_permutations": 499, "copy": True}


def compositions(counts: np.ndarray, **obs: object) -> AnnData:
    table = pd.DataFrame(obs, index=[f"row {i}" for i in range(len(counts))])
    x = counts / counts.sum(axis=1, keepdims=True)
    return AnnData(x, obs=table, var=pd.DataFrame(index=TYPES), layers={"counts": counts.astype(float)})


def drawn(rng: np.random.Generator, logs: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Counts of log-abundances ``(rows, types)`` among so many cells."""
    shares = np.exp(logs)
    shares = shares / shares.sum(axis=1, keepdims=True)
    return np.array([rng.multinomial(n, share) for n, share in zip(cells, shares, strict=True)])


def cohort(
    seed: int,
    sizes: tuple[int, ...] = (16, 16),
    cells: tuple[int, ...] = (1000, 1000),
    factor: float = 1.0,
    grows: int = 0,
    spread: tuple[float, ...] | None = None,
) -> AnnData:
    """Patients whose types vary by half a log; ``factor`` times as many of one type in the last group.

    With `spread` compositions are Dirichlet's instead, of that concentration in each group, and the same mean.
    """
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(len(sizes)), sizes)
    logs = np.log(SHARES) + 0.5 * rng.standard_normal((len(codes), len(SHARES)))
    if spread is not None:
        logs = np.log(np.array([rng.dirichlet(spread[code] * SHARES) for code in codes]) + 1e-12)
    logs[codes == codes.max(), grows] += np.log(factor)
    return compositions(drawn(rng, logs, np.array(cells)[codes]), group=[f"g{code}" for code in codes])


def aged(seed: int, **arguments: object) -> AnnData:
    """A cohort with ages and sites that have nothing to do with it."""
    samples, rng = cohort(seed, **arguments), np.random.default_rng((seed, 1))
    samples.obs["age"], samples.obs["site"] = rng.normal(size=samples.n_obs), rng.choice(["s", "t"], samples.n_obs)
    return samples


def p_of(make: Callable[[int], AnnData], column: str, rows: list[int], seed: int, **arguments: object) -> np.ndarray:
    """p-values of some types."""
    table = sfm.tl.compare_composition(make(seed), arguments.pop("group_key", "group"), **QUICK, **arguments)
    return table[column].to_numpy()[rows]


def repeated(seed: int, patients: int = 14, effect: float = 0.0, within: bool = False, counts: int = 6) -> AnnData:
    """Samples of patients, one to six each; groups of patients, or before and after (two each)."""
    rng = np.random.default_rng(seed)
    n = np.full(patients, 2) if within else rng.integers(1, counts + 1, patients)
    of = np.repeat(np.arange(patients), n)
    number = np.concatenate([np.arange(k) for k in n])
    codes = number % 2 if within else of % 2
    logs = np.log(SHARES) + 0.5 * rng.standard_normal((patients, len(SHARES)))[of]
    logs = logs + 0.25 * rng.standard_normal(logs.shape)
    logs[codes == 1, 2] += effect
    cells = rng.choice([200, 1000, 3000], len(of))
    obs = {"patient": [f"P{i}" for i in of], "group": [f"g{c}" for c in codes], "arm": [f"a{i % 2}" for i in of]}
    return compositions(drawn(rng, logs, cells), **obs)


def sites(seed: int, effect: float = 0.0) -> AnnData:
    """Three sites that differ in tissue, in cells, and in how many of their patients are of the second group."""
    rng = np.random.default_rng(seed)
    site = np.repeat([0, 1, 2], 14)
    codes = np.concatenate([rng.permutation(np.arange(14) < k).astype(int) for k in (4, 7, 10)])
    logs = np.log(SHARES) + 0.5 * rng.standard_normal((42, len(SHARES)))
    logs[:, :3] += 0.8 * (site[:, None] - 1)
    logs[codes == 1, 2] += effect
    cells = np.array([300, 1000, 3000])[site]
    obs = {"site": [f"s{i}" for i in site], "group": [f"g{c}" for c in codes]}
    return compositions(drawn(rng, logs, cells), **obs, burden=site + 0.1 * rng.standard_normal(42))


def effects(seed: int, sizes: tuple[int, int], apart: float, sds: tuple[float, float]) -> np.ndarray:
    """Interval of the effect and its truth, of log-ratios that are normal with these means and spreads."""
    from scipy import stats

    rng = np.random.default_rng(seed)
    codes = np.repeat([0, 1], sizes)
    odds = rng.standard_normal(len(codes)) * np.array(sds)[codes] + apart * codes - 1
    share = 1 / (1 + np.exp(-odds))
    counts = np.zeros((len(codes), len(SHARES)))
    counts[:, 0] = rng.binomial(20_000, share)
    counts[:, 1] = 20_000 - counts[:, 0]
    table = sfm.tl.compare_composition(compositions(counts, group=[f"g{c}" for c in codes]), "group", **QUICK)
    truth = 2 * stats.norm.cdf(apart / np.hypot(*sds)) - 1
    return np.array([table.loc["type 0", "effect_low"], table.loc["type 0", "effect_high"], truth])


def folds(seed: int, **arguments: object) -> np.ndarray:
    """Interval of the log2 fold change of a type that doubles (1), all else being as it was."""
    make = partial(cohort, factor=2.0, grows=2, **arguments)
    table = sfm.tl.compare_composition(make(seed), "group", reference=["type 0", "type 1"], **QUICK)
    return np.array([table.loc["type 2", "log2_low"], table.loc["type 2", "log2_high"], 1.0])


NAME = "tl.compare_composition"
ALL, REST, COMMON, RARE = list(range(8)), list(range(1, 8)), list(range(5)), [5, 6, 7]
UNEQUAL = {"cells": (200, 5000)}
BOTH = ("p_value", "p_reference")
WIDE = {"sizes": (10, 30), "spread": (20.0, 200.0)}


def _null(
    setting: str, make: Callable, rows: list[int] = ALL, columns: tuple[str, ...] = ("p_value", "p_reference"), **kw
):
    options = {"cohorts": 150} | {
        name: kw.pop(name) for name in ("cohorts", "cheap", "conservative", "note") if name in kw
    }
    text = {"p_value": "share", "p_reference": "frame"}
    return [
        Case(NAME, f"{setting}; {text[c]}", "p_value", partial(p_of, make, c, rows, **kw), **options) for c in columns
    ]


def _power(setting: str, make: Callable, row: int, columns: tuple[str, ...] = BOTH, **kw):
    text = {"p_value": "share", "p_reference": "frame"}
    return [
        Case(NAME, f"{setting}; {text[c]}", "power", partial(p_of, make, c, [row], **kw), cohorts=100) for c in columns
    ]


LARGER = "the larger of two p-values"
CASES = [
    *_null("16 against 16 patients", cohort, cheap=True, cohorts=100, conservative=True, note=LARGER),
    *_null(
        "200 against 5,000 cells", partial(cohort, **UNEQUAL), cheap=True, cohorts=100, conservative=True, note=LARGER
    ),
    *_null("200 against 5,000 cells, rarest type", partial(cohort, **UNEQUAL), [7], conservative=True),
    *_null(
        "clr-t, 200 against 5,000 cells",
        partial(cohort, **UNEQUAL),
        columns=("p_value",),
        method="clr-t",
        conservative=True,
    ),
    *_null(
        "4 against 4 patients, 200 against 5,000 cells", partial(cohort, sizes=(4, 4), **UNEQUAL), conservative=True
    ),
    *_null("3 against 30 patients", partial(cohort, sizes=(3, 30)), conservative=True),
    *_null("10 noisy against 30 tight patients, types above 5 %", partial(cohort, **WIDE), COMMON),
    *_null("10 noisy against 30 tight patients, types of 1 to 5 %", partial(cohort, **WIDE), RARE),
    *_null("10 noisy against 30 tight patients, type of 1 %", partial(cohort, **WIDE), [7]),
    *_null(
        "5 noisy against 20 tight patients, types of 1 to 5 %", partial(cohort, **(WIDE | {"sizes": (5, 20)})), RARE
    ),
    *_null(
        "10 noisy against 30 tight patients, covariate, types of 1 to 5 %",
        partial(aged, **WIDE),
        RARE,
        covariates="age",
    ),
    *_null(
        "10 noisy against 30 tight patients, within sites, types of 1 to 5 %",
        partial(aged, **WIDE),
        RARE,
        block_key="site",
    ),
    *_null("one type tripled, the others", partial(cohort, factor=3.0), REST, ("p_reference",)),
    *_null(
        "one type tripled, 200 against 5,000 cells, the others",
        partial(cohort, factor=3.0, **UNEQUAL),
        REST,
        ("p_reference",),
    ),
    *_null(
        "three groups of 8, 12, 24, 200 to 5,000 cells",
        partial(cohort, sizes=(8, 12, 24), cells=(200, 1000, 5000)),
        cohorts=100,
        conservative=True,
    ),
    *_null("several samples per patient, mixed model", repeated, model="mixed", conservative=True),
    *_null(
        "before and after, 8 patients, 200 to 3,000 cells",
        partial(repeated, patients=8, within=True),
        pair_key="patient",
        conservative=True,
    ),
    *_null(
        "changes between two arms",
        partial(repeated, patients=20, within=True),
        group_key="arm",
        time_key="group",
        conservative=True,
    ),
    *_null("three sites, shuffled within", sites, block_key="site", cohorts=100, conservative=True),
    *_null("three sites, adjusted for a covariate", sites, covariates="burden", conservative=True),
    *_power("one type doubled, 16 against 16", partial(cohort, factor=2.0, grows=3), 3),
    *_power("one type doubled, 200 against 5,000 cells", partial(cohort, factor=2.0, grows=3, **UNEQUAL), 3),
    *_power("rarest type tripled", partial(cohort, factor=3.0, grows=7), 7),
    *_power("rarest type four times as frequent, 5 against 5", partial(cohort, sizes=(5, 5), factor=4.0, grows=7), 7),
    *_power("10 noisy against 30 tight patients, type of 8 % tripled", partial(cohort, factor=3.0, grows=4, **WIDE), 4),
    *_power("10 noisy against 30 tight patients, type of 1 % tripled", partial(cohort, factor=3.0, grows=7, **WIDE), 7),
    *_power("mixed model, 14 patients, 0.8 log", partial(repeated, effect=0.8), 2, model="mixed"),
    *_power(
        "before and after, 8 patients, 0.5 log",
        partial(repeated, patients=8, within=True, effect=0.5),
        2,
        pair_key="patient",
    ),
    *_power("three sites, shuffled within, 0.7 log", partial(sites, effect=0.7), 2, block_key="site"),
    *[
        Case(
            NAME,
            f"effect, {n} against {m}, {d} apart, spread {a} and {b}",
            "interval",
            partial(effects, sizes=(n, m), apart=d, sds=(a, b)),
            conservative=True,
            cheap=n < 6,
            cohorts=400 if n < 6 else 150,
        )
        for n, m, d, a, b in ((4, 4, 1.5, 1, 1), (5, 5, 2.5, 1, 1), (10, 30, 1.5, 2, 0.4), (20, 20, 1, 1, 1))
    ],
    Case(NAME, "log2 fold change, 16 against 16", "interval", folds, cohorts=150),
    Case(NAME, "log2 fold change, 200 against 5,000 cells", "interval", partial(folds, **UNEQUAL), cohorts=150),
]
