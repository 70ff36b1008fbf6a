"""Averaged pixels and masks of tissue, against numpy."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from spatialfm._errors import SpatialfmWarning
from spatialfm.pp.arrays import AxisAffine
from spatialfm.pp.measure import LabelGrid
from spatialfm.pp.tissue_masks import (
    TissueSource,
    averaged,
    found_tissue,
    pixels_of,
    squares,
    tissue_below,
    warn_of_lost_cells,
)


@pytest.mark.parametrize(
    ("shape", "side", "expected"), [((512, 100), 512, 1), ((513, 100), 512, 2), ((1025, 9), 512, 3), ((3, 3), 512, 1)]
)
def test_the_larger_side_decides_how_many_pixels_are_averaged(shape, side, expected):
    assert squares(shape, side) == expected


@pytest.mark.parametrize("block", [1, 4, 7, 1024])
def test_squares_at_the_edge_are_means_of_what_there_is(block):
    image = np.random.default_rng(0).random((2, 11, 8))
    found = averaged(lambda y0, y1, x0, x1: image[:, y0:y1, x0:x1], 2, (11, 8), 3, block)
    assert found.shape == (2, 4, 3)
    for i in range(4):
        for j in range(3):
            part = image[:, 3 * i : 3 * i + 3, 3 * j : 3 * j + 3]
            np.testing.assert_allclose(found[:, i, j], part.mean(axis=(1, 2)), rtol=1e-6)


def test_sums_of_small_integers_do_not_overflow():
    image = np.full((1, 600, 600), 255, np.uint8)
    assert averaged(lambda y0, y1, x0, x1: image[:, y0:y1, x0:x1], 1, (600, 600), 300).tolist() == [
        [[255, 255], [255, 255]]
    ]


def test_a_pixel_below_a_mask_is_found_by_whole_steps():
    mask = np.array([[True, False], [False, True]])
    assert tissue_below(mask, 3, (1, 5), (2, 4)).tolist() == [
        [True, False], [True, False], [False, True], [False, True],
    ]  # fmt: skip


def test_pixels_that_are_no_light_count_as_zero():
    image = np.array([[[-1.0, np.nan, np.inf, 2.0]]])
    assert pixels_of(image)(0, 1, 0, 4).tolist() == [[[0, 0, 0, 2]]]
    assert pixels_of(np.array([[[-3, 4]]]))(0, 1, 0, 2).tolist() == [[[0, 4]]]
    assert pixels_of(np.array([[[250]]], np.uint8))(0, 1, 0, 1).dtype == np.uint8


def test_a_mask_that_was_given_comes_back_to_the_bit():
    mask = np.random.default_rng(0).random((5, 7)) < 0.5
    packed = zlib.compress(np.packbits(mask).tobytes())
    np.testing.assert_array_equal(TissueSource("given", "m", 1.0, None, 2, mask.shape, packed).given(), mask)


def test_a_quarter_of_an_averaged_pixel_is_enough_for_cells():
    labels = np.zeros((4, 8), np.int64)
    labels[0, 0], labels[0:2, 4:6] = 1, 2  # a sixteenth and a quarter of the two pixels
    source = TissueSource(cells=LabelGrid(labels, AxisAffine()))
    assert source.where_cells_are((4, 8), 4).tolist() == [[False, True]]
    assert TissueSource().where_cells_are((4, 8), 4) is None


def test_an_identity_changes_with_all_that_decides():
    cells = np.array([[True, False]])
    ids = [
        TissueSource().identity(None),
        TissueSource(size=0.5).identity(None),
        TissueSource("all").identity(None),
        TissueSource().identity(cells),
        TissueSource().identity(~cells),
        TissueSource(packed=b"1").identity(None),
    ]
    assert len(set(ids)) == len(ids)
    assert TissueSource(name="other").identity(None) == ids[0]  # a name decides nothing


def test_bright_tissue_on_dark_glass_is_found():
    rng = np.random.default_rng(0)
    image = rng.poisson(2, (1, 200, 200)).astype(float)
    image[:, 40:160, 40:160] += rng.poisson(80, (1, 120, 120))
    mask, step = found_tissue(pixels_of(image), 1, (200, 200), 1.0)
    assert step == 1
    assert mask[60:140, 60:140].mean() > 0.98
    assert mask[:20].mean() < 0.02


def test_cells_outside_of_little_tissue_are_reported():
    labels = np.zeros((8, 8), np.int64)
    labels[1, 1], labels[6, 6], labels[2, 6] = 1, 2, 3
    source = TissueSource(cells=LabelGrid(labels, AxisAffine()))
    mask = np.zeros((4, 4), bool)
    mask[0, 0] = True
    with pytest.warns(SpatialfmWarning, match=r"s: 6% of the pixels, 2 of 3 cells outside"):
        warn_of_lost_cells(["s"], [source], [(mask, 2)])


def test_half_of_the_image_or_cells_within_it_are_no_reason_to_warn(recwarn):
    labels = np.zeros((8, 8), np.int64)
    labels[6, 6] = 1
    source = TissueSource(cells=LabelGrid(labels, AxisAffine()))
    half, corner = np.zeros((2, 4, 4), bool)
    half[:2], corner[3, 3] = True, True
    warn_of_lost_cells(["a", "b"], [source, source], [(half, 2), (corner, 2)])
    assert not recwarn.list
