"""Which tokens are hidden: as many as asked, each equally often, and the same ones for a tile in any run."""

from __future__ import annotations

import math

import numpy as np
import pytest

from spatialfm.embed.paint.masks import draw_mask, generator_of


def test_each_channel_has_its_own_share_and_exactly_so_many_tokens():
    counts = np.concatenate(
        [
            draw_mask("independent", (5, 16, 16), (0.6, 1.0), np.random.default_rng(seed)).sum((1, 2))
            for seed in range(80)
        ]
    )
    assert counts.min() >= math.ceil(0.6 * 256)
    assert counts.max() <= 256
    assert len(set(counts[:5])) > 1
    # a uniform share: mean 0.8, deviation 0.4 / sqrt(12), of 400 channels; the ceiling adds half a token
    assert counts.mean() / 256 == pytest.approx(0.8 + 0.5 / 256, abs=4 * 0.4 / math.sqrt(12 * 400))
    exact = draw_mask("independent", (3, 4, 5), (0.51, 0.51), np.random.default_rng(0))
    assert (exact.sum((1, 2)) == 11).all()  # ceil(10.2)
    assert (exact[0] != exact[1]).any()


def test_every_position_is_equally_often_hidden():
    masks = [draw_mask("independent", (1, 4, 4), (0.5, 0.5), np.random.default_rng(seed)) for seed in range(600)]
    share = np.mean(masks, axis=0)
    assert np.abs(share - 0.5).max() < 5 * 0.5 / math.sqrt(600)


def test_niche_and_marker_masks():
    niche = draw_mask("niche", (4, 8, 8), (0.6, 1.0), np.random.default_rng(1))
    assert (niche == niche[:1]).all()
    assert niche[0].sum() >= 39
    marker = draw_mask("marker", (4, 8, 8), (0.6, 1.0), np.random.default_rng(1))
    assert sorted(marker.mean((1, 2))) == [0, 0, 0, 1]
    hidden = {
        int(draw_mask("marker", (3, 2, 2), (0.6, 1.0), np.random.default_rng(s)).argmax()) // 4 for s in range(40)
    }
    assert hidden == {0, 1, 2}


def test_a_tile_is_hidden_alike_in_any_run():
    def drawn(*place):
        return draw_mask("independent", (3, 4, 4), (0.6, 1.0), generator_of(*place))

    tile = drawn(0, "image_a", 128, 0)
    drawn(0, "image_a", 0, 0)  # another tile before it
    np.testing.assert_array_equal(drawn(0, "image_a", 128, 0), tile)
    others = [
        drawn(1, "image_a", 128, 0),
        drawn(0, "image_b", 128, 0),
        drawn(0, "image_a", 0, 0),
        drawn(0, "image_a", 128, 128),
    ]
    assert all((other != tile).any() for other in others)
