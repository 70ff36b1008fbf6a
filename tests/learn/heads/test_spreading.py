"""Label spreading against its closed form and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import LabelSpreading

from spatialfm.learn.heads import cells as cells_file
from spatialfm.learn.heads.cells import VisibleCells
from spatialfm.learn.heads.spreading import affinities, fit_spreading, normalised, spread_labels


def two_moons(n=200, seed=0):
    from sklearn.datasets import make_moons

    return make_moons(n, noise=0.07, random_state=seed)


def labelled_rows(codes, n, seed=0):
    rng = np.random.default_rng(seed)
    return np.sort(np.concatenate([rng.choice(np.flatnonzero(codes == code), n, replace=False) for code in (0, 1)]))


def test_the_solution_is_the_closed_form():
    rng = np.random.default_rng(0)
    weights = rng.random((30, 30)) * (rng.random((30, 30)) < 0.3)
    weights = np.triu(weights, 1)
    graph = normalised(csr_matrix(weights + weights.T))
    start = np.zeros((30, 3))
    start[[0, 7, 20], [0, 1, 2]] = 1
    for alpha in (0.2, 0.9, 0.99):
        expected = (1 - alpha) * np.linalg.solve(np.eye(30) - alpha * graph.toarray(), start)
        np.testing.assert_allclose(spread_labels(graph, start, alpha), expected, atol=1e-6)


def test_shares_are_those_of_scikit_learn_on_the_same_graph():
    values, codes = two_moons()
    cells = VisibleCells(values, StandardScaler().fit(values))
    rows = labelled_rows(codes, 6)
    graph = affinities(*cells.neighbors).toarray()
    assert (graph == graph.T).all()
    hidden = np.full(len(codes), -1)
    hidden[rows] = codes[rows]
    other = LabelSpreading(kernel=lambda x, y: graph, alpha=0.9, max_iter=2000, tol=1e-12).fit(values, hidden)
    shares = fit_spreading(cells, rows, codes[rows]).shares
    np.testing.assert_allclose(shares, other.label_distributions_, atol=1e-4)
    assert (shares.argmax(axis=1) == codes).mean() > 0.95  # moons that no straight line divides


def test_weights_of_edges_are_those_of_local_scaling():
    places, distances = np.array([[1, 2], [0, 2], [1, 0]]), np.array([[1.0, 3.0], [1.0, 2.0], [2.0, 3.0]])
    graph = affinities(places, distances).toarray()
    assert graph[0, 1] == pytest.approx(np.exp(-1 / (3 * 2)))
    assert graph[1, 2] == pytest.approx(np.exp(-4 / (2 * 3)))


def test_classes_weigh_alike_whatever_their_number_of_labels():
    values, codes = two_moons()
    rows = np.sort(np.concatenate([np.flatnonzero(codes == 0)[:60], np.flatnonzero(codes == 1)[:3]]))
    cells = VisibleCells(values, StandardScaler().fit(values))
    found = fit_spreading(cells, rows, codes[rows]).of_rows(np.arange(len(codes)))
    assert (found.argmax(axis=1) == codes)[codes == 1].mean() > 0.9


def test_new_cells_take_the_weighted_mean_of_their_nearest():
    values, codes = two_moons()
    cells = VisibleCells(values, StandardScaler().fit(values))
    rows = labelled_rows(codes, 5)
    rule = fit_spreading(cells, rows, codes[rows])
    new = cells.scaled[:20] + 0.01
    components = cells.project(new).astype(float)
    apart = np.sqrt(((components[:, None] - cells.components) ** 2).sum(axis=2))
    near = np.argsort(apart, axis=1)[:, :15]
    distances = np.take_along_axis(apart, near, 1)
    weights = np.exp(-(distances**2) / distances[:, -1:] ** 2)
    expected = (weights[:, :, None] * rule.shares[near]).sum(axis=1) / weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(rule.of_values(new), expected, atol=1e-4)


def test_of_many_cells_some_are_nodes_and_labels_still_arrive(monkeypatch):
    values, codes = two_moons(1500)
    monkeypatch.setattr(cells_file, "MAX_NODES", 300)
    rows = labelled_rows(codes, 5)
    cells = VisibleCells(values, StandardScaler().fit(values), labelled=rows)
    assert len(cells.nodes) == 300
    assert np.isin(rows, cells.nodes).all()
    found = fit_spreading(cells, rows, codes[rows]).of_rows(np.arange(1500))
    assert (found.argmax(axis=1) == codes).mean() > 0.95


def test_cells_that_no_label_reaches_have_an_even_share():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(size=(40, 2)), rng.normal(size=(40, 2)) + 1000])
    cells = VisibleCells(values, StandardScaler().fit(values))
    found = fit_spreading(cells, np.array([0, 1]), np.array([0, 1])).of_rows(np.arange(80))
    np.testing.assert_allclose(found[40:], 0.5)
    assert found[0].argmax() == 0
