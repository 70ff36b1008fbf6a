"""Numbers that stand for a missing value are named where they lie outside of all others, and nowhere else."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning
from spatialfm._missing_codes import missing_code, tell_missing_code


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([51, 63.5, 70, 82, 999], (999.0, 1)),
        ([51, 63.5, 70, 82, -99, -99], (-99.0, 2)),
        ([1, 2, 3, 1, 2, 9, 9], (9.0, 2)),
        ([0, 1, 0, 1, 9, 9], (9.0, 2)),
        ([0, 1, 0, 1, 99], (99.0, 1)),
        ([0, 0.4, 2, 5, 11, 3, -1], (-1.0, 1)),
        ([3, 7, 12, 40, np.nan, 9999, 9999, 9999], (9999.0, 3)),
    ],
)
def test_codes_outside_of_all_others(values, found):
    assert missing_code(np.array(values, dtype=float)) == found


@pytest.mark.parametrize(
    "values",
    [
        [900, 950, 999, 980, 990],  # a time among times
        [-1, 0, 1, 1, 0, -1],  # worse, the same, better
        [-1, 0.3, 1.2, -2, 0.7, 0.1, 2.2],  # standardised
        [0, 1, 2, 3, 9],  # nodes
        [40, 50, 60, 70, 99],  # ages
        [5, 5, 5, 999],  # nothing to compare it with
        [0, 1, 999.5],
        list(range(40)),
        [],
    ],
)
def test_values_that_may_be_meant_are_left_alone(values):
    assert missing_code(np.array(values, dtype=float)) is None


@pytest.mark.parametrize("dtype", ["int16", "float32", "Int64", "bool", object])
def test_kinds_of_columns(dtype):
    column = pd.Series([1, 2, 3, 2, 999] if dtype != "bool" else [True, False, True], dtype=dtype)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tell_missing_code(column, "obs['nodes']")
    texts = [str(one.message) for one in caught]
    if dtype in ("bool", object):
        assert texts == []
    else:
        assert len(texts) == 1
        assert texts[0].startswith("obs['nodes'] is 999 in 1 row and 1 to 3 in all others.")


@pytest.fixture
def patients() -> ad.AnnData:
    rng = np.random.default_rng(0)
    obs = pd.DataFrame(
        {
            "arm": np.repeat(["a", "b"], 30),
            "time": rng.exponential(20, 60) + 0.1,
            "event": rng.random(60) < 0.7,
            "age": rng.integers(40, 80, 60),
            "follicle": rng.integers(0, 2, 60),
        },
        index=[f"P{i}" for i in range(60)],
    )
    counts = rng.integers(5, 40, (60, 3)).astype(float)
    patients = ad.AnnData(counts / counts.sum(axis=1, keepdims=True), obs=obs, var=pd.DataFrame(index=list("xyz")))
    patients.layers["counts"] = counts
    return patients


CALLS = {
    "time": lambda p: sfm.tl.kaplan_meier(p, "arm"),
    "age": lambda p: sfm.tl.cox(p, ["arm", "age"]),
    "age of the log-rank test": lambda p: sfm.tl.logrank(p, "arm", covariates="age"),
    "age of compositions": lambda p: sfm.tl.compare_composition(p, "arm", covariates="age"),
    "age of a score": lambda p: sfm.tl.concordance(p, "age"),
    "follicle": lambda p: sfm.tl.risk_ratio(p, "arm", "follicle", group="a"),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_name_the_column(patients, name):
    column = name.split(" ")[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CALLS[name](patients.copy())
    patients.obs[column] = patients.obs[column].astype(float)
    patients.obs.iloc[[3, 40], patients.obs.columns.get_loc(column)] = 999.0
    with pytest.warns(
        SpatialfmWarning, match=rf"obs\['{column}'\] \(\w+=\) is 999 in 2 rows and .* in all others"
    ) as found:
        CALLS[name](patients)
    assert len([one for one in found if "is 999" in str(one.message)]) == 1
