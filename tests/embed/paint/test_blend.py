"""Predicted tiles put together: means and weights of two tiles that overlap, by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from spatialfm.embed.paint.blend import Painting, edge_weights, turned_back
from spatialfm.embed.windows.tiles import TileBlock

A, B = 2.0, 8.0


def painting(overlap="mean", *, draws=False, hidden=((1, 1), (1, 1)), **kwargs) -> Painting:
    """Tiles of 4 pixels at columns 0 and 2 of an image of 4 x 6; the first predicts 2, the second 8.

    `hidden`: of each tile, whether its left and its right token is hidden.
    """
    reader = SimpleNamespace(shape=(4, 6), intensity_max=100.0)
    job = SimpleNamespace(
        window=4, targets=(0,), readers=[reader], draws=draws, n_tokens=2, encoder=SimpleNamespace(), recipe=None
    )
    blocks = [TileBlock(0, np.array([[0, 2], [0, 0]]), 2, 0, 4, 0, 6)]  # in no order
    pixels = np.stack([np.full((1, 4, 4), B), np.full((1, 4, 4), A)]).astype(np.float32)
    tokens = np.array([[list(one)] * 2 for one in hidden[::-1]], bool)[:, None]
    stored = {"pixels": pixels, "hidden": tokens}
    return Painting(job, blocks, SimpleNamespace(read=lambda block, name: stored[name]), overlap, **kwargs)


def test_where_tiles_overlap_each_counts_alike():
    found = painting().region(0, (0, 4, 0, 6))
    assert found.shape == (1, 4, 6)
    assert (found == [A, A, (A + B) / 2, (A + B) / 2, B, B]).all()


def test_a_region_is_a_part_of_the_whole():
    whole = painting("feather").region(0, (0, 4, 0, 6))
    np.testing.assert_array_equal(painting("feather").region(0, (1, 3, 2, 5)), whole[:, 1:3, 2:5])


def test_a_feathered_edge_counts_less_the_nearer_it_is():
    found = painting("feather").region(0, (0, 1, 0, 6))[0, 0]
    # weights from the left are 1/2, 1, 1, 1/2: at column 2 the first tile weighs 1, the second 1/2
    np.testing.assert_allclose(found[2:4], [(A + B / 2) / 1.5, (A / 2 + B) / 1.5], rtol=1e-6)


def test_weights_of_an_edge_are_never_zero():
    assert edge_weights(5).min() > 0
    np.testing.assert_allclose(edge_weights(6)[2], np.array([1, 2, 3, 3, 2, 1]) / 3)


def test_what_a_model_has_seen_never_counts_for_a_pixel_that_was_hidden_elsewhere():
    """The first tile saw its right half, the second hid its left half: there the second alone counts."""
    one = painting(draws=True, hidden=((1, 0), (1, 0)))
    found = one.region(0, (0, 4, 0, 6))
    assert (found == [A, A, B, B, B, B]).all()
    assert (one.hidden(0, (0, 4, 0, 6)) == [1, 1, 1, 1, 0, 0]).all()
    both_seen = painting(draws=True, hidden=((1, 0), (0, 1)))
    assert (both_seen.region(0, (0, 4, 0, 6))[0, 0] == [A, A, (A + B) / 2, (A + B) / 2, B, B]).all()


def test_pixels_are_turned_back_by_the_model_and_the_range_of_the_image():
    one = painting(statistics=(np.array([3.0]), np.array([0.5])))
    one.job.encoder = SimpleNamespace(denormalize=lambda pixels, mean, std: pixels * std + mean)
    np.testing.assert_allclose(one.values(0, (0, 1, 0, 1)), [[[100 * (A * 0.5 + 3)]]])
    assert painting().values(0, (0, 1, 0, 1)).tolist() == [[[A]]]


@pytest.mark.parametrize("recipe", [None, "published"])
def test_a_model_that_knows_recipes_is_given_one(recipe):
    seen = []

    def denormalize(pixels, mean, std, recipe=None):
        seen.append(recipe)
        return pixels

    turned_back(SimpleNamespace(denormalize=denormalize), torch.zeros(1), torch.zeros(1), torch.ones(1), recipe)
    assert seen == [recipe]
