"""Classifiers of patients and cells, nested survival models, labels carried over: intervals, tests and chance."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
from anndata import AnnData

import spatialfm as sfm
from spatialfm.learn.case_scores import rank_test_within, times_shared
from spatialfm.stats.folds import stratified_folds

from .case import Case


def patients(seed: int, n: int, effect: float, columns: int = 6) -> AnnData:
    """One row per patient; the first column is `effect` higher in class b."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    obs = pd.DataFrame({"patient": [f"P{i:03d}" for i in range(n)], "y": np.array(["a", "b"])[y]})
    values = rng.normal(size=(n, columns)) + effect * np.outer(y, np.eye(columns)[0])
    return AnnData(values, obs=obs.set_index("patient", drop=False).rename_axis(None))


@cache  # cases that read the same result
def class_scores(seed: int, n: int, effect: float) -> pd.DataFrame:
    options = {"use_rep": "X", "n_components": None, "n_draws": 40, "random_state": seed, "copy": True}
    summary = sfm.tl.classify_samples(patients(seed, n, effect), label_key="y", **options)["summary"]
    return summary.set_index("score")


def classified(n: int, effect: float, truth: float, names: tuple[str, str] = ("low", "high")) -> object:
    return lambda seed: [*class_scores(seed, n, effect).loc["auroc", list(names)], truth]


def cells_of(seed: int, n_cells: tuple[int, int], n: int = 24) -> AnnData:
    """The same tissue in both classes, of eight types, with so many cells per patient."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(n), np.repeat(n_cells, n // 2))
    obs = pd.DataFrame({"patient": [f"P{i:02d}" for i in who], "y": np.where(who < n // 2, "a", "b")})
    obs["type"] = rng.choice(list("abcdefgh"), len(who))
    values = rng.normal(size=(len(who), 4)).astype(np.float32)
    return AnnData(values, obs=obs.set_index(obs.index.astype(str)))


def few_shot_depth(cells_per_patient: str) -> object:
    def run(seed: int) -> list[float]:
        options = {"cluster_key": "type", "n_draws": 20, "cells_per_patient": cells_per_patient, "copy": True}
        found = sfm.tl.few_shot_samples(cells_of(seed, (100, 1000)), label_key="y", **options)["summary"]
        return [found.set_index("score").loc["auroc", "mean"], 0.5]

    return run


def classify_depth(seed: int) -> list[float]:
    options = {"use_rep": "X", "n_components": 4, "n_draws": 20, "copy": True}
    found = sfm.tl.classify_samples(cells_of(seed, (100, 1000)), label_key="y", **options)["summary"]
    return [found.set_index("score").loc["auroc", "mean"], 0.5]


def few_shot(n: int) -> object:
    def run(seed: int) -> list[float]:
        rng = np.random.default_rng(seed)
        who = np.repeat(np.arange(n), 100)
        shares = rng.dirichlet(np.full(8, 3.0), n)
        obs = pd.DataFrame({"patient": [f"P{i:02d}" for i in who], "y": np.array(["a", "b"])[who % 2]})
        obs["type"] = np.concatenate([rng.choice(list("abcdefgh"), 100, p=one) for one in shares])
        adata = AnnData(obs=obs.set_index(obs.index.astype(str)))
        options = {"cluster_key": "type", "n_draws": 40, "random_state": seed, "copy": True}
        found = sfm.tl.few_shot_samples(adata, label_key="y", **options)["summary"].set_index("score")
        return [*found.loc["auroc", ["low", "high"]], 0.5]

    return run


def nested_coxnet(n: int, n_repeats: int) -> object:
    """No feature has to do with survival: 0.5."""

    def run(seed: int) -> list[float]:
        rng = np.random.default_rng(seed)
        table, time = patients(seed, n, 0.0, columns=5), rng.exponential(1, n)
        end = rng.exponential(2, n)
        table.obs["time"], table.obs["event"] = np.minimum(time, end), time <= end
        options = {"n_folds": 4, "n_inner_folds": 3, "n_alphas": 8, "n_bootstrap": 200, "random_state": seed}
        found = sfm.tl.coxnet(table, **options, n_repeats=n_repeats, copy=True)["scores"]
        return [*found.loc["harrell", ["ci_low", "ci_high"]], 0.5]

    return run


@cache
def annotated(seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two types, twelve patients who lie apart; two embeddings that tell as much."""
    rng = np.random.default_rng(seed)
    who, kind = np.repeat(np.arange(12), 50), rng.integers(0, 2, 600)
    obs = pd.DataFrame({"patient": [f"P{i:02d}" for i in who], "type": np.array(["s", "t"])[kind]})
    table = AnnData(obs=obs.set_index(obs.index.astype(str)))
    for name in ("X_one", "X_two"):
        values = rng.normal(size=(600, 4)) + rng.normal(0, 0.7, (12, 4))[who]
        values[:, 0] += kind
        table.obsm[name] = values
    summary = sfm.tl.evaluate_annotation(table, "type", use_rep=["X_one", "X_two"], C=1.0, random_state=seed)
    return summary.query("use_rep == 'X_one'").set_index("score"), table.uns["annotation"]["differences"]


def annotation_interval(seed: int) -> list[float]:
    row = annotated(seed)[0].loc["auroc"]
    return [row["low"], row["high"], 0.725]  # mean of 60 other cohorts


def annotation_difference(seed: int) -> float:
    return annotated(seed)[1].set_index("score").loc["auroc", "p_value"]


def novel(seed: int) -> list[float]:
    """Share of ordinary cells above 0.95, patients differing by 0.6 of a cell's spread."""
    rng, tables = np.random.default_rng(seed), []
    for prefix, n in (("P", 8), ("Q", 4)):
        who = np.repeat(np.arange(n), 120)
        kind = rng.integers(0, 3, len(who))
        values = rng.normal(size=(len(who), 6)) + rng.normal(0, 0.6, (n, 6))[who]
        values[np.arange(len(who)), kind] += 4
        obs = pd.DataFrame({"patient": [f"{prefix}{i}" for i in who], "type": np.array(list("abc"))[kind]})
        tables.append(AnnData(obs=obs.set_index(obs.index.astype(str)), obsm={"X_m": values}))
    found = sfm.tl.transfer_labels(*tables, "type", use_rep="X_m", method="linear", copy=True)
    return [(found["novelty"] > 0.95).mean(), 0.05]


def held_out(n: int, times: bool) -> object:
    """The two-sided test of `tl.mil` on held-out predictions of ridge regression, which trains in no time."""

    def run(seed: int) -> float:
        rng = np.random.default_rng(seed)
        y, x = np.arange(n) % 2, rng.normal(size=(n, 5))
        fold = stratified_folds(y, 5, rng)
        score = np.empty(n)
        for k in range(5):
            train = fold != k
            z = x - x[train].mean(axis=0)
            score[~train] = z[~train] @ np.linalg.solve(
                z[train].T @ z[train] + np.eye(5), z[train].T @ (y[train] - y[train].mean())
            )
        return rank_test_within(score, y == 1, fold, times_shared(fold) if times else 1.0)

    return run


@cache
def bags(seed: int, effect: float, n: int = 30) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A network on bags of 20 cells; every fourth patient is of class b, whose cells are `effect` higher."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(n), 20)
    y = who % 4 == 0
    values = rng.normal(size=(len(who), 3)) + 0.3 * rng.normal(size=(n, 3))[who]
    values[:, 0] += effect * y
    obs = pd.DataFrame({"patient": [f"P{i:02d}" for i in who], "y": np.where(y, "b", "a")})
    table = AnnData(obs=obs.set_index(obs.index.astype(str)), obsm={"X_m": values.astype(np.float32)})
    found = sfm.tl.mil(
        table, use_rep="X_m", label_key="y", positive="b", n_heads=1, hidden=8, n_folds=3, n_seeds=1, max_epochs=30,
        learning_rate=0.01, random_state=seed, copy=True,
    )  # fmt: skip
    return found["summary"].set_index("score"), found["patients"]


def bags_interval(seed: int) -> list[float]:
    return [*bags(seed, 0.0)[0].loc["auroc", ["low", "high"]], 0.5]


def bags_chance(seed: int) -> list[float]:
    return [bags(seed, 0.0)[0].loc["auroc", "mean"], 0.5]


def bags_probability(seed: int) -> list[float]:
    """Classes weigh alike in training, so that of nothing the rare one would be as probable as the other.

    It is less so, as in scikit-learn's logistic regression with balanced weights of 30 bags of three columns (0.03 less
    with C = 1, 0.01 with 0.1, 0.05 with 10; 0.13 with 16 columns): where few bags are fitted closely, weights fade.
    """
    return [bags(seed, 0.0)[1]["p_b"].mean(), 0.5]


def bags_test(effect: float) -> object:
    return lambda seed: bags(seed, effect)[0].loc["auroc", "p_two_sided"]


CASES = [
    Case("tl.classify_samples", "30 patients, no effect", "interval", classified(30, 0.0, 0.5), 150, conservative=True),
    Case("tl.classify_samples", "30 patients, no effect, as published", "interval",
         classified(30, 0.0, 0.5, ("low_published", "high_published")), 150, note="as published, for comparison"),
    Case("tl.classify_samples", "100 against 1,000 cells, chance", "score", classify_depth, 30),
    Case("tl.few_shot_samples", "30 patients, no effect", "interval", few_shot(30), 100, conservative=True),
    Case("tl.few_shot_samples", "100 against 1,000 cells, chance", "score", few_shot_depth("auto"), 40),
    Case("tl.few_shot_samples", "100 against 1,000 cells, all of them", "score", few_shot_depth("all"), 40,
         note="as published, for comparison"),
    Case("tl.coxnet", "40 patients, no effect, one partition", "interval", nested_coxnet(40, 1), 100),
    Case("tl.coxnet", "40 patients, no effect, five partitions", "interval", nested_coxnet(40, 5), 60,
         conservative=True),
    Case("tl.evaluate_annotation", "12 patients who differ", "interval", annotation_interval, 100, conservative=True),
    Case("tl.evaluate_annotation", "two embeddings that tell as much", "p_value", annotation_difference, 150,
         conservative=True),
    Case("tl.transfer_labels", "patients differ by 0.6 sd: share above 0.95", "score", novel, 30),
    Case("tl.mil", "60 patients, no effect, p_two_sided", "p_value", held_out(60, True), 1000, cheap=True,
         conservative=True),
    Case("tl.mil", "a network, 8 of 30 patients of the rare class, no effect", "interval", bags_interval, 100,
         conservative=True),
    Case("tl.mil", "a network, 8 of 30 patients of the rare class, no effect: p_two_sided", "p_value", bags_test(0.0),
         100, conservative=True),
    Case("tl.mil", "a network, 8 of 30 patients of the rare class, no effect: chance", "score", bags_chance, 100),
    Case("tl.mil", "a network, no effect: probability of the rare class", "score", bags_probability, 100,
         note="0.03 less in balanced logistic regression of three columns, too: where few bags are fitted closely, "
              "weights of classes fade"),
    Case("tl.mil", "a network, cells of the rare class 1 sd higher", "power", bags_test(1.0), 60),
    Case("tl.mil", "60 patients, no effect, predictions taken for independent", "p_value", held_out(60, False), 1000,
         note="without the allowance, for comparison"),
]  # fmt: skip
