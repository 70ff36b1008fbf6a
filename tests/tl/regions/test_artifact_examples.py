"""Dark tokens: those with nothing bright around them."""

from __future__ import annotations

import numpy as np
import pytest

from spatialfm.tl.regions.artifact_examples import dark_tokens


@pytest.mark.parametrize("reach", [1, 2, 4])
def test_tokens_within_reach_of_a_bright_one_are_not_dark(reach):
    y, x = np.mgrid[:10, :10].reshape(2, -1)
    level = np.where((y < 3) & (x < 3), 5.0, 0.0) + np.linspace(0, 0.01, 100)
    dark = dark_tokens(level, np.stack([y, x], axis=1), np.zeros(100, bool), reach)
    np.testing.assert_array_equal(dark, np.maximum(y, x) - 2 > reach)


def test_a_clump_of_stain_is_no_tissue_and_one_level_is_none():
    places = np.stack([np.zeros(8), np.arange(8)], axis=1)
    level, left_out = np.array([0, 0, 0, 0, 3.0, 0, 0, 90.0]), np.arange(8) == 7
    assert dark_tokens(level, places, left_out, 1).tolist() == [True] * 3 + [False] * 3 + [True, False]
    assert not dark_tokens(np.ones(8), places, left_out, 1).any()
