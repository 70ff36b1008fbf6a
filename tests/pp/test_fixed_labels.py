"""New numbers for pieces of labels, on a mask that is small enough to see."""

from __future__ import annotations

import warnings

import dask.array as da
import numpy as np
import pytest

from spatialfm._errors import ElementError, SpatialfmWarning
from spatialfm.pp.fixed_labels import _dtype, fix_labels, fixed_array, new_numbers
from spatialfm.pp.pieces import scan_pieces

MASK = np.array(
    [
        [2, 2, 0, 7, 7, 7],
        [2, 2, 0, 7, 7, 7],
        [0, 0, 0, 0, 0, 0],
        [7, 0, 2, 0, 9, 0],
        [7, 0, 0, 0, 0, 0],
    ],
    np.uint8,
)


def test_the_largest_piece_keeps_its_number_and_others_follow_all_old_ones():
    pieces = scan_pieces(MASK)
    assert pieces.ids.tolist() == [2, 2, 7, 7, 9]
    assert new_numbers(pieces, True, np.array([], int)).tolist() == [2, 10, 7, 11, 9]
    assert new_numbers(pieces, False, np.array([9])).tolist() == [2, 2, 7, 7, 0]
    # what is background gives no number away, and its own is not used again
    assert new_numbers(pieces, True, np.array([7, 9])).tolist() == [2, 10, 0, 0, 0]


@pytest.mark.parametrize("chunks", [(5, 6), (2, 3), (3, 4)])
def test_pieces_are_found_again_in_every_block(chunks):
    labels = da.from_array(MASK, chunks=chunks)
    pieces = scan_pieces(labels)
    numbers = new_numbers(pieces, True, np.array([], int))
    found = np.asarray(fixed_array(labels, pieces, numbers, np.dtype(np.uint8)))
    expected = MASK.copy()
    expected[3, 2], expected[3:, 0] = 10, 11
    np.testing.assert_array_equal(found, expected)


def test_labels_that_changed_meanwhile_are_refused():
    pieces = scan_pieces(MASK)
    changed = MASK.copy()
    changed[2, 5] = 1
    fixed = fixed_array(da.from_array(changed), pieces, pieces.ids, np.dtype(np.uint8))
    with pytest.raises(ElementError, match="Labels changed after they were fixed: 6 parts instead of 5"):
        fixed.compute()


@pytest.mark.parametrize(
    ("dtype", "largest", "expected"),
    [("u1", 255, "u1"), ("u1", 256, "u4"), ("i2", 32768, "u4"), ("f4", 9, "u4"), ("f8", 2**32, "i8")],
)
def test_numbers_keep_their_type_where_it_holds_them(dtype, largest, expected):
    assert _dtype(np.dtype(dtype), largest) == np.dtype(expected)


def test_changes_are_listed_and_the_old_element_stays(make_sdata):
    sdata = make_sdata(s=(np.zeros((1, 5, 6), np.uint8), MASK))
    changes = fix_labels(sdata, split=True, background=9)
    assert changes[["label_before", "label", "area"]].values.tolist() == [[2, 10, 1], [7, 11, 2], [9, 0, 1]]
    assert (changes["labels"] == "cells_s_fixed").all()
    np.testing.assert_array_equal(sdata["cells_s"], MASK)
    assert sorted(np.unique(sdata["cells_s_fixed"])) == [0, 2, 7, 10, 11]
    assert fix_labels(sdata, "cells_s_fixed").empty  # nothing is left to do


def test_a_background_that_does_not_occur_and_a_name_that_is_taken_are_refused(make_sdata):
    sdata = make_sdata(s=(np.zeros((1, 5, 6), np.uint8), MASK))
    with pytest.raises(ElementError, match="background= names 5, which labels 'cells_s' do not hold"):
        fix_labels(sdata, background=[5, 9])
    sdata.labels["cells_s_x"] = sdata["cells_s"]
    with pytest.raises(ElementError, match="already has labels 'cells_s_x'"):
        fix_labels(sdata, "cells_s", background=9, suffix="_x")


@pytest.mark.parametrize("counted_from", [0, 1])
def test_a_cell_that_is_called_0_is_not_lost_without_a_word(make_sdata, counted_from):
    """A mask with background -1 is either counted from 0 on, or has its cells called 1, 2, ..."""
    cells = np.kron(np.arange(12).reshape(3, 4), np.pad(np.ones((6, 6), int), 1))
    inside = np.kron(np.ones((3, 4), int), np.pad(np.ones((6, 6), int), 1)) > 0
    labels = np.where(inside, cells + counted_from, -1).astype(np.int32)
    sdata = make_sdata(a=(np.ones((1, *labels.shape), np.uint8), labels))
    if counted_from == 1:
        with warnings.catch_warnings():
            warnings.simplefilter("error", SpatialfmWarning)
            fix_labels(sdata, background=-1)
        return
    with pytest.warns(SpatialfmWarning, match="36 pixels of 0, about as many as a cell: .*Then add 1 to all"):
        fix_labels(sdata, background=-1)
