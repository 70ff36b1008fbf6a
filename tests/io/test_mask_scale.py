"""Masks of another resolution than their image."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import tifffile

import spatialfm as sfm
from spatialfm._errors import InputFileError, SpatialfmWarning
from spatialfm.io import _mask_scale
from spatialfm.io._mask_scale import find_scaling, scaled
from spatialfm.io._pixel_size import PixelSize

NONE = (None, None)


def stated(mask: float, image: float) -> tuple[PixelSize, PixelSize]:
    return PixelSize(mask, mask, "OME-XML"), PixelSize(image, image, "OME-XML")


def by_distance(labels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Nearest neighbour by the distance between centres of pixels over one field; the second of two equally near."""
    index = []
    for n, length in zip(shape, labels.shape, strict=True):
        away = np.abs((2 * np.arange(n) + 1)[:, None] * length - (2 * np.arange(length) + 1)[None] * n)
        index.append(length - 1 - away[:, ::-1].argmin(axis=1))
    return labels[np.ix_(*index)]


@pytest.mark.parametrize(
    ("mask", "image", "factor"),
    [
        ((50, 40), (100, 80), "2"),
        ((50, 40), (101, 80), "2"),  # a row was cut off
        ((51, 40), (101, 80), "2"),  # a row was added
        ((25, 20), (100, 80), "4"),
        ((100, 80), (50, 40), "1/2"),
        ((100, 80), (150, 120), "1.5"),
        ((65, 52), (100, 80), "1.538"),
    ],
)
def test_factors(mask, image, factor):
    assert find_scaling(mask, image, NONE).factor == factor


@pytest.mark.parametrize(
    ("mask", "image", "sizes"),
    [
        ((50, 40), (100, 90), NONE),  # another aspect
        ((50, 40), (80, 100), NONE),  # transposed
        ((90, 81), (100, 90), NONE),  # a crop, rather than another resolution
        ((99, 80), (100, 80), NONE),
        ((50, 40), (100, 80), stated(0.5, 0.5)),  # a quarter of the field, by the pixel sizes
        ((100, 80), (150, 120), stated(1.0, 0.5)),
        ((100, 80), (150, 123), NONE),  # two pixels from one ratio
        ((0, 40), (100, 80), NONE),
    ],
)
def test_sizes_that_are_no_other_resolution(mask, image, sizes):
    assert find_scaling(mask, image, sizes) is None


def test_pixel_sizes_explain_a_small_difference():
    assert find_scaling((100, 80), (110, 88), NONE) is None
    assert find_scaling((100, 80), (110, 88), stated(0.55, 0.5)).factor == "1.1"


@pytest.mark.parametrize("shape", [(30, 40), (36, 48), (45, 60), (21, 28), (25, 33)])
@pytest.mark.parametrize("side", [7, 2048])
def test_each_pixel_has_the_label_at_its_centre(monkeypatch, shape, side):
    monkeypatch.setattr(_mask_scale, "_BLOCK_SIDE", side)
    labels = np.random.default_rng(0).integers(0, 99, (15, 20), dtype=np.uint16)
    scaling = find_scaling(labels.shape, shape, NONE)
    found = scaled(da.from_array(labels, chunks=4), scaling)
    assert found.dtype == labels.dtype
    np.testing.assert_array_equal(found.compute(), by_distance(labels, shape))
    if shape == (30, 40):
        np.testing.assert_array_equal(found.compute(), np.kron(labels, np.ones((2, 2), np.uint16)))


def test_half_as_many_pixels_are_taken_from_the_larger():
    labels = np.random.default_rng(0).integers(0, 99, (31, 40), dtype=np.uint16)
    found = scaled(da.from_array(labels), find_scaling((31, 40), (15, 20), NONE)).compute()
    np.testing.assert_array_equal(found, labels[1::2, 1::2])  # centres lie between two pixels: the second of each
    found = scaled(da.from_array(labels), find_scaling((31, 40), (94, 120), NONE)).compute()
    expected = np.kron(labels, np.ones((3, 3), np.uint16))
    np.testing.assert_array_equal(found, np.vstack([expected, expected[-1:]]))  # what was cut off is like its neighbour


def test_a_block_reads_only_what_is_below_it():
    read = []

    def block(block_info):
        read.append(block_info[None]["chunk-location"])
        return np.ones((64, 64), np.uint8)

    labels = da.map_blocks(block, chunks=((64,) * 64, (64,) * 64), dtype=np.uint8)
    found = scaled(labels, find_scaling(labels.shape, (8192, 8192), NONE))
    found[:1, :1].compute()
    assert 0 < len(read) <= 16 * 16 + 1
    assert max(max(place) for place in read) < 17


def test_a_mask_of_half_the_resolution_is_scaled_with_a_warning(tmp_path, ome, mask):
    small = mask[::2, ::2]
    tifffile.imwrite(tmp_path / "m.tif", small)
    with pytest.warns(SpatialfmWarning, match=r"nearest neighbour: '.*m\.tif' \(35 x 45 to 70 x 90, factor 2\)"):
        sdata = sfm.io.read_tiff(ome, tmp_path / "m.tif")
    np.testing.assert_array_equal(sdata["cells_core1"].values, np.kron(small, np.ones((2, 2), np.uint16)))
    sfm.pp.cell_table(sdata)
    np.testing.assert_allclose(  # cells 1, 2 and 7 are rectangles; 0.5 µm per pixel
        sdata["table"].obsm["spatial"], np.array([[13, 11], [40, 35], [85, 65]]) * 0.5
    )


def test_a_mask_whose_pixels_say_that_it_is_a_crop_is_refused(tmp_path, ome, mask):
    sizes = {f"PhysicalSize{axis}": 0.5 for axis in "XY"}
    tifffile.imwrite(tmp_path / "m.ome.tif", mask[:35, :45], metadata={"axes": "YX", **sizes})
    message = r"35 x 45 pixels .* 70 x 90, which is not the same field.*0\.5 µm by .* image 0\.5 µm"
    with pytest.raises(InputFileError, match=message):
        sfm.io.read_tiff(ome, tmp_path / "m.ome.tif")
