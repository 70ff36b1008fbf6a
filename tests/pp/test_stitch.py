"""Tiles as one image: objects matched, none cut, none twice, whatever the tiles."""

from __future__ import annotations

import numpy as np
import pytest

from spatialfm.pp.stitch import StitchGrid, numbered, objects_of, overlaps, same_objects, stitch


def drawn(size=150, n=60, radius=6, seed=0):
    """Discs that do not touch, numbered."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    labels, centres = np.zeros((size, size), np.int64), []
    for cy, cx in rng.uniform(0, size, (n * 20, 2)):
        if len(centres) < n and all(np.hypot(cy - a, cx - b) > 2 * radius + 2 for a, b in centres):
            centres.append((cy, cx))
            labels[np.hypot(y - cy, x - cx) <= radius] = len(centres)
    return labels


def tiles_of(labels, grid):
    """What each tile sees of a known image, numbered anew in each."""

    def read(index):
        y0, y1, x0, x1 = grid.outer(grid.cores()[index])
        return numbered(labels[y0:y1, x0:x1])

    return read


def partition(labels):
    """Objects as sets of pixels, without their numbers."""
    order = np.argsort(labels.ravel(), kind="stable")
    values, first = np.unique(labels.ravel()[order], return_index=True)
    parts = np.split(order, first[1:])
    return {tuple(part.tolist()) for value, part in zip(values, parts, strict=True) if value}


@pytest.mark.parametrize(("side", "margin"), [(150, 10), (64, 14), (40, 20), (37, 14), (149, 14)])
def test_tiles_that_see_the_same_give_the_whole_image(side, margin):
    labels = drawn()
    grid = StitchGrid(labels.shape, side, margin)
    out = np.zeros(labels.shape, np.uint32)
    n = stitch(grid, tiles_of(labels, grid), out)
    assert partition(out) == partition(labels)
    assert n == len(partition(labels))
    assert np.array_equal(np.unique(out), np.arange(n + 1))  # 1 to n, none left out


def test_an_object_larger_than_the_margin_is_one_object_drawn_by_all_tiles():
    labels = np.zeros((90, 200), np.int64)
    labels[40:50, 5:195] = 7  # over five tiles
    grid = StitchGrid(labels.shape, 40, 8)
    out = np.zeros(labels.shape, np.uint32)
    assert stitch(grid, tiles_of(labels, grid), out) == 1
    assert np.array_equal(out > 0, labels > 0)


def test_views_that_differ_at_the_border_give_one_object_with_the_outline_of_one_view():
    grid = StitchGrid((40, 80), 40, 12)
    y, x = np.mgrid[:40, :80]
    left, right = np.hypot(y - 20, x - 39) <= 6, np.hypot(y - 20, x - 40.6) <= 5  # each places it in its own core
    views = [left[:, :52].astype(np.uint32), right[:, 28:].astype(np.uint32)]
    out = np.zeros((40, 80), np.uint32)
    assert stitch(grid, lambda index: views[index], out) == 1
    assert np.array_equal(out > 0, left) or np.array_equal(out > 0, right)


def test_views_that_place_it_in_the_other_core_do_not_lose_it():
    grid = StitchGrid((40, 80), 40, 12)
    y, x = np.mgrid[:40, :80]
    left, right = np.hypot(y - 20, x - 40.4) <= 6, np.hypot(y - 20, x - 38.6) <= 6
    views = [left[:, :52].astype(np.uint32), right[:, 28:].astype(np.uint32)]
    out = np.zeros((40, 80), np.uint32)
    assert stitch(grid, lambda index: views[index], out) == 1


def test_what_only_the_neighbour_sees_beyond_its_core_does_not_count():
    grid = StitchGrid((40, 80), 40, 12)
    seen = np.zeros((40, 52), np.uint32)
    seen[10:16, 42:48] = 1  # in the core of the right tile, which has nothing there
    views = [seen, np.zeros((40, 52), np.uint32)]
    assert stitch(grid, lambda index: views[index], np.zeros((40, 80), np.uint32)) == 0


def test_one_view_sees_two_where_the_other_sees_one():
    """No object is drawn over another, and none in pieces."""
    grid = StitchGrid((40, 80), 40, 12)
    one, two = np.zeros((40, 52), np.uint32), np.zeros((40, 52), np.uint32)
    one[10:20, 34:46] = 1
    two[10:20, 34 - 28 : 41 - 28], two[10:20, 41 - 28 : 46 - 28] = 1, 2
    views = [one, two]
    out = np.zeros((40, 80), np.uint32)
    n = stitch(grid, lambda index: views[index], out)
    assert n in (1, 2)
    assert np.array_equal(np.flatnonzero(np.bincount(out.ravel())), np.arange(n + 1))
    assert (out > 0).sum() in (7 * 10, 12 * 10)


def test_small_objects_are_left_out():
    labels = drawn()
    labels[0, 0] = 999
    grid = StitchGrid(labels.shape, 64, 14)
    out = np.zeros(labels.shape, np.uint32)
    stitch(grid, tiles_of(labels, grid), out, min_area=2)
    assert out[0, 0] == 0


def test_same_objects_needs_more_than_half_of_the_union():
    one, other = np.zeros((10, 10), np.uint32), np.zeros((10, 10), np.uint32)
    one[0:6, 0:4], other[0:6, 2:6] = 1, 1  # 12 of 36 pixels
    one[8, :], other[8, :6] = 2, 2  # 6 of 10
    box = (0, 10, 0, 10)
    assert same_objects(one, other, box, box).tolist() == [[1, 1]]
    assert same_objects(one, other, box, (20, 30, 0, 10)).size == 0


def test_overlaps_counts_shared_pixels():
    a, b = np.array([[1, 1, 0], [2, 2, 2]]), np.array([[3, 0, 3], [3, 1, 1]])
    assert [values.tolist() for values in overlaps(a, b)] == [[1, 2, 2], [3, 1, 3], [1, 2, 1]]


def test_objects_have_boxes_and_centres_in_the_image():
    labels = np.zeros((5, 6), np.uint32)
    labels[1:3, 2:5] = 1
    found = objects_of(labels, (10, 20))
    assert found.box.tolist() == [[11, 13, 22, 25]]
    assert found.centre.tolist() == [[11.5, 23.0]]
    assert found.area.tolist() == [6]
    assert objects_of(np.zeros((3, 3), np.uint32), (0, 0)).area.size == 0


@pytest.mark.parametrize("dtype", [bool, np.int16, np.uint64])
def test_numbered(dtype):
    labels = np.array([[0, 1], [1, 0]], dtype)
    assert numbered(labels).tolist() == [[0, 1], [1, 0]]
    assert numbered(np.array([[5, 5], [9, 7]])).tolist() == [[1, 1], [3, 2]]
