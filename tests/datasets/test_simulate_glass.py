"""Sections with glass beside them: the share that was asked for."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

import spatialfm as sfm
from spatialfm.datasets._simulate_glass import STRAY_LIGHT, draw_outline, on_tissue
from spatialfm.datasets._simulate_panel import panel

BACKGROUND = panel(12).background


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


@pytest.fixture(scope="module")
def beside_glass():
    """Function that simulates realistic tissue, most of it glass, without what scatters light onto the glass."""
    still = ("halo", "psf", "spillover", "bleed_through", "stitching", "batch_effect", "artifacts")

    def simulate(**changes):
        options = dict.fromkeys(still, 0) | {"artifacts": (), "glass": 0.7, "random_state": 1} | changes
        return sfm.datasets.simulate_cohort(1, n_samples=1, difficulty="real", **options)

    return simulate


def test_nothing_but_stray_light_is_on_glass(beside_glass):
    """Neither fibres nor red blood cells: counts are offset and gain times the stray light of each marker."""
    for strength in (0.0, 20.0):
        sdata = beside_glass(collagen=strength, red_cells=strength)
        image, tissue = sdata["image_P001_1"].values, sdata["true_tissue_P001_1"].values > 0
        np.testing.assert_allclose(image[:, ~tissue].mean(axis=1), 100 + 4 * STRAY_LIGHT * BACKGROUND, atol=0.3)
    assert (image[:, tissue].mean(axis=1) > 100 + 4 * BACKGROUND).all()


def test_the_background_taken_off_is_that_of_tissue(beside_glass):
    camera, subtracted = (beside_glass(detector=name)["image_P001_1"].values for name in ("camera", "subtracted"))
    kept = subtracted > 0
    for channel in range(12):
        level = float(camera[channel][kept[channel]][0]) - float(subtracted[channel][kept[channel]][0])
        assert 100 + 4 * BACKGROUND[channel] * 0.6 <= level <= 100 + 4 * BACKGROUND[channel] * 2.0 + 1
