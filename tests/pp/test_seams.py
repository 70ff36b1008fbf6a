"""Lines at which tiles were pasted together, and the cells that they cut."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest

import spatialfm as sfm
from spatialfm.pp.seams import cut_cells, ends_on_lines, seams


@pytest.fixture(scope="module")
def labels():
    """True cells: none is cut but at the border of the image."""
    sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=256, random_state=0, difficulty="easy")
    return sdata["true_cells_P001_1"].values.astype(np.int64)


def pasted(labels, at):
    """Cells that cross a column end there, as if both sides had been numbered by themselves."""
    out = labels.copy()
    out[:, at:] = np.where(labels[:, at:] > 0, labels[:, at:] + labels.max(), 0)
    return out


def scanned(labels, chunks=(60, 90)):
    ids, area = np.unique(labels[labels > 0], return_counts=True)
    cut, rows, columns = cut_cells(da.from_array(labels, chunks=chunks), ids, area)
    return set(ids[cut].tolist()), rows.tolist(), columns.tolist()


def test_whole_cells_have_no_seam(labels):
    assert scanned(labels) == (set(), [], [])


@pytest.mark.parametrize("transposed", [False, True])
def test_a_seam_is_found_with_the_cells_that_it_cuts(labels, transposed):
    cut = pasted(labels, 100)
    across = np.intersect1d(np.unique(labels[:, 99]), np.unique(labels[:, 100]))
    across = across[across > 0]
    wide = [one for one in across if (labels[:, 99:101] == one).all(axis=1).sum() >= 8]
    expected = {one for number in wide for one in (number, number + labels.max())}
    found, rows, columns = scanned(cut.T if transposed else cut)
    assert (rows, columns) == (([99], []) if transposed else ([], [99]))
    assert len(expected) > 12
    assert len(expected - found) <= 0.1 * len(expected)
    neighbours = {int(one) for one in np.unique(cut[:, 99:101])}
    assert found <= neighbours


def test_ends_are_counted_at_each_line_whatever_the_blocks(labels):
    rows, columns = ends_on_lines(da.from_array(labels, chunks=(37, 50)))
    assert np.array_equal(rows, (np.diff(labels, axis=0) != 0).sum(axis=1))
    assert np.array_equal(columns, (np.diff(labels, axis=1) != 0).sum(axis=0))


def test_two_cells_that_touch_along_a_line_are_no_seam():
    pair = np.zeros((80, 80), np.int64)
    pair[20:50, 30:40], pair[20:50, 40:50] = 1, 2
    assert scanned(pair) == (set(), [], [])


def test_images_too_small_to_tell_have_none():
    assert seams(np.array([0, 0, 50, 0])).size == 0
    assert scanned(np.ones((1, 5), np.int64)) == (set(), [], [])
