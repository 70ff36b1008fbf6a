"""What methods may see: components, nodes, neighbours."""

from __future__ import annotations

import numpy as np
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from spatialfm.learn.heads import cells as cells_file
from spatialfm.learn.heads.cells import VisibleCells, class_means


def cells_of(n=120, columns=6, **options):
    values = np.random.default_rng(0).normal(size=(n, columns)) @ np.diag(np.arange(1, columns + 1))
    return VisibleCells(values, StandardScaler(with_std=False).fit(values), **options)


def test_components_are_those_of_scikit_learn(monkeypatch):
    monkeypatch.setattr(cells_file, "N_COMPONENTS", 3)
    cells = cells_of()
    expected = PCA(3).fit_transform(cells.values)
    np.testing.assert_allclose(np.abs(cells.components), np.abs(expected), atol=1e-4)
    np.testing.assert_allclose(cells.project(cells.scaled[:5]), cells.components[:5], atol=1e-6)


def test_columns_that_are_combinations_of_others_add_no_component():
    cells = cells_of()
    twice = VisibleCells(np.hstack([cells.values, cells.values]), StandardScaler().fit(np.hstack([cells.values] * 2)))
    assert twice.components.shape == (120, 6)


def test_neighbours_are_the_nearest_others_also_of_cells_that_are_one():
    cells = cells_of()
    places, distances = cells.neighbors
    expected, others = NearestNeighbors(n_neighbors=16).fit(cells.components).kneighbors(cells.components)
    np.testing.assert_array_equal(places, others[:, 1:])
    np.testing.assert_allclose(distances, expected[:, 1:], atol=1e-3)
    same = np.repeat(np.arange(8.0), 5)[:, None] * np.ones(3)
    places, _ = VisibleCells(same, StandardScaler().fit(same)).neighbors
    assert not (places == np.arange(40)[:, None]).any()


def test_what_is_drawn_follows_names_and_not_the_order_of_the_table(monkeypatch):
    monkeypatch.setattr(cells_file, "MAX_NODES", 50)
    monkeypatch.setattr(cells_file, "FITTED_TO", 40)
    cells, turned = cells_of(order=np.arange(120)), np.random.default_rng(2).permutation(120)
    back = np.argsort(turned)  # where each row has gone
    marked = np.arange(5)
    one = VisibleCells(cells.values, cells.scaler, labelled=marked, order=np.arange(120))
    other = VisibleCells(cells.values[turned], cells.scaler, labelled=back[marked], order=back)
    assert sorted(turned[other.nodes].tolist()) == one.nodes.tolist()
    np.testing.assert_allclose(other.components[back], one.components, atol=1e-5)
    assert turned[other.drawn(7)].tolist() != turned[VisibleCells(other.values, cells.scaler).drawn(7)].tolist()
    assert sorted(turned[other.drawn(7)].tolist()) == one.drawn(7).tolist() == cells_of().drawn(7).tolist()
    among = np.arange(120) % 3 == 0
    assert set(one.drawn(7, among) % 3) == {0}
    assert one.drawn(50, among).tolist() == list(range(0, 120, 3))


def test_nodes_are_all_cells_or_the_labelled_ones_and_a_draw(monkeypatch):
    assert cells_of().nodes.tolist() == list(range(120))
    monkeypatch.setattr(cells_file, "MAX_NODES", 50)
    marked = np.arange(100, 120)
    one, two = (cells_of(labelled=marked, random_state=seed).nodes for seed in (0, 1))
    assert len(one) == 50
    assert np.isin(marked, one).all()
    assert one.tolist() == sorted(one)
    assert one.tolist() != two.tolist()
    assert one.tolist() == cells_of(labelled=marked).nodes.tolist()


def test_means_of_more_cells_than_float32_counts_are_right():
    """Ones, of which a float32 sum row by row stays at 2**24: the mean of 20 million would be 0.84."""
    means = class_means(np.ones((20_000_000, 2), np.float32), np.zeros(20_000_000, np.int8))
    np.testing.assert_array_equal(means, [[1, 1]])
