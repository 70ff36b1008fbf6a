"""Samples, patients, cells and panels of the cohort, counted by hand."""

from __future__ import annotations

import json
import re
from html import unescape

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import spatialdata as sd
from spatialdata.models import Image2DModel, TableModel
from spatialdata.transformations import Scale

from spatialfm.reporting.cohort import (
    MOST_COLUMNS,
    cohort_section,
    panel_section,
    panels_of,
    patients_of,
    sample_table,
)
from spatialfm.reporting.source import ReportKeys, read_source

KEYS = ReportKeys("sample", "patient", None, None, None, None, None, ())


@pytest.fixture
def cells():
    obs = {"sample": ["a", "b", "b", "b", "c"], "patient": ["p", "q", "q", "q", "p"]}
    table = ad.AnnData(np.zeros((5, 3), np.float32), obs=pd.DataFrame(obs, index=list("12345")))
    table.var_names = ["CD3", "CD20", "DAPI"]
    return table


def source_of(data):
    return read_source(data, samples=None, patients=None, keys=KEYS)


def text(section):
    return unescape(re.sub(r"<[^>]+>", " ", "".join(section.body)))


def test_a_row_a_sample_with_its_cells_and_patient(cells):
    source = source_of(cells)
    frame = sample_table(source)
    assert frame["cells"].to_dict() == {"a": 1, "b": 3, "c": 1}
    assert frame["patient"].to_dict() == {"a": "p", "b": "q", "c": "p"}
    assert patients_of(source) == ["p", "q"]
    said = " ".join(text(cohort_section(source)).split())
    assert said.startswith("samples 3 patients 2 cells 5 ")
    assert "without images" in said


def with_images(sizes):
    """Images of given height, width and pixel size, and a samples table that has one sample more."""
    images = {
        f"image_{name}": Image2DModel.parse(
            np.zeros((len(channels), height, width), np.uint8),
            dims=("c", "y", "x"),
            c_coords=channels,
            transformations={name: Scale([mpp, mpp], axes=("x", "y"))},
        )
        for name, (height, width, mpp, channels) in sizes.items()
    }
    names = [*sizes, "no_image"]
    obs = pd.DataFrame({"patient": "p"} | {f"c{i}": i for i in range(MOST_COLUMNS + 2)}, index=names)
    attrs = {"spatialfm": {"samples": {name: {"mpp_source": "argument"} for name in sizes}}}
    return sd.SpatialData(
        images=images, tables={"samples": TableModel.parse(ad.AnnData(np.zeros((len(obs), 0)), obs=obs))}, attrs=attrs
    )


def test_pixels_are_width_by_height_and_sizes_are_of_each_image():
    source = source_of(with_images({"a": (3, 5, 0.5, ["DAPI", "CD3"]), "b": (4, 4, 0.25, ["DAPI"])}))
    frame = sample_table(source)
    assert frame["pixels"].str.replace("\N{NO-BREAK SPACE}", "").to_dict() == {
        "a": "5×3", "b": "4×4", "no_image": np.nan,
    }  # fmt: skip
    assert frame["µm per pixel"].tolist()[:2] == [0.5, 0.25]
    assert np.isnan(frame.loc["no_image", "µm per pixel"])
    assert [name for name in frame if name.startswith("c")] == [f"c{i}" for i in range(MOST_COLUMNS)]
    said = text(cohort_section(source))
    assert "Images have 2 pixel sizes" in said
    assert "Pixel sizes come from: argument" in said
    assert panels_of(source) == {"a": ["DAPI", "CD3"], "b": ["DAPI"]}
    assert "Panels differ: 1 channel of 2 not in all samples" in text(panel_section(source))


def test_markers_that_cells_of_a_sample_lack_are_not_its_panel(cells):
    cells.uns["spatialfm"] = {"table": {"markers_missing": json.dumps({"b": ["CD20"]}), "statistic": "median"}}
    source = source_of(cells)
    assert panels_of(source) == {"a": ["CD3", "CD20", "DAPI"], "b": ["CD3", "DAPI"], "c": ["CD3", "CD20", "DAPI"]}
    said = text(panel_section(source))
    assert "3 channels over 3 samples" in said
    assert "Cells were measured as the median" in said


def test_intensities_that_were_brought_to_one_unit_are_not_said_to_be_those_of_the_images(cells):
    record = {"statistic": "mean", "intensity_factors": json.dumps({"a": 1.0, "b": 257.0, "c": 1.0})}
    cells.uns["spatialfm"] = {"table": record}
    assert "pixels of the cell, brought to one unit: b × 257; the others as in" in text(panel_section(source_of(cells)))
    record["intensity_factors"] = json.dumps({"a": 1.0, "b": 1.0, "c": 1.0})
    assert "pixels of the cell, in the units of the image" in text(panel_section(source_of(cells)))


def test_names_that_are_no_markers_are_said_to_be_open(cells):
    cells.var_names = ["CD3", "thing 7", "DAPI"]
    said = text(panel_section(source_of(cells)))
    assert "Not resolved: thing 7." in said
    assert "All samples have all of them" in said


def test_without_columns_the_page_says_what_is_missing(cells):
    cells.obs = cells.obs[[]]
    source = source_of(cells)
    assert patients_of(source) is None
    said = text(cohort_section(source))
    assert "No column 'patient' says which patient" in said
    assert "No column 'sample' says which sample" in said
    assert panels_of(source) == {"all cells": ["CD3", "CD20", "DAPI"]}
