"""Tokens of overlapping windows: each place of the image is in the window in whose middle it lies most."""

from __future__ import annotations

import numpy as np
import pytest

from spatialfm.embed.windows.tiles import tile_starts
from spatialfm.embed.windows.token_grid import kept_tokens


@pytest.mark.parametrize(
    ("length", "size", "stride", "side"), [(100, 32, 16, 8), (96, 32, 16, 8), (97, 32, 20, 4), (64, 64, 64, 16)]
)
def test_each_place_counts_once_and_in_the_window_of_the_nearest_middle(length, size, stride, side):
    starts = tile_starts(length, size, stride)
    n = size // side
    kept = kept_tokens(starts, size, side, side, n, length)
    first = starts[:, None] + side * np.arange(n)
    middle = first + side / 2
    away = np.abs(middle[:, None, :] - (starts + size / 2)[None, :, None])  # (window, other window, token)
    for window in range(len(starts)):
        for token in range(n):
            mine, best = away[window, window, token], away[window, :, token].min()
            if kept[window, token]:
                assert mine == best
                assert first[window, token] < length
            elif first[window, token] < length:
                assert mine > best or np.flatnonzero(away[window, :, token] == best)[-1] != window
    # the last window may be between the tokens of the others
    covered = np.zeros(length, bool)
    for begin in first[kept]:
        covered[begin : begin + side] = True
    assert covered.all() or (length - size) % side


def test_on_the_line_between_two_windows_the_later_one_counts():
    """Windows from 0 and 4 of side 8 meet at 6; the token from 5 of the first has its middle there."""
    kept = kept_tokens(np.array([0, 4]), 8, 2, 1, 7, 20)
    assert kept[0].tolist() == [True] * 5 + [False] * 2  # from 0 to 4; middles 1 to 5
    assert kept[1].tolist() == [False] + [True] * 6  # from 5 on; middle 6


def test_tokens_that_begin_at_the_end_of_the_image_are_none():
    assert kept_tokens(np.array([0]), 8, 2, 2, 4, 6).tolist() == [[True, True, True, False]]
    assert kept_tokens(np.array([0]), 8, 2, 2, 4, 7).tolist() == [[True, True, True, True]]
