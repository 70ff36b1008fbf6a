"""Loops over pixels, against scikit-image and numpy on random masks."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.measure import regionprops
from skimage.morphology import convex_hull_image

from spatialfm.pp.shape_kernels import add_block, hull_areas, measure_parts


@pytest.fixture
def labels():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:30, :40]
    labels = np.zeros((30, 40), np.int64)
    for k, (cy, cx, r) in enumerate([(8, 9, 6), (20, 12, 7), (14, 29, 10)], 1):
        labels[(np.hypot(y - cy, x - cx) < r) & (rng.random(y.shape) < 0.8)] = k
    return labels


def test_parts_are_measured_as_by_scikit_image(labels):
    first, area, total, box = measure_parts(labels, 3)
    for k, region in enumerate(regionprops(labels)):
        assert area[k] == region.area
        np.testing.assert_allclose(total[k] / area[k], region.centroid)
        assert box[k].tolist() == [region.bbox[0], region.bbox[2], region.bbox[1], region.bbox[3]]
        assert first[k] == np.flatnonzero(labels == k + 1)[0]


def test_hulls_have_the_pixels_that_scikit_image_gives_them(labels):
    for region in regionprops(labels):
        rows = np.unique(region.coords[:, 0])
        ends = [region.coords[region.coords[:, 0] == row, 1] for row in rows]
        low, high = np.array([one.min() for one in ends]), np.array([one.max() for one in ends])
        assert (
            hull_areas(np.array([0, len(rows)]), rows, low, high)[0] == convex_hull_image(labels == region.label).sum()
        )


@pytest.mark.parametrize("cut", [40, 17])
def test_moments_and_outline_do_not_depend_on_the_blocks(labels, cut):
    padded = np.pad(labels - 1, 2, constant_values=-1)
    centre = np.array([[8, 9], [20, 12], [14, 29]])
    sums, outline = np.zeros((3, 6), np.int64), np.zeros((3, 3), np.int64)
    for start, stop in ((0, cut), (cut, 40)):
        if start < stop:
            runs = add_block(padded[:, start : stop + 4], 0, start, centre, sums, outline)
            assert ((runs[:, 3] - runs[:, 2]) >= 0).all()
    for k in range(3):
        y, x = np.nonzero(labels == k + 1) - centre[k][:, None]
        assert sums[k].tolist() == [len(y), y.sum(), x.sum(), (y * y).sum(), (x * x).sum(), (y * x).sum()]


def test_runs_are_the_pixels_of_a_cell_in_a_row():
    rows = np.full((6, 9), -1)
    rows[2, 2:4], rows[2, 5], rows[3, 3:6] = 0, 0, 1
    runs = add_block(rows, 10, 20, np.zeros((2, 2), np.int64), np.zeros((2, 6), np.int64), np.zeros((2, 3), np.int64))
    assert runs.tolist() == [[0, 10, 20, 21], [0, 10, 23, 23], [1, 11, 21, 23]]


def test_the_outline_of_a_square_is_made_of_steps():
    """A square of 5 x 5 has 16 pixels on its outline, all with two straight neighbours on it."""
    rows = np.pad(np.zeros((5, 5), np.int64), 4, constant_values=-1)
    outline = np.zeros((1, 3), np.int64)
    add_block(rows, 0, 0, np.zeros((1, 2), np.int64), np.zeros((1, 6), np.int64), outline)
    assert outline.tolist() == [[16, 0, 0]]
