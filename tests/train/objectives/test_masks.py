from __future__ import annotations

import numpy as np

from spatialfm.train.objectives.masks import draw_blocks


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
