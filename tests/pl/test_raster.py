"""Pixels for plots: the right ones, in the right colours."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_rgb

from spatialfm.pl._figure import MISSING
from spatialfm.pl._raster import SlideWindow, composite, fine, paint, read_raster, round_length
from spatialfm.pp.arrays import AxisAffine

HALF = AxisAffine(0.5, 0.5, 10.0, 0.0)  # half a µm a pixel, 10 µm down


def test_the_window_is_read_and_where_it_lies():
    array = xr.DataArray(np.arange(200.0).reshape(1, 10, 20), dims=("c", "y", "x"))
    pixels, extent = read_raster(array, HALF, SlideWindow(1.0, 11.0, 3.0, 12.4), 100)
    np.testing.assert_array_equal(pixels[0], array.values[0, 2:5, 2:6])
    assert extent == (1.0, 3.0, 12.5, 11.0)


def test_large_images_are_averaged_and_labels_are_not():
    image = xr.DataArray(np.arange(64.0).reshape(1, 8, 8), dims=("c", "y", "x"))
    pixels, extent = read_raster(image, AxisAffine(), SlideWindow(0, 0, 8, 8), 4)
    np.testing.assert_allclose(pixels[0], image.values[0].reshape(4, 2, 4, 2).mean((1, 3)))
    assert extent == (0, 8, 8, 0)
    labels, _ = read_raster(image[0].drop_vars([]), AxisAffine(), SlideWindow(0, 0, 8, 8), 4)
    np.testing.assert_array_equal(labels, image.values[0, 1::2, 1::2])


def test_channels_between_their_percentiles_are_added():
    pixels = np.array([[[0.0, 5.0, 10.0]], [[0.0, 0.0, 4.0]]])
    mixed = composite(pixels, ["#ff0000", "#00ff00"], (0, 100))
    np.testing.assert_allclose(mixed[0], [[0, 0, 0], [0.5, 0, 0], [1, 1, 0]])
    assert composite(np.full((1, 2, 2), np.nan), ["red"], (1, 99)).sum() == 0


@pytest.mark.parametrize("fill", [True, False])
def test_cells_have_their_colour_and_a_border(fill):
    labels = np.zeros((9, 9), int)
    labels[1:6, 1:6], labels[7, 7] = 4, 9
    rgba, n_missing = paint(labels, np.array([9, 4]), np.array([[0.0, 0, 1], [1, 0.5, 0]]), fill)
    assert n_missing == 0
    assert rgba[0, 0].tolist() == [0, 0, 0, 0]
    np.testing.assert_allclose(rgba[3, 3], [1, 0.5, 0, 1] if fill else [0, 0, 0, 0])
    np.testing.assert_allclose(rgba[1, 1, :3], np.array([1, 0.5, 0]) * (0.6 if fill else 1))
    rgba, n_missing = paint(labels, np.array([9]), np.array([[0.0, 0, 1]]), True)
    assert n_missing == 1
    np.testing.assert_allclose(rgba[3, 3, :3], to_rgb(MISSING))


@pytest.mark.parametrize(("about", "length"), [(37, 20), (1, 1), (0.7, 0.5), (199, 100), (200, 200), (5, 5), (9.9, 5)])
def test_round_lengths(about, length):
    assert round_length(about) == pytest.approx(length)


@pytest.mark.parametrize("side", [30, 100, 299, 300, 700, 1500])
def test_outlines_are_lines_however_few_pixels_a_cell_has(side):
    labels = np.zeros((side, side), int)
    labels[side // 10 : -side // 10, side // 10 : -side // 10] = 1
    drawn, _ = paint(fine(labels), np.array([1]), np.ones((1, 3)), fill=False)
    middle = drawn[len(drawn) // 2, :, 3] > 0
    assert middle.any()
    assert len(drawn) / 500 <= middle.sum() / 2 <= len(drawn) / 200  # each of two lines 0.2 to 0.5 % wide
    small = np.array([[0, 7], [7, 7]])
    np.testing.assert_array_equal(fine(small)[150::300, 150::300], small)
