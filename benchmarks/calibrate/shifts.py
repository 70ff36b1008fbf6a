"""Cells of the same patients at two time points, compared between groups of patients."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import stats

import spatialfm as sfm

from .adjusted import AGE, DRIVEN, SITE, patients
from .case import Case

DRAWN, COLUMNS = 25, 3  # cells per draw, columns of the embedding


def biopsies(
    seed: int,
    n: tuple[int, int],
    *,
    cells: tuple[int, int] = (60, 60),
    moved: tuple[float, float] = (1.0, 1.0),
    spread: tuple[float, float] = (0.3, 0.3),
    diversity: tuple[float, float] = (1.0, 1.0),
) -> AnnData:
    """`n` patients of each group, cells of two time points that differ by a move of the patient's own along one axis.

    By group: up to so many `cells` a biopsy, moves of mean `moved` and standard deviation `spread` between patients,
    standard deviation `diversity` of a column within a biopsy.
    """
    rng, parts, values = np.random.default_rng(seed), [], []
    for i in range(sum(n)):
        group = int(i >= n[0])
        move = np.zeros(COLUMNS)
        move[0] = rng.normal(moved[group], spread[group])
        home = rng.normal(size=COLUMNS)
        for time in ("before", "after"):
            k = int(rng.integers(2 * DRAWN, cells[group] + 1))
            values.append(home + move * (time == "after") + diversity[group] * rng.normal(size=(k, COLUMNS)))
            columns = {"patient": f"P{i:02d}", "group": "ab"[group], "time": time, "sample": f"P{i:02d}_{time}"}
            parts.append(pd.DataFrame(columns, index=range(k)))
    obs = pd.concat(parts, ignore_index=True)
    obs.index = obs.index.astype(str)
    return AnnData(obs=obs, obsm={"X_latent": np.concatenate(values)})


def compared(seed: int, n: tuple[int, int], measure: str = "shift", **options: tuple[float, float]) -> pd.Series:
    record = sfm.tl.distribution_shift(
        biopsies(seed, n, **options), use_rep="X_latent", time_key="time", group_key="group", reference="before",
        n_cells=DRAWN, n_repeats=2, min_cells=2 * DRAWN, epsilon=0.05, random_state=seed, copy=True,
    )  # fmt: skip
    return record["comparison"].set_index("measure").loc[measure]


def p_value(seed: int, n: tuple[int, int], measure: str = "shift", **options: tuple[float, float]) -> float:
    return compared(seed, n, measure, **options)["p_value"]


def interval(seed: int, n: tuple[int, int], moved: tuple[float, float], spread: tuple[float, float]) -> list[float]:
    """Moves far beyond what drawing adds are measured in their order: P(b > a) - P(b < a) of normal moves.

    A mean of `DRAWN` cells errs by 1 / sqrt(DRAWN) at either time, and two draws of a biopsy share cells: the truth
    is between the error of one draw and of half; the spread between patients is many times that.
    """
    row = compared(seed, n, moved=moved, spread=spread)
    error = 2 * 2 * 0.75 / DRAWN
    truth = 2 * stats.norm.cdf((moved[1] - moved[0]) / np.sqrt(spread[0] ** 2 + spread[1] ** 2 + error)) - 1
    return [row["effect_low"], row["effect_high"], truth]


def moves(
    seed: int, options: dict, n: int = 20, of_age: float = 0.4, of_site: float = 0.0, planted: float = 0.0
) -> list[float]:
    """Cells of two times; patients move further with age, at one of the sites, and (planted) in one group."""
    rng = np.random.default_rng(seed)
    table, parts, values = patients(rng, n, 2.0), [], []
    for name, row in table.iterrows():
        step = np.zeros(COLUMNS)
        step[0] = 2.0 + of_age * row["age"] + of_site * (row["site"] == "S1") + planted * (row["group"] == "b")
        step[0] += 0.2 * rng.normal()
        for time in ("before", "after"):
            k = 2 * DRAWN
            values.append(rng.normal(size=(k, COLUMNS)) + step * (time == "after"))
            columns = {"patient": name, "time": time, "sample": f"{name} {time}", **row}
            parts.append(pd.DataFrame(columns, index=range(k)))
    obs = pd.concat(parts, ignore_index=True)
    obs.index = obs.index.astype(str)
    record = sfm.tl.distribution_shift(
        AnnData(obs=obs, obsm={"X_latent": np.concatenate(values)}), use_rep="X_latent", time_key="time",
        group_key="group", reference="before", n_cells=DRAWN, n_repeats=2, min_cells=2 * DRAWN, epsilon=0.05,
        random_state=seed, copy=True, **options,
    )  # fmt: skip
    return [record["comparison"].set_index("measure").loc["shift", "p_value"]]


TEN = (10, 10)
CASES: list[Case] = [
    Case(
        "tl.distribution_shift",
        "10 against 10 patients, 50 to 60 cells a biopsy",
        "p_value",
        lambda s: p_value(s, TEN),
        100,
        conservative=True,
    ),
    Case(
        "tl.distribution_shift",
        "10 against 10, moves of one mean that vary 3 times as much, 4 times the cells",
        "p_value",
        lambda s: p_value(s, TEN, moved=(2, 2), spread=(0.2, 0.6), cells=(60, 240)),
        100,
        conservative=True,
    ),
    Case(
        "tl.distribution_shift",
        "10 against 10, tissue of one group more diverse",
        "p_value",
        lambda s: p_value(s, TEN, moved=(2, 2), diversity=(1.0, 1.5)),
        100,
        conservative=True,
    ),
    Case(
        "tl.distribution_shift",
        "10 against 10, the same moves",
        "interval",
        lambda s: interval(s, TEN, (6, 6), (1.5, 1.5)),
        100,
        conservative=True,
    ),
    Case(
        "tl.distribution_shift",
        "10 against 10, one group moves further",
        "interval",
        lambda s: interval(s, TEN, (6, 7.5), (1.0, 1.5)),
        100,
        conservative=True,
    ),
    Case(
        "tl.distribution_shift",
        "10 against 10, moves of 1.0 against 1.5 at a spread of 0.3",
        "power",
        lambda s: p_value(s, TEN, moved=(1.0, 1.5)),
        50,
    ),
    Case(
        "tl.distribution_shift",
        f"20 patients, {DRIVEN}: covariates",
        "p_value",
        lambda s: moves(s, AGE),
        120,
        conservative=True,
    ),
    Case(
        "tl.distribution_shift",
        "20 patients, sites that differ in group and moves: block_key",
        "p_value",
        lambda s: moves(s, SITE, of_age=0.0, of_site=0.6),
        120,
        conservative=True,
    ),
    Case(
        "tl.distribution_shift",
        "30 patients, age and sites drive group and moves: covariates and block_key",
        "p_value",
        lambda s: moves(s, AGE | SITE, 30, of_site=0.6),
        120,
        conservative=True,
    ),
    Case(
        "tl.distribution_shift",
        "20 patients, age and group both matter: covariates",
        "power",
        lambda s: moves(s, AGE, planted=0.5),
        60,
    ),
]

# the same cohorts without the covariate, for the comparison in the documentation
UNADJUSTED = {"tl.distribution_shift": lambda s: moves(s, {})}
