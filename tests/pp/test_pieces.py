"""Pieces of label images against scipy and scikit-image, whatever the blocks."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from skimage.measure import label, regionprops

from spatialfm.pp import measure
from spatialfm.pp.pieces import grouped, scan_labels, scan_pieces, whole


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 4, (37, 53)).astype(np.int32) * (
        np.random.default_rng(1).random((37, 53)) < 0.6
    )


@pytest.mark.parametrize("chunk", [(37, 53), (8, 11), (5, 53), (37, 7)])
def test_pieces_are_those_of_scikit_image(image, chunk, monkeypatch):
    monkeypatch.setattr(measure, "BLOCK_PIXELS", chunk[0] * chunk[1])
    assert (len(measure.plan_blocks(da.from_array(image, chunks=chunk))) > 1) == (chunk != (37, 53))
    found = scan_pieces(da.from_array(image, chunks=chunk))
    expected = []
    for number in (1, 2, 3):
        for region in regionprops(label(image == number, connectivity=2)):
            y0, x0, y1, x1 = region.bbox
            expected.append((number, -region.area, y0, x0, y1, x1, *np.round(np.array(region.centroid) * region.area)))
    columns = (found.ids, -found.area, *found.box.T[[0, 2, 1, 3]], *found.total.T)
    rows = zip(*columns, strict=True)
    assert sorted(tuple(map(int, row)) for row in rows) == sorted(tuple(map(int, row)) for row in expected)
    assert found.n_background == (image == 0).sum()
    order = list(zip(found.ids, -found.area, strict=True))
    assert order == sorted(order)


def test_pieces_that_touch_by_a_corner_across_blocks_are_one(monkeypatch):
    """Both diagonals, over the border between two rows of blocks and between two in a row."""
    monkeypatch.setattr(measure, "BLOCK_PIXELS", 16)
    for turn in range(4):
        image = np.zeros((8, 8), np.int32)
        image[3, 2], image[4, 3] = 5, 5
        found = scan_pieces(da.from_array(np.rot90(image, turn).copy(), chunks=4))
        assert found.ids.tolist() == [5]
        assert found.area.tolist() == [2]


def test_cells_are_all_pieces_of_a_number(image):
    found = scan_labels(da.from_array(image, chunks=10))
    regions = regionprops(image)
    assert found.ids.tolist() == [region.label for region in regions]
    np.testing.assert_allclose(found.centroid, [region.centroid for region in regions])
    np.testing.assert_array_equal(found.box, [np.array(region.bbox)[[0, 2, 1, 3]] for region in regions])
    np.testing.assert_array_equal(found.area, [region.area for region in regions])


def test_parts_in_any_order():
    found = grouped(
        np.array([7, 2, 7]), np.array([1, 4, 3]), np.array([[5, 5], [8, 8], [3, 9]]),
        np.array([[5, 6, 5, 6], [0, 4, 0, 4], [0, 2, 2, 5]]),
    )  # fmt: skip
    assert found.ids.tolist() == [2, 7]
    assert found.area.tolist() == [4, 4]
    np.testing.assert_allclose(found.centroid, [[2, 2], [2, 3.5]])
    assert found.box.tolist() == [[0, 4, 0, 4], [0, 6, 2, 6]]


def test_numbers_that_are_not_whole_become_background():
    block, wrong = whole(np.array([[1.0, 2.5], [np.nan, 2.0**53]]))
    assert (block.tolist(), wrong) == ([[1, 0], [0, 0]], 3)
    with pytest.raises(ValueError, match="does not fit into a 64-bit integer"):
        whole(np.array([[2**63]], np.uint64))
    with pytest.raises(ValueError, match="label -1 is negative"):
        scan_labels(da.from_array(np.array([[-1, 0]])))
