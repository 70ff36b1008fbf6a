"""Tiles over tissue that is given: which are kept, and what share of them is tissue."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from spatialfm.embed.pixels.reader import SampleReader
from spatialfm.embed.windows.grid import tissue_grid
from spatialfm.pp.arrays import AxisAffine
from spatialfm.pp.tissue_masks import TissueSource


def reader(mask: np.ndarray) -> SampleReader:
    packed = zlib.compress(np.packbits(mask).tobytes())
    image = np.zeros((1, *mask.shape), np.uint8)
    source = TissueSource("given", step=1, shape=mask.shape, packed=packed)
    return SampleReader("a", "", image, image[0], (0,), ("x",), 255.0, 1.0, AxisAffine(), tissue=source)


@pytest.mark.parametrize("min_tissue", [0.0, 0.25, 0.5, 1.0])
def test_a_tile_with_just_as_much_tissue_is_kept(min_tissue):
    mask = np.zeros((8, 16), bool)
    mask[:4, :4] = True  # a quarter of the first tile
    mask[:, 8:12] = True  # half of the second
    found = tissue_grid([reader(mask)], 8, 8, min_tissue)
    kept = [(0, 0), (0, 8)] if min_tissue <= 0.25 else [(0, 8)] if min_tissue <= 0.5 else []
    assert [tuple(start) for start in found.starts.tolist()] == kept
    np.testing.assert_allclose(found.coverage, {0.0: [0.25, 0.5], 0.25: [0.25, 0.5], 0.5: [0.5], 1.0: []}[min_tissue])


def test_tiles_of_two_images_end_at_their_edges_and_reach_beyond_small_ones():
    found = tissue_grid([reader(np.ones((20, 11), bool)), reader(np.ones((5, 8), bool))], 8, 8, 0.0)
    assert found.sample.tolist() == [0] * 6 + [1]
    assert found.starts.tolist() == [[0, 0], [0, 3], [8, 0], [8, 3], [12, 0], [12, 3], [0, 0]]
    np.testing.assert_allclose(found.coverage, [1] * 6 + [5 / 8])  # what is outside of the image is not tissue
