"""Shares of squares that are tissue, counted on the full mask."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from spatialfm.embed.pixels.reader import SampleReader
from spatialfm.embed.pixels.tissue import find_tissue, share_of_tissue, tissue_identity, tissue_notes
from spatialfm.pp.arrays import AxisAffine
from spatialfm.pp.tissue_masks import TissueSource


def reader(image: np.ndarray, source: TissueSource | None = None) -> SampleReader:
    return SampleReader("a", "", image, image[0], (0,), ("x",), 255.0, 1.0, AxisAffine(), tissue=source)


def given(mask: np.ndarray, step: int = 1) -> TissueSource:
    return TissueSource("given", step=step, shape=mask.shape, packed=zlib.compress(np.packbits(mask).tobytes()))


@pytest.mark.parametrize("step", [1, 3])
@pytest.mark.parametrize("size", [1, 5, 9])
def test_shares_are_counts_of_pixels(step, size):
    mask = np.random.default_rng(0).random((7, 9)) < 0.5
    fine = mask.repeat(step, axis=0).repeat(step, axis=1)
    height, width = fine.shape[0] - (step - 1), fine.shape[1]  # the last pixel of the mask reaches beyond the image
    corners = np.random.default_rng(1).integers(-6, max(height, width) + 3, (80, 2))
    padded = np.pad(fine[:height], 40)
    expected = [padded[y + 40 : y + 40 + size, x + 40 : x + 40 + size].sum() / size**2 for y, x in corners]
    np.testing.assert_allclose(share_of_tissue(mask, step, (height, width), corners, size), expected, atol=1e-12)


def test_a_mask_that_is_given_is_taken_and_all_is_all():
    mask = np.eye(6, dtype=bool)
    image = np.zeros((1, 12, 12), np.uint8)
    found, step = find_tissue(reader(image, given(mask, 2)))
    np.testing.assert_array_equal(found, mask)
    assert step == 2
    whole, step = find_tissue(reader(image, TissueSource("all")))
    assert (whole.all(), step) == (True, 12)


def test_identities_tell_masks_apart():
    image = np.zeros((1, 6, 6), np.uint8)
    one, two = np.eye(6, dtype=bool), np.ones((6, 6), bool)
    names = [tissue_identity(reader(image, source)) for source in (given(one), given(two), TissueSource("all"))]
    assert len(set(names)) == 3
    assert tissue_identity(reader(image, given(one))) == names[0]


def test_the_record_tells_the_share_that_is_kept():
    mask = np.zeros((6, 6), bool)
    mask[:, :3] = True
    readers = [reader(np.zeros((1, 6, 6), np.uint8), given(mask))]
    notes = tissue_notes(["s"], readers, used=True)
    assert notes["tissue_kept"] == {"s": 0.5}
    assert "tissue_kept" not in tissue_notes(["s"], readers, used=False)
