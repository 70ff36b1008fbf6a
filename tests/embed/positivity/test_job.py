"""Sums over cells: what the mean of the whole map over each cell is, in one piece or in tiles, at any pixel size."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import torch
from nimbus_stand_in import mean_map, noise, stand_in
from scipy import ndimage
from skimage.segmentation import find_boundaries

from spatialfm._errors import RunError
from spatialfm.embed.pixels.reader import SampleReader
from spatialfm.embed.positivity.job import Axis, ProbabilityJob, cell_means, interiors
from spatialfm.embed.run.engine import read_block
from spatialfm.models.nimbus import Nimbus
from spatialfm.pp.arrays import AxisAffine


@pytest.fixture(scope="module")
def network():
    network = Nimbus(2)
    network.load_state_dict(stand_in(2))
    return network.eval()


def grid_of_cells(shape: tuple[int, int], side: int) -> np.ndarray:
    """Cells as squares with gaps, and numbers with gaps."""
    rows, columns = (np.arange(length) for length in shape)
    labels = 2 * (rows[:, None] // side * (shape[1] // side + 1) + columns // side) + 3
    return np.where((rows[:, None] % side > 1) & (columns % side > 1), labels, 0).astype(np.int32)


def job_of(network, image, labels, shape, augmentation="released", normalizer=1.0):
    reader = SampleReader(
        "image", "cells", da.from_array(image[None], chunks=(1, 256, 256)), da.from_array(labels, chunks=256),
        (0,), ("CD3",), 1.0, 1.0, AxisAffine(),
    )  # fmt: skip
    nothing = np.zeros(0, np.int64)
    return ProbabilityJob(
        network, [reader], nothing, nothing, np.zeros((0, 2)), None, torch.zeros(1), torch.tensor([normalizer]),
        1024, "keep", (), shapes=(shape,), augmentation=augmentation,
    )  # fmt: skip


def means_of(job):
    blocks = job.plan(1024)
    arrays = [job.encode_block(block, *read_block(job, block), 1) for block in blocks]
    (found,) = cell_means(blocks, lambda number, name: arrays[number][name], 1)
    return blocks, found


@pytest.mark.parametrize("augmentation", ["released", "none"])
def test_tiles_give_each_cell_the_mean_of_the_whole_map(network, augmentation):
    """Cells at the borders of tiles too: their pixels are in several blocks."""
    shape = (1090, 64)
    labels, stain = grid_of_cells(shape, 21), noise(shape)[0] * 500
    blocks, found = means_of(job_of(network, stain, labels, shape, augmentation, 400.0))
    assert len(blocks) == {"released": 6, "none": 2}[augmentation]
    image = np.stack([np.clip(stain / np.float32(400), 0, 1), interiors(labels)]).astype(np.float32)
    ids = np.unique(labels)[1:]
    np.testing.assert_array_equal(found["label"], ids)
    expected = ndimage.mean(mean_map(network, image, augmentation), labels, ids)
    np.testing.assert_allclose(found["mean"], expected, atol=2e-6)


def test_an_image_of_half_the_pixel_size_is_averaged_by_two_and_its_mask_taken_at_every_second(network):
    shape = (64, 96)
    labels, stain = grid_of_cells(shape, 9), noise(shape)[0]
    _, found = means_of(job_of(network, stain, labels, (32, 48)))
    halved = stain.reshape(32, 2, 48, 2).mean(axis=(1, 3))
    small = np.stack([halved, interiors(labels)[::2, ::2]]).astype(np.float32)
    large = np.kron(mean_map(network, small, "released"), np.ones((2, 2)))
    ids = np.unique(labels)[1:]
    np.testing.assert_allclose(found["mean"], ndimage.mean(large, labels, ids), atol=2e-6)


def test_interiors_are_cells_without_their_inner_boundary():
    labels = np.random.default_rng(0).integers(0, 4, (30, 40)).repeat(3, axis=0).repeat(2, axis=1)
    np.testing.assert_array_equal(interiors(labels), (labels > 0) & ~find_boundaries(labels, mode="inner"))


@pytest.mark.parametrize(("image", "network_side"), [(101, 50), (64, 64), (30, 77), (1000, 377)])
def test_every_pixel_of_an_image_belongs_to_one_of_the_network(image, network_side):
    axis = Axis(image, network_side)
    owner = axis.in_network(np.arange(image))
    for start, stop in ((0, network_side), (3, 20), (network_side - 5, network_side)):
        first, last = axis.image_span(start, stop)
        np.testing.assert_array_equal(np.flatnonzero((owner >= start) & (owner < stop)), np.arange(first, last))
        low, high = axis.read_span(start, stop)
        a, b = axis.weights(start, stop)[1]
        masked = axis.in_image(np.arange(start, stop))
        assert low <= min(first, a, max(masked[0] - 1, 0))
        assert high >= max(last, b, min(masked[-1] + 2, image))


def test_blocks_of_a_very_large_image_are_no_larger(network):
    """Memory is that of a block, whatever the image."""
    image = da.zeros((1, 16384, 16384), dtype=np.uint16, chunks=(1, 1024, 1024))
    reader = SampleReader("image", "", image, image[0], (0,), ("CD3",), 1.0, 1.0, AxisAffine())
    nothing = np.zeros(0, np.int64)
    job = ProbabilityJob(
        network, [reader], nothing, nothing, np.zeros((0, 2)), None, torch.zeros(1), torch.ones(1), 1024, "keep", (),
        shapes=((8192, 8192),),
    )  # fmt: skip
    blocks = job.plan(1024)
    assert len(blocks) == 3 * 10 * 10
    assert max(max(block.y1 - block.y0, block.x1 - block.x0) for block in blocks) <= 2 * 1024 + 8


def test_a_network_that_returns_nan_is_named(network):
    broken = Nimbus(2)
    broken.load_state_dict(stand_in(2) | {"final_conv.bias": torch.tensor([torch.nan])})
    with pytest.raises(RunError, match="NaN for channel 'CD3' of image 'image'"):
        means_of(job_of(broken.eval(), noise((32, 32))[0], grid_of_cells((32, 32), 9), (32, 32)))
