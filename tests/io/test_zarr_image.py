"""Pixels of OME-Zarr images, against what was written."""

from __future__ import annotations

import math

import numpy as np
import pytest

from spatialfm.io._zarr_image import _planes, zarr_blocks


@pytest.mark.parametrize(
    ("chunks", "shape", "axes"),
    [
        ((1, 256, 256), (40, 5000, 3000), "cyx"),
        ((1, 64, 64), (3, 100, 100), "cyx"),
        ((1, 1, 1, 4096, 4096), (1, 9, 1, 9000, 9000), "tczyx"),
        ((5, 100, 1000), (5, 7000, 7000), "cyx"),
    ],
)
def test_blocks_are_whole_chunks_of_about_a_million_pixels(chunks, shape, axes):
    blocks = zarr_blocks(chunks, shape, axes)
    for block, chunk, whole in zip(blocks, chunks, shape, strict=True):
        assert block % min(chunk, whole) == 0 or block == whole
    grown = [b for b, c, w in zip(blocks, chunks, shape, strict=True) if b > min(c, w)]
    assert not grown or math.prod(blocks) <= 2**20


def test_planes_run_along_the_axes_in_their_order():
    import dask.array as da

    values = np.arange(2 * 3 * 1 * 4 * 5).reshape(2, 3, 1, 4, 5)
    array = da.from_array(values)
    found = np.asarray(_planes(array, ("t", "c", "z", "y", "x"), ["t", "c"]))
    np.testing.assert_array_equal(found, values[:, :, 0].reshape(6, 4, 5))
    only = np.asarray(_planes(da.from_array(values[:1]), ("t", "c", "z", "y", "x"), ["c"]))
    np.testing.assert_array_equal(only, values[0, :, 0])
    flat = np.asarray(_planes(da.from_array(values[0, 0, 0]), ("y", "x"), []))
    np.testing.assert_array_equal(flat, values[0, 0])
    turned = np.asarray(_planes(da.from_array(values[0, :, 0].transpose(1, 2, 0)), ("y", "x", "c"), ["c"]))
    np.testing.assert_array_equal(turned, values[0, :, 0])
