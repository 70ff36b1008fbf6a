"""Against scikit-image, scipy and numpy on the whole image; and the promise that blocks change nothing."""

from __future__ import annotations

from contextlib import nullcontext

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from scipy import ndimage
from skimage.measure import regionprops_table

from spatialfm._keys import SHAPE_COLUMNS
from spatialfm.pp.arrays import AxisAffine
from spatialfm.pp.measure import (
    LabelGrid,
    boxes_on_image,
    cell_quantiles,
    compact,
    group_boxes,
    intensity_sums,
    loaded,
    one_thread,
    plan_blocks,
    rows_of,
)
from spatialfm.pp.pieces import scan_labels
from spatialfm.pp.shapes import shapes

CHUNKS = [(90, 90), (17, 90), (33, 20), (1, 45), (90, 7)]


class Recorder:
    """An array that remembers what was asked of it."""

    def __init__(self, array, chunks):
        self.array, self.shape, self.dtype, self.asked = array, array.shape, array.dtype, []
        self.chunks = da.empty(array.shape, chunks=chunks).chunks

    def __getitem__(self, key):
        self.asked.append(key)
        return self.array[key]


def small_blocks(monkeypatch, pixels=400):
    monkeypatch.setattr("spatialfm.pp.measure.plan_blocks", lambda array: plan_blocks(array, pixels))


@pytest.mark.parametrize("pixels", [1, 500, 10**6])
@pytest.mark.parametrize("chunks", CHUNKS)
def test_blocks_cover_everything_once_in_whole_chunks(chunks, pixels):
    array = da.zeros((90, 90), chunks=chunks)
    seen = np.zeros(array.shape, int)
    edges = [np.cumsum((0, *sizes)) for sizes in array.chunks]
    for y0, y1, x0, x1 in plan_blocks(array, pixels):
        seen[y0:y1, x0:x1] += 1
        assert {y0, y1} <= set(edges[0])
        assert {x0, x1} <= set(edges[1])
        assert (y1 - y0) <= max(pixels**0.5, chunks[0])
        assert (x1 - x0) <= max(pixels**0.5, chunks[1])
    assert (seen == 1).all()


def test_blocks_of_many_channels_read_together_are_smaller():
    one = plan_blocks(da.zeros((60, 8192, 8192), chunks=(1, 256, 256), dtype=np.float32))
    all_ = plan_blocks(da.zeros((60, 8192, 8192), chunks=(60, 256, 256), dtype=np.float32))
    assert max((b[1] - b[0]) * (b[3] - b[2]) for b in one) == 1024**2
    assert max((b[1] - b[0]) * (b[3] - b[2]) for b in all_) * 60 * 4 <= 2**26


@pytest.mark.parametrize("high", [50, 10**12])
@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_compact_is_unique_with_inverse(high, dtype):
    values = np.random.default_rng(0).integers(1, high, 1000).astype(dtype)
    ids, local = compact(values)
    expected_ids, expected = np.unique(values, return_inverse=True)
    np.testing.assert_array_equal(ids, expected_ids)
    np.testing.assert_array_equal(local, expected)


def test_rows_of_finds_what_is_there_and_says_what_is_not():
    np.testing.assert_array_equal(
        rows_of(np.array([3, 7, 900]), np.array([7, 0, 900, 8, 3, 1000])), [1, -1, 2, -1, 0, -1]
    )
    np.testing.assert_array_equal(rows_of(np.empty(0, int), np.array([7, 0])), [-1, -1])


@pytest.mark.parametrize("chunks", CHUNKS)
def test_scan_is_that_of_skimage_whatever_the_blocks(make_tissue, monkeypatch, chunks):
    small_blocks(monkeypatch)
    _, labels = make_tissue()
    scan = scan_labels(da.from_array(labels, chunks=chunks))
    ids, dense = np.unique(labels, return_inverse=True)
    table = regionprops_table(dense.reshape(labels.shape), properties=("area", "centroid", "bbox"))
    np.testing.assert_array_equal(scan.ids, ids[1:])
    np.testing.assert_array_equal(scan.area, table["area"])
    np.testing.assert_allclose(scan.centroid, np.stack([table["centroid-0"], table["centroid-1"]], 1), rtol=1e-12)
    np.testing.assert_array_equal(scan.box, np.stack([table[f"bbox-{i}"] for i in (0, 2, 1, 3)], 1))


def test_scan_refuses_negative_and_too_large_labels():
    with pytest.raises(ValueError, match="label -4 is negative"):
        scan_labels(np.array([[0, -4]]))
    with pytest.raises(ValueError, match="does not fit"):
        scan_labels(np.array([[0, 2**63 + 1]], dtype=np.uint64))
    assert scan_labels(np.zeros((5, 5), int)).ids.size == 0


@pytest.mark.parametrize("chunks", CHUNKS)
def test_shapes_are_those_of_skimage_on_the_whole_image(make_tissue, monkeypatch, chunks):
    small_blocks(monkeypatch)
    _, labels = make_tissue()
    labels_da = da.from_array(labels, chunks=chunks)
    found = shapes(labels_da, scan_labels(labels_da), length=0.25)
    dense = np.unique(labels, return_inverse=True)[1].reshape(labels.shape)
    expected = regionprops_table(dense, properties=SHAPE_COLUMNS)
    for name in SHAPE_COLUMNS:
        factor = 0.25 if "length" in name or name in ("perimeter", "equivalent_diameter_area") else 1
        np.testing.assert_allclose(found[name], expected[name] * factor, rtol=1e-9, atol=1e-6, err_msg=name)


def test_shapes_of_some_cells_ignore_their_neighbours(make_tissue):
    _, labels = make_tissue()
    scan = scan_labels(labels)
    some = np.array([3, 8, 20])
    alone = np.where(np.isin(labels, scan.ids[some]), labels, 0)
    expected = shapes(alone, scan_labels(alone))
    found = shapes(labels, scan.take(some))
    for name in SHAPE_COLUMNS:
        np.testing.assert_array_equal(found[name], expected[name])


def test_shapes_of_a_rectangle():
    labels = np.zeros((40, 40), int)
    labels[5:25, 10:20] = 1  # 20 rows, 10 columns
    found = {name: values[0] for name, values in shapes(labels, scan_labels(labels), length=2.0).items()}
    # second moments of n points in a row: (n² - 1) / 12; an ellipse of moment m has the axis 4 √m
    assert found["axis_major_length"] == pytest.approx(2 * 4 * np.sqrt((20**2 - 1) / 12))
    assert found["axis_minor_length"] == pytest.approx(2 * 4 * np.sqrt((10**2 - 1) / 12))
    assert found["eccentricity"] == pytest.approx(np.sqrt(1 - 99 / 399))
    assert found["perimeter"] == pytest.approx(2 * 2 * (19 + 9))
    assert found["equivalent_diameter_area"] == pytest.approx(2 * np.sqrt(4 * 200 / np.pi))
    assert found["solidity"] == 1
    assert found["orientation"] == pytest.approx(0)


@pytest.mark.parametrize("chunks", [(3, 90, 90), (1, 90, 90), (2, 17, 40), (1, 33, 20)])
def test_sums_are_those_of_scipy_whatever_the_blocks(make_tissue, monkeypatch, chunks):
    small_blocks(monkeypatch)
    image, labels = make_tissue()
    ids = np.unique(labels)[1:]
    grid = LabelGrid(da.from_array(labels, chunks=(25, 31)), AxisAffine())
    counts, sums, invalid = intensity_sums(da.from_array(image, chunks=chunks), grid, ids)
    np.testing.assert_array_equal(counts, [(labels == i).sum() for i in ids])
    expected = np.stack([ndimage.sum(channel.astype(float), labels, ids) for channel in image], axis=1)
    np.testing.assert_allclose(sums, expected, rtol=1e-13)
    assert not invalid.any()


def test_means_are_computed_in_float64():
    # 3,000,001 pixels of about 1e6: a float32 sum would be off by more than a thousandth
    image = np.full((1, 3000, 1001), 1e6, np.float32)
    image[0, ::2] += 0.5
    labels = np.ones((3000, 1001), np.int32)
    counts, sums, _ = intensity_sums(image, LabelGrid(labels, AxisAffine()), np.array([1]))
    assert sums[0, 0] / counts[0] == pytest.approx(1e6 + 0.25, rel=1e-13)


def test_invalid_pixels_are_counted_in_cells_only(make_tissue, monkeypatch):
    small_blocks(monkeypatch)
    image, labels = make_tissue()
    inside, outside = np.argwhere(labels > 0)[:5], np.argwhere(labels == 0)[:3]
    image[1][tuple(inside.T)] = [np.nan, np.nan, np.inf, -np.inf, np.nan]
    image[2][tuple(outside.T)] = np.nan
    _, _, invalid = intensity_sums(
        da.from_array(image, chunks=(1, 20, 20)), LabelGrid(labels, AxisAffine()), np.unique(labels)[1:]
    )
    np.testing.assert_array_equal(invalid, [0, 5, 0])


def test_every_chunk_is_read_once_and_only_where_cells_are(monkeypatch):
    small_blocks(monkeypatch, pixels=100)
    image = Recorder(np.ones((4, 60, 60), np.uint16), (1, 10, 10))
    labels = np.zeros((60, 60), np.int32)
    labels[12:28, 3:8] = 5
    intensity_sums(image, LabelGrid(labels, AxisAffine()), np.array([5]))
    read = np.zeros(image.shape, int)
    for key in image.asked:
        read[key] += 1
    expected = np.zeros(image.shape, int)
    expected[:, 10:30, :10] = 1
    np.testing.assert_array_equal(read, expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("chunks", [(3, 90, 90), (1, 20, 33)])
def test_quantiles_are_those_of_numpy_on_each_cell(make_tissue, monkeypatch, chunks, dtype):
    small_blocks(monkeypatch, pixels=900)
    image, labels = make_tissue(dtype=dtype)
    scan = scan_labels(labels)
    quantiles = [0, 0.1, 0.5, 0.9, 1]
    boxes = boxes_on_image(scan.box, AxisAffine(), labels.shape)
    grid = LabelGrid(labels, AxisAffine())
    found = cell_quantiles(da.from_array(image, chunks=chunks), grid, scan.ids, boxes, quantiles)
    expected = [np.quantile(image[:, labels == i].astype(float), quantiles, axis=1) for i in scan.ids]
    np.testing.assert_allclose(found, np.stack(expected), rtol=1e-6)


def test_quantiles_of_a_cell_without_pixels_are_nan():
    labels = np.zeros((8, 8), int)
    labels[2:4, 2:4] = 4
    found = cell_quantiles(
        np.ones((1, 8, 8)),
        LabelGrid(labels, AxisAffine()),
        np.array([3, 4]),
        np.array([[0, 2, 0, 2], [2, 4, 2, 4]]),
        [0.5],
    )
    assert np.isnan(found[0]).all()
    assert found[1] == 1


@pytest.mark.parametrize(
    "affine",
    [
        AxisAffine(),
        AxisAffine(0.5, 0.5, 0, 0),
        AxisAffine(2, 2, 0, 0),
        AxisAffine(1, 1, -7, 12),
        AxisAffine(0.37, 1.9, 3.3, -20.2),
        AxisAffine(1, 1, 500, 0),
    ],
)
def test_label_grid_is_the_label_pixel_below_each_centre(make_tissue, affine):
    _, labels = make_tissue()
    grid = LabelGrid(da.from_array(labels, chunks=(20, 33)), affine)
    y0, y1, x0, x1 = 10, 75, 5, 120
    expected = np.zeros((y1 - y0, x1 - x0), labels.dtype)
    for y in range(y0, y1):
        for x in range(x0, x1):
            ly, lx = affine(y + 0.5, x + 0.5)
            if 0 <= ly < labels.shape[0] and 0 <= lx < labels.shape[1]:
                expected[y - y0, x - x0] = labels[int(ly), int(lx)]
    np.testing.assert_array_equal(grid((y0, y1, x0, x1)), expected)


def test_groups_hold_every_cell_once_in_one_small_box(make_tissue):
    _, labels = make_tissue()
    scan = scan_labels(labels)
    groups = list(group_boxes(scan.box, plan_blocks(da.from_array(labels, chunks=(30, 30)), 1)))
    np.testing.assert_array_equal(np.sort(np.concatenate([rows for rows, _ in groups])), np.arange(scan.ids.size))
    assert len(groups) > 4
    for rows, (y0, y1, x0, x1) in groups:
        np.testing.assert_array_equal(scan.box[rows].min(axis=0)[[0, 2]], [y0, x0])
        np.testing.assert_array_equal(scan.box[rows].max(axis=0)[[1, 3]], [y1, x1])
        assert np.ptp(scan.box[rows, 0]) < 30
    assert list(group_boxes(np.empty((0, 4), int), [(0, 9, 0, 9)])) == []


@pytest.mark.parametrize("affine", [AxisAffine(), AxisAffine(2, 2, 0.5, -3), AxisAffine(0.3, 0.3, 9, 2)])
def test_boxes_on_image_hold_all_pixels_of_the_cell(make_tissue, affine):
    _, labels = make_tissue()
    scan = scan_labels(labels)
    shape = (100, 110)
    on_image = LabelGrid(labels, affine.inverse())((0, shape[0], 0, shape[1]))
    for label, (y0, y1, x0, x1) in zip(scan.ids, boxes_on_image(scan.box, affine, shape), strict=True):
        assert (on_image[y0:y1, x0:x1] == label).sum() == (on_image == label).sum()


def test_one_thread_reads_in_the_calling_thread_alone():
    import threading

    import dask.array as da

    from spatialfm.pp.measure import loaded, one_thread

    readers = set()

    def chunk(block_info=None):
        readers.add(threading.get_ident())
        return np.zeros((4, 4))

    image = da.map_blocks(chunk, chunks=((4,) * 8, (4,) * 8), dtype=float, meta=np.empty((0, 0)))
    with one_thread():
        loaded(image)
    assert readers == {threading.get_ident()}
    readers.clear()
    loaded(image)
    assert threading.get_ident() not in readers


@pytest.mark.parametrize("alone", [False, True])
def test_a_part_is_what_dask_computes_of_it(alone):
    values = np.random.default_rng(0).integers(0, 99, (3, 40, 50))
    lazy = da.from_array(values, chunks=(1, 16, 16))
    parts = [lazy[1:, 5:30, 7:41], lazy[0, :16, :16] * 2, lazy[:, ::2, ::-1], lazy[:, :0]]
    named = [xr.DataArray(one, dims=("c", "y", "x")) for one in (lazy, values)]
    with one_thread() if alone else nullcontext():
        for part in parts:
            np.testing.assert_array_equal(loaded(part), part.compute())
        for part in (*named, values, values.tolist()):
            np.testing.assert_array_equal(loaded(part), values)
