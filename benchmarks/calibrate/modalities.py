"""Two modalities of the same cells: partners that are found, and targets that are predicted, in patients held out."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData

import spatialfm as sfm

from .case import Case


def two_views(seed: int, n_patients: int, n: int, shared: float) -> AnnData:
    """Cells with a hidden state that both views show by `shared`; patients lie apart, each view in its own way."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(n_patients), n)
    hidden = rng.normal(size=(len(who), 4))
    # how much of the state a patient's stain lets through differs, so that its cells are found or missed together
    clear = rng.uniform(0.2, 1.8, n_patients)[who, None]
    views = {
        f"X_{name}": shared * clear * hidden + rng.normal(size=hidden.shape)
        + rng.normal(size=(n_patients, 4))[who]
        for name in "ab"
    }  # fmt: skip
    return AnnData(obs=pd.DataFrame({"patient": who.astype(str)}, index=[f"c{i}" for i in range(len(who))]), obsm=views)


def found(truth: float, **how: object) -> object:
    """Whether the interval covers what cohorts of this size have on average."""

    def run(seed: int) -> list[float]:
        table = sfm.metrics.cross_modal(two_views(seed, **how), "X_a", "X_b", n_candidates=32).set_index("measure")
        row = table.loc["R@10"].iloc[0]
        return [row["low"], row["high"], truth]

    return run


def found_by_chance(seed: int) -> list[list[float]]:
    table = sfm.metrics.cross_modal(two_views(seed, 10, 30, 0.0), "X_a", "X_b", n_candidates=32)
    return table.loc[table["measure"] == "R@10", ["value", "chance"]].to_numpy().tolist()


def predicted(truth: float, n_patients: int, shared: float) -> object:
    """Whether the interval of the correlation covers what cohorts of this size have on average."""

    def run(seed: int) -> list[float]:
        cells = two_views(seed, n_patients, 30, shared)
        record = sfm.tl.predict_expression(cells, "X_a", "X_b", copy=True)
        return [*record["summary"][["low", "high"]].iloc[0], truth]

    return run


CASES = [
    Case("tl.predict_expression", "10 patients, nothing in common", "interval", predicted(0.0, 10, 0.0), 400,
         cheap=True, conservative=True),
    Case("tl.predict_expression", "10 patients, a state in common", "interval", predicted(0.3973, 10, 1.0), 400,
         note="patients lie apart, and all fits share most of them"),
    Case("metrics.cross_modal", "10 patients, views that share nothing", "interval",
         found(10 / 32, n_patients=10, n=30, shared=0.0), 400, cheap=True),
    Case("metrics.cross_modal", "10 patients, views that share a state", "interval",
         found(0.5603, n_patients=10, n=30, shared=1.0), 400, cheap=True),
    Case("metrics.cross_modal", "20 patients, views that share a state", "interval",
         found(0.5484, n_patients=20, n=30, shared=1.0), 200),
    Case("metrics.cross_modal", "views that share nothing: chance", "score", found_by_chance, 150),
]  # fmt: skip
