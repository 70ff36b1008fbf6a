"""Quality of tokens, square by square in numpy."""

from __future__ import annotations

import numpy as np
import pytest

from spatialfm.pp import square_quality as module
from spatialfm.pp.square_quality import box_sums, token_quality


@pytest.mark.parametrize("strip", [1024, 7])
def test_each_square_by_itself(strip, monkeypatch):
    monkeypatch.setattr(module, "STRIP", strip)
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (3, 40, 50)).astype(np.uint8)
    image[0, 5:9, 5:9] = 255
    corners = rng.integers(0, 30, (20, 2)).astype(float)
    quality, brightness = token_quality(image, [0, 2], image.mean(axis=(1, 2))[[0, 2]], 255.0, corners, 8.0)
    padded = np.pad(image.astype(float), ((0, 0), (1, 1), (1, 1)), mode="edge")
    around = padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1] + padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:] - 4.0 * image
    for row, (y, x) in enumerate(corners.astype(int)):
        here = (slice(y, y + 8), slice(x, x + 8))
        saturated = [(image[c][here] == 255).mean() for c in (0, 2)]
        sharpness = [around[c][here].std() / image[c][here].std() for c in (0, 2)]
        np.testing.assert_allclose(
            quality[row], [max(saturated), np.mean(saturated), np.mean(sharpness), min(sharpness)], rtol=1e-4, atol=1e-6
        )
        expected = np.mean([np.log(image[c][here].mean() / image[c].mean()) for c in (0, 2)])
        assert brightness[row] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("kind", ["int32", "uint32", "float32"])
def test_a_wide_type_or_a_hot_pixel_hides_no_square(kind):
    rng = np.random.default_rng(0)
    image = rng.poisson(20, (1, 64, 64)).astype(kind)
    image[0, 40:, 40:] = 0
    image[0, 63, 0] = 100_000_000  # in none of the squares
    corners = np.array([[0, 0], [8, 16], [44, 44]], float)
    quality, brightness = token_quality(image, [0], np.array([20.0]), float(image.max()), corners, 16.0)
    for row, (y, x) in enumerate(corners[:2].astype(int)):
        padded = np.pad(image[0].astype(float), 1, mode="edge")[y : y + 18, x : x + 18]
        inner = padded[1:-1, 1:-1]
        around = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] - 4 * inner
        assert quality[row, 2] == pytest.approx(around.std() / inner.std(), rel=1e-2)
        assert brightness[row] == pytest.approx(np.log(inner.mean() / 20), abs=0.02)
    assert quality[2, 2] == 0  # nothing varies there
    assert brightness[2] < -4


def test_sums_of_boxes():
    values = np.random.default_rng(1).random((9, 11))
    boxes = np.array([[0, 9, 0, 11], [2, 5, 3, 4], [4, 4, 0, 5]])
    np.testing.assert_allclose(box_sums(values, boxes), [values.sum(), values[2:5, 3:4].sum(), 0], atol=1e-12)
