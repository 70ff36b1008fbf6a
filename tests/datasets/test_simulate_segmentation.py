"""Errors of a segmentation, counted on cells whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from spatialfm.datasets._simulate_segmentation import segment, touching_pairs


@pytest.fixture
def cells():
    """100 squares of 8 x 8 pixels without gaps."""
    return np.kron(np.arange(1, 101).reshape(10, 10), np.ones((8, 8), int)).astype(np.int32)


def run(labels, **rates):
    options = {"merge_rate": 0.0, "split_rate": 0.0, "miss_rate": 0.0, "dilation": 0} | rates
    return segment(labels, **options, rng=np.random.default_rng(0))


def test_without_errors_cells_are_the_same_under_new_numbers(cells):
    out, counts = run(cells)
    assert counts == {"true_cells": 100, "merges": 0, "splits": 0, "missed": 0, "segmented_cells": 100}
    pairs = set(zip(cells.ravel().tolist(), out.ravel().tolist(), strict=True))
    assert len(pairs) == 100


def test_each_error_is_counted(cells):
    out, counts = run(cells, miss_rate=0.3)
    assert counts["segmented_cells"] == 100 - counts["missed"] == len(np.unique(out[out > 0]))
    assert (out == 0).sum() == 64 * counts["missed"]
    out, counts = run(cells, merge_rate=0.4)
    assert counts["segmented_cells"] == 100 - counts["merges"]
    areas = np.bincount(out.ravel())[1:]
    assert sorted(set(areas.tolist())) == [64, 128]
    assert (areas == 128).sum() == counts["merges"] > 5
    out, counts = run(cells, split_rate=0.4)
    assert counts["segmented_cells"] == 100 + counts["splits"]
    assert counts["splits"] > 20
    assert np.bincount(out.ravel())[1:].sum() == 6400


def test_outlines_too_far_out_grow_into_the_background():
    labels = np.zeros((30, 30), np.int32)
    labels[10:20, 10:20] = 1
    out, _ = run(labels, dilation=2)
    assert (out > 0).sum() == 10 * 10 + 2 * 4 * 10 + 4  # two rings of a cross-shaped neighbourhood, and four corners
    assert (out[labels == 1] == 1).all()


def test_pairs_that_share_an_edge():
    labels = np.array([[1, 1, 2], [3, 0, 2], [3, 4, 4]])
    assert touching_pairs(labels).tolist() == [[1, 2], [1, 3], [2, 4], [3, 4]]
