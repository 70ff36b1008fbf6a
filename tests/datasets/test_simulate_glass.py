"""Sections with glass beside them: the share that was asked for."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from spatialfm.datasets._simulate_glass import draw_outline, on_tissue


@pytest.mark.parametrize("glass", [0.1, 0.3, 0.6])
def test_the_share_of_glass_is_that_asked_for_and_lies_on_one_side(glass):
    tissue = draw_outline(200, 0.5, glass, np.random.default_rng(0))
    assert 1 - tissue.mean() == pytest.approx(glass, abs=0.01)
    pieces, n = ndimage.label(~tissue)
    assert np.bincount(pieces.ravel())[1:].max() > 0.8 * (~tissue).sum()
    assert n < 8


def test_points_lie_where_their_pixel_does():
    outline = np.zeros((4, 4), bool)
    outline[1, 2] = True
    xy = np.array([[2.2, 1.4], [1.2, 2.4], [2.9, 1.9], [-5.0, 99.0]]) * 0.5
    assert on_tissue(outline, xy, 0.5).tolist() == [True, False, True, False]
