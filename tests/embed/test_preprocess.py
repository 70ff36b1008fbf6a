"""VirTues' preparation against scipy on the whole image."""

from __future__ import annotations

import pickle

import dask.array as da
import numpy as np
import pytest
from scipy.ndimage import correlate1d

from spatialfm.embed import preprocess
from spatialfm.embed.preprocess import KERNEL, prepare, tissue_percentiles
from spatialfm.embed.reader import SampleReader
from spatialfm.embed.tissue import tissue_mask
from spatialfm.pp.elements import AxisAffine


@pytest.fixture
def image():
    rng = np.random.default_rng(0)
    image = rng.poisson(2, (2, 90, 75)) + rng.gamma(2, 40, (2, 90, 75)) * (np.arange(75) > 20)
    return image.astype(np.uint16)


def reader_of(image: np.ndarray) -> SampleReader:
    labels = da.zeros(image.shape[1:], dtype=np.int32, chunks=40)
    lazy = da.from_array(image, chunks=(1, 40, 40))
    return SampleReader("image_a", "cells_a", lazy, labels, (0, 1), ("a", "b"), 65535.0, 1.0, AxisAffine())


def test_the_kernel_is_a_gaussian_of_sigma_one():
    np.testing.assert_allclose(KERNEL, [0.27406862, 0.45186276, 0.27406862], atol=1e-8)


def test_prepared_pixels_are_those_of_the_whole_image(image):
    mask, _ = tissue_mask(reader_of(image))
    top = np.percentile(image[:, mask], 99, axis=1)
    expected = np.log1p(np.minimum(image, top[:, None, None]))
    for axis in (1, 2):
        expected = correlate1d(expected, KERNEL, axis=axis, mode="mirror")
    prepared = pickle.loads(pickle.dumps(prepare(reader_of(image))))
    assert prepared.name == "image_a"
    np.testing.assert_allclose(prepared.pixels(0, 90, 0, 75), expected, rtol=1e-5)
    np.testing.assert_allclose(prepared.pixels(31, 60, 17, 44), expected[:, 31:60, 17:44], rtol=1e-5)
    padded = prepared.pixels(-5, 20, 60, 80)
    np.testing.assert_allclose(padded[:, 5:, :15], expected[:, :20, 60:], rtol=1e-5)
    assert padded[:, :5].max() == padded[:, :, 15:].max() == 0


def test_percentiles_of_a_large_image_come_from_a_part_of_its_rows(image, monkeypatch):
    image = image.astype(np.float32)
    exact = tissue_percentiles(reader_of(image), 90)
    monkeypatch.setattr(preprocess, "MAX_VALUES", 3000)
    parts = [tissue_percentiles(reader_of(image), 90, block=block) for block in (1024, 17)]
    np.testing.assert_array_equal(*parts)
    np.testing.assert_allclose(parts[0], exact, rtol=0.1)


@pytest.mark.parametrize(("percentile", "dtype"), [(99, np.uint16), (50, np.uint16), (99, np.uint8), (0, np.uint8)])
def test_percentiles_of_whole_numbers_are_exact(image, percentile, dtype):
    image = np.minimum(image, np.iinfo(dtype).max).astype(dtype)
    mask, _ = tissue_mask(reader_of(image))
    expected = np.percentile(image[:, mask], percentile, axis=1) / 65535
    for block in (1024, 17):
        np.testing.assert_allclose(tissue_percentiles(reader_of(image), percentile, block=block), expected, rtol=1e-12)
