"""Marker statistics against numpy and scikit-image on the whole image."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from scipy.ndimage import binary_fill_holes
from skimage.filters import threshold_otsu

from spatialfm.embed.reader import SampleReader
from spatialfm.embed.stats import cohort_statistics, tissue_mask
from spatialfm.pp.elements import AxisAffine


def tissue_image(seed: int, side: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """An image whose tissue we set: a bright disk with a dark hole in it, on an empty slide."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] - side / 2
    tissue = y**2 + x**2 < (0.35 * side) ** 2
    image = rng.poisson(2, (2, side, side)) + rng.poisson((80, 400), (side, side, 2)).transpose(2, 0, 1) * tissue
    image[:, side // 2 - 4 : side // 2 + 4, side // 2 - 4 : side // 2 + 4] = 0
    return image.astype(np.uint16), tissue


def reader(image: np.ndarray) -> SampleReader:
    labels = da.zeros(image.shape[1:], dtype=np.int32)
    return SampleReader(
        "image_a",
        "cells_a",
        da.from_array(image, chunks=(1, 50, 50)),
        labels,
        (0, 1),
        ("a", "b"),
        65535.0,
        1.0,
        AxisAffine(),
    )


def test_tissue_is_found_with_its_holes_filled():
    image, tissue = tissue_image(0)
    mask, step = tissue_mask(reader(image))
    assert step == 1
    assert (mask == tissue).mean() > 0.995
    signal = np.log1p(image / image.mean(axis=(1, 2), keepdims=True)).mean(axis=0)
    np.testing.assert_array_equal(mask, binary_fill_holes(signal > threshold_otsu(signal)))


@pytest.mark.parametrize("block", [33, 64, 1024])
def test_statistics_over_tissue_of_two_images(block):
    images, tissues = zip(*(tissue_image(seed) for seed in (0, 1)), strict=True)
    mean, std = cohort_statistics([reader(image) for image in images], block=block)
    values = np.concatenate([image[:, tissue] for image, tissue in zip(images, tissues, strict=True)], axis=1) / 65535
    np.testing.assert_allclose(mean, values.mean(axis=1), rtol=5e-3)
    masks = [tissue_mask(reader(image))[0] for image in images]
    exact = np.concatenate([image[:, mask] for image, mask in zip(images, masks, strict=True)], axis=1) / 65535
    np.testing.assert_allclose(mean, exact.mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(std, exact.std(axis=1), rtol=1e-6)


def test_a_large_image_is_averaged_down_by_blocks():
    image, _ = tissue_image(2, side=131)
    small, step = tissue_mask(reader(image), side=50)
    assert step == 3
    assert small.shape == (44, 44)
    same, _ = tissue_mask(reader(image), side=50, block=20)
    np.testing.assert_array_equal(small, same)


def test_a_constant_image_is_all_tissue():
    mask, _ = tissue_mask(reader(np.full((2, 30, 30), 7, np.uint16)))
    assert mask.all()
