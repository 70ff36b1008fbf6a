"""Reading: resampling against torch, and independence of how an image is cut."""

from __future__ import annotations

import dataclasses
import tracemalloc

import dask.array as da
import numpy as np
import pytest
import torch

from spatialfm._errors import RunError
from spatialfm.embed.pixels.reader import SampleReader, resampling_weights
from spatialfm.pp.arrays import AxisAffine


def reader_of(image, labels=None, *, ratio=1.0, affine=None, channels=None, intensity_max=1.0):
    labels = np.zeros(image.shape[1:], np.int32) if labels is None else labels
    channels = tuple(range(len(image))) if channels is None else channels
    return SampleReader(
        name="image_a",
        labels_name="cells_a",
        image=da.from_array(image, chunks=(1, 40, 40)),
        labels=da.from_array(labels, chunks=37),
        channels=channels,
        channel_names=tuple(f"ch{i}" for i in channels),
        intensity_max=intensity_max,
        ratio=ratio,
        image_to_labels=affine or AxisAffine(),
    )


@pytest.mark.parametrize(("size", "out"), [(90, 45), (90, 30), (60, 90), (64, 48), (50, 50)])
def test_resampling_agrees_with_torch_antialiased_bilinear(size, out):
    image = np.random.default_rng(0).random((2, size, size)).astype(np.float32)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(image)[None], size=(out, out), mode="bilinear", antialias=True, align_corners=False
    )[0].numpy()
    reader = reader_of(image, ratio=size / out)
    assert reader.shape == (out, out)
    np.testing.assert_allclose(reader.pixels(0, out, 0, out), expected, atol=1e-5)  # torch rounds its weights


@pytest.mark.parametrize("ratio", [1.0, 1.34, 0.7, 2.5])
def test_a_region_holds_the_same_values_as_the_whole(ratio):
    rng = np.random.default_rng(1)
    image, labels = rng.random((3, 101, 87)).astype(np.float32), rng.integers(0, 9, (101, 87)).astype(np.int32)
    reader = reader_of(image, labels, ratio=ratio)
    height, width = reader.shape
    whole, whole_labels = reader.pixels(0, height, 0, width), reader.label_image(0, height, 0, width)
    y0, y1, x0, x1 = 13, 40, 7, 33
    np.testing.assert_allclose(reader.pixels(y0, y1, x0, x1), whole[:, y0:y1, x0:x1], atol=1e-6)
    np.testing.assert_array_equal(reader.label_image(y0, y1, x0, x1), whole_labels[y0:y1, x0:x1])


@pytest.mark.parametrize("ratio", [1.0, 2.0])
def test_reading_holds_the_region_but_once_as_float(ratio):
    side = int(128 * ratio)
    image = np.random.default_rng(2).integers(0, 255, (40, side, side)).astype(np.uint8)
    reader = dataclasses.replace(reader_of(image, ratio=ratio), image=image)  # without dask, whose graph takes room
    tracemalloc.start()
    pixels = reader.pixels(0, 128, 0, 128)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    limit = pixels.nbytes + 5 * pixels[0].nbytes * ratio**2  # what is asked for, and less than five markers' room
    assert peak < limit


def test_the_fingerprint_is_that_of_the_content_and_not_of_names_or_chunks():
    rng = np.random.default_rng(3)
    image, labels = rng.integers(0, 99, (3, 90, 70)).astype(np.uint16), rng.integers(0, 9, (90, 70)).astype(np.int32)
    first = reader_of(image, labels).fingerprint
    assert dataclasses.replace(reader_of(image, labels), name="image_b", labels_name="b").fingerprint == first
    whole = dataclasses.replace(reader_of(image, labels), image=da.from_array(image), labels=labels)
    assert whole.fingerprint == first
    odd = dataclasses.replace(whole, image=da.from_array(image, chunks=(2, 13, 31)))
    assert odd.fingerprint == first


@pytest.mark.parametrize(
    "change",
    [
        lambda image, labels: image.__setitem__((2, 89, 69), 100),  # the last pixel
        lambda image, labels: image.__setitem__((0, 0, 0), 100),
        lambda image, labels: labels.__setitem__((0, 69), 9),
        lambda image, labels: image.__setitem__(slice(None), image[[1, 0, 2]].copy()),
        lambda image, labels: image.__setitem__(slice(None), np.roll(image, 1, axis=2)),
    ],
    ids=["last pixel", "first pixel", "a label", "two channels swapped", "shifted"],
)
def test_the_fingerprint_tells_any_change_of_the_content(change):
    rng = np.random.default_rng(3)
    image, labels = rng.integers(0, 99, (3, 90, 70)).astype(np.uint16), rng.integers(0, 9, (90, 70)).astype(np.int32)
    first = reader_of(image, labels).fingerprint
    change(image, labels)
    assert reader_of(image, labels).fingerprint != first


@pytest.mark.parametrize(
    "change",
    [
        {"intensity_max": 2.0},
        {"ratio": 2.0},
        {"on_nan": "zero"},
        {"affine": AxisAffine(offset_y=1.0)},
        {"channels": (1, 0)},
    ],
    ids=str,
)
def test_the_fingerprint_tells_how_pixels_are_read(change):
    image = np.random.default_rng(3).integers(0, 99, (2, 90, 70)).astype(np.uint16)
    options = {"intensity_max": 1.0, "ratio": 1.0}
    on_nan = change.pop("on_nan", "raise")
    changed = dataclasses.replace(reader_of(image, **options | change), on_nan=on_nan)
    assert changed.fingerprint != reader_of(image, **options).fingerprint


def test_channels_that_are_not_read_do_not_count():
    image = np.random.default_rng(3).integers(0, 99, (3, 90, 70)).astype(np.uint16)
    first = reader_of(image, channels=(0, 2)).fingerprint
    image[1] += 1
    assert reader_of(image, channels=(0, 2)).fingerprint == first


def test_outside_of_the_image_is_zero():
    image = np.ones((1, 20, 20), np.uint8) * 51
    reader = reader_of(image, np.ones((20, 20), np.int32), intensity_max=255.0)
    region = reader.pixels(-3, 23, 15, 25)
    assert region.dtype == np.float32
    assert region[0, 3:23, :5] == pytest.approx(0.2)
    assert region[0, :3].max() == region[0, 23:].max(initial=0) == region[0, :, 5:].max() == 0
    np.testing.assert_array_equal(reader.label_image(-3, 23, 15, 25), (region[0] > 0).astype(int))


def test_channels_are_read_in_the_order_asked_for():
    image = np.arange(5)[:, None, None] * np.ones((5, 8, 8))
    for channels in [(3, 0), (1, 2, 3), (4,)]:
        reader = reader_of(image, channels=channels)
        np.testing.assert_array_equal(reader.pixels(0, 8, 0, 8)[:, 4, 4], channels)


def test_labels_with_offset_and_scale():
    fine = np.kron(np.arange(1, 17).reshape(4, 4), np.ones((10, 10))).astype(np.int32)  # on image pixels
    image = np.zeros((1, 40, 40), np.uint8)
    coarse = fine[::2, ::2]  # half the resolution
    reader = reader_of(image, coarse, affine=AxisAffine(0.5, 0.5))
    np.testing.assert_array_equal(reader.label_image(0, 40, 0, 40), fine)
    cut = fine[10:, 20:]  # labels that begin at (10, 20) of the image
    reader = reader_of(image, cut, affine=AxisAffine(offset_y=-10, offset_x=-20))
    expected = fine.copy()
    expected[:10], expected[:, :20] = 0, 0
    np.testing.assert_array_equal(reader.label_image(0, 40, 0, 40), expected)


def test_nan_is_named_by_image_channel_and_count():
    image = np.zeros((2, 30, 30), np.float32)
    image[1, 3, 4:6] = np.nan
    with pytest.raises(RunError, match=r"'image_a', channel 'ch1': 2 pixels NaN or infinite in rows 0 to 30"):
        reader_of(image).pixels(0, 30, 0, 30)


def test_weights_sum_to_one_everywhere():
    for ratio, size in [(0.37, 11), (3.3, 10), (1.0, 5)]:
        out = max(1, round(size / ratio))
        weights, (a, b) = resampling_weights(0, out, ratio, size)
        assert (a, b) == (0, size)
        np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-6)


# ---- what no model takes, and what lies beyond


def plain(image: np.ndarray, labels: np.ndarray | None = None, ratio: float = 1.0, area: bool = False) -> SampleReader:
    labels = np.zeros(image.shape[1:], np.int32) if labels is None else labels
    return SampleReader("a", "b", image, labels, (0,), ("x",), 1.0, ratio, AxisAffine(), area=area)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "int32"])
def test_negative_pixels_count_as_zero(dtype):
    image = np.array([[[-9, 5, 0], [3, -1, 2]]], dtype)
    np.testing.assert_array_equal(plain(image).pixels(0, 2, 0, 3)[0], [[0, 5, 0], [3, 0, 2]])


def test_pixels_one_and_a_half_times_as_large_are_the_mean_of_what_they_cover():
    image = np.array([[[2.0, 8, 5, 1, 4, 9]] * 3])
    found = plain(image, ratio=1.5, area=True).pixels(0, 2, 0, 4)[0]
    np.testing.assert_allclose(found, [[(2 + 4) / 1.5, (4 + 5) / 1.5, (1 + 2) / 1.5, (2 + 9) / 1.5]] * 2, rtol=1e-6)


def test_labels_beyond_the_image_are_none():
    """Labels of 6 x 7 pixels over an image of 4 x 5."""
    reader = plain(np.zeros((1, 4, 5)), np.ones((6, 7), np.int32))
    found = reader.label_image(-1, 6, -2, 7)
    expected = np.zeros((7, 9), int)
    expected[1:5, 2:7] = 1
    np.testing.assert_array_equal(found, expected)
