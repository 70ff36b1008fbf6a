"""An index of rows: nearest ones against numpy, and files that come back."""

from __future__ import annotations

import numpy as np
import pytest

from spatialfm._errors import TableError
from spatialfm.learn.search_index import GRAPHS, MOST_ROWS, Index, nearest, order_in_space


def index_of(values, metric="l2", **more):
    names = np.array([f"r{i}" for i in range(len(values))])
    return Index(np.asarray(values, np.float32), names, np.zeros(values.shape[1], np.float32), metric, "X_e", **more)


@pytest.fixture
def values():
    return np.random.default_rng(0).normal(size=(80, 5))


@pytest.mark.parametrize("k", [1, 7, 80])
def test_nearest_rows_are_those_of_all_distances(values, k):
    query = np.random.default_rng(1).normal(size=(6, 5)).astype(np.float32)
    places, distances = nearest(index_of(values), query, k)
    every = np.linalg.norm(query[:, None] - values[None], axis=2)
    np.testing.assert_array_equal(places, np.argsort(every, axis=1)[:, :k])
    np.testing.assert_allclose(distances, np.sort(every, axis=1)[:, :k], atol=1e-4)


def test_the_cosine_is_one_less_the_product_of_unit_vectors(values):
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    places, distances = nearest(index_of(unit, "cosine"), unit[:3].astype(np.float32), 80)
    expected = 1 - unit[:3] @ unit.T
    np.testing.assert_allclose(distances, np.take_along_axis(expected, places, 1), atol=1e-5)
    assert (np.diff(distances, axis=1) >= -1e-6).all()


def test_a_file_comes_back_as_it_was(values, tmp_path):
    index = index_of(values, "cosine", scale=np.arange(1.0, 6), patients=np.array(["p"] * 80), made={"model": "m"})
    index.save(tmp_path / "a.npz")
    again = Index.load(tmp_path / "a.npz")
    np.testing.assert_array_equal(again.values, index.values)
    assert (again.metric, again.use_rep, again.made) == ("cosine", "X_e", {"model": "m"})
    np.testing.assert_array_equal(again.patients, index.patients)
    np.testing.assert_array_equal(again.scale, index.scale)
    (tmp_path / "b.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:-40])
    with pytest.raises(TableError, match="is not an index"):
        Index.load(tmp_path / "b.npz")


class Exact:
    """What pynndescent answers, by comparing all: without the half minute that it takes to compile."""

    def __init__(self, values, n_neighbors, **_):
        self.values = values
        self.neighbor_graph = self.query(values, n_neighbors)

    def query(self, values, k):
        far = np.linalg.norm(values[:, None] - self.values[None], axis=2)
        order = np.argsort(far, axis=1)[:, :k]
        far, missing = np.take_along_axis(far, order, 1), [(0, 0), (0, k - order.shape[1])]
        return np.pad(order, missing, constant_values=7), np.pad(far, missing, constant_values=np.inf)

    def compress_index(self):
        del self.neighbor_graph


def check_graph(values, least):
    """Neighbours that are kept, and those that are asked for, against all distances."""
    graph = GRAPHS["pynndescent"](values, 0)
    every = np.linalg.norm(values[:, None] - values[None], axis=2)
    for places, far in (graph.neighbor_graph, graph.query(values, 10)):
        np.testing.assert_allclose(far, np.take_along_axis(every, places, 1), atol=1e-4)
        true = np.argsort(every, axis=1)[:, :10]
        found = [len(np.intersect1d(one, two)) for one, two in zip(true, places[:, :10], strict=True)]
        assert np.mean(found) >= 10 * least
    return graph


def test_a_graph_of_rows_in_another_order_has_the_places_of_the_table(monkeypatch):
    monkeypatch.setattr("pynndescent.NNDescent", Exact)
    graph = check_graph(np.random.default_rng(0).normal(size=(400, 3)).astype(np.float32), 1)
    places, far = graph.query(np.zeros((1, 3), np.float32), 405)
    assert sorted(places[0]) == [-1] * 5 + list(range(400))
    assert np.isnan(far[places < 0]).all()


@pytest.mark.slow
def test_a_graph_of_pynndescent_has_the_places_of_the_table():
    graph = check_graph(np.random.default_rng(0).normal(size=(2000, 6)).astype(np.float32), 0.95)
    places, _ = graph.query(np.zeros((1, 6), np.float32), 2005)
    assert (places[0, -5:] == -1).all()
    kept = places[places >= 0]
    assert len(np.unique(kept)) == len(kept)


def test_rows_that_follow_each_other_are_near():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(4000, 20)) * np.r_[np.full(3, 5.0), np.full(17, 0.01)]
    order = order_in_space(values)
    np.testing.assert_array_equal(np.sort(order), np.arange(4000))
    as_is, sorted_ones = (np.linalg.norm(np.diff(one[:, :3], axis=0), axis=1).mean() for one in (values, values[order]))
    assert sorted_ones < as_is / 2
    np.testing.assert_array_equal(np.sort(order_in_space(np.ones((200, 2)))), np.arange(200))


def test_more_rows_than_pynndescent_tells_apart_are_refused():
    with pytest.raises(TableError, match='tells 16,777,216 rows apart.*method="usearch"'):
        GRAPHS["pynndescent"](np.broadcast_to(np.float32(0), (MOST_ROWS + 1, 1)), 0)
