"""Objects and phenotypes of logits that are painted: tiles, sums over cells, pixels of another size."""

from __future__ import annotations

from types import SimpleNamespace

import dask.array as da
import numpy as np
import pytest

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning
from spatialfm.embed.segment.tiles import find_objects, on_image_grid
from spatialfm.pp.segment_run import Kept, SegmentJob
from spatialfm.pp.stitch import StitchGrid, numbered

SHAPE = (150, 190)


@pytest.fixture(autouse=True)
def _cache(tmp_path):
    sfm.settings.cache_dir = tmp_path / "cache"
    yield
    sfm.settings.reset()


class Painted:
    """Logits that are an image: labels, and for each pixel logits of three answers and of none."""

    def __init__(self, labels: np.ndarray, phenotypes: np.ndarray) -> None:
        self.labels, self.phenotypes, self.shape = labels, phenotypes, labels.shape
        self.segmenter = SimpleNamespace(
            objects=1, answers=("a", "b", "c"), instances=self.instances, probabilities=self.probabilities
        )
        self.made = []

    def region(self, box):
        y0, y1, x0, x1 = box
        self.made.append(box)
        return np.concatenate([self.labels[None, y0:y1, x0:x1], self.phenotypes[:, y0:y1, x0:x1]])

    def instances(self, logits, shape):
        assert shape == self.shape
        return logits[0].astype(np.int32)

    def probabilities(self, logits):
        every = np.exp(logits) / np.exp(logits).sum(0)
        return every[:3] / every[:3].sum(0), every[3]


@pytest.fixture
def painted() -> Painted:
    generator = np.random.default_rng(0)
    rows, columns = np.indices(SHAPE)
    middles = [(y, x) for y in range(6, 150, 13) for x in range(6, 190, 13)]
    labels = np.zeros(SHAPE, np.int32)
    for number, (y, x) in enumerate(middles, 1):
        y, x, radius = y + generator.integers(-1, 2), x + generator.integers(-1, 2), generator.uniform(2.5, 5.5)
        labels[np.hypot(rows - y, columns - x) < radius] = number
    return Painted(labels, generator.normal(0, 1.5, (4, *SHAPE)))


def found(painted: Painted, side: int, margin: int, in_memory: bool = True):
    grid = StitchGrid(SHAPE, side, margin)
    job = SegmentJob("a", "image_a", None, [], [], [], 1.0, grid, 0.0, "")
    names: list[str] = []
    kept = Kept({"side": side})
    labels, n, phenotypes = find_objects(job, painted, {"x": 1}, kept, lambda: None, names, in_memory)
    return np.asarray(labels), n, phenotypes, kept, names


@pytest.mark.parametrize(("side", "margin", "in_memory"), [(190, 0, True), (64, 12, True), (50, 12, False)])
def test_cells_and_phenotypes_are_those_of_the_whole_image(painted, side, margin, in_memory):
    labels, n, phenotypes, _, _ = found(painted, side, margin, in_memory)
    assert np.array_equal(labels > 0, painted.labels > 0)
    pairs = np.unique(np.stack([labels.ravel(), painted.labels.ravel()]), axis=1)
    assert len(pairs[0]) == n + 1 == len(np.unique(painted.labels))
    every = np.exp(painted.phenotypes) / np.exp(painted.phenotypes).sum(0)
    for cell in range(1, n + 1):
        inside = labels == cell
        among = every[:3, inside] / every[:3, inside].sum(0)
        assert np.allclose(phenotypes.probability[cell - 1], among.mean(1), atol=1e-5)
        assert phenotypes.unknown[cell - 1] == pytest.approx(every[3, inside].mean(), abs=1e-5)
        assert phenotypes.pixels[cell - 1].tolist() == np.bincount(among.argmax(0), minlength=3).tolist()
        assert phenotypes.best[cell - 1] == np.bincount(among.argmax(0), minlength=3).argmax()


def test_a_run_that_was_stopped_goes_on_at_its_tile(painted):
    class Stop(Exception):
        pass

    calls, region = [], painted.region

    def stops(box):
        calls.append(box)
        if len(calls) == 4:
            raise Stop
        return region(box)

    painted.region = stops
    with pytest.raises(Stop):
        found(painted, 64, 12)
    labels, *_ = found(painted, 64, 12)
    assert len(calls) == 4 + 9 - 3
    assert np.array_equal(labels > 0, painted.labels > 0)


def test_labels_at_the_pixels_of_the_image():
    labels = numbered(np.arange(12).reshape(3, 4) // 2)
    assert on_image_grid(labels, 6, 1.0, (3, 4), "a", True) == (labels, None)
    finer, left = on_image_grid(labels, 6, 2.0, (6, 8), "a", True)
    assert left is None
    assert np.array_equal(finer, labels.repeat(2, 0).repeat(2, 1))
    lazy, _ = on_image_grid(labels, 6, 2.0, (6, 8), "a", False)
    assert isinstance(lazy, da.Array)
    assert np.array_equal(lazy.compute(), finer)
    third, _ = on_image_grid(labels, 6, 1.5, (5, 6), "a", True)  # the network's last row and column reach beyond
    assert third[:, 0].tolist() == [labels[row, 0] for row in (0, 1, 1, 2, 2)]


@pytest.mark.parametrize("in_memory", [True, False])
def test_cells_smaller_than_a_pixel_of_the_image_are_left_out_and_said(in_memory):
    labels = np.zeros((8, 8), np.uint32)
    labels[:4, :4], labels[6, 6], labels[4:, :4] = 1, 2, 3
    with pytest.warns(SpatialfmWarning, match=r"'a' has larger pixels than the network: 1 cell of 3 are smaller"):
        coarse, left = on_image_grid(labels, 3, 0.5, (4, 4), "a", in_memory)
    assert left.tolist() == [0, 2]
    assert np.asarray(coarse).tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [2, 2, 0, 0], [2, 2, 0, 0]]
