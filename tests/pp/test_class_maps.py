"""Squares painted onto a raster pixel by pixel, and outlines smoothed without a loss."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import binary_closing, binary_opening

from spatialfm.pp import class_maps
from spatialfm.pp.class_maps import natural_step, owners, smooth_classes


@pytest.mark.parametrize(("side", "spacing", "step"), [(32, 32, 32), (48, 16, 16), (32, 16, 8), (40, 16, 8), (8, 8, 8)])
def test_a_pixel_shows_borders_between_squares(side, spacing, step):
    assert natural_step(side, spacing) == step


@pytest.mark.parametrize("strip", [4096, 3])
def test_each_pixel_is_of_the_nearest_square_that_holds_its_middle(strip, monkeypatch):
    monkeypatch.setattr(class_maps, "STRIP", strip)
    rng = np.random.default_rng(0)
    corners, side, step, shape = rng.integers(-4, 30, (25, 2)).astype(float), 8.0, 2.0, (31, 40)
    found = owners(corners, side, step, shape)
    for row in range(16):
        for column in range(20):
            middle = (np.array([row, column]) + 0.5) * step
            inside = ((middle >= corners) & (middle < corners + side)).all(axis=1)
            away = np.where(inside, ((corners + side / 2 - middle) ** 2).sum(axis=1), np.inf)
            nearest = set((np.flatnonzero(away == away.min()) + 1).tolist()) if inside.any() else {0}
            assert int(found[row, column]) in nearest


def test_of_squares_in_one_place_the_first_counts():
    corners = np.array([[0.0, 0], [0, 0], [0, 4], [0, 4]])
    assert owners(corners, 4.0, 1.0, (4, 8)).tolist() == [[1] * 4 + [3] * 4] * 4


def test_what_is_narrower_than_twice_the_radius_goes():
    classes = np.ones((40, 60), np.uint8)
    classes[10:12, 10:40] = 2  # 2 wide
    classes[20:30, 10:40] = 2  # 10 wide
    smooth = smooth_classes(classes, 2, 2.0, 0.0, (1.0, 1.0))
    assert not (smooth[8:15] == 2).any()
    assert (smooth[22:28, 12:38] == 2).all()
    kept = smooth_classes(classes, 2, 0.5, 0.0, (1.0, 1.0))
    assert (kept[10:12, 10:40] == 2).all()


def test_holes_are_filled_and_the_map_loses_no_pixel():
    rng = np.random.default_rng(0)
    classes = np.zeros((60, 60), np.uint8)
    classes[5:55, 5:55] = 1 + (np.arange(50)[None, :] > 25)
    noisy = np.where((rng.random((60, 60)) < 0.03) & (classes > 0), 3 - classes, classes)
    smooth = smooth_classes(noisy, 2, 2.0, 2.0, (1.0, 1.0))
    np.testing.assert_array_equal(smooth > 0, classes > 0)
    assert (smooth == classes)[classes > 0].mean() > 0.98 > (noisy == classes)[classes > 0].mean() - 0.02
    np.testing.assert_array_equal(smooth_classes(noisy, 2, 0.0, 0.0, (1.0, 1.0)), noisy)


def test_radii_are_in_units_of_the_spacing():
    classes = np.ones((40, 40), np.uint8)
    classes[18:20, :] = 2  # 2 rows of 2 µm: 4 µm wide
    assert (smooth_classes(classes, 2, 1.0, 0.0, (2.0, 2.0))[18:20] == 2).all()
    assert not (smooth_classes(classes, 2, 4.0, 0.0, (2.0, 2.0)) == 2).any()


def test_opening_and_closing_are_those_of_a_disc():
    mask = np.random.default_rng(2).random((50, 50)) < 0.6
    y, x = np.mgrid[-2:3, -2:3]
    disc = y**2 + x**2 <= 4
    opened = class_maps._dilated(class_maps._eroded(mask, 2.0, (1, 1)), 2.0, (1, 1))
    np.testing.assert_array_equal(opened[5:-5, 5:-5], binary_opening(mask, disc)[5:-5, 5:-5])
    closed = class_maps._eroded(class_maps._dilated(mask, 2.0, (1, 1)), 2.0, (1, 1))
    np.testing.assert_array_equal(closed[5:-5, 5:-5], binary_closing(mask, disc)[5:-5, 5:-5])


def test_a_square_loses_what_is_within_the_radius_of_its_edge():
    """Of seven pixels across, those at distance 1 and 2 of the background go, three stay."""
    mask = np.zeros((15, 15), bool)
    mask[4:11, 4:11] = True
    expected = np.zeros_like(mask)
    expected[6:9, 6:9] = True
    np.testing.assert_array_equal(class_maps._eroded(mask, 2.0, (1.0, 1.0)), expected)
