"""Shapes measured block by block, against scikit-image on the whole image: random masks and odd ones."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from scipy.ndimage import binary_fill_holes, gaussian_filter
from scipy.spatial import ConvexHull
from skimage.draw import disk, line, polygon
from skimage.measure import label, regionprops_table

from spatialfm._keys import SHAPE_COLUMNS
from spatialfm.pp.measure import plan_blocks
from spatialfm.pp.pieces import scan_labels
from spatialfm.pp.shape_kernels import hull_areas
from spatialfm.pp.shapes import shapes


def small_blocks(monkeypatch, pixels):
    monkeypatch.setattr("spatialfm.pp.shapes.plan_blocks", lambda array: plan_blocks(array, pixels))


class Chunked:
    """An array in chunks, that counts how often each pixel was read."""

    def __init__(self, array: np.ndarray, chunks: tuple[int, int]) -> None:
        self.array, self.shape, self.dtype, self.read = array, array.shape, array.dtype, np.zeros(array.shape, int)
        self.chunks = da.core.normalize_chunks(chunks, array.shape)

    def __getitem__(self, key):
        self.read[key] += 1
        return self.array[key]


def assert_as_skimage(labels: np.ndarray, chunks=None, length: float = 1.0) -> None:
    found = shapes(labels if chunks is None else Chunked(labels, chunks), scan_labels(labels), length)
    dense = np.unique(np.r_[0, labels.ravel()], return_inverse=True)[1][1:].reshape(labels.shape)
    expected = regionprops_table(dense, properties=SHAPE_COLUMNS)
    round_ones = expected["eccentricity"] < 1e-6  # whose direction is noise
    for name in SHAPE_COLUMNS:
        factor = length if "length" in name or name in ("perimeter", "equivalent_diameter_area") else 1.0
        mine, theirs = found[name] / factor, expected[name]
        if name.startswith("axis") or name == "eccentricity":  # roots of small differences: 2e-6 where 0 is right
            mine, theirs = mine**2, theirs**2
        if name == "orientation":
            mine, theirs = mine[~round_ones], theirs[~round_ones]
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-9, err_msg=name)


def odd_shapes() -> np.ndarray:
    """Lines, single pixels, rings, crosses, combs, cells in several pieces, around others and at the border."""
    labels = np.zeros((120, 130), np.int64)
    labels[3, 3] = 1
    labels[6, 3:20] = 2
    labels[10:30, 3] = 3
    for i, (y, x) in enumerate([(40, 30), (30, 55), (21, 33), (45, 47)]):  # lines of several slopes from (20, 30)
        labels[line(20, 30, y, x)] = 4 + i
    labels[50:70, 5:25] = 8
    labels[55:65, 10:20] = 0
    labels[58:61, 13:16] = 8  # a ring with a core
    labels[62, 12] = 9  # another cell in its hole
    labels[50:75, 40:43], labels[61:63, 30:55] = 10, 10
    labels[80:100, 5:30:3], labels[80, 5:30] = 11, 11  # a comb
    labels[0:4, 60:70], labels[110:120, 120:130], labels[0, 129], labels[119, 0] = 12, 13, 14, 15
    labels[disk((30, 90), 14)] = 16
    labels[disk((34, 96), 7)] = 700  # a bay
    labels[polygon([60, 110, 70], [70, 80, 120])] = 18
    labels[5, 80], labels[100, 100], labels[60, 127] = 19, 19, 19  # three pieces far apart, of one pixel each
    labels[111, 40:80:2] = 20  # dots in a row
    labels[113:118, 50:52], labels[115:117, 52:54] = 21, 21
    for k in range(9):
        labels[90 + k, 110 + k] = 22  # connected by corners
    return labels


def blobs(seed: int, side: int = 90) -> np.ndarray:
    """Cells of all sizes that touch each other, some in pieces: levels of smoothed noise, numbered at random."""
    rng = np.random.default_rng(seed)
    levels = np.digitize(gaussian_filter(rng.normal(size=(side, side)), rng.choice([0.6, 1.2, 3])) * 4, [-1, 0, 1])
    pieces = label(levels + 1, connectivity=1)
    numbers = rng.integers(0, pieces.max() // 2 + 2, pieces.max() + 1) * rng.integers(1, 1000)
    return numbers[pieces].astype(np.int64)


@pytest.mark.parametrize("chunks", [None, (120, 130), (1, 130), (120, 1), (7, 3), (3, 50), (2, 2), (119, 129)])
def test_odd_shapes_whatever_the_blocks(monkeypatch, chunks):
    small_blocks(monkeypatch, 1)
    assert_as_skimage(odd_shapes(), chunks, 0.37)


@pytest.mark.parametrize("seed", range(6))
def test_random_masks_whatever_the_blocks(monkeypatch, seed):
    small_blocks(monkeypatch, 900)
    rng = np.random.default_rng(seed)
    assert_as_skimage(blobs(seed), tuple(int(n) for n in rng.integers(1, 60, 2)))


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 2), (3, 5)])
def test_images_of_few_pixels(shape):
    assert_as_skimage(np.ones(shape, np.uint8))
    assert_as_skimage(np.arange(1, shape[0] * shape[1] + 1, dtype=np.uint16).reshape(shape))


def test_blocks_change_no_digit(monkeypatch):
    labels = blobs(11)
    whole = shapes(labels, scan_labels(labels))
    small_blocks(monkeypatch, 1)
    parts = shapes(Chunked(labels, (11, 5)), scan_labels(labels))
    for name in SHAPE_COLUMNS:
        np.testing.assert_array_equal(parts[name], whole[name], err_msg=name)


def test_every_pixel_is_read_once(monkeypatch):
    """Also where a cell is as large as the image, around all others."""
    small_blocks(monkeypatch, 100)
    labels = np.full((70, 60), 9)
    labels[20:30, 20:30], labels[40:44, 3:9] = 4, 5

    array = Chunked(labels, (10, 10))
    found = shapes(array, scan_labels(labels))
    assert (array.read == 1).all()
    np.testing.assert_allclose(found["solidity"], [1, 1, (70 * 60 - 124) / (70 * 60)])


def test_hulls_are_those_of_the_diamonds():
    """Pixels whose centres are in the hull of all pixels' diamonds: by qhull and half planes."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        mask = rng.random((rng.integers(1, 12), rng.integers(1, 12))) < rng.uniform(0.1, 0.9)
        mask[rng.integers(mask.shape[0]), rng.integers(mask.shape[1])] = True
        at = np.argwhere(mask)
        corners = np.concatenate([at + step for step in ([0.5, 0], [-0.5, 0], [0, 0.5], [0, -0.5])])
        planes = ConvexHull(corners).equations
        inside = (planes[:, :2] @ np.argwhere(np.ones_like(mask)).T + planes[:, 2:] < 1e-9).all(axis=0)
        rows = np.unique(at[:, 0])
        low, high = (np.array([f(at[at[:, 0] == y, 1]) for y in rows]) for f in (np.min, np.max))
        assert hull_areas(np.array([0, rows.size]), rows, low, high)[0] == inside.sum()


def test_holes_count_in_the_outline_and_in_the_hull_only():
    """A ring: its perimeter is that of both circles, its hull that of the filled disc."""
    ring = np.zeros((60, 60), int)
    ring[disk((30, 30), 25)] = 1
    ring[disk((30, 30), 12)] = 0
    found = {name: values[0] for name, values in shapes(ring, scan_labels(ring)).items()}
    filled = binary_fill_holes(ring).astype(int)
    outer = shapes(filled, scan_labels(filled))
    inner = {name: values[0] for name, values in shapes(filled - ring, scan_labels(filled - ring)).items()}
    assert found["solidity"] / outer["solidity"][0] == pytest.approx(ring.sum() / filled.sum())
    assert found["perimeter"] == pytest.approx(outer["perimeter"][0] + inner["perimeter"], rel=0.1)
