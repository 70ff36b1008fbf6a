"""Clinical columns arrive at the right rows, or nothing is written and the message says what is wrong."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from spatialdata.models import TableModel

import spatialfm as sfm
from spatialfm._errors import ClinicalError, InputFileError, SpatialfmWarning


@pytest.fixture
def cells() -> AnnData:
    obs = pd.DataFrame(
        {"patient": ["p2", "p1", "p1", "p3", "p2"], "number": [2, 1, 1, 3, 2]}, index=[f"c{i}" for i in range(5)]
    )
    obs["patient"] = obs["patient"].astype("category")
    return AnnData(np.arange(10, dtype=np.float32).reshape(5, 2), obs=obs)


@pytest.fixture
def clinic() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "patient": ["p1", "p2", "p3"],
            "age": [50, 61, 72],
            "os_days": [10.5, np.nan, 30.0],
            "grade": ["high", None, "low"],
            "event": [True, False, True],
            "mixed": [1, "NC", 3],
        }
    )


def refused(adata, table, match, error=ClinicalError, **options):
    before, x = adata.obs.copy(), adata.X.copy()
    with pytest.raises(error, match=match):
        sfm.pp.add_clinical(adata, table, **{"on": "patient", **options})
    pd.testing.assert_frame_equal(adata.obs, before)
    np.testing.assert_array_equal(adata.X, x)


# ---- what is written ----


def test_columns_arrive_at_their_rows(cells, clinic, tmp_path):
    assert sfm.pp.add_clinical(cells, clinic.sample(frac=1, random_state=1), on="patient") is None
    obs = cells.obs
    assert list(obs) == ["patient", "number", "age", "os_days", "grade", "event", "mixed"]
    assert list(obs["age"]) == [61, 50, 50, 72, 61]
    assert obs["age"].dtype == np.int64
    np.testing.assert_array_equal(obs["os_days"], [np.nan, 10.5, 10.5, 30, np.nan])
    assert [None if pd.isna(g) else g for g in obs["grade"]] == [None, "high", "high", "low", None]
    assert list(obs["grade"].cat.categories) == ["high", "low"]
    assert obs["event"].dtype == bool
    assert list(obs["mixed"].astype(str)) == ["NC", "1", "1", "3", "NC"]
    cells.write_h5ad(tmp_path / "cells.h5ad")  # every column is one that AnnData can store


def test_chosen_columns_only(cells, clinic):
    sfm.pp.add_clinical(cells, clinic, on="patient", clinical_keys="age")
    sfm.pp.add_clinical(cells, clinic, on="patient", clinical_keys=["grade"])
    assert list(cells.obs) == ["patient", "number", "age", "grade"]


def test_key_may_be_an_index_or_have_another_name(cells, clinic):
    sfm.pp.add_clinical(cells, clinic.set_index("patient"), on="patient", clinical_keys="age")
    by_cell = pd.DataFrame({"Sample ID": [f"c{i}" for i in range(5)], "Tumour size (mm)": np.arange(5)})
    cells.obs.index.name = "sample"
    sfm.pp.add_clinical(cells, by_cell, on="sample", table_on="Sample ID")
    assert list(cells.obs["age"]) == [61, 50, 50, 72, 61]
    assert list(cells.obs["Tumour_size_mm"]) == list(range(5))
    assert "Sample ID" not in cells.obs


@pytest.mark.parametrize(("suffix", "separator"), [(".csv", ","), (".tsv", "\t"), (".txt", "\t"), (".parquet", None)])
def test_files_are_read(cells, clinic, tmp_path, suffix, separator):
    path = tmp_path / f"clinic{suffix}"
    clinic = clinic.drop(columns="mixed")
    clinic.to_csv(path, sep=separator, index=False) if separator else clinic.to_parquet(path)
    sfm.pp.add_clinical(cells, str(path), on="patient")
    assert list(cells.obs["age"]) == [61, 50, 50, 72, 61]


def test_keys_with_leading_zeros_stay_apart_in_files(tmp_path):
    adata = AnnData(obs=pd.DataFrame({"patient": ["007", "7"]}, index=["a", "b"]))
    (tmp_path / "clinic.csv").write_text("patient,age\n7,70\n007,40\n")
    sfm.pp.add_clinical(adata, tmp_path / "clinic.csv", on="patient")
    assert list(adata.obs["age"]) == [40, 70]


@pytest.mark.parametrize("kind", [str, float, "category", "Int64"])
def test_numbers_and_their_text_are_the_same_key(cells, clinic, kind, caplog):
    clinic = clinic.assign(patient=pd.Series([1, 2, 3]).astype(kind))
    with caplog.at_level("INFO", logger="spatialfm"):
        sfm.pp.add_clinical(cells, clinic, on="number", table_on="patient", clinical_keys="age")
    assert list(cells.obs["age"]) == [61, 50, 50, 72, 61]
    assert ("compared as text" in caplog.text) == (kind is str)


def test_keep_leaves_missing_values(cells, clinic, caplog):
    with caplog.at_level("WARNING", logger="spatialfm"):
        sfm.pp.add_clinical(cells, clinic.iloc[1:], on="patient", on_missing="keep")
    assert "2 rows of adata.obs have no match" in caplog.text
    assert "'p1'" in caplog.text
    np.testing.assert_array_equal(cells.obs["age"], [61, np.nan, np.nan, 72, 61])
    assert list(cells.obs["event"].isna()) == [False, True, True, False, False]
    assert list(cells.obs["grade"].isna()) == [True, True, True, False, True]


def test_drop_leaves_the_rows_out(cells, clinic):
    sfm.pp.add_clinical(cells, clinic.iloc[1:], on="patient", on_missing="drop")
    assert list(cells.obs_names) == ["c0", "c3", "c4"]
    np.testing.assert_array_equal(cells.X[:, 0], [0, 6, 8])
    assert list(cells.obs["age"]) == [61, 72, 61]


def test_the_same_columns_again_change_nothing(cells, clinic):
    sfm.pp.add_clinical(cells, clinic, on="patient")
    once = cells.obs.copy()
    sfm.pp.add_clinical(cells, clinic, on="patient")
    pd.testing.assert_frame_equal(cells.obs, once)


def test_rows_that_fit_nobody_are_reported(cells, clinic):
    more = pd.concat([clinic, clinic.assign(patient=["q1", "q2", "q3"])])
    with pytest.warns(
        SpatialfmWarning, match="3 rows of the clinical table fit no 'patient' of adata.*'q1', 'q2', 'q3'"
    ):
        sfm.pp.add_clinical(cells, more, on="patient")
    assert list(cells.obs["age"]) == [61, 50, 50, 72, 61]


# ---- SpatialData ----


@pytest.fixture
def sdata(make_sdata, add_samples):
    labels = np.zeros((20, 20), int)
    labels[2:5, 2:5], labels[9:12, 9:12] = 1, 2
    image = np.ones((1, 20, 20), np.float32)
    sdata = make_sdata(s1=(image, labels), s2=(image, labels))
    add_samples(sdata, pd.DataFrame({"patient": ["p1", "p2"]}, index=["s1", "s2"]))
    sfm.pp.cell_table(sdata, morphology=False)
    return sdata


def test_both_tables_of_a_spatialdata(sdata, clinic):
    sfm.pp.add_clinical(sdata, clinic.iloc[:2], on="patient", clinical_keys=["age"])
    assert list(sdata["samples"].obs["age"]) == [50, 61]
    assert list(sdata["table"].obs["age"]) == [50, 50, 61, 61]
    sfm.pp.add_clinical(sdata, pd.DataFrame({"sample": ["s2", "s1"], "slide": [9, 8]}), on="sample")
    assert list(sdata["samples"].obs["slide"]) == [8, 9]
    assert list(sdata["table"].obs["slide"]) == [8, 8, 9, 9]


def test_a_dropped_sample_leaves_a_valid_table(sdata, clinic):
    sfm.pp.add_clinical(sdata, clinic.iloc[1:2], on="patient", clinical_keys=["age"], on_missing="drop")
    assert list(sdata["samples"].obs_names) == ["s2"]
    assert sdata["table"].uns["spatialdata_attrs"]["region"] == ["cells_s2"]
    TableModel().validate(sdata["table"])


def test_nothing_is_written_to_either_table_when_one_fails(sdata, clinic):
    sdata["table"].obs["age"] = 1
    with pytest.raises(ClinicalError, match=r"sdata\['table'\].obs already has a column 'age' with other values"):
        sfm.pp.add_clinical(sdata, clinic.iloc[:2], on="patient", clinical_keys=["age"])
    assert "age" not in sdata["samples"].obs
    with pytest.raises(ClinicalError, match=r"No table of sdata has a column 'slide'.*sdata\['samples'\]"):
        sfm.pp.add_clinical(sdata, clinic, on="slide")


# ---- refusals ----


def test_missing_patients(cells, clinic):
    match = (
        r"2 rows of adata.obs have no match in the clinical table \(1 value of 'patient': 'p1'\).*on_missing=\"drop\""
    )
    refused(cells, clinic.iloc[1:], match)
    cells.obs["patient"] = ["p1", None, "p2", None, "p3"]
    refused(cells, clinic, r"2 rows of adata.obs have no match.*2 rows without 'patient'")


def test_duplicates_and_missing_keys_of_the_table(cells, clinic):
    refused(
        cells, pd.concat([clinic, clinic.iloc[:1]]), "more than one row for 1 key of 'patient': 'p1'.*drop_duplicates"
    )
    # which of two different rows holds is not for us to say: "drop_duplicates" would take the first
    two = pd.concat([clinic, clinic.iloc[:1].assign(age=0)])
    with pytest.raises(ClinicalError) as refusal:
        sfm.pp.add_clinical(cells, two, on="patient")
    assert "differ in 'age'" in str(refusal.value)
    assert "drop_duplicates" not in str(refusal.value)
    refused(cells, clinic.assign(patient=["p1", None, "p3"]), "1 row of the clinical table without 'patient'.*dropna")


def test_columns_that_are_there_already(cells, clinic):
    cells.obs["age"] = [61, 50, 50, 72, 99]
    refused(cells, clinic, "already has a column 'age' with other values.*overwrite=True")
    sfm.pp.add_clinical(cells, clinic, on="patient", overwrite=True)
    assert list(cells.obs["age"]) == [61, 50, 50, 72, 61]
    refused(cells, clinic.rename(columns={"age": "AGE"}), "'AGE' of the clinical table differs from 'age'.*case")


def test_missing_values_are_filled_and_nothing_is_lost(cells, clinic):
    """A message of `composition` proposes this call for columns with gaps; what only the AnnData knows stays."""
    cells.obs["age"] = [np.nan, 50, 50, 72, 61]
    cells.obs["grade"] = pd.Categorical(["mid", None, "high", None, "mid"])
    sfm.pp.add_clinical(cells, clinic[["patient", "age", "grade"]], on="patient")
    assert list(cells.obs["age"]) == [61, 50, 50, 72, 61]
    assert list(cells.obs["grade"]) == ["mid", "high", "high", "low", "mid"]  # the clinic has none for p2


@pytest.mark.parametrize("name", ["region", "cell_id"])
def test_reserved_columns(cells, clinic, name):
    refused(cells, clinic.rename(columns={"age": name}), f"Column '{name}' .* has a reserved name.*rename")


def test_unlike_keys(cells, clinic):
    padded = clinic.assign(patient=["001", "002", "003"])
    refused(
        cells,
        padded,
        r"numbers in one table and text in the other.*'001', '002', '003'.*astype",
        on="number",
        table_on="patient",
    )
    refused(cells, clinic.assign(patient=[1.5, 2, 3]), "not whole.*1.5")
    refused(cells, clinic.assign(patient=[True, False, True]), "dtype bool")
    refused(
        cells,
        clinic.assign(patient=["a", "b", "c"]),
        "No key of the clinical table is a 'patient'.*'a', 'b', 'c'.*'p1'",
    )


def test_absent_columns_and_dates(cells, clinic):
    refused(cells, clinic, "adata.obs has no column 'slide'; it has 'patient', 'number'", on="slide")
    refused(cells, clinic, "The clinical table has no column 'number'.*table_on=", on="number")
    refused(cells, clinic, "has no column 'stage'.*Correct clinical_keys=", clinical_keys=["age", "stage"])
    refused(cells, clinic.assign(day=pd.Timestamp("2020-01-01")), "'day' of the clinical table holds dates.*days")


def test_files_that_are_none(cells, tmp_path):
    refused(cells, tmp_path / "absent.csv", "No file .*absent.csv", error=InputFileError)
    (tmp_path / "clinic.xlsx").write_text("")
    refused(cells, tmp_path / "clinic.xlsx", "is a spreadsheet.*CSV UTF-8", error=InputFileError)
    refused(cells, tmp_path, "on_missing must be 'raise', 'drop' or 'keep'", error=ValueError, on_missing="ignore")


@pytest.mark.real_data
def test_dcis_clinic(real_data):
    path = real_data / "dcis_mibi" / "clinical_core.csv"
    clinic = pd.read_csv(path)
    fovs = clinic["fov"].sample(20, random_state=0)
    adata = AnnData(obs=pd.DataFrame({"sample": fovs.to_numpy()}, index=fovs.to_numpy()))
    with pytest.warns(SpatialfmWarning, match=rf"{len(clinic) - 20} rows of the clinical table fit no 'sample'"):
        sfm.pp.add_clinical(adata, path, on="sample", table_on="fov")
    expected = clinic.set_index("fov").loc[fovs]
    np.testing.assert_array_equal(adata.obs["Total_cells"], expected["Total_cells"])
    assert list(adata.obs["Status"].astype(str)) == list(expected["Status"].astype(str))
    np.testing.assert_array_equal(adata.obs["Days_To_First_Event"], expected["Days_To_First_Event"])
