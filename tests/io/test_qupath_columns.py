"""Names of QuPath's measurements."""

from __future__ import annotations

import pytest

from spatialfm._errors import TableError
from spatialfm.io._qupath_columns import chosen_intensities, intensity


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Cell: CD3 mean", ("CD3", "cell", "mean")),
        ("Nucleus: Hematoxylin OD std dev", ("Hematoxylin OD", "nucleus", "std dev")),
        ("Cytoplasm: CD8 (C3) max", ("CD8 (C3)", "cytoplasm", "max")),
        ("Opal 520: Cell: Std.Dev.", ("Opal 520", "cell", "std dev")),
        ("CD3: Membrane: Median", ("CD3", "membrane", "median")),
        ("Cell: CD3: Mean", ("CD3", "cell", "mean")),
        ("CD3: Mean", ("CD3", "", "mean")),
        ("Ki-67: Nucleus: Mean", ("Ki-67", "nucleus", "mean")),
    ],
)
def test_intensities(name, expected):
    found = intensity(name)
    assert (found.marker, found.compartment, found.statistic) == expected


@pytest.mark.parametrize(
    "name",
    ["Nucleus: Area µm^2", "Cell: Circularity", "Cell: Max diameter µm", "Nucleus/Cell area ratio", "Centroid X µm",
     "Distance to annotation with Tumor µm", "Smoothed: 25 µm: CD3: Mean", "ROI: 2.00 µm per pixel: DAPI: Mean"],
)  # fmt: skip
def test_other_measurements(name):
    assert intensity(name) is None


def test_the_compartment_is_that_of_the_cell_or_has_to_be_said():
    names = ["CD3: Nucleus: Mean", "CD3: Cell: Mean", "CD8: Cell: Mean", "CD3: Cell: Median", "Cell: Area"]
    assert chosen_intensities(names, None, "mean", "t") == {"CD3": "CD3: Cell: Mean", "CD8": "CD8: Cell: Mean"}
    assert chosen_intensities(names, "nucleus", "Mean", "t") == {"CD3": "CD3: Nucleus: Mean"}
    assert chosen_intensities(names, None, "median", "t") == {"CD3": "CD3: Cell: Median"}
    assert chosen_intensities(names[:1], None, "mean", "t") == {"CD3": "CD3: Nucleus: Mean"}
    assert chosen_intensities(["Cell: Area"], None, "mean", "t") == {}
    with pytest.raises(TableError, match="no mean of the membrane; .* 'nucleus, mean', 'cell, mean', 'cell, median'"):
        chosen_intensities(names, "membrane", "mean", "t")
    with pytest.raises(TableError, match="Pass compartment="):
        chosen_intensities(["CD3: Nucleus: Mean", "CD3: Cytoplasm: Mean"], None, "mean", "t")
