"""Who has cells when."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from spatialfm._errors import ClinicalError, SpatialfmWarning, TableError
from spatialfm.cohort.time_points import read_time_points


def cells(rows, **columns):
    """`rows`: (patient, time, cells)."""
    patient, time = (np.repeat([row[i] for row in rows], [row[2] for row in rows]) for i in (0, 1))
    obs = pd.DataFrame({"patient": patient, "time": time, **columns}, index=[f"c{i:03}" for i in range(len(patient))])
    return AnnData(obs=obs)


def read(adata, **options):
    defaults = {"time_key": "time", "patient_key": "patient", "group_key": None, "library_key": None,
                "time_points": None, "reference": None, "min_cells": 1, "on_missing": "raise"}  # fmt: skip
    return read_time_points(adata, **defaults | options)


ROWS = [("p", "0", 3), ("p", "1", 2), ("q", "0", 4), ("q", "1", 1), ("q", "2", 5)]


def test_rows_pairs_and_who_has_both():
    found = read(cells(ROWS), on_missing="drop")
    assert found.times == ["0", "1", "2"]
    assert found.pairs == [("0", "1"), ("0", "2"), ("1", "2")]
    assert found.pairs_of == {"p": [("0", "1")], "q": found.pairs}
    assert found.rows["q", "2"].tolist() == [10, 11, 12, 13, 14]
    found = read(cells(ROWS), on_missing="drop", reference="2", min_cells=2)
    assert found.pairs == [("2", "0"), ("2", "1")]
    assert found.pairs_of == {"q": [("2", "0")]}


def test_patients_with_too_few_cells_are_named():
    with pytest.raises(TableError, match=r"2 of 2 patients have fewer than min_cells=3.*'p \(2 at 1, 0 at 2\)'"):
        read(cells(ROWS), min_cells=3)
    with pytest.raises(TableError, match="No patient has min_cells=9"):
        read(cells(ROWS), min_cells=9, on_missing="drop")


def test_a_sample_is_of_one_patient_and_time():
    adata = cells(ROWS)
    adata.obs["sample"] = adata.obs["patient"] + adata.obs["time"]
    read(adata, library_key="sample", on_missing="drop")
    adata.obs["sample"] = adata.obs["patient"]
    with pytest.raises(ClinicalError, match="2 samples have more than one value in obs.'time'"):
        read(adata, library_key="sample")


def test_groups_are_of_patients():
    rows = [(f"p{i}", time, 2) for i in range(6) for time in "01"]
    adata = cells(rows)
    adata.obs["arm"] = np.where(adata.obs["patient"].isin(["p0", "p2", "p4"]), "b", "a")
    found = read(adata, group_key="arm")
    assert found.groups == ["a", "b"]
    assert found.group_of["p2"] == "b"
    adata.obs.loc["c000", "arm"] = "a"
    with pytest.raises(ClinicalError, match="1 patient has more than one value"):
        read(adata, group_key="arm")
    adata.obs["arm"] = np.where(adata.obs["patient"] == "p0", "b", "a")
    with pytest.raises(TableError, match="Fewer than 3 patients in a group"):
        read(adata, group_key="arm")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"time_points": ["0", "9"]}, "No cell has '9'"),
        ({"time_points": ["0", "0"]}, "names a time point twice"),
        ({"time_points": ["0"]}, "holds 1 time point"),
        ({"reference": "9"}, "reference='9' is not a time point"),
        ({"covariates": "x"}, "Pass group_key="),
    ],
)
def test_what_cannot_be_asked(options, message):
    with pytest.raises(TableError, match=message):
        read(cells(ROWS), **options)


def test_what_all_is_compared_with_comes_first_where_no_order_is_stated():
    adata = cells([(patient, time, 2) for patient in "abc" for time in ("pre", "post")])
    with pytest.warns(SpatialfmWarning, match="states no order of its time points.*'post', 'pre'"):
        assert read(adata).times == ["post", "pre"]
    assert read(adata, reference="pre").times == ["pre", "post"]
