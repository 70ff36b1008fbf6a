"""An index of rows: nearest ones against numpy, and files that come back."""

from __future__ import annotations

import numpy as np
import pytest

from spatialfm._errors import TableError
from spatialfm.learn.search_index import Index, nearest


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
