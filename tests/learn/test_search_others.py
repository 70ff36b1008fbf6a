"""Hits of other patients where one has most of the cells, and where patients lie apart."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.spatial.distance import cdist

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning
from spatialfm.learn import search_others as others

# any graph will do, and that of pynndescent takes half a minute to compile: tl/retrieval/test_search.py has it
GRAPH = {"approximate": True, "method": "usearch"}


def table(values, patients):
    obs = pd.DataFrame({"patient": patients}, index=[f"c{i}" for i in range(len(values))])
    return AnnData(obs=obs, obsm={"X_m": values})


@pytest.fixture
def compared(monkeypatch):
    """Pairs of rows that were compared one by one, in the searches from here on."""
    pairs, nearest = [], others.nearest

    def counted(index, values, k):
        if index.graph is None:
            pairs.append(len(values) * len(index.values))
        return nearest(index, values, k)

    monkeypatch.setattr(others, "nearest", counted)
    return pairs


def brute(values, patients, k):
    far = cdist(values, values)
    far[patients[:, None] == patients] = np.inf
    places = np.argsort(far, axis=1)[:, :k]
    return places, np.take_along_axis(far, places, 1)


def dominated(n=2000, seed=0):
    """One patient has 95 % of the cells, four others the rest, of the same tissue."""
    rng = np.random.default_rng(seed)
    patients = np.where(rng.random(n) < 0.95, "P0", rng.choice(["P1", "P2", "P3", "P4"], n))
    return rng.normal(size=(n, 5)), patients


@pytest.mark.parametrize("pairs", [others.PAIRS, 100_000])
def test_hits_are_those_of_brute_force_where_one_patient_has_most_cells(pairs, monkeypatch, compared):
    """By comparing all, as of few cells, and by a graph of the rows of the others."""
    if pairs != others.PAIRS:
        monkeypatch.setattr(others, "FEW", 10)
    monkeypatch.setattr(others, "PAIRS", pairs)
    values, patients = dominated()
    cells = table(values, patients)
    hits = sfm.tl.search(sfm.tl.build_index(cells, "X_m", **GRAPH), cells, k=4)
    places, far = brute(values, patients, 4)
    assert hits["rank"].tolist() == [1, 2, 3, 4] * len(values)
    found = hits["hit"].str[1:].astype(int).to_numpy().reshape(-1, 4)
    assert (patients[found] != patients[:, None]).all()
    same = np.mean([len(np.intersect1d(one, two)) for one, two in zip(found, places, strict=True)]) / 4
    assert same == pytest.approx(hits.attrs["recall"], abs=0.02)
    assert same > 0.98
    reached = hits["distance"].to_numpy().reshape(-1, 4)
    np.testing.assert_allclose(reached[found == places], far[found == places], rtol=1e-4)
    n = len(values)
    assert max(compared, default=0) <= max(pairs, others.FEW * n)
    if pairs == 100_000:
        assert sum(compared) < 0.02 * n**2  # comparing the 1,900 with all others: 190,000


def test_patients_that_lie_apart_are_bounded_too(monkeypatch, compared):
    """Each patient is its own cloud, so that the graph of all finds nobody else for anybody."""
    monkeypatch.setattr(others, "FEW", 20)
    monkeypatch.setattr(others, "PAIRS", 300_000)
    rng = np.random.default_rng(0)
    patients = np.repeat([f"P{i}" for i in range(6)], [900, 400, 300, 200, 150, 50])
    values = rng.normal(size=(2000, 3)) + 40 * rng.normal(size=(6, 3))[pd.factorize(patients)[0]]
    cells = table(values, patients)
    hits = sfm.tl.search(sfm.tl.build_index(cells, "X_m", **GRAPH), cells, k=3)
    places, _ = brute(values, patients, 3)
    found = hits["hit"].str[1:].astype(int).to_numpy().reshape(-1, 3)
    same = np.mean([len(np.intersect1d(one, two)) for one, two in zip(found, places, strict=True)]) / 3
    assert hits.attrs["recall"] == pytest.approx(same, abs=0.05)
    assert same > 0.95  # a graph of all others is entered in the wrong cloud for 40 % of them
    assert max(compared) <= 300_000  # all others of the largest are 900 times 1,100


def test_a_graph_that_finds_too_few_others_is_asked_for_more():
    """Rows on a line, of which the 18 nearest are the query's own: two others are among the 20 that are asked first."""
    values = np.arange(400, dtype=np.float32)[:, None]

    class Graph:
        asked = []

        def query(self, queries, k):
            self.asked.append(k)
            near = np.argsort(abs(queries - values[:, 0]), axis=1, kind="stable")[:, :k]
            return near, abs(queries - values[near, 0])

    index = others.Index(values, values[:, 0].astype(str), np.zeros(1), "l2", "X_m", graph=Graph(), method="usearch")
    group_of = np.where(np.arange(400) < 18, 0, 1)
    places, distances = others.nearest_of_others(index, values[:1], np.array([0]), group_of, 4, np.arange(1))
    assert places.tolist() == [[18, 19, 20, 21]]
    assert distances.tolist() == [[18, 19, 20, 21]]
    assert Graph.asked == [20, 200]


def test_each_query_meets_each_row_of_others_once_and_none_of_its_own():
    rng = np.random.default_rng(0)
    of, own = rng.choice(9, 300, p=np.arange(1, 10) / 45), rng.integers(0, 11, 80)  # two groups are not in the index
    met = np.zeros((80, 300), int)
    total = 0
    for rows, asked in others.outside(own, of):
        met[np.ix_(asked, rows)] += 1
        total += len(rows)
    np.testing.assert_array_equal(met, own[:, None] != of)
    share = np.bincount(of) / 300
    assert total <= 300 * (2 + 1 - (share * np.log2(share)).sum())  # Huffman: no deeper than the entropy and one


def test_groups_are_near_by_the_rows_that_they_have():
    centers = np.array([[0.0, 0], [10, 0], [0, 30], [50, 50]])
    of = np.repeat([0, 1, 2, 3], 40)
    values = centers[of] + np.random.default_rng(0).normal(size=(160, 2))
    found = others.nearest_groups(values, centers, np.array([0, 1, 2, 9]), of)
    assert [sorted(row) for row in found.tolist()] == [[1, 2], [0, 2], [0, 1], [2, 3]]
    two = others.nearest_groups(values[:80], centers[:2], np.array([0, 1]), of[:80])
    assert [sorted(row) for row in two.tolist()] == [[-1, 1], [-1, 0]]


@pytest.mark.parametrize("few", [False, True])
def test_recall_is_measured_against_all_rows_of_others(few, monkeypatch):
    """Of the first hit moved away, the second of four is missed: 3 of 4."""
    if few:  # queries, and rows that are compared at once
        monkeypatch.setattr(others, "N_MEASURED", 3)
        monkeypatch.setattr(others, "BLOCK", 7)
    values, patients = dominated(400)
    index = sfm.tl.build_index(table(values, patients), "X_m", **GRAPH)
    codes = pd.factorize(patients)[0]
    _, far = brute(index.values.astype(float), codes, 4)
    order = np.arange(400)
    assert others.recall_of(index, index.values, codes, codes, far, order) == 1
    far[:, -1] *= 1.5  # no longer among the four nearest
    assert others.recall_of(index, index.values, codes, codes, far, order) == pytest.approx(0.75)


def test_a_search_that_misses_much_is_told(monkeypatch):
    from spatialfm.tl.retrieval import search as _search

    monkeypatch.setattr(_search, "LOW", 1.01)
    values, patients = dominated(400)
    cells = table(values, patients)
    with pytest.warns(
        SpatialfmWarning, match=r"% of the nearest rows of other groups were found by the graphs of usearch"
    ):
        sfm.tl.search(sfm.tl.build_index(cells, "X_m", **GRAPH), cells, k=2)
    exact = sfm.tl.search(sfm.tl.build_index(cells, "X_m"), cells, k=2)
    assert exact.attrs["recall"] == 1
