"""What is hidden in each pass, and that every pixel of an image is in a tile."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from stand_in import Painter

from spatialfm.embed.paint.job import PaintJob


def job(mode="together", targets=(1, 3), n_added=1, shape=(70, 40), **kwargs) -> PaintJob:
    """Three markers with pixels and one without, tiles of 32 pixels with tokens of 8."""
    reader = SimpleNamespace(shape=shape, name="image_a")
    return PaintJob(
        encoder=Painter(), readers=[reader], markers=None, mean=torch.zeros(3), std=torch.ones(3), outputs=(),
        window=32, background="keep", labels=np.zeros(0, int), sample=np.zeros(0, int), centers=np.zeros((0, 2)),
        targets=targets, n_added=n_added, mode=mode, stride=kwargs.pop("stride", 32), **kwargs,
    )  # fmt: skip


STARTS = np.array([[0, 0], [32, 8]])


def test_all_targets_are_hidden_at_once_and_markers_without_pixels_always():
    ((slots, masks),) = job().passes(0, STARTS)
    assert slots == [0, 1]
    assert masks.shape == (2, 4, 4, 4)
    assert masks.all(axis=(0, 2, 3)).tolist() == [False, True, False, True]
    assert masks.any(axis=(0, 2, 3)).tolist() == [False, True, False, True]


def test_one_marker_at_a_time_sees_the_other_targets():
    passes = list(job("marker", targets=(0, 1), n_added=1).passes(0, STARTS))
    assert [slots for slots, _ in passes] == [[0], [1]]
    hidden = [masks.all(axis=(0, 2, 3)).tolist() for _, masks in passes]
    assert hidden == [[True, False, False, True], [False, True, False, True]]


@pytest.mark.parametrize("mode", ["independent", "niche"])
def test_masks_are_drawn_by_the_place_of_a_tile(mode):
    one = job(mode, ratio=(0.5, 0.5), random_state=3)
    assert one.draws
    ((_, masks),) = one.passes(0, STARTS)
    ((_, again),) = one.passes(0, STARTS[::-1])
    np.testing.assert_array_equal(masks, again[::-1])  # whatever else is in the batch
    assert (masks[0] != masks[1]).any()
    assert masks[:, :3].mean() == pytest.approx(0.5, abs=0.01)
    assert masks[:, 3].all()
    ((_, other),) = job(mode, ratio=(0.5, 0.5), random_state=4).passes(0, STARTS)
    assert (masks != other).any()


@pytest.mark.parametrize(("side", "stride"), [(512, 32), (32, 16), (40, 32)])
def test_every_pixel_is_in_a_tile_and_every_tile_in_one_block(side, stride):
    seen = np.zeros((70, 40), int)
    blocks = job(stride=stride).plan(side)
    starts = np.concatenate([block.starts for block in blocks])
    assert len({tuple(start) for start in starts.tolist()}) == len(starts) == sum(block.n_windows for block in blocks)
    for y, x in starts:
        seen[y : y + 32, x : x + 32] += 1
    assert seen.min() > 0
    for block in blocks:
        assert (block.starts >= (block.y0, block.x0)).all()
        assert (block.starts + 32 <= (block.y1, block.x1)).all()


def test_markers_without_pixels_are_zeros_behind_the_others():
    found = job().normalized(torch.ones(2, 3, 32, 32))
    assert found.shape == (2, 4, 32, 32)
    assert not found[:, 3].any()
    assert job(n_added=0, targets=(1,)).normalized(torch.ones(2, 3, 32, 32)).shape[1] == 3


def test_a_block_holds_what_the_decoder_predicts_of_each_target():
    """The painter returns the mean of what it sees at a pixel, and a tenth of that of the whole tile."""
    one = job(targets=(1,), n_added=0, shape=(32, 64))
    (block,) = one.plan(512)
    pixels = np.random.default_rng(0).random((3, 32, 64)).astype(np.float32)
    found = one.encode_block(block, pixels, np.zeros((32, 64), int), batch_size=1)
    assert list(found) == ["pixels"]
    for place, (y, x) in enumerate(block.starts):
        seen = one.normalized(torch.from_numpy(pixels[None, :, y : y + 32, x : x + 32]))[0].numpy()[[0, 2]]
        np.testing.assert_allclose(found["pixels"][place, 0], seen.mean(axis=0) + 0.1 * seen.mean(), rtol=1e-5)
