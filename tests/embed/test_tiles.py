"""Tiles and the sharing of their tokens."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spatialfm.embed.tiles import share_out, tile_starts


@pytest.mark.parametrize(
    ("size", "window", "stride", "padding"), [(170, 128, 42, 0), (1000, 128, 96, 120), (64, 64, 10, 3)]
)
def test_tiles_cover_the_axis_and_end_at_its_edge(size, window, stride, padding):
    starts = tile_starts(size, window, stride, padding)
    assert starts[0] == -padding
    assert starts[-1] + window == size + padding
    assert (np.diff(starts) <= stride).all()
    assert (np.diff(starts) > 0).all()


def test_an_axis_shorter_than_the_window_is_one_tile():
    assert tile_starts(50, 128, 42).tolist() == [0]


@pytest.mark.parametrize("grid", [(4, 6), (3, 3)])
def test_each_token_counts_as_often_as_it_has_pixels_of_the_cell(grid):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, (3, 24, 36))
    labels[labels == 3] = 0  # a cell that no window holds
    tokens = rng.standard_normal((3, *grid, 7)).astype(np.float32)
    fine = tokens.repeat(24 // grid[0], axis=1).repeat(36 // grid[1], axis=2)  # one token a pixel
    sums, pixels = share_out(torch.from_numpy(tokens), torch.from_numpy(labels), 4)
    for cell in range(4):
        inside = labels == cell + 1
        assert pixels[cell] == inside.sum()
        np.testing.assert_allclose(sums[cell], fine[inside].sum(axis=0), rtol=1e-4, atol=1e-4)
