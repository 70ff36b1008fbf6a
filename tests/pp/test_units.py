"""Samples that are in another unit than the others, and kinds of pixels."""

from __future__ import annotations

import json

import numpy as np
import pytest
import spatialdata as sd
from spatialdata.models import Image2DModel, Labels2DModel
from spatialdata.transformations import Identity, Scale

from spatialfm._errors import SpatialfmWarning, TableError
from spatialfm.pp.elements import match_elements
from spatialfm.pp.units import (
    apart,
    coordinate_unit,
    kinds_of_pixels,
    length_unit,
    nearest_distance,
    say_apart,
    say_unit,
)


@pytest.mark.parametrize(("scale", "unit"), [(None, "px"), (0.5, "µm"), (0.0005, "units"), (500.0, "units")])
def test_a_length_is_in_micrometers_where_a_microscope_has_such_pixels(scale, unit):
    where = {"s": Identity() if scale is None else Scale([scale, scale], axes=("y", "x"))}
    image = Image2DModel.parse(np.zeros((1, 8, 8), np.uint8), dims=("c", "y", "x"), transformations=where)
    labels = Labels2DModel.parse(np.ones((8, 8), int), dims=("y", "x"), transformations=where)
    sdata = sd.SpatialData(images={"image_s": image}, labels={"cells_s": labels})
    assert length_unit(sdata, match_elements(sdata)[0]) == unit


@pytest.mark.parametrize(("factor", "said"), [(9.9, False), (10.0, True), (11.0, True), (250.0, True)])
def test_ten_times_darker_in_the_median_marker_is_another_unit(factor, said):
    levels = np.array([[100.0, 300, 700], [110, 280, 650]])
    levels = np.vstack([levels, levels[0] * factor, levels[0] * factor])
    found = apart(levels)
    if not said:
        assert found is None
        return
    low, times = found
    assert low.tolist() == [True, True, False, False]
    assert times == pytest.approx(factor, rel=0.08)


def test_one_bright_marker_of_three_is_a_stain_and_gaps_do_not_matter():
    assert apart(np.array([[100.0, 300, 700], [100, 300, 70_000]])) is None
    low, times = apart(np.array([[1.0, np.nan, 7], [100, 300, 700], [np.nan, 310, 690]]))
    assert low.tolist() == [True, False, False]  # by 10 and by 100 from the medians: 10 ** 1.5 in the middle
    assert times == pytest.approx(10**1.5, rel=0.05)
    assert apart(np.zeros((3, 2))) is None


def test_the_warning_names_both_sides():
    with pytest.warns(SpatialfmWarning, match="'a' are some 100 times darker than those of 'b' in the median"):
        say_apart(["a", "b"], np.array([[1.0, 2], [100, 200]]), "")


def test_types_without_a_range_go_together():
    types = {"a": "uint8", "b": "uint16", "c": "float32", "d": "float64", "e": "int32", "f": "uint32", "g": "uint8"}
    found = kinds_of_pixels({name: np.dtype(one) for name, one in types.items()})
    assert list(found.values()) == [["a", "g"], ["b"], ["c", "d"], ["e", "f"]]


def test_the_unit_of_a_table():
    def uns(**units):
        samples = {sample: {"unit": unit} for sample, unit in units.items()}
        return {"spatialfm": {"table": {"samples": json.dumps(samples)}}}

    assert coordinate_unit(uns(a="µm", b="µm")) == "µm"
    assert coordinate_unit({}) == ""
    assert coordinate_unit({"spatialfm": {"table": {"unit": "µm"}}}) == "µm"  # of cells without images
    with pytest.raises(TableError, match=r"Coordinates of 1 sample \('b'\) are in pixels"):
        coordinate_unit(uns(a="µm", b="pixel"))


def table_of(unit: str) -> dict:
    return {"spatialfm": {"table": {"samples": json.dumps({"a": {"unit": unit}})}}} if unit else {}


def lattice(step: float) -> np.ndarray:
    return np.stack(np.meshgrid(np.arange(6), np.arange(6)), axis=-1).reshape(-1, 2) * step


def test_the_nearest_other_cell():
    assert nearest_distance(lattice(7.0)) == pytest.approx(7)
    assert nearest_distance(np.vstack([lattice(7.0), lattice(7.0), [[np.nan, 0]]])) == pytest.approx(7)
    assert nearest_distance(lattice(7.0)[:19]) is None


@pytest.mark.parametrize(
    ("unit", "step", "said"),
    [
        ("pixel", 10, "radius=30 is taken in pixels, not in µm"),
        ("", 0.012, "Cells are 0.012 apart .* radius=30 is taken in the same unit"),  # mm
        ("", 9000, "Cells are 9e[+]03 apart"),  # nm
    ],
)
def test_a_distance_that_is_not_in_micrometres_is_said(unit, step, said):
    with pytest.warns(SpatialfmWarning, match=said):
        assert say_unit(table_of(unit), lattice(step), np.zeros(36, int), "radius=30") == (unit or "unknown")


@pytest.mark.parametrize(("unit", "step"), [("µm", 9000), ("", 10)])
def test_a_distance_in_micrometres_or_in_what_may_be_them_is_no_warning(unit, step, recwarn, caplog):
    with caplog.at_level("INFO", logger="spatialfm"):
        assert say_unit(table_of(unit), lattice(step), np.zeros(36, int), "radius=30") == (unit or "unknown")
    assert not recwarn.list
    assert ("radius=30 is taken in the unit of the coordinates" in caplog.text) == (not unit)


def test_samples_are_not_neighbours_of_each_other():
    both = np.vstack([lattice(10.0), lattice(10.0) + 0.001])
    assert say_unit({}, both, np.repeat([0, 1], 36), "radius=30") == "unknown"
