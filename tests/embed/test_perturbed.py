"""Images changed as they are read: the pixels of the cells, and no other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import dask.array as da
import numpy as np
import pytest

from spatialfm._errors import PanelError
from spatialfm.embed.perturbed import Perturbation, changed_reader
from spatialfm.embed.pixels.reader import SampleReader
from spatialfm.embed.windows.cells import Cells
from spatialfm.pp.arrays import AxisAffine


@dataclass(frozen=True)
class Given:
    """The part of a run's inputs that a change looks at."""

    panel: Any
    raw: list
    readers: list


@pytest.fixture
def reader():
    rng = np.random.default_rng(0)
    image = rng.integers(1, 200, (3, 30, 40)).astype(np.uint8)
    labels = np.zeros((15, 20), np.int32)  # half as fine as the image
    labels[2:5, 3:9], labels[8:12, 10:15] = 4, 9
    arrays = da.from_array(image, chunks=(1, 16, 16)), da.from_array(labels, chunks=(7, 8))
    return SampleReader("a", "cells_a", *arrays, (2, 0), ("x", "y"), 255.0, 1.0, AxisAffine(0.5, 0.5)), image, labels


def test_channels_are_set_below_the_labels_alone(reader):
    one, image, labels = reader
    changed = changed_reader(one, np.array([9]), {0: 250.0})
    inside = np.kron(labels == 9, np.ones((2, 2), bool))
    expected = image.copy()
    expected[0][inside] = 250
    np.testing.assert_array_equal(np.asarray(changed.image), expected)
    np.testing.assert_allclose(changed.pixels(0, 30, 0, 40), expected[[2, 0]] / 255, rtol=1e-6)
    np.testing.assert_array_equal(changed.pixels(13, 25, 5, 33), changed.pixels(0, 30, 0, 40)[:, 13:25, 5:33])
    np.testing.assert_array_equal(np.asarray(one.image), image)  # as it was
    assert changed.fingerprint != one.fingerprint
    assert changed.fingerprint != changed_reader(one, np.array([4]), {0: 250.0}).fingerprint
    assert (changed.tissue, changed.intensity_max) == (one.tissue, one.intensity_max)


def test_without_cells_nothing_changes_and_values_must_fit(reader):
    one, image, _ = reader
    assert changed_reader(one, np.zeros(0, int), {0: 3.0}) is one
    with pytest.raises(PanelError, match="holds uint8 pixels, into which a value of 300 does not fit"):
        changed_reader(one, np.array([4]), {0: 300.0})
    floats = replace(one, image=da.from_array(image.astype(np.float32)))
    assert changed_reader(floats, np.array([4]), {1: 0.25}).image.compute()[1].min() == 0.25


def test_a_prepared_image_is_changed_before_it_is_clipped_and_blurred(reader):
    """VirTues' own preparation: clipping values stay as they are, and the blur carries the change over."""
    from scipy.ndimage import convolve

    from spatialfm.models.virtues_pixels import ClippedLogBlurred

    one, image, labels = reader
    one = replace(one, intensity_max=1.0)
    clip = np.array([120.0, 60.0])
    old = ClippedLogBlurred(one, clip)
    cells = Cells(
        labels=np.array([4, 9]), sample=np.zeros(2, int), rows=np.arange(2), centers=np.zeros((2, 2)),
        boxes=np.zeros((2, 4), int),
    )  # fmt: skip
    panel = SimpleNamespace(markers=("A", "B"), names=(("A", "B"),))
    inputs = Given(panel=panel, raw=[one], readers=[old])
    found = Perturbation({"A": 250.0, "B": 7.0}, np.array([False, True]))(inputs, cells).readers[0]
    changed, inside = image.astype(float), np.kron(labels == 9, np.ones((2, 2), bool))
    changed[2][inside], changed[0][inside] = 250, 7
    logged = np.log1p(np.minimum(changed[[2, 0]], clip[:, None, None]))
    side = np.exp(-0.5) / (1 + 2 * np.exp(-0.5))
    kernel = np.outer(*[[side, 1 - 2 * side, side]] * 2)[None]
    expected = convolve(logged, kernel, mode="mirror")
    np.testing.assert_allclose(found.pixels(0, 30, 0, 40), expected, rtol=1e-5)
    np.testing.assert_array_equal(found.clip, clip)
    far = np.s_[:, :12, :16]  # more than a pixel from the cell
    np.testing.assert_array_equal(found.pixels(0, 30, 0, 40)[far], old.pixels(0, 30, 0, 40)[far])
