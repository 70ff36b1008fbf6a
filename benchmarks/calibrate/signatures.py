"""Signatures where patients differ in numbers of cells, and enrichment of rare types in them."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
from anndata import AnnData

import spatialfm as sfm

from .case import Case

OPTIONS = {"use_rep": "X_e", "resolutions": [0.5, 1.0], "max_cells": None, "n_repeats": 3, "n_repeats_model": 3}
OPTIONS |= {"min_patients": 3, "copy": True}


def cohort(seed: int, sizes: np.ndarray, effect: float = 0.0, patient_sd: float = 0.5) -> AnnData:
    """Eight blobs of cells, moved by patient; `sizes` cells of each; every second patient responds.

    Responders have more of the first blob (log-odds `effect`). Compositions vary between patients.
    """
    rng = np.random.default_rng(seed)
    centers = 5 * rng.standard_normal((8, 4))
    responds = np.arange(len(sizes)) % 2 == 0
    kinds, values = [], []
    for n, r in zip(sizes, responds, strict=True):
        weights = rng.dirichlet(2 * np.array([1.5, 1.5, 1.5, 1, 1, 0.5, 0.2, 0.1]))
        weights[0] *= np.exp(effect * r)
        mine = rng.choice(8, n, p=weights / weights.sum())
        kinds.append(mine)
        values.append(centers[mine] + patient_sd * rng.standard_normal(4) + rng.standard_normal((n, 4)))
    of = np.repeat(np.arange(len(sizes)), sizes)
    names = np.array([f"P{i:02d}" for i in range(len(sizes))])[of]
    obs = pd.DataFrame({"patient": names, "sample": names, "response": responds[of]})
    obs["kind"] = np.concatenate(kinds).astype(str)
    obs.index = obs.index.astype(str)
    return AnnData(obs=obs, obsm={"X_e": np.concatenate(values).astype(np.float32)})


def few_against_many(n: int = 24) -> np.ndarray:
    return np.where(np.arange(n) % 2 == 0, 25, 150)


@cache  # score and p-value of the same search are two cases
def nested(seed: int, n_permutations: int, cells_per_patient: str = "even") -> pd.Series:
    record = sfm.tl.discover_signatures(
        cohort(seed, few_against_many()), outcome="response", n_permutations=n_permutations, random_state=seed,
        cells_per_patient=cells_per_patient, **OPTIONS,
    )  # fmt: skip
    return record["scores"].loc["nested"]


SHUFFLES = 19  # p is 0.05 or less where none of them scores as high


def nested_p(seed: int) -> float:
    return nested(seed, SHUFFLES)["p_value"]


def nested_score(seed: int) -> tuple[float, float]:
    return nested(seed, SHUFFLES)["score"], 0.5


CASES: list[Case] = [
    Case("tl.discover_signatures", "responders have 25 cells, others 150", "p_value", nested_p, 200),
    Case("tl.discover_signatures", "responders have 25 cells, others 150", "score", nested_score, 200),
    Case(
        "tl.discover_signatures",
        'responders have 25 cells, others 150; cells_per_patient="all"',
        "score",
        lambda seed: (nested(seed, 0, "all")["score"], 0.5),
        60,
        note="what the warning is about",
    ),
]
