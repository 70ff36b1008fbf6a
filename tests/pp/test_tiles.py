"""Squares of tiles against pixels counted by hand."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest

import spatialfm as sfm
from spatialfm.pp.tiles import pixels_of_labels, square_grid


def as_it_is(y, x):
    return y, x


def test_a_square_takes_the_pixels_whose_borders_are_nearest():
    """Borders at 1.6 and 4.4 are nearest to 2 and 4; a square beyond the image is cut to it."""
    labels = np.zeros((6, 8), np.int32)
    labels[2, 2], labels[3, 3], labels[1, 1], labels[5, 7] = 4, 7, 7, 9
    bounds = np.array([[1.6, 1.6, 4.4, 4.4], [6.0, 4.0, 12.0, 12.0]])
    counts, area = pixels_of_labels(
        da.from_array(labels, chunks=3), bounds, as_it_is, np.array([4, 7, 9]), np.array([0, 1, -1]), 2
    )
    np.testing.assert_array_equal(area, [4, 4])
    np.testing.assert_array_equal(counts, [[1, 1], [0, 0]])  # cell 9 has no label


def test_one_annotated_pixel_is_cover(make_sdata):
    labels = np.zeros((32, 32), np.int32)
    labels[5, 5] = 1
    sdata = make_sdata(a=(np.full((1, 32, 32), 9, np.uint8), labels))
    sfm.pp.cell_table(sdata)
    sdata["table"].obs["type"] = "T"
    sfm.tl.embed_tiles(sdata, "mean-intensity", size=32)
    sfm.tl.tile_labels(sdata, "type")
    assert sdata["tiles"].obs["pixel_label_cover"].item() == pytest.approx(1 / 32**2)


def test_the_grid_of_squares_is_found_where_the_last_one_is_moved_in():
    x0 = np.array([0, 16, 32, 41.0])
    bounds = np.stack([x0, np.zeros(4), x0 + 32, np.full(4, 32.0)], axis=1)
    corners, side, step = square_grid(bounds, as_it_is)
    np.testing.assert_array_equal(corners, np.stack([np.zeros(4), x0], axis=1))
    assert (side, step) == (32, 16)
