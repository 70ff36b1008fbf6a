"""Cases, their labels, and splits that keep each on one side."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from spatialfm._errors import ClinicalError, TableError
from spatialfm.cohort.cases import read_cases, read_classes

KEYS = {"patient_key": "patient", "library_key": "sample", "on_missing": "raise"}


@pytest.fixture
def table() -> AnnData:
    """12 rows, 6 samples, 4 patients."""
    sample = np.repeat(["s1", "s2", "s3", "s4", "s5", "s6"], 2)
    patient = np.repeat(["A", "A", "B", "B", "C", "D"], 2)
    label = np.repeat(["yes", "yes", "no", "no", "yes", "no"], 2)
    obs = pd.DataFrame({"sample": sample, "patient": patient, "label": label}, index=[f"c{i}" for i in range(12)])
    return AnnData(np.zeros((12, 1), np.float32), obs=obs)


def test_cases_are_patients_and_their_rows(table):
    shuffled = table[np.random.default_rng(0).permutation(12)].copy()
    cases = read_cases(shuffled, {"label": "label_key"}, **KEYS)
    assert (cases.unit, cases.key) == ("patient", "patient")
    assert sorted(cases.names) == ["A", "B", "C", "D"]
    assert [cases.names[code] for code in cases.codes] == shuffled.obs["patient"].tolist()
    truth = {"A": "yes", "B": "no", "C": "yes", "D": "no"}
    assert cases.table["label"].tolist() == [truth[name] for name in cases.names]


def test_patients_without_label_are_refused_or_left_out(table):
    table.obs.loc[table.obs["patient"] == "B", "label"] = None
    with pytest.raises(
        TableError, match=r"1 of 4 patients have no value in 'label': 'B'. Fill them, or pass on_missing"
    ):
        read_cases(table, {"label": "label_key"}, **KEYS)
    cases = read_cases(table, {"label": "label_key"}, **KEYS | {"on_missing": "drop"})
    assert cases.names == ["A", "C", "D"]
    assert cases.n_dropped == 1
    assert cases.rows.tolist() == [0, 1, 2, 3, 8, 9, 10, 11]
    assert cases.codes.tolist() == [0, 0, 0, 0, 1, 1, 2, 2]
    table.obs["label"] = None
    with pytest.raises(TableError, match="No patient has a value"):
        read_cases(table, {"label": "label_key"}, **KEYS | {"on_missing": "drop"})
    with pytest.raises(TableError, match="on_missing='skip' is not known"):
        read_cases(table, {"label": "label_key"}, **KEYS | {"on_missing": "skip"})


def test_contradictions_are_refused(table):
    two = table.copy()
    two.obs.loc["c2", "label"] = "no"
    with pytest.raises(
        ClinicalError, match=r"1 patient has more than one value in obs\['label'\], first 'A': 'yes', 'no'"
    ):
        read_cases(two, {"label": "label_key"}, **KEYS)
    some = table.copy()
    some.obs.loc["c2", "label"] = None
    with pytest.raises(ClinicalError, match="first 'A': 'yes', 'missing'"):
        read_cases(some, {"label": "label_key"}, **KEYS | {"on_missing": "drop"})
    split = table.copy()
    split.obs.loc["c1", "patient"] = "D"
    with pytest.raises(ClinicalError, match=r"1 sample belongs to more than one patient; 's1' to 'A', 'D'"):
        read_cases(split, {}, **KEYS)


def test_samples_of_a_patient_are_not_split(table):
    with pytest.raises(
        TableError, match=r"patient_key=None, but 2 patients have several samples.*Pass patient_key='pat"
    ):
        read_cases(table, {"label": "label_key"}, **KEYS | {"patient_key": None})
    one_each = table[table.obs["sample"].isin(["s1", "s3", "s5", "s6"])].copy()
    cases = read_cases(one_each, {"label": "label_key"}, **KEYS | {"patient_key": None})
    assert (cases.unit, cases.names) == ("sample", ["s1", "s3", "s5", "s6"])


def test_a_table_of_patients_needs_no_sample(table):
    patients = table[[0, 4, 8, 10]].copy()
    del patients.obs["sample"]
    assert read_cases(patients, {"label": "label_key"}, **KEYS).names == ["A", "B", "C", "D"]
    del patients.obs["patient"]
    with pytest.raises(TableError, match=r"No column 'patient' in obs \(patient_key=\).*patient_key=None"):
        read_cases(patients, {"label": "label_key"}, **KEYS)
    cases = read_cases(patients, {"label": "label_key"}, **KEYS | {"patient_key": None})
    assert (cases.unit, cases.names) == ("row", ["c0", "c10", "c4", "c8"])  # in the order of names, not of rows


def test_patients_of_two_cohorts_with_one_name_are_not_made_one(table):
    """Two tables of patients that number them alike, joined: both 1 would be one patient."""
    patients = table[[0, 4, 8, 10]].copy()
    del patients.obs["sample"]
    patients.obs_names = ["1", "2", "1", "2"]
    with pytest.raises(TableError, match=r"2 names of obs_names repeat \('1', '2'\).*would be one patient"):
        read_cases(patients, {"label": "label_key"}, **KEYS | {"patient_key": None})
    cases = read_cases(patients, {"label": "label_key"}, **KEYS)
    assert (cases.names, cases.samples.tolist()) == (["A", "B", "C", "D"], [0, 1, 2, 3])


def test_classes_are_in_order_and_those_too_small_are_named(table):
    cases = read_cases(table, {"label": "label_key"}, **KEYS)
    classes = read_classes(cases, "label", None, need=2, why="a test")
    assert classes.names == ["no", "yes"]
    assert classes.codes.tolist() == [1, 0, 1, 0]
    assert classes.positive_name == "yes"
    assert read_classes(cases, "label", "no", need=2, why="a test").positive_name == "no"
    table.obs["label"] = pd.Categorical(table.obs["label"], categories=["yes", "no", "never"])
    ordered = read_classes(read_cases(table, {"label": "label_key"}, **KEYS), "label", None, need=2, why="a test")
    assert ordered.names == ["yes", "no"]
    with pytest.raises(TableError, match=r"fewer than 3 patients, which n_support=2 needs: 'no \(2\)', 'yes \(2\)'"):
        read_classes(cases, "label", None, need=3, why="n_support=2")
    with pytest.raises(TableError, match=r"positive='maybe' is not a value of obs\['label'\]; found 'no', 'yes'"):
        read_classes(cases, "label", "maybe", need=2, why="a test")


def test_one_class_and_numbers_are_refused(table):
    table.obs["label"] = "yes"
    with pytest.raises(TableError, match=r"All 4 patients are 'yes' in obs\['label'\]"):
        read_classes(read_cases(table, {"label": "label_key"}, **KEYS), "label", None, need=2, why="a test")
    alone = table[table.obs["patient"] == table.obs["patient"].iloc[0]].copy()
    with pytest.raises(TableError, match=r"The only patient is 'yes' in obs\['label'\]"):
        read_classes(read_cases(alone, {"label": "label_key"}, **KEYS), "label", None, need=2, why="a test")
    many = AnnData(
        obs=pd.DataFrame(
            {"patient": [f"P{i}" for i in range(20)], "age": np.arange(20.0)}, index=list("abcdefghijklmnopqrst")
        )
    )
    with pytest.raises(TableError, match=r"has 20 different numbers, which are not classes. Cut it at values"):
        read_classes(read_cases(many, {"age": "label_key"}, **KEYS), "age", None, need=2, why="a test")
