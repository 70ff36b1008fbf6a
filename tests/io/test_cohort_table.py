"""The table of a cohort, checked as a whole before any file is opened."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from spatialfm._errors import ClinicalError, InputFileError, SpatialfmWarning
from spatialfm.io._cohort_table import (
    CohortKeys,
    clinical_columns,
    column_source,
    find_keys,
    load_table,
    measurements_named,
    plan_rows,
    refuse_all,
)

KEYS = CohortKeys("sample", "patient", "image", "labels", "mpp")


@pytest.fixture
def frame(tmp_path):
    for name in ("a.tif", "b.tif", "mask.tif"):
        (tmp_path / name).touch()
    return pd.DataFrame(
        {
            "sample": ["s1", "s2"],
            "patient": ["p1", "p2"],
            "image": ["a.tif", "b.tif"],
            "labels": ["mask.tif", None],
            "mpp": [0.5, None],
            "stage": ["I", "II"],
        }
    )


def plan(frame, folder, keys=KEYS, **kwargs):
    return plan_rows(frame, keys, folder, column_source(frame, keys.image), column_source(frame, keys.labels), **kwargs)


def test_rows_hold_paths_sizes_and_names(frame, tmp_path):
    one, two = plan(frame, tmp_path)
    assert (one.sample, one.patient, one.image, one.labels, one.mpp) == (
        "s1", "p1", tmp_path / "a.tif", tmp_path / "mask.tif", 0.5,
    )  # fmt: skip
    assert (two.labels, two.mpp) == (None, None)


def test_all_that_is_wrong_is_told_at_once(frame, tmp_path):
    frame["sample"] = ["s 1", "s 1"]
    frame["patient"] = ["p1", None]
    frame["image"] = [None, "absent.tif"]
    frame["mpp"] = [0.0, "wide"]
    with pytest.raises(InputFileError, match="The cohort has 6 problems") as error:
        plan(frame, tmp_path)
    for text in (
        "row 1: sample 's 1' is also in row 0",
        "row 1 (sample 's 1'): no patient in column 'patient'",
        "row 0 (sample 's 1'): no path in column 'image'",
        "0.0 in column 'mpp' is not a pixel size in µm",
        "wide in column 'mpp' is not a pixel size",
    ):
        assert text in str(error.value)


def test_samples_must_differ_by_more_than_case_and_be_short(frame, tmp_path):
    frame["sample"] = ["S1", "s1"]
    with pytest.raises(InputFileError, match="sample 's1' is also in row 0"):
        plan(frame, tmp_path)
    frame["sample"] = ["x" * 201, "s"]
    with pytest.raises(InputFileError, match="has 201 bytes"):
        plan(frame, tmp_path)


def test_names_that_elements_cannot_have_are_changed_openly(frame, tmp_path):
    frame["sample"] = ["core 1", "core-2"]
    with pytest.warns(
        SpatialfmWarning, match=r"1 name of a sample cannot .* was changed: 'core 1' to 'core_1'. .*'sample_name'"
    ):
        rows = plan(frame, tmp_path)
    assert [(row.sample, row.written) for row in rows] == [("core_1", "core 1"), ("core-2", "core-2")]
    clinical = clinical_columns(frame, rows, KEYS, None)
    assert list(clinical.columns) == ["patient", "sample_name", "stage"]
    assert clinical["sample_name"].to_dict() == {"core_1": "core 1", "core-2": "core-2"}
    with pytest.raises(ClinicalError, match="the cohort table has a column 'Sample_Name'. Rename that column"):
        clinical_columns(frame.assign(Sample_Name="x"), rows, KEYS, None)


@pytest.mark.parametrize("names", [["core 1", "core_1"], ["core_1", "core 1"], ["core 1", "Core/1"]])
def test_names_that_would_be_stored_as_one_are_refused(names, frame, tmp_path):
    frame["sample"] = names
    with pytest.raises(InputFileError, match="row 1: sample .* would be stored as .* of row 0. Rename one") as error:
        plan(frame, tmp_path)
    assert f"sample {names[1]!r}" in str(error.value)
    assert f"as is {names[0]!r}" in str(error.value)
    frame["sample"] = ["***", "a"]
    with pytest.raises(InputFileError, match=r"row 0: sample '\*\*\*' has no letter and no digit"):
        plan(frame, tmp_path)


def test_kinds_are_known_ones(frame, tmp_path):
    keys = CohortKeys("sample", "patient", "image", None, None, "kind")
    frame["kind"] = ["qupth", ""]
    with pytest.raises(InputFileError, match=r"'qupth' in column 'kind' is not one of .* \(did you mean 'qupath'\?\)"):
        plan_rows(frame, keys, tmp_path, column_source(frame, "image"), None)


def test_many_problems_are_counted():
    with pytest.raises(InputFileError, match="and 5 more"):
        refuse_all([f"row {i}" for i in range(25)])
    refuse_all([])


def test_names_in_a_file_stay_text(tmp_path):
    (tmp_path / "c.csv").write_text("sample,patient,image\n001,01,a.tif\n002,02,\n")
    frame, folder = load_table(tmp_path / "c.csv", ["sample", "patient"], ["image"])
    assert folder == tmp_path.resolve()
    assert frame["sample"].tolist() == ["001", "002"]
    assert frame["image"].tolist() == ["a.tif", None]


def test_a_patient_that_reads_like_a_missing_value_is_asked_about(tmp_path):
    (tmp_path / "c.csv").write_text("sample,patient\ns1,p1\ns2,NA\n")
    with pytest.raises(InputFileError, match=r"Column 'patient' of .* reads 'NA' in 1 row, from row 1 on"):
        load_table(tmp_path / "c.csv", ["sample", "patient"], [])
    frame, _ = load_table(pd.DataFrame({"sample": ["s1"], "patient": ["NA"]}), ["sample", "patient"], [])
    assert frame["patient"].tolist() == ["NA"]


def test_tables_that_cannot_be_used_are_refused(tmp_path):
    with pytest.raises(InputFileError, match="several columns called 'a'"):
        load_table(pd.DataFrame([[1, 2]], columns=["a", "a"]), [], [])
    with pytest.raises(InputFileError, match="has no rows"):
        load_table(pd.DataFrame({"a": []}), [], [])
    with pytest.raises(InputFileError, match="is a folder, not a table.*such as sfm.io.read_steinbock"):
        load_table(tmp_path, [], [])
    with pytest.raises(InputFileError, match="Save the table as one"):
        load_table(tmp_path / "cohort.pdf", [], [])


def test_columns_that_have_a_default_name_alone_may_be_absent(frame):
    found = find_keys(frame.drop(columns=["labels", "mpp"]), "sample", "patient", "image", "labels", "mpp")
    assert found == CohortKeys("sample", "patient", "image", None, None)
    with pytest.raises(ClinicalError, match=r"no column 'mask'; .* Correct labels_column=, or pass labels_column=None"):
        find_keys(frame, "sample", "patient", "image", "mask", "mpp")
    with pytest.raises(ClinicalError, match=r"no column 'file' for the paths of the images; .* or a template such as"):
        find_keys(frame, "sample", "patient", "file", None, None)


def test_a_column_called_measurements_means_qupaths_where_a_row_is_of_its_kind():
    frame = pd.DataFrame({"kind": ["qupath", ""], "measurements": [1, 2]})
    assert measurements_named(frame, "measurements", None, "kind") == "measurements"
    assert measurements_named(frame.assign(kind=""), "measurements", None, "kind") is None
    assert measurements_named(frame.assign(kind=""), "tables", None, "kind") == "tables"


def test_clinical_columns_are_what_is_left(frame, tmp_path):
    frame["Unnamed: 0"] = [0, 1]
    rows = plan(frame, tmp_path)
    clinical = clinical_columns(frame, rows, KEYS, None)
    assert list(clinical.columns) == ["patient", "stage"]
    assert list(clinical.index) == ["s1", "s2"]
    assert list(clinical_columns(frame, rows, KEYS, ["mpp"], also=["stage"]).columns) == ["patient", "mpp", "stage"]
    with pytest.raises(ClinicalError, match="clinical_keys names 'grade'"):
        clinical_columns(frame, rows, KEYS, ["grade"])
    other = CohortKeys("image", "patient", "image", None, None)
    with pytest.raises(ClinicalError, match="Column .sample. .* is not the one that library_key names"):
        clinical_columns(frame, rows, other, None)


def test_truth_values_are_no_pixel_sizes(frame, tmp_path):
    frame["mpp"] = np.array([True, 0.5], dtype=object)
    with pytest.raises(InputFileError, match="True in column 'mpp' is not a pixel size"):
        plan(frame, tmp_path)


def test_a_patient_spelled_in_two_ways_is_one_problem_each_and_not_two_patients(frame, tmp_path):
    frame["patient"] = ["P 01", "p 01 "]
    with pytest.raises(InputFileError, match="patient 'p 01' is spelled 'P 01' in row 0, and each would count as a"):
        plan(frame, tmp_path)
    frame["patient"] = ["P 01", "P 01 "]
    assert [row.patient for row in plan(frame, tmp_path)] == ["P 01", "P 01"]
