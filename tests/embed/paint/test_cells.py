"""Means of pixels over cells, against numpy."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from spatialfm.embed.paint import cells as module
from spatialfm.embed.paint.cells import cell_means, means_of_cells

LABELS = np.zeros((7, 9), np.int64)
LABELS[0:3, 0:3], LABELS[2:6, 4:8], LABELS[6, 8] = 9, 4, 2
PIXELS = np.random.default_rng(0).random((6, 7, 9)).astype(np.float32)


def reader(labels=LABELS):
    return SimpleNamespace(shape=labels.shape, label_image=lambda y0, y1, x0, x1: labels[y0:y1, x0:x1])


def read(box, channels):
    y0, y1, x0, x1 = box
    return PIXELS[channels, y0:y1, x0:x1]


@pytest.mark.parametrize("side", [2, 5, 512])
def test_means_do_not_depend_on_the_squares_and_keep_the_order_of_the_cells(side, monkeypatch):
    monkeypatch.setattr(module, "SIDE", side)
    ids = np.array([4, 2, 9])
    found = cell_means(reader(), ids, np.zeros((3, 2)), read, 6)
    np.testing.assert_allclose(found, [PIXELS[:, LABELS == label].mean(axis=1) for label in ids], rtol=1e-6)


def test_a_cell_that_no_pixel_hits_takes_the_pixel_at_its_centre():
    centers = np.array([[1.0, 1.0], [3.7, 8.2], [99.0, -5.0]])
    found = cell_means(reader(), np.array([9, 50, 60]), centers, read, 6)
    np.testing.assert_allclose(found[1], PIXELS[:, 3, 8], rtol=1e-6)
    np.testing.assert_allclose(found[2], PIXELS[:, 6, 0], rtol=1e-6)  # the nearest of the image


def test_squares_without_cells_are_not_read(monkeypatch):
    monkeypatch.setattr(module, "SIDE", 3)
    asked = []
    cell_means(reader(), np.array([2]), np.zeros((1, 2)), lambda box, c: asked.append(box) or read(box, c), 6)
    assert set(asked) == {(6, 7, 6, 9)}


def test_samples_have_their_own_cells_and_scale():
    """The second sample's centres are in image pixels, two of which are one of the model's."""
    cells = SimpleNamespace(
        rows=np.arange(3), sample=np.array([1, 0, 1]), labels=np.array([50, 9, 4]),
        centers=np.array([[4.0, 6.0], [0, 0], [0, 0]]),
    )  # fmt: skip
    found = means_of_cells(
        [reader(), reader()], np.array([1.0, 2.0]), cells, lambda one, box, c: read(box, c) + 10 * one, 6
    )
    np.testing.assert_allclose(found[0], PIXELS[:, 2, 3] + 10, rtol=1e-6)
    np.testing.assert_allclose(found[1], PIXELS[:, LABELS == 9].mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(found[2], PIXELS[:, LABELS == 4].mean(axis=1) + 10, rtol=1e-6)
