"""What columns of a table of cells are taken for, and what is left to the user."""

from __future__ import annotations

import pandas as pd
import pytest

from spatialfm.cli._cell_guesses import guessed_settings, places
from spatialfm.cli.init import is_of_cells


def table(**columns):
    return pd.DataFrame(columns)


@pytest.mark.parametrize(
    ("columns", "xy"),
    [
        (["x", "y"], ("x", "y")),
        (["id", "X", "Y"], ("X", "Y")),
        (["Centroid X µm", "Centroid Y µm"], ("Centroid X µm", "Centroid Y µm")),
        (["X_centroid", "Y_centroid"], ("X_centroid", "Y_centroid")),
        (["Location_Center_X", "Location_Center_Y"], ("Location_Center_X", "Location_Center_Y")),
        (["Cell X Position", "Cell Y Position"], ("Cell X Position", "Cell Y Position")),
        (["x"], None),
        (["X", "X.", "y"], None),  # two that may be it
        (["image", "labels"], None),
    ],
)
def test_columns_of_positions(columns, xy):
    assert places(columns) == xy


def test_a_table_of_samples_with_places_on_a_slide_is_none_of_cells():
    assert not is_of_cells(table(sample=["a", "b"], image=["a.tif", "b.tif"], x=[0, 1], y=[0, 0]))
    assert is_of_cells(table(Image=["a.tif", "a.tif"], x=[0, 1], y=[0, 0]))
    assert not is_of_cells(table(sample=["a", "b"], image=["a.tif", "b.tif"]))


def test_samples_numbered_within_patients_are_named_by_both():
    cells = table(patient_id=[1, 1, 2], image_id=[1, 2, 1], x=[1, 2, 3], y=[1, 2, 3])
    assert guessed_settings(cells, None) == {"library_key": ["patient_id", "image_id"], "patient_key": "patient_id"}
    cells["image_id"] = [1, 2, 3]
    assert guessed_settings(cells, None)["library_key"] == "image_id"


def test_the_patient_is_what_the_clinical_table_has_a_row_for():
    cells = table(imageID=["a", "a", "b"], ID=[1, 1, 2], Group=[1, 1, 2], x=[1, 2, 3], y=[1, 2, 3])
    assert "patient_key" not in guessed_settings(cells, None)
    clinical = table(ID=[1, 2, 3], Group=[1, 2, 2])
    assert guessed_settings(cells, clinical) == {"library_key": "imageID", "patient_key": "ID"}


def test_numbers_of_cells_are_unique_in_their_sample():
    cells = table(sample=["a", "a", "b"], cell_id=[1, 2, 1], x=[1, 2, 3], y=[1, 2, 3])
    assert guessed_settings(cells, None)["instance_key"] == "cell_id"
    assert "instance_key" not in guessed_settings(cells.assign(cell_id=[1, 1, 1]), None)
    assert "instance_key" not in guessed_settings(cells.assign(cell_id=[0, 1, 1]), None)


def test_types_are_a_column_or_flags_of_phenotypes_and_flags_of_markers_are_not():
    places_of = {"sample": ["a"] * 3, "x": [1, 2, 3], "y": [1, 2, 3]}
    flags = {"phenotype_ck": [True, False, False], "phenotype_cd8": [False, True, False]}
    assert guessed_settings(table(**places_of, cellType=["T", "B", "T"]), None) == {"phenotype": "cellType"}
    assert guessed_settings(table(**places_of, cellType=["T", "T", "T"]), None) == {}
    assert guessed_settings(table(**places_of, **flags), None) == {"phenotype": list(flags)}
    markers = {"CD3": [1.0, 2, 3], "CD20": [3.0, 2, 1], "age": [50, 50, 50]}
    calls = {"CD3+": [True, False, True], "CD20+": [False, True, False]}
    assert guessed_settings(table(**places_of, **markers, **calls), None) == {"markers": ["CD3", "CD20"]}
    assert guessed_settings(table(**places_of, **calls), None) == {"phenotype": list(calls)}
