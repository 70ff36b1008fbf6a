from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from spatialfm.train.batch import WindowSample
from spatialfm.train.objectives.crops import CropViews, crop_box, random_crops, resized

VIEWS = CropViews(
    patch_size=4,
    depth=3,
    global_size=24,
    local_size=8,
    n_local=5,
    global_scale=(0.48, 1.0),
    local_scale=(0.16, 0.48),
    masked_share=0.5,
    mask_ratio=(0.1, 0.5),
    drop_path=0.3,
)
WINDOW = WindowSample(torch.rand(3, 32, 32), torch.tensor([0, 4, 9]), ("a", "b", "c"), 7)


def test_shapes_and_what_is_random_comes_again():
    view, again = (pickle.loads(pickle.dumps(VIEWS))(WINDOW, np.random.default_rng(3)) for _ in range(2))
    assert view.crops.shape == (2, 3, 24, 24)
    assert view.local.shape == (5, 3, 8, 8)
    assert view.hidden.shape == (2, 36)
    assert view.gains.shape == (7, 3, 2)
    assert view.markers is WINDOW.markers
    for name in ("crops", "local", "hidden", "gains"):
        assert torch.equal(getattr(view, name), getattr(again, name))


def test_shares_of_masks_and_dropped_branches():
    views = [VIEWS(WINDOW, np.random.default_rng(seed)) for seed in range(150)]
    hidden = torch.stack([view.hidden for view in views]).flatten(0, 1).sum(1)
    assert (hidden > 0).float().mean().item() == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(300))
    assert hidden.max() <= 18
    gains = torch.stack([view.gains for view in views])
    assert gains.unique().tolist() == pytest.approx([0.0, 1 / 0.7])
    assert gains.mean().item() == pytest.approx(1, abs=0.03)  # 6,300 of them


def test_boxes_have_the_area_and_the_aspect_that_they_may():
    boxes = [crop_box((224, 224), (0.16, 0.48), np.random.default_rng(seed)) for seed in range(400)]
    areas = np.array([h * w for _, _, h, w in boxes]) / 224**2
    aspects = np.array([w / h for _, _, h, w in boxes])
    assert areas.min() > 0.155
    assert areas.max() < 0.485
    assert areas.mean() == pytest.approx(0.32, abs=4 * 0.32 / math.sqrt(12 * 400))
    assert aspects.min() > 0.74
    assert aspects.max() < 1.35
    assert all(0 <= top and top + h <= 224 and 0 <= left and left + w <= 224 for top, left, h, w in boxes)
    assert crop_box((10, 100), (1.0, 1.0), np.random.default_rng(0)) == (0, 43, 10, 13)  # none fits: the centre


def test_a_crop_is_a_part_of_the_window():
    ramp = torch.arange(64.0).expand(1, 64, 64) + 100 * torch.arange(64.0)[None, :, None]
    for seed in range(6):
        rng = np.random.default_rng(seed)
        crop = random_crops(ramp, 1, 32, (0.3, 0.8), rng)[0]
        top, left, h, w = crop_box((64, 64), (0.3, 0.8), np.random.default_rng(seed))
        # a resized plane is a plane: the pixel centres of the part, mirrored or not
        rows = top + (np.arange(32) + 0.5) * h / 32 - 0.5
        columns = left + (np.arange(32) + 0.5) * w / 32 - 0.5
        inner = slice(4, -4)
        expected = (columns[None] + 100 * rows[:, None])[inner, inner]
        got = crop[0].numpy()[inner, inner]
        # the weights of the resampling are cut to whole pixels: 3 hundredths of a row
        assert min(np.abs(got - expected).max(), np.abs(got - expected[:, ::-1]).max()) < 3, seed
    whole = random_crops(ramp, 1, 64, (1.0, 1.0), np.random.default_rng(0))[0]
    assert whole.shape == (1, 64, 64)


@pytest.mark.parametrize("shape", [(36, 33), (20, 24), (17, 64), (64, 9), (65, 40), (32, 31), (32, 32)])
@pytest.mark.parametrize("size", [8, 32, 64])
def test_crops_are_resized_as_torch_does_it(shape, size):
    """Small parts by matrices, others by torch: the same numbers on both sides of the limit, which is 64."""
    window = np.random.default_rng(0).normal(size=(3, 80, 80)).astype(np.float32)
    part = window[:, 5 : 5 + shape[0], 7 : 7 + shape[1]]
    asked = {"mode": "bicubic", "antialias": True, "align_corners": False}
    expected = F.interpolate(torch.from_numpy(part.copy())[None], (size, size), **asked)[0].numpy()
    np.testing.assert_allclose(resized(part, size), expected, atol=2e-6)
    double = resized(part.astype(np.float64), size)
    assert double.dtype == np.float64
    np.testing.assert_allclose(double, expected, atol=2e-6)
