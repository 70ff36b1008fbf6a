"""Overlaps of clusters by counting."""

from __future__ import annotations

import numpy as np

from spatialfm.learn.signature_sketch import best_overlap


def test_the_best_overlap_is_the_largest_jaccard_index_of_all_clusters():
    rng = np.random.default_rng(0)
    inside, codes = rng.random(60) < 0.4, rng.integers(0, 5, (3, 60))
    expected = max(
        (inside & (column == code)).sum() / (inside | (column == code)).sum() for column in codes for code in range(5)
    )
    assert best_overlap(inside, codes) == expected
    assert best_overlap(codes[1] == 2, codes) == 1.0
    assert best_overlap(np.zeros(60, bool), codes) == 0.0
