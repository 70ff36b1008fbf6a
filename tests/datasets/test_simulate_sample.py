"""One simulated sample: what each setting changes, and what it leaves as it is."""

from __future__ import annotations

import numpy as np
import pytest

from spatialfm.datasets import _simulate_sample as module
from spatialfm.datasets._simulate_difficulty import camera_of, settings_of
from spatialfm.datasets._simulate_glass import draw_outline
from spatialfm.datasets._simulate_options import generator
from spatialfm.datasets._simulate_patients import draw_patient
from spatialfm.datasets._simulate_sample import _scene, _segmentation, draw_sample
from spatialfm.datasets._simulate_shapes import Shapes

PERFECT = dict.fromkeys(["merge_rate", "split_rate", "miss_rate", "dilation"], 0)
PATIENT = draw_patient(0, 0, 1)


def parameters(**changes):
    further = {"image_size": 64, "mpp": 0.5, "n_markers": 12, "random_state": 0, "glass": 0.0}
    known = {name: value for name, value in changes.items() if name not in further}
    return settings_of("easy", PERFECT | known) | further | {n: v for n, v in changes.items() if n in further}


def draw(number=0, **changes):
    settings = parameters(**changes)
    return draw_sample(PATIENT, number, settings, camera_of(settings))


@pytest.fixture(scope="module")
def plain():
    return draw()


def same(one, two, *names):
    return [np.array_equal(getattr(one, name), getattr(two, name)) for name in names]


def test_a_perfect_segmentation_is_the_truth_and_each_cell_is_where_its_pixels_are(plain):
    assert plain.name == "P001_1"
    assert draw(1).name == "P001_2"
    n = plain.true_cells.max()
    pairs = {*zip(plain.cells.ravel().tolist(), plain.true_cells.ravel().tolist(), strict=True)}
    assert len(pairs) == n + 1  # the same outlines, numbered otherwise
    assert (0, 0) in pairs
    assert plain.segmentation["true_cells"] == n == len(plain.tissue.xy) == len(plain.expression)
    for cell in range(1, n + 1):
        y, x = np.nonzero(plain.true_cells == cell)
        assert plain.centroids[cell - 1] == pytest.approx([(x.mean() + 0.5) * 0.5, (y.mean() + 0.5) * 0.5])
    assert plain.image.shape == (12, 64, 64)
    assert plain.artifacts is None
    assert plain.outline is None


def test_optics_and_noise_leave_tissue_and_expression(plain):
    other = draw(psf=1.0, read_noise=20.0, spillover=0.0)
    assert same(plain, other, "true_cells", "cells", "expression", "image") == [True, True, True, False]


def test_errors_of_the_segmentation_leave_the_image(plain):
    other = draw(merge_rate=0.3, miss_rate=0.3)
    assert same(plain, other, "true_cells", "image", "expression", "cells") == [True, True, True, False]
    assert other.cells.max() < plain.cells.max()


def test_artifacts_change_the_image_inside_their_mask_alone(plain):
    other = draw(artifacts=("dropout", "seam"), artifact_rate=1.0)
    assert set(np.unique(other.artifacts)) == {0, 4, 5}
    clean = other.artifacts == 0
    np.testing.assert_array_equal(other.image[:, clean], plain.image[:, clean])
    assert (other.image[:, ~clean] != plain.image[:, ~clean]).any()
    assert same(plain, other, "true_cells", "expression") == [True, True]


def test_patients_slides_and_numbers_of_samples_have_random_numbers_of_their_own(plain):
    assert same(plain, draw(), "image", "cells") == [True, True]
    assert same(plain, draw(1), "image") == [False]
    assert same(plain, draw(random_state=1), "image") == [False]


def test_glass_has_no_cells_and_no_glow():
    made = draw(glass=0.4, image_size=128)
    assert 0.2 < 1 - made.outline.mean() < 0.6
    assert not made.true_cells[~made.outline].any()
    drawn = draw_outline(128, 0.5, 0.4, generator(0, "outline", 0, 0))
    y, x = (made.centroids[:, [1, 0]] / 0.5).astype(int).T
    assert drawn[y, x].mean() > 0.9  # cells are where tissue was drawn, and no edge of one reaches far beyond
    assert made.outline[~drawn].mean() < 0.1
    without = draw(image_size=128).true_cells > 0  # and they are as close to each other as without glass
    assert (made.true_cells > 0)[drawn].mean() == pytest.approx(without[drawn].mean(), rel=0.1)
    nuclear = made.image[0].astype(float)
    assert nuclear[~made.outline].mean() < nuclear[made.outline].mean() / 3


LABELS = np.kron(np.array([[1, 2], [3, 0]]), np.ones((4, 4), np.int32)).astype(np.int32)
NUCLEI = np.kron(np.ones((2, 2), bool), np.pad(np.ones((2, 2), bool), 1)) & (LABELS > 0)
SHAPES = Shapes(LABELS, NUCLEI, LABELS > 0, np.zeros_like(LABELS), np.zeros(LABELS.shape))


def rng(stream, *kind):
    return generator(3, stream, 0, 0, *kind)


def test_masks_of_nuclei_and_their_number():
    labels, counts = _segmentation(SHAPES, parameters(nuclear_rate=1.0), rng)
    np.testing.assert_array_equal(labels, np.where(NUCLEI, LABELS, 0))
    assert counts["nuclear"] == counts["segmented_cells"] == 3
    _, counts = _segmentation(SHAPES, parameters(), rng)
    assert "nuclear" not in counts
    assert "shift" not in counts


def test_a_shift_is_recorded_and_cells_that_left_the_image_are_not_counted():
    lost = 0
    for seed in range(8):
        settings = parameters(mask_shift=1.0)
        labels, counts = _segmentation(SHAPES, settings, lambda stream, seed=seed: generator(seed, stream, 0, 0))
        down, right = counts["shift"]
        seen = [
            cell
            for cell in (1, 2, 3)
            if any(0 <= y + down < 8 and 0 <= x + right < 8 for y, x in np.argwhere(LABELS == cell))
        ]
        assert counts["segmented_cells"] == len(seen) == len(np.unique(labels[labels > 0]))
        lost += 3 - len(seen)
    assert lost  # otherwise nothing was tried


def test_easy_tissue_has_no_scene_and_glass_no_fibres(monkeypatch):
    made = _scene(None, SHAPES, None, parameters(), rng)
    assert (made.stain, made.structures, made.fields_of_view) == (None, None, None)
    light = np.full(LABELS.shape, 2.0)
    monkeypatch.setattr(module, "structures", lambda *_, **__: light)
    settings = parameters(collagen=1.0, stitching=0.2)
    np.testing.assert_array_equal(_scene(None, SHAPES, None, settings, rng).structures, light)
    np.testing.assert_array_equal(_scene(None, SHAPES, LABELS > 0, settings, rng).structures, 2.0 * (LABELS > 0))
