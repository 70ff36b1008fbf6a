"""Marker statistics against numpy and scikit-image on the whole image."""

from __future__ import annotations

import dataclasses
import zlib

import dask.array as da
import numpy as np
import pytest

import spatialfm as sfm
from spatialfm.embed.pixels.reader import SampleReader
from spatialfm.embed.pixels.statistics import cohort_statistics, image_moments
from spatialfm.embed.pixels.tissue import find_tissue, share_of_tissue, tissue_mask
from spatialfm.pp.arrays import AxisAffine
from spatialfm.pp.tissue_masks import TissueSource


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
        tissue=TissueSource(size=2.0),
    )


def test_tissue_is_found_with_its_holes_filled():
    image, tissue = tissue_image(0)
    mask, step = tissue_mask(reader(image))
    assert step == 1
    assert (mask == tissue).mean() > 0.995
    assert mask[60, 60]  # in the hole


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


@pytest.mark.parametrize("block", [50, 1024])
def test_the_mean_of_a_field_full_of_tissue_is_that_of_all_pixels(block):
    """Two densities of tissue are not tissue and glass."""
    rng = np.random.default_rng(0)
    image = rng.poisson(np.where(np.arange(256) < 128, 2, 4), (2, 256, 256)).astype(np.uint16)
    mean, std = cohort_statistics([reader(image)], block=block)
    np.testing.assert_allclose(mean * 65535, image.mean(axis=(1, 2)), rtol=1e-6)
    np.testing.assert_allclose(std * 65535, image.std(axis=(1, 2)), rtol=1e-6)


def test_statistics_are_over_the_mask_that_is_given():
    image = np.random.default_rng(0).poisson(20, (2, 90, 70)).astype(np.uint16)
    given = np.random.default_rng(1).random((90, 70)) < 0.3
    packed = zlib.compress(np.packbits(given).tobytes())
    masked = dataclasses.replace(reader(image), tissue=TissueSource("given", step=1, shape=given.shape, packed=packed))
    mean, std = cohort_statistics([masked])
    np.testing.assert_allclose(mean * 65535, image[:, given].mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(std * 65535, image[:, given].std(axis=1), rtol=1e-6)
    other = dataclasses.replace(masked, tissue=TissueSource("all"))  # not what was remembered of the first
    np.testing.assert_allclose(cohort_statistics([other])[0] * 65535, image.mean(axis=(1, 2)), rtol=1e-6)


def test_a_constant_image_is_all_tissue():
    mask, _ = tissue_mask(reader(np.full((2, 30, 30), 7, np.uint16)))
    assert mask.all()


def test_shares_of_tissue_are_those_of_the_full_image():
    rng = np.random.default_rng(0)
    for step, shape in ((1, (40, 50)), (7, (40, 50)), (8, (40, 48))):
        mask = rng.random((-(-shape[0] // step), -(-shape[1] // step))) < 0.5
        full = mask.repeat(step, axis=0).repeat(step, axis=1)[: shape[0], : shape[1]]
        corners = rng.integers(-10, 45, (60, 2))
        padded = np.pad(full, 60)
        expected = [padded[y + 60 : y + 73, x + 60 : x + 73].mean() for y, x in corners]
        np.testing.assert_allclose(share_of_tissue(mask, step, shape, corners, 13), expected, atol=1e-12)


class Counted:
    """An image that counts the pixels that are read of it."""

    def __init__(self, image):
        self.image, self.n_read = image, 0
        self.shape, self.dtype, self.ndim = image.shape, image.dtype, image.ndim

    def __getitem__(self, key):
        part = self.image[key]
        self.n_read += part.size
        return part


def test_what_an_image_contributes_is_remembered():
    counted = Counted(tissue_image(0, side=700)[0])

    def fresh(**changes):
        return dataclasses.replace(reader(np.zeros((2, 2, 2), np.uint16)), image=counted, **changes)

    first = cohort_statistics([fresh()])
    passes, counted.n_read = counted.n_read, 0
    again = cohort_statistics([fresh()])
    np.testing.assert_array_equal(again, first)
    assert counted.n_read == counted.image.size  # what tells one image from another
    assert passes == 2 * counted.image.size  # tissue and moments share one reading
    counted.n_read = 0
    other = cohort_statistics([fresh(intensity_max=1.0)])  # another option does not take what is not its own
    assert counted.n_read == 2 * counted.image.size
    np.testing.assert_allclose(np.array(other) / 65535, first, rtol=1e-6)
    for path in (sfm.settings.cache_dir / "statistics").iterdir():
        path.write_bytes(b"broken")
    np.testing.assert_array_equal(cohort_statistics([fresh()]), first)
    counted.image[:, 350, 350] += 1000
    assert not np.array_equal(cohort_statistics([fresh()]), first)


def test_images_that_look_alike_in_part_contribute_each_its_own():
    images = np.zeros((2, 2, 1000, 1000), np.uint16)
    images[0, :, 350:440], images[1, :, 350:440] = 100, 300
    readers = [dataclasses.replace(reader(image), name=name) for image, name in zip(images, "ab", strict=True)]
    mean, std = cohort_statistics(readers)
    np.testing.assert_allclose(mean * 65535, 200, rtol=1e-6)
    np.testing.assert_allclose(std * 65535, 100, rtol=1e-6)


def test_tissue_is_found_once(monkeypatch):
    image, _ = tissue_image(3)
    mask, step = find_tissue(reader(image))
    monkeypatch.setattr("spatialfm.embed.pixels.tissue.tissue_mask", None)
    again, same = find_tissue(reader(image))
    np.testing.assert_array_equal(again, mask)
    assert same == step


# ---- one test for each way


def all_tissue(image, **changes):
    return dataclasses.replace(reader(np.asarray(image, np.uint16)), tissue=TissueSource("all"), **changes)


@pytest.mark.parametrize("sizes", [(10, 10), (10, 40), (40, 10)])
def test_images_count_by_their_pixels_whatever_their_means(sizes):
    """Means 100 and 300: the pooled variance has what is between them, by the shares of the pixels."""
    rng = np.random.default_rng(0)
    images = [rng.poisson(level, (2, 20, side)) for level, side in zip((100, 300), sizes, strict=True)]
    mean, std = cohort_statistics([all_tissue(image) for image in images])
    values = np.concatenate([image.reshape(2, -1) for image in images], axis=1) / 65535
    np.testing.assert_allclose(mean, values.mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(std, values.std(axis=1), rtol=1e-6)
    one = cohort_statistics([all_tissue(images[0])])
    np.testing.assert_allclose(
        one, [part(images[0].reshape(2, -1) / 65535, axis=1) for part in (np.mean, np.std)], rtol=1e-6
    )


def test_a_constant_has_no_spread_and_a_large_mean_loses_none():
    image = np.full((2, 64, 64), 60_001)
    image[1, ::2] += 2
    mean, std = cohort_statistics([all_tissue(image)], block=16)
    assert std[0] == 0
    assert std[1] * 65535 == pytest.approx(1.0, rel=1e-4)
    np.testing.assert_allclose(mean * 65535, [60_001, 60_002], rtol=1e-6)


def test_an_image_without_tissue_adds_nothing():
    rng = np.random.default_rng(1)
    image = rng.poisson(50, (2, 30, 30))
    none = zlib.compress(np.packbits(np.zeros((30, 30), bool)).tobytes())
    empty = dataclasses.replace(
        all_tissue(np.full((2, 30, 30), 9)), tissue=TissueSource("given", step=1, shape=(30, 30), packed=none)
    )
    found = cohort_statistics([empty, all_tissue(image)])
    np.testing.assert_allclose(found, cohort_statistics([all_tissue(image)]))
    np.testing.assert_array_equal(cohort_statistics([empty]), np.zeros((2, 2)))


def test_tissue_may_be_that_of_another_reader():
    """Statistics of one image over the mask that another one gives."""
    rng = np.random.default_rng(2)
    image, given = rng.poisson(50, (2, 40, 40)), rng.random((40, 40)) < 0.4
    packed = zlib.compress(np.packbits(given).tobytes())
    other = dataclasses.replace(
        all_tissue(np.zeros((2, 40, 40))), tissue=TissueSource("given", step=1, shape=given.shape, packed=packed)
    )
    mean, std = cohort_statistics([all_tissue(image)], tissue_of=[other])
    np.testing.assert_allclose(mean * 65535, image[:, given].mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(std * 65535, image[:, given].std(axis=1), rtol=1e-6)


def test_a_mask_of_larger_pixels_covers_each_its_square():
    rng = np.random.default_rng(3)
    image, coarse = rng.poisson(50, (2, 41, 38)), rng.random((9, 8)) < 0.5
    fine = coarse.repeat(5, axis=0).repeat(5, axis=1)[:41, :38]
    packed = zlib.compress(np.packbits(coarse).tobytes())
    masked = dataclasses.replace(
        all_tissue(image), tissue=TissueSource("given", step=5, shape=coarse.shape, packed=packed)
    )
    moments = image_moments(masked, masked, 16)
    assert int(moments["count"]) == fine.sum()
    np.testing.assert_allclose(moments["mean"] * 65535, image[:, fine].mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(moments["squares"] / fine.sum() * 65535**2, image[:, fine].var(axis=1), rtol=1e-5)
