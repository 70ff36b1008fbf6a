"""Paths made of the columns of a table: the text as it is, every column, and all that is wrong at once."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tifffile

import spatialfm as sfm
from spatialfm._errors import ArgumentError, ClinicalError, InputFileError
from spatialfm.io._templates import parse_template, text_columns


def test_parts_of_a_template():
    template = parse_template("image", "{{raw}}/{slide}/{Core ID.1}_{slide}.ome.tiff")
    assert template.columns == ["slide", "Core ID.1"]
    texts = pd.DataFrame({"slide": ["007", "8", None], "Core ID.1": ["a", "", "c"]}, dtype=object)
    assert template.filled(texts).texts == ("{raw}/007/a_007.ome.tiff", "", "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image", r"names no column in braces.*image_column='image'"),
        ("{slide", "is not a template: .*Name a column in braces"),
        ("{}.tif", "hold the name of a column and nothing else"),
        ("{slide:03d}.tif", "hold the name of a column and nothing else"),
        ("{slide!r}.tif", "hold the name of a column and nothing else"),
    ],
)
def test_what_is_no_template(text, message):
    with pytest.raises(ArgumentError, match=message):
        parse_template("image", text)


def test_text_of_columns_is_that_of_the_file(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("slide,core,grade,NA\n007,1.0,2,NA\n8,2.0,,NA\n")
    frame = pd.read_csv(path)
    texts = text_columns(path, frame, ["slide", "core", "grade", "NA"], ["NA"])
    assert texts.to_numpy().tolist() == [["007", "1.0", "2", "NA"], ["8", "2.0", None, "NA"]]
    # a frame holds numbers: whole ones are written without decimals
    texts = text_columns(frame, frame, ["slide", "core", "grade"], [])
    assert texts.to_numpy().tolist() == [["7", "1", "2"], ["8", "2", None]]
    with pytest.raises(ClinicalError, match="not whole"):
        text_columns(frame.assign(core=0.5), frame.assign(core=0.5), ["core"], [])


@pytest.fixture
def folder(tmp_path, pixels, mask):
    (tmp_path / "Größe").mkdir()
    for name in ("007_a", "007_b", "8_a"):
        tifffile.imwrite(tmp_path / "Größe" / f"{name}.ome.tiff", pixels)
    for name in ("007_a", "8_a"):
        tifffile.imwrite(tmp_path / "Größe" / f"{name}_cells.tif", mask)
    return tmp_path


ROWS = "sample;patient;slide;core;folder;segmented;os;dead\n"
ROWS += "s1;p1;007;a;Größe;_cells;1,5;1\ns2;p1;007;b;Größe;;1,5;1\ns3;p2;8;a;Größe;_cells;3;0\n"
TEMPLATES = {"image": "{folder}/{slide}_{core}.ome.tiff", "labels": "{folder}/{slide}_{core}{segmented}.tif"}


@pytest.mark.filterwarnings("ignore::spatialfm._errors.SpatialfmWarning")
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252"])
def test_a_cohort_by_templates(folder, encoding, pixels):
    (folder / "cohort.csv").write_bytes(ROWS.encode(encoding))
    sdata = sfm.io.read_cohort(folder / "cohort.csv", **TEMPLATES, mpp=1.0, time_key="os", event_key="dead")
    assert list(sdata.images) == ["image_s1", "image_s2", "image_s3"]
    assert list(sdata.labels) == ["cells_s1", "cells_s3"]  # s2 has nothing in a column of the template
    assert sdata["samples"].obs["slide"].tolist() == ["007", "007", "8"]  # still a clinical column
    np.testing.assert_array_equal(sdata["image_s2"].values, pixels)
    patients = sfm.tl.composition(with_kind(sdata["table"]), "kind")
    sfm.tl.kaplan_meier(patients)
    assert patients.uns["kaplan_meier"]["params"]["outcome_from"] == "remembered from sfm.io.read_cohort"
    assert patients.uns["kaplan_meier"]["table"]["survival"].tolist() == [1.0, 0.5, 0.5]


def with_kind(cells):
    cells.obs["kind"] = pd.Categorical(["a"] * cells.n_obs)
    return cells


@pytest.mark.filterwarnings("ignore::spatialfm._errors.SpatialfmWarning")
def test_everything_wrong_is_told_at_once(folder):
    path = folder / "cohort.csv"
    path.write_text(ROWS, encoding="utf-8")
    with pytest.raises(
        ClinicalError, match=r"no column for \{slid\} of image= \(did you mean \{slide\}\?\), \{x\} of labels="
    ):
        sfm.io.read_cohort(path, image="{slid}.tif", labels="{x}.tif")
    with pytest.raises(InputFileError, match="3 problems") as caught:
        sfm.io.read_cohort(path, image="{folder}/{slide}.tif", mpp=1.0)
    assert all(f"no file '{folder}/Größe/{name}.tif'" in str(caught.value) for name in ("007", "8"))
    with pytest.raises(InputFileError, match=r"row 1 \(sample 's2'\): no path in image='\{slide\}\{segmented\}.tif'"):
        sfm.io.read_cohort(path, image="{slide}{segmented}.tif", mpp=1.0)
    with pytest.raises(ArgumentError, match="is a template and image_column='slide' a column: pass one"):
        sfm.io.read_cohort(path, image="{slide}.tif", image_column="slide")
    with pytest.raises(ClinicalError, match=r"no column 'image' .*or a template such as image="):
        sfm.io.read_cohort(path)


def test_a_column_called_as_the_argument_is_a_column_like_others(folder):
    table = pd.DataFrame({"sample": ["s"], "patient": ["p"], "image": ["007_a"], "grade": [2]})
    sdata = sfm.io.read_cohort(table, image="Größe/{image}.ome.tiff", base_path=folder, mpp=1.0)
    assert list(sdata.images) == ["image_s"]
    assert list(sdata["samples"].obs) == ["patient", "image", "grade"]


def test_an_outcome_is_checked_before_any_file_is_opened(folder, monkeypatch):
    from spatialfm._errors import SurvivalError

    monkeypatch.setattr("spatialfm.io._cohort_read.read_sample", None)
    table = pd.DataFrame(
        {"sample": ["s"], "patient": ["p"], "image": ["Größe/007_a.ome.tiff"], "OS (d)": [3.5], "status": ["dead"]}
    )
    with pytest.raises(SurvivalError, match="only 0, 1, False and True are understood"):
        sfm.io.read_cohort(table, base_path=folder, time_key="OS (d)", event_key="status")
    with pytest.raises(SurvivalError, match=r"No column 'OS' in obs \(time_key=\)"):
        sfm.io.read_cohort(table, base_path=folder, time_key="OS", event_key="status")
