from __future__ import annotations

import math

import numpy as np
import pytest

from spatialfm.train.objectives.masks import draw_blocks, draw_mask


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


def test_blocks_hide_about_as_many_as_asked():
    counts = []
    for seed in range(60):
        hidden = draw_blocks((14, 14), 60, np.random.default_rng(seed))
        assert hidden.sum() <= 60
        counts.append(int(hidden.sum()))
    assert np.mean(counts) > 50
    assert not draw_blocks((14, 14), 0, np.random.default_rng(0)).any()
    one = draw_blocks((14, 14), 6, np.random.default_rng(2))
    rows, columns = np.nonzero(one)
    assert one[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].mean() > 0.4  # rectangles, not dots
    assert draw_blocks((2, 2), 2, np.random.default_rng(0)).sum() <= 2
