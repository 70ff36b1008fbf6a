"""The table of samples, made of what files state and of a clinical table."""

from __future__ import annotations

import pandas as pd
import pytest

from spatialfm._errors import ClinicalError, SpatialfmWarning
from spatialfm.io._sample_rows import sample_rows

INFO = pd.DataFrame({"slide": ["s1", "s1", "s2"], "case": ["a", "a", "b"]}, index=["x", "y", "z"])


def rows(info=INFO, clinical=None, library_key="sample", patient_key="patient", **options):
    return sample_rows(info, "the files", clinical, library_key=library_key, patient_key=patient_key, **options)


def test_without_a_clinical_table_samples_have_what_files_state():
    obs = rows()
    assert obs["slide"].tolist() == ["s1", "s1", "s2"]
    assert "patient" not in obs


def test_patients_that_the_files_name():
    obs = rows(patient_key="case")
    assert list(obs.columns) == ["patient", "slide"]
    assert obs["patient"].tolist() == ["a", "a", "b"]


def test_one_row_per_patient_where_the_files_name_patients():
    obs = rows(clinical=pd.DataFrame({"case": ["b", "a"], "age": [50, 60]}), patient_key="case")
    assert obs["age"].tolist() == [60, 60, 50]
    assert obs["patient"].tolist() == ["a", "a", "b"]


def test_one_row_per_sample_in_any_order_with_rows_of_others():
    clinical = pd.DataFrame({"sample": ["z", "other", "X 1", "y"], "patient": ["3", "9", "1", "2"]})
    with pytest.warns(SpatialfmWarning, match="1 row for samples that are not among the files: 'other'"):
        obs = rows(clinical=clinical, other_names={"X 1": "x"})
    assert obs["patient"].tolist() == ["1", "2", "3"]


def test_rows_of_other_samples_are_not_looked_at():
    """Such as two of one sample, which would be refused."""
    clinical = pd.DataFrame({"sample": ["z", "other", "other", "x", "y"], "patient": ["3", "8", "9", "1", "2"]})
    with pytest.warns(SpatialfmWarning, match="2 rows for samples that are not among the files: 'other'") as warned:
        obs = rows(clinical=clinical)
    assert obs["patient"].tolist() == ["1", "2", "3"]
    assert len(warned) == 1


def test_a_column_whose_place_the_patients_would_take():
    with pytest.raises(ClinicalError, match="Column 'patient' is not the one that patient_key names.*Rename it"):
        rows(INFO.assign(patient=["p", "p", "q"]), patient_key="case")


def test_a_clinical_table_may_name_samples_as_they_were_before_elements():
    info = INFO.set_axis(["slide_1", "y", "z"], axis=0)
    clinical = pd.DataFrame({"sample": ["slide 1", "y", "z"], "patient": ["1", "2", "3"]})
    assert rows(info, clinical=clinical)["patient"].tolist() == ["1", "2", "3"]


def test_leading_zeros_of_patients_stay(tmp_path):
    (tmp_path / "clinical.csv").write_text("sample,patient\nx,001\ny,01\nz,1\n")
    assert rows(clinical=tmp_path / "clinical.csv")["patient"].tolist() == ["001", "01", "1"]


@pytest.mark.parametrize(
    ("clinical", "message"),
    [
        (pd.DataFrame({"sample": ["x", "y"], "patient": ["1", "2"]}), "no row for 1 sample: 'z'"),
        (pd.DataFrame({"sample": ["x", "x", "y", "z"], "age": [1, 2, 3, 4]}), "more than one row"),
        (pd.DataFrame({"sample": ["x", "y", "z"], "patient": ["1", None, "2"]}), "1 sample has no patient.*'y'"),
        (pd.DataFrame({"id": ["x", "y", "z"]}), "neither a column 'sample'"),
    ],
)
def test_rows_that_do_not_fit_are_refused(clinical, message):
    with pytest.raises(ClinicalError, match=message):
        rows(clinical=clinical)
