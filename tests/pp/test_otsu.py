"""Tissue by a threshold, on images whose tissue is known."""

from __future__ import annotations

import numpy as np
import pytest

from spatialfm.pp.otsu import otsu_mask

OPTIONS = {"smoothing": 0.01, "min_area": 0.0, "max_hole": 0.0}


def test_two_levels_are_told_apart_to_the_pixel():
    rng = np.random.default_rng(0)
    truth = rng.random((60, 80)) < 0.3
    image = np.stack([np.where(truth, 90.0, 10.0), np.where(truth, 8.0, 1.0)])
    np.testing.assert_array_equal(otsu_mask(image, 1.0, **OPTIONS), truth)


def test_a_threshold_maximises_the_variance_between_classes():
    """Otsu's criterion, over all thresholds that separate two values (of 256 bins, as published)."""
    image = np.random.default_rng(1).gamma(2.0, 10.0, (1, 40, 50))
    mask = otsu_mask(image, 1.0, **OPTIONS)
    scaled = np.minimum(image[0] / np.percentile(image[0], 99.5), 1)

    def between(cut):
        low, high = scaled[scaled <= cut], scaled[scaled > cut]
        return low.size * high.size * (low.mean() - high.mean()) ** 2

    best = max(np.linspace(0.01, 0.99, 500), key=between)
    assert (mask != (scaled > best)).mean() < 0.01


@pytest.mark.parametrize(("min_area", "kept"), [(16.0, True), (17.0, False)])
def test_pieces_below_the_area_go(min_area, kept):
    image = np.zeros((1, 30, 30))
    image[0, 5:25, 5:15], image[0, 2:4, 20:22] = 100, 100  # 2 x 2 pixels of 2 µm: 16 µm²
    mask = otsu_mask(image, 2.0, **{**OPTIONS, "min_area": min_area})
    assert mask[2:4, 20:22].all() == kept
    assert mask.sum() == 200 + 4 * kept


@pytest.mark.parametrize(("max_hole", "filled"), [(16.0, True), (15.0, False)])
def test_holes_up_to_the_area_are_filled_and_bays_at_the_edge_are_not(max_hole, filled):
    image = np.full((1, 30, 30), 100.0)
    image[0, 10:12, 10:12] = 0
    image[0, 0:2, 20:22] = 0
    mask = otsu_mask(image, 2.0, **{**OPTIONS, "max_hole": max_hole})
    assert mask[10:12, 10:12].all() == filled
    assert not mask[0:2, 20:22].any()


def test_an_image_of_one_value_is_whole():
    assert otsu_mask(np.full((2, 9, 9), 7.0), 1.0, **OPTIONS).all()
    assert otsu_mask(np.zeros((2, 9, 9)), 1.0, **OPTIONS).all()
