"""Rows gathered from blocks that are written out here."""

from __future__ import annotations

import numpy as np
import pytest

from spatialfm.embed.result.rows import SharedRows, WindowRows, count_pixels


class Blocks:
    """Finished blocks in memory."""

    def __init__(self, *blocks):
        self.blocks = blocks

    def read(self, number, name):
        return self.blocks[number][name]


@pytest.fixture
def windows():
    """Seven rows in three blocks, each row full of its own number."""
    members = [np.array([1, 4, 6]), np.array([0, 2]), np.array([3, 5])]
    store = Blocks(*({"patch": np.repeat(rows[:, None], 3, axis=1).astype(np.float32)} for rows in members))
    return WindowRows(store, members, "patch")


@pytest.mark.parametrize(("start", "stop"), [(0, 7), (2, 5), (6, 7), (3, 3)])
def test_rows_stand_where_they_belong(windows, start, stop):
    assert windows.shape == (7, 3)
    np.testing.assert_array_equal(windows.read(start, stop)[:, 1], np.arange(start, stop))


MEMBERS = [np.arange(5), np.array([1, 2, 4])]


@pytest.fixture
def tiles():
    """Cell 2 is in both blocks, cell 3 in none: its row is given. The second block numbers cells in its own way."""
    store = Blocks(
        {"cells": np.array([0, 2]), "pixels": np.array([4.0, 1.0]), "patch": np.array([[8.0], [3.0]], np.float32)},
        {"cells": np.array([0, 1, 2]), "pixels": np.array([2.0, 3.0, 1.0]),
         "patch": np.array([[2.0], [9.0], [7.0]], np.float32)},
    )  # fmt: skip
    return store, SharedRows(store, MEMBERS, 5, "patch", {3: np.array([5.0])})


def test_sums_are_divided_by_the_pixels_of_all_blocks(tiles):
    store, rows = tiles
    np.testing.assert_array_equal(count_pixels(store, MEMBERS, 5), [4, 2, 4, 0, 1])
    np.testing.assert_allclose(rows.read(0, 5)[:, 0], [8 / 4, 2 / 2, (3 + 9) / 4, 5, 7])


@pytest.mark.parametrize(("start", "stop"), [(0, 2), (1, 3), (2, 4), (3, 5), (4, 5)])
def test_a_range_is_that_part_of_the_whole(tiles, start, stop):
    _, rows = tiles
    np.testing.assert_array_equal(rows.read(start, stop), rows.read(0, 5)[start:stop])
