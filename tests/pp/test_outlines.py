"""Outlines and filled cells, drawn by hand."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from skimage.draw import disk, ellipse_perimeter

from spatialfm.pp.outlines import find_outlines, is_outline
from spatialfm.pp.pieces import scan_pieces


@pytest.mark.parametrize(("width", "line"), [(1, True), (2, True), (4, False), (9, False)])
def test_a_line_of_one_or_two_pixels_around_a_hole(width, line):
    mask = np.zeros((20, 20), bool)
    mask[1:19, 1:19] = True
    mask[1 + width : 19 - width, 1 + width : 19 - width] = False
    assert bool(is_outline(mask)) is line


def cells(filled: bool) -> np.ndarray:
    labels = np.zeros((120, 120), np.int32)
    for i in range(16):
        y, x = 15 + 30 * (i // 4), 15 + 30 * (i % 4)
        places = disk((y, x), 10) if filled else ellipse_perimeter(y, x, 10, 9)
        labels[places] = i + 1
    return labels


@pytest.mark.parametrize("filled", [True, False])
def test_outlines_are_an_error_and_filled_cells_are_not(filled):
    labels = cells(filled)
    found = find_outlines(da.from_array(labels, chunks=50), scan_pieces(da.from_array(labels, chunks=50)))
    assert [one.kind for one in found] == ([] if filled else ["outlines"])
