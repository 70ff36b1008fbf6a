"""Nuclei and the cells that they are in: bright discs whose place in the cells is known."""

from __future__ import annotations

import numpy as np
import pytest

from spatialfm.pp.arrays import AxisAffine
from spatialfm.pp.measure import LabelGrid
from spatialfm.pp.nuclei_in_cells import nuclei_of
from spatialfm.pp.segment_run import SegmentJob
from spatialfm.pp.segmenters import Levels
from spatialfm.pp.stitch import StitchGrid

SIDE = 96
CENTRES = [(20, 20), (20, 60), (60, 48), (76, 80)]


@pytest.fixture
def stained():
    """Four nuclei: one in cell 3; one in cell 5; one halved by cells 7 and 9; one in no cell."""
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    distance = np.min([np.hypot(y - cy, x - cx) for cy, cx in CENTRES], axis=0)
    image = np.clip(1.5 - distance / 6, 0, 1)[None]
    labels = np.zeros((SIDE, SIDE), np.int64)
    labels[10:30, 10:30], labels[10:30, 50:70] = 3, 5
    labels[50:70, 38:48], labels[50:70, 48:58] = 7, 9
    labels[80:90, 5:15] = 11  # a cell without a nucleus
    return image, labels


@pytest.mark.parametrize("side", [96, 40])
def test_nuclei_are_counted_once_in_the_cell_that_holds_them(stained, side):
    """In one tile, and in tiles whose borders run through two of them."""
    image, labels = stained
    job = SegmentJob("s", "image_s", image, ["DAPI"], ["DAPI"], [], 1.0, StitchGrid((SIDE, SIDE), side, 16), 0, "")
    levels = Levels(np.array([0.0]), np.array([1.0]), 0.4)
    found = nuclei_of(job, levels, LabelGrid(labels, AxisAffine()), np.array([3, 5, 7, 9, 11]), 14.0)
    assert found.n.tolist() == [1, 1, 0, 0, 0]
    assert found.shares.tolist() == [False, False, True, True, False]
    assert (found.total, found.outside) == (4, 1)
    assert found.pixels[4] == 0
    assert found.pixels[2] + found.pixels[3] == pytest.approx(found.pixels[0], rel=0.1)
