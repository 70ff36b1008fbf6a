"""NaN, infinite and negative pixels: counted once over whole images, told once a run, before anything is encoded."""

from __future__ import annotations

import warnings

import dask.array as da
import numpy as np
import pytest
import spatialdata as sd

import spatialfm as sfm
from spatialfm._errors import RunError, SpatialfmWarning
from spatialfm.embed.pixels.odd_pixels import OddCounts
from spatialfm.embed.pixels.reader import SampleReader
from spatialfm.pp.arrays import AxisAffine

CHANNELS = ["DAPI", "CD3", "CD8"]


@pytest.fixture
def odd_cohort(make_sdata, blobs):
    """Six images of floats; of image k, k + 1 pixels of CD3 are negative and k of CD8 are NaN."""
    samples = {}
    for k in range(6):
        image, labels = blobs(k, n_cells=12)
        image = image.astype(np.float32)
        image[1, 3, : k + 1] = -5 - k
        image[2, -1, :k] = np.nan
        samples[f"s{k}"] = image, np.pad(labels[:-20, 10:], ((0, 20), (10, 0)))  # no odd pixel is in a cell
    sdata = make_sdata(samples, CHANNELS, chunks=37)
    sfm.pp.cell_table(sdata)
    return sdata


def told(function, *args, **kwargs) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function(*args, **kwargs)
    return [str(one.message) for one in caught if issubclass(one.category, SpatialfmWarning)]


@pytest.mark.parametrize("name", ["embed_cells", "embed_tiles"])
def test_many_images_are_one_warning_a_kind_with_all_counts_in_the_record(odd_cohort, name):
    options = {"embed_cells": {}, "embed_tiles": {"size": 30}}[name]
    said = told(getattr(sfm.tl, name), odd_cohort, "mean-intensity", recipe={"on_nan": "zero"}, **options)
    negative = [text for text in said if "negative" in text]
    replaced = [text for text in said if "NaN" in text]
    assert (len(negative), len(replaced)) == (1, 1)
    assert negative[0].startswith("Pixels are negative in 6 images: 'image_s0' (channel 'CD3': 1 pixel, lowest -5), ")
    assert "'image_s4' (channel 'CD3': 5 pixels, lowest -9) and 1 more: they count as 0." in negative[0]
    assert replaced[0].startswith("Pixels are NaN or infinite in 5 images: 'image_s1' (channel 'CD8': 1 pixel), ")
    record = sfm.get.record(odd_cohort["table" if name == "embed_cells" else "tiles"], "X_mean_intensity")
    assert record["pixels_clipped"] == {f"s{k}": {"CD3": k + 1} for k in range(6)}
    assert record["pixels_replaced"] == {f"s{k}": {"CD8": k} for k in range(1, 6)}


def test_all_images_with_nan_are_refused_at_once_before_any_statistics(odd_cohort, monkeypatch):
    def no(*args, **kwargs):
        raise AssertionError("statistics were computed")

    monkeypatch.setattr("spatialfm.embed.inputs.settled_statistics", no)
    with pytest.raises(RunError, match=r"in 5 images: 'image_s1'.*'image_s5' .*or pass recipe=..on_nan.: 'zero'."):
        sfm.tl.embed_cells(odd_cohort, "mean-intensity")


def test_advice_has_only_arguments_of_the_function_that_was_called(odd_cohort):
    drawn = {"s0": "cells_s0"}
    with pytest.raises(RunError, match="NaN or infinite in 5 images") as refused:
        sfm.tl.detect_artifacts(odd_cohort, "mean-intensity", annotations=drawn, classes={1: "artifact"})
    assert "pass recipe={\"on_nan\": 'zero'} to count" in str(refused.value)


def reader_of(image: np.ndarray, channels=(0, 1), **options) -> SampleReader:
    lazy = da.from_array(image, chunks=(1, 7, 50))
    names = tuple(f"ch{c}" for c in channels)
    labels = da.zeros(image.shape[-2:], dtype=int)
    return SampleReader("image_a", "", lazy, labels, channels, names, 1.0, 1.0, AxisAffine(), **options)


def test_counts_are_those_of_the_whole_image_whatever_its_chunks():
    rng = np.random.default_rng(0)
    image = rng.normal(3, 2, (3, 60, 80)).astype(np.float32)
    image[rng.random(image.shape) < 0.05] = np.nan
    image[2, 7, 9], image[0, 1, 1] = -np.inf, np.inf
    odd = reader_of(image, (2, 0)).odd_pixels
    finite = np.where(np.isfinite(image), image, 0)[[2, 0]]
    np.testing.assert_array_equal(odd.not_finite, (~np.isfinite(image[[2, 0]])).sum(axis=(1, 2)))
    np.testing.assert_array_equal(odd.negative, (finite < 0).sum(axis=(1, 2)))
    np.testing.assert_array_equal(odd.lowest, finite.min(axis=(1, 2)))


def test_integers_with_sign_are_counted_and_those_without_are_not_read():
    image = np.full((2, 20, 20), 4, np.int16)
    image[1, 0, :3] = -7
    assert reader_of(image).odd_pixels.negative.tolist() == [0, 3]
    lazy = reader_of(np.ones((2, 20, 20), np.uint16))
    object.__setattr__(
        lazy, "image", lazy.image.map_blocks(lambda block: 1 / 0, dtype=np.uint16, meta=np.zeros(0, np.uint16))
    )
    assert lazy.odd_pixels.negative.tolist() == [0, 0]


def test_minus_infinity_is_refused_and_not_taken_for_a_negative_pixel():
    image = np.ones((2, 20, 20), np.float32)
    image[0, 5, 5] = -np.inf
    with pytest.raises(RunError, match=r"'ch0': 1 pixel NaN or infinite"):
        reader_of(image).pixels(0, 20, 0, 20)
    assert reader_of(image, on_nan="zero").pixels(0, 20, 0, 20)[0, 5, 5] == 0


def test_counts_are_known_for_a_store_whose_digest_is_kept(tmp_path, make_sdata, blobs, monkeypatch):
    """A digest that is taken from the cache reads no pixel: the counts then come from a separate pass."""
    monkeypatch.setattr("spatialfm.embed.pixels.content.AT_REST", -1.0)
    image, labels = blobs(0)
    image = image.astype(np.float32)
    image[1, :4, 0] = -1
    make_sdata({"a": (image, labels)}, CHANNELS).write(tmp_path / "a.zarr")
    lazy = sd.read_zarr(tmp_path / "a.zarr")["image_a"].data
    assert reader_of(lazy.compute()).image_digest == (first := reader_of_lazy(lazy)).image_digest
    for path in (sfm.settings.cache_dir / "statistics").glob("odd-pixels*"):
        path.unlink()
    again = reader_of_lazy(lazy)
    assert again.image_digest == first.image_digest
    assert not again._odd.planes
    assert again.odd_pixels.negative.tolist() == [0, 4]


def reader_of_lazy(lazy) -> SampleReader:
    labels = da.zeros(lazy.shape[-2:], dtype=int)
    return SampleReader("image_a", "", lazy, labels, (0, 1), ("ch0", "ch1"), 1.0, 1.0, AxisAffine())


def test_the_lowest_pixel_of_a_plane_is_that_of_all_its_bands():
    counts = OddCounts()
    for band in ([[-7.0, 1.0]], [[-2.0, np.nan]], [[3.0, np.inf]]):
        counts.see(1, np.array(band))
    counts.see(0, np.array([[4.0]]))
    arrays = counts.arrays([0, 1, 2])
    np.testing.assert_array_equal(arrays["lowest"], [0, -7, 0])
    np.testing.assert_array_equal(arrays["negative"], [0, 2, 0])
    np.testing.assert_array_equal(arrays["not_finite"], [0, 2, 0])


def test_bytes_in_the_other_order_are_the_same_pixels(make_sdata, blobs):
    """Big-endian counts were taken for integers without a range, and not divided by the largest that there are."""
    image, labels = blobs(0, n_cells=12)
    image = (image * 200).astype(np.uint16)
    found = []
    for order in "<>":
        sdata = make_sdata({"a": (image.astype(f"{order}u2"), labels.astype(f"{order}i4"))}, CHANNELS, chunks=37)
        sfm.pp.cell_table(sdata)
        sfm.tl.embed_cells(sdata, "mean-intensity")
        statistics = sfm.pp.marker_statistics(sdata).select_dtypes("number")
        found.append((sdata["table"].to_df(), sdata["table"].obsm["X_mean_intensity"], statistics))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
    assert found[1][1].max() <= 1
