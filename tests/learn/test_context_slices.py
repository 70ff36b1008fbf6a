"""Slices cut into pieces: against the published loop written down again, and what it loses."""

from __future__ import annotations

import numpy as np
import pytest

from spatialfm._errors import ArgumentError, TableError
from spatialfm.learn.context_slices import Slicing, clusters_of, cut, distances, in_units, pieces, slicing_of

TURN = np.array([[np.cos(2.2), -np.sin(2.2)], [np.sin(2.2), np.cos(2.2)]])  # by more than a right angle


def by_masks(xy, num):
    """The published loop: squares one by one, half-open."""
    n, low = len(xy), xy.min(0)
    x_len, y_len = xy.max(0) - low
    side = np.sqrt(x_len * y_len / (n // num + 1))
    parts = []
    for i in range(int(x_len / side) + 1):
        for j in range(int(y_len // side) + 1):
            x0, x1, y0, y1 = (low[a] + (k + b) * side for a, k, b in ((0, i, 0), (0, i, 1), (1, j, 0), (1, j, 1)))
            rows = np.where((xy[:, 0] >= x0) & (xy[:, 0] < x1) & (xy[:, 1] >= y0) & (xy[:, 1] < y1))[0]
            if len(rows):
                parts += np.array_split(rows, max(1, len(rows) // num))
    return parts


@pytest.fixture(scope="module")
def tissue():
    """A slice of 600 cells, longer than wide, with more cells on the left, and two kinds of embeddings."""
    rng = np.random.default_rng(0)
    xy = np.column_stack([900 * rng.beta(1.2, 2.2, 600), rng.uniform(0, 400, 600)])
    values = rng.normal(size=(600, 6)) + 3 * (xy[:, :1] > 300)
    return xy, values.astype(np.float32)


@pytest.mark.parametrize(("seed", "num"), [(0, 60), (1, 70), (2, 130)])
def test_pieces_are_the_published_ones(seed, num):
    rng = np.random.default_rng(seed)
    xy = np.concatenate([rng.normal(0, 1, (300, 2)), rng.uniform(-20, 30, (400, 2))])
    parts, lost = pieces(xy, num)
    expected = by_masks(xy, num)
    assert [part.tolist() for part in parts] == [part.tolist() for part in expected]
    assert lost == 0
    assert max(map(len, parts)) >= num  # a crowded square was cut


def test_no_cell_is_lost_at_the_far_edge():
    """A square slice that is cut in three by three: rounding leaves its upper edge out of the published comparison."""
    side = 5 / 7
    xy = np.random.default_rng(0).uniform(0, side, (420, 2))
    xy[:4] = [[0, 0], [side, 0], [0, side], [side, side]]
    published = np.concatenate(by_masks(xy, 50))
    assert sorted(set(range(420)) - set(published)) == [2, 3]
    parts, lost = pieces(xy, 50)
    assert lost == 2
    assert sorted(np.concatenate(parts)) == list(range(420))
    for row in (2, 3):  # with those below them
        part = next(part for part in parts if row in part)
        assert (xy[part, 1] > 0.6 * side).all()


def test_few_cells_are_one_piece_and_a_line_is_refused():
    xy = np.column_stack([np.arange(60.0), np.zeros(60)])
    assert [part.tolist() for part in pieces(xy, 60)[0]] == [list(range(60))]
    with pytest.raises(TableError, match="60 cells of a slice lie on a line"):
        pieces(xy, 59)
    with pytest.raises(TableError, match="one place"):
        in_units(np.ones((60, 2)), Slicing())


def test_units():
    xy = np.array([[0.0, 0.0], [30.0, 40.0], [15.0, 10.0]])
    np.testing.assert_allclose(in_units(xy, Slicing()), [[-30, -40], [30, 40], [0, -20]])
    np.testing.assert_allclose(in_units(xy + 7, Slicing(unit=5.0)), [[-3, -4], [3, 4], [0, -2]])


def test_distances_are_those_of_neighbours_and_of_virtual_cells():
    rng = np.random.default_rng(3)
    xy, types = rng.normal(size=(30, 2)) * 9, np.zeros(30, int)
    xy[0], types[0], types[1:3] = 0, 1, 2
    xy[29] = xy[28]  # at the same place: as if not known
    found = distances(xy, types, n_neighbors=5)
    exact = np.linalg.norm(xy[:, None] - xy[None], axis=-1)
    expected = np.full((30, 30), 100.0)
    nearest = np.argsort(exact + np.where(np.eye(30), -1, 0), axis=1)[:, 1:5]
    for i in range(1, 30):
        for j in nearest[i]:
            expected[i, j] = expected[j, i] = exact[i, j]
    expected[1:3], expected[:, 1:3] = exact[1:3], exact[:, 1:3]
    expected[expected == 0] = 100
    expected[0], expected[:, 0] = 0, 0
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found[28, 29] == 100
    assert found.dtype == np.float32


def test_virtual_cells_are_means_of_clusters(tissue):
    xy, values = tissue
    found = cut(xy, values, Slicing(n_cells=100))
    clusters = clusters_of(found.xy, values, Slicing(n_cells=100), 0)
    assert 2 < len(found.virtual) < 60
    for cluster in range(clusters.max() + 1):
        np.testing.assert_allclose(found.virtual[cluster], values[clusters == cluster].mean(0), atol=1e-5)
        np.testing.assert_allclose(found.virtual_xy[cluster], found.xy[clusters == cluster].mean(0), atol=1e-9)
    kind = values.mean(1) > 1.5
    assert np.mean([kind[clusters == one].mean() in (0, 1) for one in range(clusters.max() + 1)]) > 0.8
    piece = found.piece(1)
    n = len(found.virtual)
    assert piece.types.tolist() == [1, *[2] * n, *[0] * len(found.parts[1])]
    np.testing.assert_array_equal(piece.tokens[1 + n :], values[found.parts[1]])
    np.testing.assert_array_equal(piece.xy[1 + n :], found.xy[found.parts[1]])
    assert not piece.tokens[0].any()
    assert not piece.xy[0].any()


def gathered(found):
    """What does not depend on the order of rows: pieces by the sum of the embeddings of their cells."""
    return sorted(round(float(found.values[part].sum()), 2) for part in found.parts)


def test_the_order_of_rows_does_not_matter(tissue):
    xy, values = tissue
    order = np.random.default_rng(5).permutation(600)
    for slicing in (Slicing(n_cells=300), Slicing(n_cells=50, frame="axes")):
        one, other = cut(xy, values, slicing), cut(xy[order], values[order], slicing)
        np.testing.assert_array_equal(other.virtual, one.virtual)
        assert gathered(one) == gathered(other)
        np.testing.assert_allclose(other.xy, one.xy[order], atol=1e-9)


def test_along_its_axes_a_slice_is_the_same_however_it_lay(tissue):
    xy, values = tissue
    for slicing in (Slicing(n_cells=50, frame="axes"), Slicing(n_cells=100, frame="axes", unit=8.0)):
        one, other = cut(xy, values, slicing), cut(xy @ TURN.T + [2000, -70], values, slicing)
        np.testing.assert_allclose(other.xy, one.xy, atol=1e-8)
        np.testing.assert_allclose(other.virtual, one.virtual, atol=1e-5)
        assert [part.tolist() for part in other.parts] == [part.tolist() for part in one.parts]
        assert np.ptp(one.xy[:, 0]) > np.ptp(one.xy[:, 1])
    moved = cut(xy + [2000, -70], values, Slicing(n_cells=100))
    np.testing.assert_allclose(moved.xy, cut(xy, values, Slicing(n_cells=100)).xy, atol=1e-9)


def test_what_departs():
    assert slicing_of({}, None) == Slicing()
    assert slicing_of({"n_cells": 200, "unit": 10.0}, {"unit": None}) == Slicing(n_cells=200)
    with pytest.raises(ArgumentError, match=r"slicing= has 'n_cell'. Did you mean 'n_cells'"):
        slicing_of({}, {"n_cell": 200})
    with pytest.raises(ArgumentError, match="n_cells must be"):
        slicing_of({}, {"n_cells": 10})


@pytest.mark.goldens
def test_goldens(reference):
    goldens = np.load(reference / "goldens" / "secondary.npz")
    normed = in_units(goldens["slice1/xy"], Slicing())
    np.testing.assert_allclose(normed, goldens["slice1/normed"], rtol=0, atol=1e-9)
    parts, lost = pieces(normed, 120)
    assert [len(part) for part in parts] == goldens["slice1/sizes"].tolist()
    np.testing.assert_array_equal(np.concatenate(parts), goldens["slice1/subslices"])
    assert lost == 0
    virtual = goldens["slice1/virtual_xy"].astype(float)
    xy = np.concatenate([np.zeros((1, 2)), virtual, normed[parts[0]]])
    types = np.r_[1, np.full(len(virtual), 2), np.zeros(len(parts[0]), int)]
    expected = goldens["slice1/distances0"]
    assert np.linalg.norm(distances(xy, types) - expected) / np.linalg.norm(expected) < 1e-5
