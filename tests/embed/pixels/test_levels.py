"""The look at a few places before a run."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest

from spatialfm.embed.pixels.levels import PLACES, SIDE, _start, look
from spatialfm.embed.pixels.reader import SampleReader
from spatialfm.pp.arrays import AxisAffine


def test_each_place_lies_in_one_chunk():
    """Or four would be decoded for a square of 96 pixels at their corner."""
    read = []

    def chunk(block_info=None):
        read.append(tuple(block_info[None]["chunk-location"]))
        return np.full((1, 256, 256), 7, np.uint16)

    image = da.map_blocks(chunk, chunks=((1, 1), (256,) * 4, (256,) * 4), dtype=np.uint16, meta=np.empty((0, 0, 0)))
    reader = SampleReader("image", "", image, None, (0, 1), ("a", "b"), 65535.0, 1.0, AxisAffine())
    bright, suspect = look(reader)
    assert len(read) == 2 * len(PLACES)
    assert suspect.all()
    np.testing.assert_allclose(bright, 7 / 65535)


@pytest.mark.parametrize("size", [5, 96, 100, 300, 1024])
@pytest.mark.parametrize("chunk", [3, 96, 256, 5000])
@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_places_stay_in_the_image(size, chunk, share):
    chunks = da.core.normalize_chunks((chunk,), (size,))[0]
    start = _start(share, size, chunks, 1.0)
    assert 0 <= start <= max(0, size - SIDE) or start == max(0, round(share * size) - SIDE // 2)
    assert abs(start - max(0, round(share * size) - SIDE // 2)) < SIDE


def test_chunks_are_those_of_the_image_where_pixels_are_resampled():
    """Chunks of 200 pixels are 100 of the model's at a ratio of 2."""
    assert _start(0.5, 400, (200, 200, 200, 200), 2.0) == 200
    assert _start(0.5, 400, (800,), 2.0) == 200 - SIDE // 2
