"""Rows of a cohort whose cells are QuPath's: polygons and classes of its export, intensities of the image."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tifffile
from reading_qupath import CLASSES, NAMES, QUPATH, write_qupath

import spatialfm as sfm
from spatialfm._errors import ClinicalError, InputFileError, TableError


@pytest.fixture
def cohort(tmp_path):
    """The rows of a project of two images, with one table for both."""
    write_qupath(tmp_path)
    return pd.DataFrame(
        {
            "sample": ["core_1", "second"],
            "image": ["images/core 1.ome.tif", "images/core 2.ome.tif"],
            "labels": ["cells/core 1.geojson", "cells/core 2.geojson"],
            "measurements": "measurements.tsv",
            "patient": ["p1", "p2"],
        }
    )


def read(cohort, folder, **options):
    return sfm.io.read_cohort(cohort, base_path=folder, **({"kind": "qupath"} | options))


def test_cells_are_those_of_the_table_with_its_classes_and_measured_here(cohort, tmp_path):
    sdata = read(cohort, tmp_path)
    table = sdata["table"]
    assert list(sdata.shapes) == ["cells_core_1", "cells_second"]
    for sample, called in (("core_1", "core_1"), ("second", "core_2")):
        pixels, labels, patient = QUPATH[called]
        part = table[table.obs["sample"] == sample]
        ids = np.unique(labels)[1:]
        means = [[channel[labels == label].mean() for channel in pixels] for label in ids]
        np.testing.assert_allclose(part.X, means, rtol=1e-6)  # and not the -1 of the nucleus in the file
        classes = part.obs["phenotype"].astype(object)
        assert classes.where(classes.notna(), None).tolist() == [CLASSES[i % 3] for i in range(len(ids))]
        assert part.obs["object_id"].tolist() == [f"{called}-{i}" for i in range(len(ids))]
        assert set(part.obs["patient"]) == {patient}
    assert list(table.var_names) == list(NAMES)
    record = sdata.attrs["spatialfm"]["samples"]["second"]
    assert record["kind"] == "qupath"
    assert record["measurements"].endswith("measurements.tsv")
    assert "measurements" not in sdata["samples"].obs


def test_cells_that_were_deleted_in_the_table_are_left_out_by_name(cohort, tmp_path):
    path = tmp_path / "measurements.tsv"
    rows = pd.read_csv(path, sep="\t")
    rows.drop(index=1).to_csv(path, sep="\t", index=False)
    with pytest.warns(match="1 polygon"):
        sdata = read(cohort, tmp_path)
    assert "core_1-1" not in set(sdata["table"].obs["object_id"])
    assert sdata["table"].n_obs == len(rows) - 1


def test_other_kinds_stand_beside_it_and_have_no_class(cohort, tmp_path):
    pixels, labels, _ = QUPATH["core_1"]
    tifffile.imwrite(tmp_path / "mask.tif", labels)
    plain = {"sample": "plain", "image": "images/core 1.ome.tif", "labels": "mask.tif", "patient": "p3", "kind": "tiff"}
    rows = pd.concat([cohort.assign(kind="qupath")[1:], pd.DataFrame([plain])])
    table = read(rows, tmp_path)["table"]
    of_plain = table[table.obs["sample"] == "plain"]
    assert of_plain.n_obs == len(np.unique(labels)) - 1
    assert of_plain.obs["phenotype"].isna().all()
    assert table.obs["phenotype"].notna().any()


def test_an_image_of_another_name_is_not_given_the_cells_of_the_only_one(cohort, tmp_path):
    """A table of one image would fit any row by its number of images: the name decides."""
    path = tmp_path / "measurements.tsv"
    rows = pd.read_csv(path, sep="\t")
    rows[rows["Image"] == "core 2.ome.tif"].to_csv(path, sep="\t", index=False)
    with pytest.raises(InputFileError, match=r"no cells of image 'core 1.ome.tif' or sample 'core_1'; it has 'core 2"):
        read(cohort[:1], tmp_path)


def test_rows_that_cannot_be_meant(cohort, tmp_path):
    with pytest.raises(InputFileError, match="'core 1.ome.tif' .*are those of row 'core_1' already"):
        read(cohort.assign(image=cohort["image"][0], labels=cohort["labels"][0]), tmp_path)
    with pytest.raises(InputFileError, match="'core 2.ome.tif', as the image is called, and of 'core 1.ome.tif', as"):
        read(cohort[1:].assign(sample="core_1"), tmp_path)
    with pytest.raises(InputFileError, match="has no polygons: write the path of the GeoJSON"):
        read(cohort.assign(labels=""), tmp_path)
    with pytest.raises(InputFileError, match="has no table of measurements: name it in the column"):
        read(cohort.assign(measurements=""), tmp_path)
    with pytest.raises(InputFileError, match="row 0 .*: no file .*other.tsv"):
        read(cohort.assign(measurements=["other.tsv", "measurements.tsv"]), tmp_path)
    with pytest.raises(InputFileError, match="names a table, which kind 'tiff' does not take"):
        read(cohort.assign(kind=["qupath", "tiff"]), tmp_path)
    with pytest.raises(ClinicalError, match="no column 'tables'"):
        read(cohort, tmp_path, measurements_column="tables")
    with pytest.raises(TableError, match="'phenotype' is in the cohort table and in QuPath's"):
        read(cohort.assign(phenotype="luminal"), tmp_path)


def test_a_clinical_column_of_this_name_stays_one(tmp_path):
    pixels, labels, _ = QUPATH["core_1"]
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    rows = pd.DataFrame({"sample": ["a"], "image": ["a.tif"], "patient": ["p"], "measurements": [7]})
    sdata = sfm.io.read_cohort(rows, base_path=tmp_path, mpp=0.5, channel_names=list(NAMES))
    assert sdata["samples"].obs["measurements"].tolist() == [7]
