"""Pieces that are trained on: which, what is known of them, and how a run is identified."""

from __future__ import annotations

import numpy as np
import pytest

from spatialfm.learn.context_slices import Slice
from spatialfm.models.context import new_context
from spatialfm.train.context_pieces import ContextPieces, ContextSpread, DrawnPieces, columns_of


def slice_of(seed, sizes):
    """Pieces side by side, each a square of 10 units."""
    rng = np.random.default_rng(seed)
    starts = np.r_[0, np.cumsum(sizes)]
    parts = [np.arange(a, b) for a, b in zip(starts, starts[1:], strict=False)]
    xy = rng.uniform(0, 10, (starts[-1], 2)) + 10 * np.repeat(np.arange(len(sizes)), sizes)[:, None] * [1, 0]
    values = rng.normal(size=(len(xy), 4)).astype(np.float32)
    return Slice(xy - xy.mean(0), values, np.zeros((1, 2)), values[:1], parts, 0)


@pytest.fixture
def pieces():
    return ContextPieces([slice_of(0, [60, 12, 70]), slice_of(1, [80])], ["a", "b"], ["p", "q"], 20)


def test_small_pieces_are_left_out(pieces):
    assert pieces.table["cells"].tolist() == [60, 70, 80]
    assert pieces.table["sample"].tolist() == ["a", "a", "b"]
    assert pieces.n_left_out == 12
    piece = pieces.sample(1, np.random.default_rng(0)).piece
    np.testing.assert_array_equal(piece.tokens[2:], pieces.tissues[0].values[72:])
    assert DrawnPieces(pieces, 0, 2).describe(2) == "80 cells of 'b'"
    assert len(DrawnPieces(pieces, 0, 3).indices(5)) == 3


def test_reach_covers_the_known_distances(pieces):
    known = []
    for number in range(3):
        xy = pieces.sample(number, np.random.default_rng(0)).piece.xy[2:]
        exact = np.linalg.norm(xy[:, None] - xy[None], axis=-1)
        nearest = np.sort(exact, axis=1)[:, 1:20]
        known.append(nearest.ravel())
    # of each cell to its neighbours; those that know it in return, and first and virtual cells among them, are a few
    assert pieces.reach() == pytest.approx(np.quantile(np.concatenate(known), 0.95), rel=0.1)


def test_other_data_are_told_apart(pieces):
    same = ContextPieces([slice_of(0, [60, 12, 70]), slice_of(1, [80])], ["a", "b"], ["p", "q"], 20)
    assert same.parts() == pieces.parts()
    other = ContextPieces([slice_of(0, [60, 12, 70]), slice_of(2, [80])], ["a", "b"], ["p", "q"], 20)
    assert {name for name, value in other.parts().items() if value != pieces.parts()[name]} == {
        "embeddings", "coordinates", "virtual cells",
    }  # fmt: skip


def test_columns_are_scaled_to_rows_of_about_one():
    values = np.random.default_rng(0).normal([3, -2, 5, 9], [1, 20, 0, 0.1], (500, 4))
    scaled = columns_of(values).scale(values)
    np.testing.assert_allclose(scaled.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(scaled.std(0), [0.5, 0.5, 0, 0.5], rtol=1e-5)


def test_spread_of_vectors_that_are_the_same_is_nothing(pieces):
    encoder = new_context("stofm", {"in_dim": 4, "dim": 8, "heads": 2, "depth": 1}, 0, 3.0)
    check = ContextSpread(encoder, pieces, next(encoder.network.parameters()).device)
    assert check(0)["spread"] > 0.05
    layer = encoder.network.encoder["layers"][0].final_layer_norm
    layer.weight.requires_grad_(False).zero_()
    layer.bias.requires_grad_(False).fill_(1)
    assert check(1)["spread"] < 1e-6
    assert encoder.network.training
