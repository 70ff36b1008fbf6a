"""Two sites that differ in tissue and in outcome, and nothing within them: outcomes shuffled within sites or across."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
from anndata import AnnData

import spatialfm as sfm

from .case import Case

N, CELLS = 40, 6
TIMES = {"time_key": "time", "event_key": "event"}


def cohort(seed: int) -> AnnData:
    """In the second of two sites more patients respond, they live longer, and have more of the first type."""
    rng = np.random.default_rng(seed)
    site = np.repeat([0, 1], N // 2)
    respond = np.concatenate([rng.permutation(N // 2) < n for n in (4, 16)])
    first = np.clip(0.3 + 0.3 * site + 0.1 * rng.standard_normal(N), 0.05, 0.95)
    rest = (1 - first) * rng.beta(4, 4, N)
    time, censored = rng.exponential(np.where(site == 1, 6.0, 1.0)), rng.exponential(6.0, N)
    obs = pd.DataFrame({"site": np.array(["s", "t"])[site], "response": np.where(respond, "R", "N")})
    obs["time"], obs["event"], obs["first"] = np.minimum(time, censored), (time <= censored).astype(int), first
    obs["patient"] = [f"P{seed}_{i:02d}" for i in range(N)]
    obs.index = pd.Index(obs["patient"].tolist())
    return AnnData(np.stack([first, rest, 1 - first - rest], axis=1), obs=obs, var=pd.DataFrame(index=["A", "B", "C"]))


def cells(seed: int) -> AnnData:
    """Some cells of each patient, around its composition."""
    patients, rng = cohort(seed), np.random.default_rng((seed, 2))
    who = np.repeat(np.arange(N), CELLS)
    obs = patients.obs.iloc[who].set_axis([f"c{seed}_{i}" for i in range(len(who))])
    values = patients.X[who] + 0.1 * rng.standard_normal((len(who), 3))
    return AnnData(values.astype(np.float32), obs=obs, var=patients.var)


def cut(patients: AnnData, **options: object) -> float:
    return sfm.tl.cut_point(patients, "first", **TIMES, n_permutations=199, copy=True, **options)["p_value"]


def strata(patients: AnnData, **options: object) -> float:
    sfm.tl.stratify(patients, 3, merge_into=2, **TIMES, n_permutations=99, **options)
    return patients.uns["risk_group"]["test"]["p_value"]


CLASSES = {"use_rep": "X", "label_key": "response", "copy": True}


def linear(patients: AnnData, **options: object) -> float:
    plan = CLASSES | {"n_components": None, "n_draws": 5, "n_permutations": 19}
    found = sfm.tl.classify_samples(patients, **plan, **options)["summary"].set_index("score")
    return found.loc["auroc", "p_value"]


def nearest(patients: AnnData, **options: object) -> float:
    plan = CLASSES | {"n_clusters": None, "n_support": 3, "n_draws": 8, "n_permutations": 39}
    found = sfm.tl.few_shot_samples(patients, **plan, **options)["summary"].set_index("score")
    return found.loc["auroc", "p_value"]


def bags(table: AnnData, **options: object) -> float:
    network = {"n_heads": 1, "hidden": 4, "n_folds": 2, "n_seeds": 1, "max_epochs": 4, "learning_rate": 0.01}
    found = sfm.tl.mil(table, **CLASSES, **network, n_permutations=19, **options)["summary"].set_index("score")
    return found.loc["auroc", "p_value"]


def lasso(patients: AnnData, **options: object) -> float:
    folds = {"n_folds": 2, "n_inner_folds": 2, "n_repeats": 1, "n_alphas": 5, "n_bootstrap": 100}
    return sfm.tl.coxnet(patients, **folds, **TIMES, n_permutations=19, copy=True, **options)["p_value"]


def forest(patients: AnnData, **options: object) -> float:
    trees = {"n_trees": 6, "min_samples_leaf": 6, "n_importance": 0, "n_folds": 2, "n_repeats": 1, "n_bootstrap": 100}
    return sfm.tl.survival_forest(patients, **trees, **TIMES, n_permutations=19, copy=True, **options)["p_value"]


def tested(test: Callable[..., float], block_key: str | None, seed: int, make: Callable[[int], AnnData]) -> float:
    """Draws of the function have seeds of their own: those of the cohort would be the same random numbers."""
    return test(make(seed), block_key=block_key, random_state=10_000 + seed)


def both(
    function: str,
    test: Callable[..., float],
    cohorts: int,
    fewer: int = 0,
    make: Callable[[int], AnnData] = cohort,
    note: str = "",
):
    """With `block_key`, and `fewer` of the same cohorts without it, where that is quick."""
    setting = "40 patients, sites that differ in tissue and outcome"
    within, across = (partial(tested, test, key, make=make) for key in ("site", None))
    cases = [Case(function, f"{setting}: block_key", "p_value", within, cohorts, note=note)]
    if fewer:
        why = "what the sites tell, for comparison"
        cases.append(Case(function, f"{setting}: shuffled across them", "p_value", across, fewer, note=why))
    return cases


CASES = [
    *both("tl.cut_point", cut, 400, 400),
    *both("tl.stratify", strata, 200, 200),
    *both("tl.classify_samples", linear, 100, 50),
    *both("tl.few_shot_samples", nearest, 600, 100),
    *both("tl.mil", bags, 100, make=cells),
    *both("tl.coxnet", lasso, 100, 50),
    *both("tl.survival_forest", forest, 100, 50, note="chance: 0.060 (0.028 to 0.125) with seeds 5000 to 5099"),
]
