"""Whole cells of nucleus, cytoplasm and membrane, on fields that are small enough to see."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from reading_inform import TISSUE as TISSUE_TEXT
from reading_inform import parts, segmentation, write_pages

from spatialfm._errors import InputFileError
from spatialfm.io._inform_maps import InformMaps, cells_of, open_maps, tissue_map, whole_cells


def maps(**planes) -> InformMaps:
    return InformMaps(tuple(da.from_array(one) for one in planes.values()), "a.tif", names=tuple(planes))


def squares() -> np.ndarray:
    labels = np.zeros((9, 14), np.uint32)
    labels[1:6, 1:6], labels[2:7, 8:13] = 4, 7
    return labels


def test_parts_make_the_cells_that_they_are_of():
    labels = squares()
    planes = parts(labels)
    found, what = cells_of(maps(**planes), None)
    assert what == "whole cell"
    np.testing.assert_array_equal(found, labels)
    without = {name: plane for name, plane in planes.items() if name != "Cytoplasm"}
    found, _ = cells_of(maps(**without), None)  # what the membrane encloses is the cell's
    np.testing.assert_array_equal(found, labels)


def test_a_gap_between_two_cells_or_open_to_the_edge_is_nobodys():
    nucleus = np.zeros((5, 9), np.uint32)
    nucleus[2, 2], nucleus[2, 6] = 1, 2
    membrane = np.zeros_like(nucleus)
    membrane[1:4, 1:4], membrane[1:4, 5:8] = 1, 2
    membrane[2, 2] = membrane[2, 6] = 0
    membrane[1, 2] = 0  # an open membrane: outside of it is background
    found = whole_cells(nucleus, membrane)
    assert found[1, 2] == 0
    assert found[2, 4] == 0
    assert (found[1:4, 5:8] == 2).all()


def test_membranes_of_one_number_are_refused():
    nucleus = np.array([[1, 0, 2]])
    with pytest.raises(InputFileError, match="have one number for all cells, as inForm before 2.4.3"):
        whole_cells(nucleus, np.array([[1, 1, 1]]), path="a.tif")
    assert whole_cells(np.array([[1, 0, 0]]), np.array([[0, 1, 0]])).tolist() == [[1, 1, 0]]  # of one cell it may


def test_planes_are_chosen_by_name_or_by_what_there_is():
    one = np.ones((2, 2), np.uint32)
    assert cells_of(maps(Nucleus=one, Cytoplasm=one), None)[1] == "Nucleus"
    assert cells_of(maps(Nucleus=one, Object=one), None)[1] == "Object"
    assert cells_of(maps(Nucleus=one, Object=one), "nuclei")[1] == "Nucleus"
    for planes, wanted, message in (
        ({"Nucleus": one}, "Membrane", "has no plane of cells 'Membrane'; it has 'Nucleus'"),
        ({"Nucleus": one, "TissueClassMap": one}, "tissue", "has no plane of cells 'TissueClassMap'"),
        ({"Nucleus": one}, "cells", "whole cells need 'Nucleus' and 'Membrane'"),
        ({"Cytoplasm": one}, None, "of which no cells can be made"),
        ({"Nucleus": one, "Membrane": one[:1]}, None, "differ in size"),
    ):
        with pytest.raises(InputFileError, match=message):
            cells_of(maps(**planes), wanted)


def test_planes_are_named_by_their_descriptions(tmp_path):
    labels = squares()
    pages = [(segmentation(name), plane) for name, plane in parts(labels).items()]
    tissue = np.where(labels > 0, 1, 255).astype(np.uint8)
    write_pages(tmp_path / "maps.tif", [*pages, (TISSUE_TEXT, tissue)])
    found = open_maps(tmp_path / "maps.tif")
    assert found.names == ("Nucleus", "Cytoplasm", "Membrane", "TissueClassMap")
    assert found.categories == ("Tumor", "Stroma")
    assert found.pixel_size.x == pytest.approx(0.5)
    np.testing.assert_array_equal(cells_of(found, None)[0], labels)
    np.testing.assert_array_equal(tissue_map(found), np.where(labels > 0, 2, 0))
    write_pages(tmp_path / "other.tif", [("<Other/>", tissue)])
    with pytest.raises(InputFileError, match="has no plane that is described as inForm does"):
        open_maps(tmp_path / "other.tif")
