"""Measures of embeddings: hits of a search, representations against each other, batches, survival scores."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData
from sklearn.neighbors import NearestNeighbors

import spatialfm as sfm

from .case import Case


def searched(seed: int, n_patients: int, n: int, effect: float, of_patients: bool) -> pd.DataFrame:
    """Cells whose patients lie apart, each with its five nearest of other patients, scored by label.

    With `of_patients` all cells of a patient have its label, as with a diagnosis; else each patient has its own share.
    """
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(n_patients), n)
    if of_patients:
        label = rng.permutation(np.arange(n_patients) % 2)[who]
    else:
        label = (rng.random(len(who)) < rng.beta(2, 2, n_patients)[who]).astype(int)
    values = rng.normal(size=(n_patients, 4))[who] + rng.normal(size=(len(who), 4))
    values[:, 0] += effect * label
    names, parts = np.array([f"c{i}" for i in range(len(who))]), []
    for patient in range(n_patients):
        mine, others = np.flatnonzero(who == patient), np.flatnonzero(who != patient)
        near = NearestNeighbors(n_neighbors=5).fit(values[others]).kneighbors(values[mine])[1]
        columns = {"query": np.repeat(names[mine], 5), "rank": np.tile(np.arange(1, 6), len(mine))}
        parts.append(pd.DataFrame(columns | {"hit": names[others[near]].ravel()}))
    patients, labels = (pd.Series(column.astype(str), index=names) for column in (who, label))
    return sfm.metrics.retrieval(pd.concat(parts), labels=labels, patients=patients, k=[1, 5]).set_index("measure")


def retrieval_interval(n_patients: int, truth: float, **how: object) -> object:
    """Whether the interval of precision covers what cohorts of this size have on average (of 150)."""

    def run(seed: int) -> list[float]:
        row = searched(seed, n_patients, 30, **how).loc["precision@5"]
        return [row["low"], row["high"], truth]

    return run


def retrieval_chance(seed: int) -> list[float]:
    row = searched(seed, 10, 30, effect=0.0, of_patients=False).loc["precision@5"]
    return [row["value"], row["chance"]]


def draws(seed: int, n: int, effect: tuple[float, float], n_draws: int = 60) -> pd.DataFrame:
    """AUROC of two classifiers (ridge regression on five columns each) on the same stratified splits of patients."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    tables = [rng.normal(size=(n, 5)) + np.outer(y, np.eye(5)[0] * size) for size in effect]
    rows = []
    for draw in range(n_draws):
        test = np.concatenate([rng.choice(np.flatnonzero(y == k), round(n / 10), replace=False) for k in (0, 1)])
        train = np.setdiff1d(np.arange(n), test)
        for name, x in zip("ab", tables, strict=True):
            z = (x - x[train].mean(axis=0)) / x[train].std(axis=0)
            weights = np.linalg.solve(z[train].T @ z[train] + 4 * np.eye(5), z[train].T @ (y[train] - y[train].mean()))
            score = z[test] @ weights
            pairs = score[y[test] == 1][:, None] - score[y[test] == 0]
            rows.append({"use_rep": name, "draw": draw, "auroc": ((pairs > 0) + (pairs == 0) / 2).mean()})
    return pd.DataFrame(rows)


def compared(column: str, n: int, effect: tuple[float, float]) -> object:
    """Both directions, each at 0.05."""

    def run(seed: int) -> np.ndarray:
        runs = draws(seed, n, effect)
        return sfm.metrics.compare_representations(runs, "auroc", ratio=0.25, n_cases=n)[column].to_numpy()

    return run


def better(seed: int) -> float:
    runs = draws(seed, 60, (2.0, 0.0))
    table = sfm.metrics.compare_representations(runs, "auroc", ratio=0.25, n_cases=60).set_index(["first", "second"])
    return table.loc[("a", "b"), "p_value"]


def batches(seed: int) -> list[float]:
    """Two slides of four patients each, no batch effect: silhouette next to that of halves of patients."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(8), 40)
    obs = pd.DataFrame({"patient": who.astype(str), "slide": np.where(who < 4, "a", "b")}, index=map(str, range(320)))
    cells = AnnData(obs=obs, obsm={"X_m": rng.normal(size=(320, 4)) + rng.normal(0, 2, (8, 4))[who]})
    row = sfm.metrics.batch_effect(cells, "slide", use_rep="X_m").iloc[0]
    return [row["silhouette"], row["silhouette_patients"]]


def survived(n: int, censoring: float, effect: float, truth: float) -> object:
    """Harrell's concordance of a risk that is known; with `effect` 0 it is 0.5 whatever the censoring."""

    def run(seed: int) -> list[float]:
        rng = np.random.default_rng(seed)
        risk = rng.normal(size=n)
        time, end = rng.exponential(np.exp(-effect * risk)), rng.exponential(1 / censoring, n)
        if not (time <= end).any():
            return [np.nan] * 3
        found = sfm.metrics.survival(np.minimum(time, end), time <= end, risk, n_bootstrap=400)["scores"]
        return [*found.loc["harrell", ["ci_low", "ci_high"]], truth]

    return run


CASES = [
    Case("metrics.retrieval", "10 patients, labels of cells", "interval",
         retrieval_interval(10, 0.499, effect=0.0, of_patients=False), 150, conservative=True),
    Case("metrics.retrieval", "10 patients, labels of cells, effect", "interval",
         retrieval_interval(10, 0.653, effect=2.0, of_patients=False), 150),
    Case("metrics.retrieval", "10 patients, labels of cells: chance", "score", retrieval_chance, 150),
    Case("metrics.compare_representations", "30 patients, both tell nothing", "p_value",
         compared("p_value", 30, (0.0, 0.0)), 200, conservative=True),
    Case("metrics.compare_representations", "60 patients, both tell nothing", "p_value",
         compared("p_value", 60, (0.0, 0.0)), 200, conservative=True),
    Case("metrics.compare_representations", "40 patients, equally good", "p_value",
         compared("p_value", 40, (1.2, 1.2)), 200, conservative=True),
    Case("metrics.compare_representations", "40 patients, equally good, p_published", "p_value",
         compared("p_published", 40, (1.2, 1.2)), 200, note="as published, for comparison"),
    Case("metrics.compare_representations", "60 patients, AUROC 0.9 against 0.5", "power", better, 100),
    Case("metrics.batch_effect", "slides of different patients, no batch effect", "score", batches, 60),
    Case("metrics.survival", "40 patients, half censored, no effect", "interval", survived(40, 1.0, 0.0, 0.5), 200),
    Case("metrics.survival", "20 patients, half censored, no effect", "interval", survived(20, 1.0, 0.0, 0.5), 200),
]  # fmt: skip
