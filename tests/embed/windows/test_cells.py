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


# ---- one test for each way


def squares(*boxes, side=40):
    """Labels 1, 2, ... in boxes (y0, y1, x0, x1), and an image of zeros."""
    labels = np.zeros((side, side), np.int32)
    for label, (y0, y1, x0, x1) in enumerate(boxes, 1):
        labels[y0:y1, x0:x1] = label
    return np.zeros((1, side, side), np.uint8), labels


def test_places_of_squares_are_their_middles_and_edges(make_sdata):
    cells = cells_of(make_sdata({"a": squares((2, 6, 10, 13), (30, 40, 35, 40))}, ["x"]))
    assert cells.centers.tolist() == [[4.0, 11.5], [35.0, 37.5]]
    assert cells.boxes.tolist() == [[2, 6, 10, 13], [30, 40, 35, 40]]
    assert (cells.rows.tolist(), cells.sample.tolist(), cells.labels.tolist()) == ([0, 1], [0, 0], [1, 2])


def test_rows_are_those_of_the_table_in_its_order(make_sdata):
    parts = squares((2, 6, 2, 6), (10, 14, 10, 14), (20, 24, 20, 24))
    sdata = make_sdata({"a": parts, "b": parts}, ["x"])
    sfm.pp.cell_table(sdata)
    shuffled = sdata["table"][[4, 2, 0, 5]].copy()
    with pytest.raises(TableError, match="2 labels without row"):
        find_cells(sdata, match_elements(sdata), shuffled, "table", "raise")
    cells = find_cells(sdata, match_elements(sdata), shuffled, "table", "drop")
    assert cells.rows.tolist() == [1, 2, 0, 3]  # sample by sample
    assert cells.sample.tolist() == [0, 0, 1, 1]
    assert cells.labels.tolist() == [3, 1, 2, 3]
    assert cells.centers[:, 0].tolist() == [22, 4, 12, 22]


def test_a_row_without_label_is_named_or_left_out(make_sdata):
    sdata = make_sdata({"a": squares((2, 6, 2, 6), (10, 14, 10, 14))}, ["x"])
    sfm.pp.cell_table(sdata)
    sdata["table"].obs["cell_id"] = [1, 9]
    with pytest.raises(TableError, match=r"1 row of table 'table' without label \(a_9\); 1 label without row \(a_2\)"):
        find_cells(sdata, match_elements(sdata), sdata["table"], "table", "raise")
    assert find_cells(sdata, match_elements(sdata), sdata["table"], "table", "drop").labels.tolist() == [1]
    sdata["table"].obs["cell_id"] = [8, 9]
    with pytest.raises(TableError, match="No row of table 'table' has a label"):
        find_cells(sdata, match_elements(sdata), sdata["table"], "table", "drop")


@pytest.mark.parametrize("shift", [3.5, 4.0, -36.0, -36.5, -18.0, 0.5, 1.0])
def test_a_cell_is_outside_where_its_centre_is(make_sdata, shift):
    """Labels moved against the image of 40 pixels, which ends before 40."""
    centres = {1: 36.0, 2: 18.0, 3: 39.0}
    sdata = make_sdata({"a": squares((34, 38, 10, 14), (16, 20, 10, 14), (38, 40, 20, 22))}, ["x"], mpp=1.0)
    set_transformation(sdata["cells_a"], {"a": Translation([0.0, shift], axes=("x", "y"))}, set_all=True)
    sfm.pp.cell_table(sdata, on_missing="drop")
    found = find_cells(sdata, match_elements(sdata), sdata["table"], "table", "drop")
    assert dict(zip(found.labels.tolist(), found.centers[:, 0].tolist(), strict=True)) == {
        label: centre + shift for label, centre in centres.items() if 0 <= centre + shift < 40
    }


def test_given_centres_are_the_middle_of_the_pixel_that_they_name(make_sdata):
    sdata = make_sdata({"a": squares((2, 6, 10, 13), (30, 36, 30, 36))}, ["x"])
    sfm.pp.cell_table(sdata)
    sdata["table"].obs["cx"], sdata["table"].obs["cy"] = [11, 31.25], [3, 33.0]
    cells = find_cells(sdata, match_elements(sdata), sdata["table"], "table", "raise", ("cx", "cy"))
    assert cells.centers.tolist() == [[3.5, 11.5], [33.5, 31.75]]


@pytest.mark.parametrize(("n_beside", "refused"), [(1, False), (2, False), (3, True), (4, True)])
def test_centres_beside_their_cells_are_said_and_more_than_half_refused(make_sdata, n_beside, refused):
    sdata = make_sdata({"a": squares(*((y, y + 4, 2, 6) for y in (2, 12, 22, 32)))}, ["x"])
    sfm.pp.cell_table(sdata)
    sdata["table"].obs["cx"] = np.where(np.arange(4) < n_beside, 20.0, 3.0)
    sdata["table"].obs["cy"] = [3.0, 13.0, 23.0, 33.0]
    arguments = (sdata, match_elements(sdata), sdata["table"], "table", "raise", ("cx", "cy"))
    message = rf"{n_beside} of 4 centres in centers=\('cx', 'cy'\) outside of the box"
    if refused:
        with pytest.raises(TableError, match=message):
            find_cells(*arguments)
    else:
        with pytest.warns(SpatialfmWarning, match=message):
            assert len(find_cells(*arguments).labels) == 4


@pytest.mark.parametrize(
    ("columns", "values", "message"),
    [
        ("cx", [1.0, 2.0], "must be two columns"),
        (("cx", "cz"), [1.0, 2.0], "No column 'cz'"),
        (("cx", "cx"), ["a", "b"], "do not hold numbers"),
        (("cx", "cx"), [1.0, np.nan], "1 cell has no centre"),
    ],
)
def test_columns_that_are_no_centres(make_sdata, columns, values, message):
    sdata = make_sdata({"a": squares((2, 6, 10, 13), (30, 36, 30, 36))}, ["x"])
    sfm.pp.cell_table(sdata)
    sdata["table"].obs["cx"] = values
    with pytest.raises(TableError, match=message):
        find_cells(sdata, match_elements(sdata), sdata["table"], "table", "raise", columns)
