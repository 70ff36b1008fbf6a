"""VirTues' preparation against scipy on the whole image."""

from __future__ import annotations

import pickle

import dask.array as da
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from spatialfm.embed.pixels.prepared import TissueOf, of_statistics
from spatialfm.embed.pixels.reader import SampleReader
from spatialfm.embed.pixels.statistics import cohort_statistics
from spatialfm.embed.pixels.tissue import tissue_mask
from spatialfm.models import virtues_pixels
from spatialfm.models.virtues_pixels import KERNEL, PAPER, RELEASED, tissue_percentiles
from spatialfm.pp.arrays import AxisAffine


@pytest.fixture
def image():
    rng = np.random.default_rng(0)
    image = rng.poisson(2, (2, 90, 75)) + rng.gamma(2, 40, (2, 90, 75)) * (np.arange(75) > 20)
    return image.astype(np.uint16)


def reader_of(image: np.ndarray) -> SampleReader:
    labels = da.zeros(image.shape[1:], dtype=np.int32, chunks=40)
    lazy = da.from_array(image, chunks=(1, 40, 40))
    return SampleReader("image_a", "cells_a", lazy, labels, (0, 1), ("a", "b"), 1.0, 1.0, AxisAffine())


def prepare(reader, clip=None, preparation=RELEASED):
    return preparation.prepare(reader, TissueOf(reader), clip)


def percentiles(reader, percentile, **options):
    return tissue_percentiles(reader, TissueOf(reader), percentile, **options)


def test_the_kernel_is_a_gaussian_of_sigma_one():
    np.testing.assert_allclose(KERNEL, [0.27406862, 0.45186276, 0.27406862], atol=1e-8)


def logged(image, top):
    return np.log1p(np.minimum(image.astype(np.float64), top[:, None, None]))


@pytest.mark.parametrize(("rows", "columns"), [(0, 0), (120, 120), (3, 0), (1, 2)])
def test_prepared_pixels_are_those_of_the_whole_padded_image(image, rows, columns):
    """Zeros around the image before everything: its border is blurred with them, and mirrored beyond them."""
    mask, _ = tissue_mask(reader_of(image))
    top = np.percentile(image[:, mask], 99, axis=1)
    field = logged(np.pad(image, ((0, 0), (rows, rows), (columns, columns))), top)
    expected = gaussian_filter(field, 1.0, radius=1, mode="mirror", axes=(1, 2))
    prepared = pickle.loads(pickle.dumps(prepare(reader_of(image)).padded(rows, columns)))
    assert prepared.name == "image_a"
    np.testing.assert_allclose(prepared.pixels(-rows, 90 + rows, -columns, 75 + columns), expected, rtol=1e-5)
    part = expected[:, rows + 31 : rows + 60, columns + 17 : columns + 44]
    np.testing.assert_allclose(prepared.pixels(31, 60, 17, 44), part, rtol=1e-5)
    # whatever is asked for at once, and beyond all padding there is nothing
    bottom, right = 90 + rows, 75 + columns
    for block in (7, 33):
        parts = [
            [
                prepared.pixels(y, min(y + block, bottom), x, min(x + block, right))
                for x in range(-columns, right, block)
            ]
            for y in range(-rows, bottom, block)
        ]
        np.testing.assert_array_equal(np.block(parts), prepared.pixels(-rows, 90 + rows, -columns, 75 + columns))
    beyond = prepared.pixels(-rows - 5, 20, 60, 75 + columns + 5)
    assert beyond[:, :5].max() == beyond[:, :, -5:].max() == 0


def test_the_logarithm_is_of_raw_pixels(image):
    """Not of pixels from 0 to 1: log1p(1) is 0.69, log1p(1 / 65535) is nothing."""
    prepared = prepare(reader_of(np.minimum(image, 1)))
    assert prepared.pixels(0, 90, 0, 75).max() == pytest.approx(np.log(2), rel=1e-6)


def test_statistics_are_of_pixels_before_the_blur(image):
    mask, _ = tissue_mask(reader_of(image))
    values = logged(image, np.percentile(image[:, mask], 99, axis=1))
    blurred = gaussian_filter(values, 1.0, radius=1, mode="mirror", axes=(1, 2))
    for preparation, expected in ((RELEASED, values), (PAPER, blurred)):
        readers = [prepare(reader_of(image), preparation=preparation).padded(120, 120)]
        mean, std = cohort_statistics(of_statistics(readers), tissue_of=[reader_of(image)])
        np.testing.assert_allclose(mean, expected[:, mask].mean(axis=1), rtol=1e-6)
        np.testing.assert_allclose(std, expected[:, mask].std(axis=1), rtol=1e-6)


def test_known_clipping_values_are_taken(image):
    prepared = prepare(reader_of(image), np.array([2.0, np.nan]))
    mask, _ = tissue_mask(reader_of(image))
    np.testing.assert_allclose(prepared.clip, [2.0, np.percentile(image[1, mask], 99)], rtol=1e-12)
    assert prepared.pixels(0, 90, 0, 75)[0].max() <= np.log(3) * (1 + 1e-6)


def test_percentiles_of_a_large_image_come_from_a_part_of_its_rows(image, monkeypatch):
    image = image.astype(np.float32)
    exact = percentiles(reader_of(image), 90)
    monkeypatch.setattr(virtues_pixels, "MAX_VALUES", 3000)
    parts = [percentiles(reader_of(image), 90, block=block) for block in (1024, 17)]
    np.testing.assert_array_equal(*parts)
    np.testing.assert_allclose(parts[0], exact, rtol=0.1)


@pytest.mark.parametrize(("percentile", "dtype"), [(99, np.uint16), (50, np.uint16), (99, np.uint8), (0, np.uint8)])
def test_percentiles_of_whole_numbers_are_exact(image, percentile, dtype):
    image = np.minimum(image, np.iinfo(dtype).max).astype(dtype)
    mask, _ = tissue_mask(reader_of(image))
    expected = np.percentile(image[:, mask], percentile, axis=1)
    for block in (1024, 17):
        np.testing.assert_allclose(percentiles(reader_of(image), percentile, block=block), expected, rtol=1e-12)
