"""Label images: outlines, nuclei, contacts, and the errors of segmentation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage.measure import regionprops

from spatialfm.datasets._simulate_options import generator
from spatialfm.datasets._simulate_panel import TYPES
from spatialfm.datasets._simulate_patients import draw_patient
from spatialfm.datasets._simulate_segmentation import segment, touching_pairs
from spatialfm.datasets._simulate_shapes import MIN_AREA, centroids, contacts, draw_shapes
from spatialfm.datasets._simulate_tissue import draw_tissue

ERRORS = {"merge_rate": 0.0, "split_rate": 0.0, "miss_rate": 0.0, "dilation": 0}


@pytest.fixture(scope="module")
def drawn():
    """Cells and pixels of one 256-pixel sample."""
    tissue, _ = draw_tissue(152.0, draw_patient(0, 2, 8), generator(2, "tissue", 0, 0))
    return draw_shapes(tissue, 256, 0.5, 12.0, generator(2, "shape", 0, 0))


@pytest.fixture(scope="module")
def labels(drawn):
    """True labels."""
    return drawn[1].labels


def test_labels_are_cells(drawn, labels):
    tissue, _ = drawn
    n = labels.max()
    assert n == len(tissue.xy)
    assert n > 120
    area = np.bincount(labels.ravel())[1:] * 0.25
    assert area.min() >= MIN_AREA
    assert 30 < np.median(area) < 90
    boxes = ndimage.find_objects(labels)
    for cell, box in enumerate(boxes, start=1):
        assert ndimage.label(labels[box] == cell)[1] == 1  # in one piece


def test_cells_touch_where_they_are_dense(labels):
    touched = np.unique(touching_pairs(labels))
    assert len(touched) > 0.7 * labels.max()


def test_long_cells_are_long(drawn, labels):
    tissue, _ = drawn
    ratio = np.array([p.axis_major_length / max(p.axis_minor_length, 1) for p in regionprops(labels)])
    fibroblast, tumor = (np.median(ratio[tissue.type == TYPES.index(name)]) for name in ("Fibroblast", "Tumor"))
    assert fibroblast > 1.8
    assert tumor < 1.4


def test_nuclei_lie_inside_their_cells(drawn, labels):
    tissue, shapes = drawn
    assert not (shapes.nucleus & (labels == 0)).any()
    assert not (shapes.nucleus & shapes.membrane).any()
    eroded = ndimage.minimum_filter(labels, 3) == ndimage.maximum_filter(labels, 3)
    assert eroded[shapes.nucleus].all()  # a nucleus does not touch the edge of its cell
    share = np.bincount(labels.ravel(), shapes.nucleus.ravel())[1:] / np.bincount(labels.ravel())[1:]
    assert (share > 0).mean() > 0.93  # the image's edge cuts some off
    types = np.array(TYPES)[tissue.type]
    assert np.median(share[types == "B"]) > np.median(share[types == "Macrophage"])


def test_membranes_are_the_rim(drawn, labels):
    _, shapes = drawn
    inside = labels > 0
    # the image's edge is not a membrane: pad with the outermost pixels
    cross = {"footprint": ndimage.generate_binary_structure(2, 1), "mode": "nearest"}
    rim = inside & (ndimage.minimum_filter(labels, **cross) != ndimage.maximum_filter(labels, **cross))
    np.testing.assert_array_equal(shapes.membrane, rim)


def test_contacts_against_the_plain_search():
    rng = np.random.default_rng(0)
    labels = ndimage.zoom(rng.integers(0, 5, (6, 6)), 4, order=0)
    edge, other, distance = contacts(labels, 3.0)
    grid = np.argwhere(np.ones_like(labels))
    for y, x in grid[labels.ravel() > 0]:
        gap = np.hypot(*(grid - [y, x]).T)
        foreign = labels.ravel() != labels[y, x]
        cell = foreign & (labels.ravel() > 0)
        for mask, found in ((foreign, edge), (cell, distance)):
            nearest = gap[mask].min() if mask.any() else np.inf
            assert found[y, x] == pytest.approx(nearest if nearest <= 3 else np.inf)
        if distance[y, x] < np.inf:
            assert labels.ravel()[cell & (gap <= distance[y, x] + 1e-5)].tolist().count(other[y, x])
        else:
            assert other[y, x] == 0
    assert not other[labels == 0].any()


def test_centroids_are_those_of_the_pixels(labels):
    expected = [[(p.centroid[1] + 0.5) * 0.5, (p.centroid[0] + 0.5) * 0.5] for p in regionprops(labels)]
    np.testing.assert_allclose(centroids(labels, labels.max(), 0.5), expected)


def test_perfect_segmentation_is_the_truth_with_other_numbers(labels):
    out, counts = segment(labels, **ERRORS, rng=np.random.default_rng(0))
    assert counts == {
        "true_cells": labels.max(),
        "merges": 0,
        "splits": 0,
        "missed": 0,
        "segmented_cells": labels.max(),
    }
    pairs = np.unique(np.column_stack([labels.ravel(), out.ravel()]), axis=0)
    assert len(pairs) == labels.max() + 1  # one to one


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_error_counts_are_what_the_labels_show(labels, seed):
    rates = {"merge_rate": 0.2, "split_rate": 0.1, "miss_rate": 0.1, "dilation": 0}
    out, counts = segment(labels, **rates, rng=np.random.default_rng(seed))
    n = labels.max()
    seen = np.zeros((n + 1, out.max() + 1), bool)
    seen[labels.ravel(), out.ravel()] = True
    found = seen[1:, 1:]
    assert (~found.any(axis=1)).sum() == counts["missed"]
    assert (found.sum(axis=1) == 2).sum() == counts["splits"]
    assert (found.sum(axis=0) == 2).sum() == counts["merges"]
    assert found.sum(axis=1).max() <= 2
    assert found.sum(axis=0).max() <= 2
    assert not seen[0, 1:].any()  # without dilation nothing grows into the background
    assert counts["segmented_cells"] == out.max() == n - counts["missed"] - counts["merges"] + counts["splits"]
    assert set(np.unique(out)) == set(range(out.max() + 1))
    touching = {tuple(pair) for pair in touching_pairs(labels)}
    for column in np.flatnonzero(found.sum(axis=0) == 2):
        assert tuple(np.flatnonzero(found[:, column]) + 1) in touching


def test_error_rates_are_the_stated_ones(labels):
    rates = {"merge_rate": 0.1, "split_rate": 0.06, "miss_rate": 0.05, "dilation": 0}
    totals = np.zeros(3)
    runs = 30
    for seed in range(runs):
        _, counts = segment(labels, **rates, rng=np.random.default_rng(seed))
        totals += [2 * counts["merges"], counts["splits"], counts["missed"]]
    n = runs * labels.max()
    for share, rate in zip(totals / n, (0.1, 0.06, 0.05), strict=True):
        assert share < rate + 4 * np.sqrt(rate / n)
        assert share > 0.75 * rate  # splits that would leave a sliver are not made, nor in cells with another error


def test_dilation_grows_cells_and_loses_none(labels):
    out, counts = segment(labels, **ERRORS | {"dilation": 2}, rng=np.random.default_rng(0))
    assert counts["segmented_cells"] == labels.max()
    assert (out[labels > 0] > 0).all()
    grown = (out > 0) & (labels == 0)
    assert grown.any()
    assert ndimage.distance_transform_cdt(labels == 0, "taxicab")[grown].max() <= 2
    # a third of the cells also pushes into its neighbours
    owner = np.zeros(out.max() + 1, int)
    for cell in range(1, out.max() + 1):
        owner[cell] = np.bincount(labels[(out == cell) & (labels > 0)]).argmax()
    stolen = (labels > 0) & (owner[out] != labels)
    assert 0.01 < stolen.sum() / (labels > 0).sum() < 0.2
    left = np.bincount(labels[~stolen], minlength=labels.max() + 1) / np.bincount(labels.ravel())
    assert left[1:].min() > 0.3
