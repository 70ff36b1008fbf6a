"""What is odd about label images whose oddity was planted."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest

from spatialfm.pp.label_findings import Finding, find_oddities, worst_first
from spatialfm.pp.pieces import scan_pieces


def kinds(labels):
    pieces = scan_pieces(da.from_array(labels, chunks=64))
    return {one.kind: (one.severity, one.n) for one in find_oddities(pieces, labels.shape, labels.dtype)}


@pytest.fixture
def grid():
    """``(120, 120)``: 100 squares of 8 x 8 pixels in a grid of 12."""
    numbers = np.arange(1, 101).reshape(10, 10)
    return np.kron(numbers, np.pad(np.ones((8, 8), int), 2)).astype(np.int32)


def test_a_clean_mask_has_none(grid):
    assert kinds(grid) == {}


@pytest.mark.parametrize(("side", "kind"), [(4, "repeated"), (3, "fragments")])
def test_a_far_piece_of_a_quarter_of_a_cell_is_a_cell_of_its_own(grid, side, kind):
    """16 of 64 pixels are a quarter; 9 are less."""
    grid[grid == 100] = 0
    grid[110 : 110 + side, 110 : 110 + side] = 1
    found = kinds(grid)
    assert any(name.startswith(kind[:6]) for name in found), found


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda x: x > 0, "binary"),
        (lambda x: x.astype(float), "float"),
        (lambda x: x + 0.5 * (x == 3), "fractional"),
        (lambda x: np.where(x == 3, -3, x), "negative"),
        (lambda x: x * 0, "empty"),
        (lambda x: ((x > 0) * 255).astype(np.uint8), "repeated"),
    ],
)
def test_what_is_no_label_image(grid, change, kind):
    assert kind in kinds(change(grid))


def test_errors_come_first():
    found = [
        Finding(str(i), severity, 0, 0, np.empty(0), "") for i, severity in enumerate(["note", "error", "warning"])
    ]
    assert [one.severity for one in worst_first(found)] == ["error", "warning", "note"]
