"""Markers that were not stained: intervals of their values, the test of patients who differ, scores of floors."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData

import spatialfm as sfm

from .case import Case

MARKERS = ["A", "B", "C", "D", "E"]


def cells(seed: int, n_patients: int, n: int = 40, n_new: int = 0, shift: float = 0.0) -> AnnData:
    """Cells with two hidden states; patients stain each marker by themselves; the last is imputed in the first ones.

    `shift` moves a marker that was stained in all of these new patients.
    """
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(n_patients), n)
    hidden = rng.normal(size=(len(who), 2)) @ np.array([[1, 1, 0, 0.5, 1], [0, 0.5, 1, 1, 0.5]])
    values = 10 + hidden + 0.5 * rng.normal(size=hidden.shape) + 0.5 * rng.normal(size=(n_patients, 5))[who]
    values[who < n_new, 0] += shift
    obs = pd.DataFrame({"patient": [f"P{i:02d}" for i in who]}, index=[f"c{i}" for i in range(len(who))])
    return AnnData(values.astype(np.float32), obs=obs, var=pd.DataFrame(index=MARKERS))


def imputed(seed: int, shift: float = 0.0, **options: object) -> tuple[AnnData, np.ndarray, pd.DataFrame]:
    table = cells(seed, 30, n_new=10, shift=shift)
    truth, new = table.X[:, 4].copy(), (table.obs["patient"] < "P10").to_numpy()
    table.X[new, 4] = np.nan
    sfm.tl.impute_markers(table, markers=["E"], method="linear", space="intensity")
    found = sfm.tl.calibrate_imputation(table, n_bootstrap=0, random_state=seed, **options)
    return table[new], truth[new], found


def covered(seed: int) -> np.ndarray:
    """Low, high and truth of the cells of ten patients who were not stained."""
    table, truth, _ = imputed(seed, n_permutations=0, coverage=0.95)
    ends = [table.obsm[f"X_imputed_{end}"]["E"].to_numpy() for end in ("lower", "upper")]
    return np.column_stack([*ends, truth])


def shifted(shift: float) -> object:
    return lambda seed: float(imputed(seed, shift, n_permutations=199)[2]["shift_p"].iloc[0])


def floor(truth: float) -> object:
    """Whether the interval of ridge regression's correlation covers what cohorts of this size have on average."""

    def run(seed: int) -> list[float]:
        options = {"markers": ["E"], "methods": ["linear"], "n_bootstrap": 500, "random_state": seed}
        table = sfm.tl.evaluate_reconstruction(cells(seed, 10), **options)
        row = table[(table["marker"] == "E") & (table["score"] == "r")].iloc[0]
        return [row["low"], row["high"], truth]

    return run


CASES = [
    Case("tl.calibrate_imputation", "cells of 10 patients not stained, 20 stained", "interval", covered, 200,
         cheap=True),
    Case("tl.calibrate_imputation", "10 new patients like 20 known ones: shift_p", "p_value", shifted(0.0), 200,
         cheap=True),
    Case("tl.calibrate_imputation", "10 new patients, a marker higher by two spreads of patients: shift_p", "power",
         shifted(1.0), 100),
    Case("tl.evaluate_reconstruction", "10 patients, ridge regression", "interval", floor(0.8645), 200, cheap=True),
]  # fmt: skip
