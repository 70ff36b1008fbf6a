"""Cells of a run: where they are and how large, against scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.measure import regionprops
from spatialdata.transformations import Scale, Sequence, Translation, set_transformation

import spatialfm as sfm
from spatialfm._errors import ElementError, SpatialfmWarning, TableError
from spatialfm.embed.windows.blocks import needed_sides, window_starts
from spatialfm.embed.windows.cells import find_cells
from spatialfm.pp.elements import match_elements


def cells_of(sdata):
    sfm.pp.cell_table(sdata, overwrite=True)
    return find_cells(sdata, match_elements(sdata), sdata["table"], "table", "raise")


def test_centres_and_extents_are_those_of_scikit_image(make_sdata, blobs):
    image, labels = blobs(0)
    labels[3:9, 40:71] = 9999  # a cell that is wide and not high
    cells = cells_of(make_sdata({"a": (image, labels)}, ["x", "y", "z"]))
    regions = regionprops(labels)
    np.testing.assert_array_equal(cells.labels, [region.label for region in regions])
    np.testing.assert_allclose(cells.centers, [np.add(region.centroid, 0.5) for region in regions])
    np.testing.assert_array_equal(cells.boxes, [np.array(region.bbox)[[0, 2, 1, 3]] for region in regions])
    for region, extent, start in zip(
        regions, needed_sides(cells.centers, cells.boxes), window_starts(cells.centers, 2 * 64), strict=True
    ):
        y0, x0, y1, x1 = region.bbox
        # a window of that side, centred on the cell, holds it all; the next smaller one does not
        first = start + 64 - int(extent) // 2
        assert (first <= (y0, x0)).all()
        assert (first + int(extent) >= (y1, x1)).all()
        smaller = int(extent) - 2
        shrunk = start + 64 - smaller // 2
        assert (shrunk > (y0, x0)).any() or (shrunk + smaller < (y1, x1)).any()


def test_places_are_in_image_pixels(make_sdata, blobs):
    image, labels = blobs(1, side=100)
    straight = cells_of(make_sdata({"a": (image, labels)}, ["x", "y", "z"]))
    sdata = make_sdata({"a": (image, np.kron(labels[10:], np.ones((2, 2), labels.dtype)))}, ["x", "y", "z"])
    half = Sequence([Scale([0.25, 0.25], axes=("x", "y")), Translation([0.0, 5.0], axes=("x", "y"))])
    set_transformation(sdata["cells_a"], {"a": half}, set_all=True)
    fine = cells_of(sdata)
    whole = [(labels[10:] == label).sum() == (labels == label).sum() for label in fine.labels]
    same = np.isin(straight.labels, fine.labels[whole])
    np.testing.assert_allclose(fine.centers[whole], straight.centers[same])
    np.testing.assert_allclose(fine.boxes[whole], straight.boxes[same])


def test_a_table_that_annotates_something_else_is_refused(make_sdata, blobs):
    sdata = make_sdata({"a": blobs(0), "b": blobs(1)}, ["x", "y", "z"])
    sfm.pp.cell_table(sdata, samples=["a"])
    with pytest.raises(ElementError, match=r"annotates cells_a, not labels 'cells_b' of sample 'b'.*table_name="):
        find_cells(sdata, match_elements(sdata), sdata["table"], "table", "raise")


@pytest.mark.parametrize("dtype", [str, "category", "float64", "uint64"])
def test_ids_of_a_table_may_be_text_or_floats(make_sdata, blobs, dtype):
    sdata = make_sdata({"a": blobs(0)}, ["x", "y", "z"])
    sfm.pp.cell_table(sdata)
    expected = sdata["table"].obs["cell_id"].to_numpy()
    ids = sdata["table"].obs["cell_id"].astype(str) if dtype == "category" else sdata["table"].obs["cell_id"]
    sdata["table"].obs["cell_id"] = ids.astype(dtype)
    found = find_cells(sdata, match_elements(sdata), sdata["table"], "table", "raise")
    np.testing.assert_array_equal(found.labels, expected)


def test_ids_of_a_table_that_are_no_labels_or_come_twice(make_sdata, blobs):
    sdata = make_sdata({"a": blobs(0)}, ["x", "y", "z"])
    sfm.pp.cell_table(sdata)
    ids = sdata["table"].obs["cell_id"].copy()
    sdata["table"].obs["cell_id"] = [f"cell_{i}" for i in ids]
    with pytest.raises(TableError, match=f"'cell_id' of table 'table'.*'cell_{ids.iloc[0]}'.*extract"):
        find_cells(sdata, match_elements(sdata), sdata["table"], "table", "raise")
    sdata["table"].obs["cell_id"] = np.where(np.arange(len(ids)) == 0, np.nan, ids)
    with pytest.raises(TableError, match="1 row of"):
        find_cells(sdata, match_elements(sdata), sdata["table"], "table", "raise")
    sdata["table"].obs["cell_id"] = ids.to_numpy()[[0, 0, *range(2, len(ids))]]
    with pytest.raises(TableError, match=f"1 row more than one for the same cell: cells_a: {ids.iloc[0]}. Keep one"):
        find_cells(sdata, match_elements(sdata), sdata["table"], "table", "drop")


def test_a_field_without_cells_has_no_rows(make_sdata, blobs):
    image, labels = blobs(0)
    sdata = make_sdata({"a": (image, np.zeros_like(labels)), "b": (image, labels)}, ["x", "y", "z"])
    with pytest.warns(SpatialfmWarning, match="'cells_a'"):
        sfm.pp.cell_table(sdata, on_missing="drop")
    cells = find_cells(sdata, match_elements(sdata), sdata["table"], "table", "raise")
    np.testing.assert_array_equal(cells.labels, np.unique(labels)[1:])
    assert set(cells.sample) == {1}  # the number of the sample among all
    sfm.tl.embed_cells(sdata, "mean-intensity")
    # 8-bit pixels as shares of 255
    np.testing.assert_allclose(sdata["table"].obsm["X_mean_intensity"], sdata["table"].X / 255, rtol=1e-5)
