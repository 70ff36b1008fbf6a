"""Normalisers: the mean of the quantiles that numpy gives, of ten images at most."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest

from spatialfm.embed.pixels.reader import SampleReader
from spatialfm.embed.positivity.normalizers import bright_quantile, normalizers_of
from spatialfm.pp.arrays import AxisAffine


def reader(values: np.ndarray, chunks: int = 37) -> SampleReader:
    image = da.from_array(values[None], chunks=(1, chunks, chunks))
    return SampleReader(
        "image", "", image, da.zeros(values.shape, dtype=np.uint8), (0,), ("CD3",), 1.0, 1.0, AxisAffine()
    )


@pytest.mark.parametrize(("dtype", "dark"), [(np.uint16, 0.0), (np.float32, 0.6), (np.float32, 0.9999)])
def test_the_quantile_of_bright_pixels_is_that_of_numpy(dtype, dark):
    rng = np.random.default_rng(0)
    values = (rng.gamma(2, 300, (200, 170)) * (rng.random((200, 170)) >= dark)).astype(dtype)
    expected = np.quantile(values[values > 0].astype(float), 0.999)
    assert bright_quantile(reader(values)) == pytest.approx(expected, rel=1e-6)


def test_images_without_a_bright_pixel_do_not_count():
    dark, bright = np.zeros((9, 9), np.uint8), np.full((9, 9), 7, np.uint8)
    assert np.isnan(bright_quantile(reader(dark)))
    images = [reader(dark) for _ in range(15)]
    images[np.random.default_rng(0).permutation(15)[-1]] = reader(bright)  # drawn last: the first ten are dark
    assert normalizers_of({"CD3": images, "CD8": [reader(dark)]}, {}, 0) == {"CD3": 7.0, "CD8": 1e-8}


def test_ten_images_are_drawn_and_known_ones_are_taken():
    images = [reader(np.full((5, 5), value, np.uint8)) for value in range(1, 31)]
    values = [normalizers_of({"CD3": images}, {}, seed)["CD3"] for seed in range(3)]
    drawn = [np.mean(np.random.default_rng(seed).permutation(30)[:10] + 1) for seed in range(3)]
    assert values == drawn
    assert normalizers_of({"CD3": images}, {"CD3": 4}, 0) == {"CD3": 4.0}
