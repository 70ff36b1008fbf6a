"""Two people of one name, as tables of two studies have once they are joined."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning
from spatialfm.cohort.studies import say_studies


def study(**columns) -> ad.AnnData:
    obs = {"sample": [f"{name}_1" for name in ("P1", "P2", "P3") for _ in range(4)], "type": list("abab") * 3}
    obs["patient"] = [name.partition("_")[0] for name in obs["sample"]]
    for name, values in columns.items():
        obs[name] = np.repeat(values, 4)
    return ad.AnnData(obs=pd.DataFrame(obs, index=[f"c{i}" for i in range(12)]))


def said(table, names="patient", argument="patient_key"):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        say_studies(table.obs, table.obs[names], argument)
    return [str(one.message) for one in seen]


def test_patients_of_two_studies_are_named_and_told_apart_by_the_call():
    joined = ad.concat([study(), study()[4:]], label="study", keys=["A", "B"], index_unique="-")
    with pytest.warns(
        SpatialfmWarning, match=r"^2 of 3 patients have rows of several by obs\['study'\], first 'P2'"
    ) as seen:
        sfm.tl.composition(joined, "type", library_key="patient")
    code = next(str(one.message) for one in seen if "patient_key" in str(one.message))
    exec(code[code.index('adata.obs["patient"] =') :].removesuffix("."), {"adata": joined})
    assert sorted(joined.obs["patient"].unique()) == ["A_P1", "A_P2", "A_P3", "B_P2", "B_P3"]
    assert said(joined) == []


@pytest.mark.parametrize(
    ("column", "first", "second", "fact"),
    [
        ("sex", ["female", "male", "male"], ["F", "F", "M"], "obs['sex'] of patient 'P2' is 'F' and 'male'. Each"),
        ("Gender", ["w", "m", "w"], ["m", "w", "w"], "'P1' is 'm' and 'w', and 1 more contradict themselves so. Each"),
        ("age", [40, 50, 60], [45, 65.5, np.nan], "obs['age'] of patient 'P2' is '50.0' and '65.5'. Each"),
        ("Age at diagnosis", ["40", "50", "60"], ["40", "51", "90"], "of patient 'P3' is '60' and '90'. Each"),
        ("birth_year", [1950, 1960, 1970], [1950, 1960, 1971], "of patient 'P3' is '1970' and '1971'. Each"),
    ],
)
def test_what_no_one_person_is_is_named(column, first, second, fact):
    joined = ad.concat([study(**{column: first}), study(**{column: second})], index_unique="-")
    (text,) = said(joined)
    assert fact in text
    assert "in each table before they are joined" in text
    assert f"obs[{column!r}] of sample" in said(joined, "sample", "library_key")[0]


@pytest.mark.parametrize(
    "columns",
    [
        {"sex": ["female", "male", "male"], "age": [40, 50, 60], "study": ["A", "A", "B"]},
        {"sex": ["female", None, "male"], "treatment": ["before", "after", "before"], "age_group": [1, 30, 90]},
        {"age_in_weeks": [1, 30, 90], "cohort_size": [3, 4, 5]},
    ],
)
def test_nothing_is_said_of_one_study(columns):
    once = study(**columns)
    later = study(**columns | ({"age": [41, 52, 70]} if "age" in columns else {}))
    for name in ("treatment", "age_group", "age_in_weeks", "cohort_size"):  # which may be of a sample, not a person
        if name in columns:
            later.obs[name] = later.obs[name].to_numpy()[::-1]
    joined = ad.concat([once, later], index_unique="-")
    assert said(joined) == said(joined, "sample", "library_key") == []
    assert said(joined, "type", "cluster_key") == []
