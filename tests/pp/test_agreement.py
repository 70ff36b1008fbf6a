"""Two label images compared: drawn ones, where the counts are known."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest

from spatialfm.pp.agreement import agreement
from spatialfm.pp.arrays import AxisAffine
from spatialfm.pp.measure import LabelGrid


def compared(found, reference, chunks=(5, 7), to=None):
    grid = LabelGrid(np.asarray(reference), to or AxisAffine())
    return agreement(da.from_array(np.asarray(found), chunks=chunks), grid)


@pytest.fixture
def drawn():
    """Reference of five cells; found: one of them whole, one shrunk, one in halves, two as one; one more of its own."""
    reference, found = np.zeros((20, 40), int), np.zeros((20, 40), int)
    reference[2:8, 2:8], found[2:8, 2:8] = 10, 3  # the same
    reference[2:8, 12:18], found[2:8, 12:15] = 20, 4  # half of it: no more than half
    reference[2:8, 22:28], found[2:8, 22:25], found[2:8, 25:28] = 30, 5, 6  # halves
    reference[12:18, 2:8], reference[12:18, 8:14], found[12:18, 2:14] = 40, 50, 7
    reference[12:18, 32:38] = 60  # missed
    found[12:18, 22:28] = 9  # nothing there
    return found, reference


def test_merges_splits_and_misses_are_those_drawn(drawn):
    found, reference = drawn
    one = compared(found, reference)
    assert one.ids.tolist() == [3, 4, 5, 6, 7, 9]
    assert one.ids[one.merged()].tolist() == [7]
    assert one.reference_ids[one.split()].tolist() == [30]
    assert one.ids[one.parts()].tolist() == [5, 6]
    assert one.missed() == 1
    numbers, iou = one.best()
    assert numbers.tolist() == [10, 20, 30, 30, 40, 0] or numbers.tolist() == [10, 20, 30, 30, 50, 0]
    assert iou.tolist() == [1, 0.5, 0.5, 0.5, 0.5, 0]
    assert one.hits(0.5) == 1
    assert one.f1(0.5) == 2 / (6 + 6)


def test_blocks_change_nothing(drawn):
    whole, cut = (compared(*drawn, chunks=chunks) for chunks in ((20, 40), (3, 4)))
    for name in ("ids", "reference_ids", "segmented", "reference", "shared", "area", "reference_area"):
        assert np.array_equal(getattr(whole, name), getattr(cut, name))


def test_a_reference_of_other_pixels_is_seen_on_those_of_the_labels(drawn):
    found, _ = drawn
    fine = np.kron(found, np.ones((2, 2), int))
    one = compared(found, fine, to=AxisAffine(2, 2))
    assert one.f1(0.9) == 1
    assert np.array_equal(one.area, one.reference_area)


def test_f1_and_overlaps_against_all_pairs_of_masks():
    rng = np.random.default_rng(0)
    found, reference = (rng.integers(0, 6, (8, 9)).repeat(4, 0).repeat(4, 1) for _ in range(2))
    one = compared(found, reference)
    for a in range(1, 6):
        for b in range(1, 6):
            masks = found == a, reference == b
            both, either = np.logical_and(*masks).sum(), np.logical_or(*masks).sum()
            at = (one.ids[one.segmented] == a) & (one.reference_ids[one.reference] == b)
            assert (one.iou[at].tolist() or [0]) == [pytest.approx(both / either)]


def test_empty_images():
    nothing = np.zeros((6, 6), int)
    one = compared(nothing, nothing)
    assert np.isnan(one.f1(0.5))
    assert one.missed() == 0
    assert compared(nothing, nothing + 1).f1(0.5) == 0
    assert compared(nothing, nothing + 1).missed() == 1
