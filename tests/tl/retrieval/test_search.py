"""Nearest rows, against brute force."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.spatial.distance import cdist
from sklearn.neighbors import NearestNeighbors

import spatialfm as sfm
from spatialfm._errors import ArgumentError, SpatialfmError, SpatialfmWarning, TableError
from spatialfm.learn.search_index import GRAPHS
from spatialfm.stats.transport import lower_bound, wasserstein
from spatialfm.tl.retrieval.search import Index


def table(values, prefix="c", **obs):
    index = [f"{prefix}{i}" for i in range(len(values))]
    return AnnData(obs=pd.DataFrame(obs, index=index), obsm={"X_m": values})


@pytest.fixture
def values():
    return np.random.default_rng(0).normal(size=(300, 8)) + 5


@pytest.mark.parametrize("metric", ["l2", "cosine"])
@pytest.mark.parametrize("center", [True, False])
def test_hits_are_those_of_brute_force(values, metric, center):
    index = sfm.tl.build_index(table(values), "X_m", metric=metric, center=center)
    queries = np.random.default_rng(1).normal(size=(20, 8)) + 5
    hits = sfm.tl.search(index, table(queries, "q"), k=5)
    middle = values.mean(0) if center else 0
    distance = cdist(queries - middle, values - middle, {"l2": "euclidean", "cosine": "cosine"}[metric])
    order = distance.argsort(1)[:, :5]
    assert hits["hit"].tolist() == [f"c{i}" for i in order.ravel()]
    np.testing.assert_allclose(hits["distance"], np.take_along_axis(distance, order, 1).ravel(), rtol=1e-3, atol=1e-5)
    assert hits["rank"].tolist() == [1, 2, 3, 4, 5] * 20
    assert index.recall == 1


def test_rows_of_the_same_group_are_left_out(values):
    cells = table(values, patient=np.repeat(["a", "b", "c"], 100))
    index = sfm.tl.build_index(cells, "X_m")
    patient = cells.obs["patient"]
    hits = sfm.tl.search(index, cells, k=4, exclude=patient, exclude_of=patient)
    distance = cdist(values, values)
    distance[patient.to_numpy()[:, None] == patient.to_numpy()] = np.inf
    assert hits["hit"].tolist() == [f"c{i}" for i in distance.argsort(1)[:, :4].ravel()]
    pd.testing.assert_frame_equal(sfm.tl.search(index, cells, k=4), hits)  # which is what is done unless asked for
    alone = table(values[:5], patient=["a"] * 5)
    assert sfm.tl.search(sfm.tl.build_index(alone, "X_m"), alone).empty


def test_fewer_hits_where_other_patients_have_fewer_rows(values):
    patients = np.array(["A"] * 7 + ["B"] * 3)
    cells = table(values[:10], patient=patients)
    hits = sfm.tl.search(sfm.tl.build_index(cells, "X_m"), cells, k=5)
    distance = cdist(values[:10], values[:10])
    expected = [
        (f"c{i}", rank, f"c{j}", distance[i, j], patients[i], patients[j])
        for i in range(10)
        for rank, j in enumerate([j for j in distance[i].argsort() if patients[j] != patients[i]][:5], 1)
    ]
    assert len(expected) == 7 * 3 + 3 * 5
    expected = pd.DataFrame(expected, columns=["query", "rank", "hit", "distance", "query_patient", "hit_patient"])
    pd.testing.assert_frame_equal(hits, expected, check_exact=False, rtol=1e-3, check_dtype=False)


def test_the_own_patient_is_found_only_if_that_is_asked_for(values, tmp_path):
    cells = table(values, patient=np.repeat(["a", "b", "c"], 100))
    sfm.tl.build_index(cells, "X_m").save(tmp_path / "index.npz")
    index = Index.load(tmp_path / "index.npz")
    hits = sfm.tl.search(index, cells[:50], k=3)
    assert set(hits["query_patient"]) == {"a"}
    assert set(hits["hit_patient"]) == {"b", "c"}
    assert (cells.obs.loc[hits["hit"], "patient"].to_numpy() == hits["hit_patient"]).all()
    itself = sfm.tl.search(index, cells[:50], k=1, exclude=None)
    assert (itself["hit"] == itself["query"]).all()
    renamed = cells.copy()
    renamed.obs = renamed.obs.rename(columns={"patient": "who"})
    with pytest.warns(SpatialfmWarning, match="Patients of the query are not known.*patient_key="):
        found = sfm.tl.search(index, renamed[:50], k=1)
    assert (found["hit"] == found["query"]).all()
    pd.testing.assert_frame_equal(sfm.tl.search(index, renamed[:50], k=3, patient_key="who"), hits)
    with pytest.warns(SpatialfmWarning, match="Patients of the index are not known"):
        sfm.tl.search(sfm.tl.build_index(cells, "X_m", patient_key=None), cells[:2], k=1)
    with pytest.raises(TableError, match="No column 'whom'"):
        sfm.tl.build_index(cells, "X_m", patient_key="whom")
    with pytest.raises(ArgumentError, match="exclude='slide'.*a list of strings or 'patient', or None"):
        sfm.tl.search(index, cells, exclude="slide")


class Exact:
    """What pynndescent's index answers, by comparing all: without the half minute that it takes to compile."""

    def __init__(self, values, n_neighbors=30):
        self.values = values
        self.neighbor_graph = self.query(values, n_neighbors)

    def query(self, values, k):
        distances, places = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(self.values).kneighbors(values)
        return places, distances


@pytest.fixture
def quick_graph(monkeypatch):
    monkeypatch.setitem(GRAPHS, "pynndescent", lambda values, random_state: Exact(values))


@pytest.mark.slow
def test_a_graph_finds_nearly_all_and_says_how_many():
    values = np.random.default_rng(0).normal(size=(3000, 6))
    cells = table(values)
    index = sfm.tl.build_index(cells, "X_m", approximate=True)
    assert index.recall > 0.95
    exact = sfm.tl.search(sfm.tl.build_index(cells, "X_m"), cells[:100], k=10)
    found = sfm.tl.search(index, cells[:100], k=10)
    both = exact.merge(found, on=["query", "hit"])
    assert len(both) / len(exact) == pytest.approx(index.recall, abs=0.05)


@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_usearch_finds_nearly_all_and_repeats(metric, tmp_path):
    pytest.importorskip("usearch")
    cells = table(np.random.default_rng(0).normal(size=(3000, 16)))
    index = sfm.tl.build_index(cells, "X_m", metric=metric, approximate=True, method="usearch")
    assert index.method == "usearch"
    assert index.recall > 0.95
    exact = sfm.tl.search(sfm.tl.build_index(cells, "X_m", metric=metric), cells[:100], k=10)
    found = sfm.tl.search(index, cells[:100], k=10)
    both = exact.merge(found, on=["query", "hit"])
    assert len(both) / len(exact) == pytest.approx(index.recall, abs=0.05)
    np.testing.assert_allclose(both["distance_x"], both["distance_y"], rtol=1e-3, atol=1e-5)
    again = sfm.tl.build_index(cells, "X_m", metric=metric, approximate=True, method="usearch")
    pd.testing.assert_frame_equal(sfm.tl.search(again, cells[:100], k=10), found)
    index.save(tmp_path / "index.npz")
    loaded = Index.load(tmp_path / "index.npz")
    assert (loaded.method, loaded.recall) == ("usearch", index.recall)
    pd.testing.assert_frame_equal(sfm.tl.search(loaded, cells[:1], k=3), found[:3])


def test_usearch_on_few_and_equal_rows():
    pytest.importorskip("usearch")
    cells = table(np.random.default_rng(0).normal(size=(10, 4)))
    index = sfm.tl.build_index(cells, "X_m", approximate=True, method="usearch")
    assert index.recall == 1
    assert len(sfm.tl.search(index, cells[:2], k=50)) == 20
    same = table(np.ones((40, 3)))
    index = sfm.tl.build_index(same, "X_m", approximate=True, method="usearch")
    hits = sfm.tl.search(index, same[:1], k=5)
    assert hits["distance"].tolist() == [0] * len(hits)


def test_another_library_is_named_where_it_is_missing(values, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "usearch", None)
    monkeypatch.setitem(sys.modules, "usearch.index", None)
    needed = r"needs the package usearch: pip install 'spatialfm\[search\]'. Or pass method="
    with pytest.raises(SpatialfmError, match=needed):
        sfm.tl.build_index(table(values), "X_m", approximate=True, method="usearch")
    assert sfm.tl.build_index(table(values), "X_m", method="usearch").method == "exact"  # few rows need no graph
    with pytest.raises(ArgumentError, match="method='faiss'.*'pynndescent' or 'usearch'"):
        sfm.tl.build_index(table(values), "X_m", method="faiss")


def test_an_index_of_an_earlier_version_is_read(values, tmp_path):
    index = sfm.tl.build_index(table(values), "X_m")
    note = {"metric": "l2", "use_rep": "X_m", "approximate": False}
    np.savez(
        tmp_path / "old.npz",
        values=index.values,
        names=index.names,
        center=index.center,
        note=np.array(json.dumps(note)),
    )
    assert Index.load(tmp_path / "old.npz").method == "exact"


def test_an_index_is_saved_and_loaded(values, tmp_path):
    index = sfm.tl.build_index(table(values), "X_m", metric="cosine")
    index.save(tmp_path / "index.npz")
    again = Index.load(tmp_path / "index.npz")
    pd.testing.assert_frame_equal(sfm.tl.search(again, values[:3], k=3), sfm.tl.search(index, values[:3], k=3))
    assert [path.name for path in tmp_path.iterdir()] == ["index.npz"]
    (tmp_path / "other.npz").write_text("not an index")
    with pytest.raises(TableError, match="is not an index"):
        Index.load(tmp_path / "other.npz")


def test_what_cannot_be_searched_is_refused(values):
    cells = table(values)
    index = sfm.tl.build_index(cells, "X_m")
    with pytest.raises(TableError, match="The query has 3 columns, the index 8"):
        sfm.tl.search(index, values[:, :3])
    with pytest.raises(ArgumentError, match="k=0"):
        sfm.tl.search(index, cells, k=0)
    with pytest.raises(TableError, match="belong together"):
        sfm.tl.search(index, cells, exclude=["a"])
    with pytest.raises(ArgumentError, match="metric='dot'"):
        sfm.tl.build_index(cells, "X_m", metric="dot")
    values[3] = np.nan
    with pytest.raises(TableError, match=r"1 of 300 rows of 'X_m' hold NaN"):
        sfm.tl.build_index(table(values), "X_m")
    twice = AnnData(obs=pd.DataFrame(index=["a", "a"]), obsm={"X_m": np.ones((2, 2))})
    with pytest.raises(TableError, match=r"obs_names repeat \('a'\)"):
        sfm.tl.build_index(twice, "X_m")
    assert (
        len(sfm.tl.search(sfm.tl.build_index(table(np.ones((10, 2))), "X_m", metric="cosine"), np.ones((1, 2)))) == 10
    )


def test_samples_of_other_patients_at_the_published_distance():
    """Two samples per patient, nearest to each other; the distance is that of all columns, by POT."""
    import ot

    rng = np.random.default_rng(0)
    sample = np.repeat(np.arange(6), 30)
    values = rng.normal(size=(180, 12)) + 3.0 * np.array([0, 0, 1, 1, 5, 5])[sample, None]
    tiles = table(values, sample=[f"s{i}" for i in sample], patient=[f"P{i // 2}" for i in sample])
    hits = sfm.tl.search_samples(tiles, "s0", k=2, use_rep="X_m")
    assert sorted(hits["sample"]) == ["s2", "s3"]
    assert hits["patient"].tolist() == ["P1", "P1"]
    for row in hits.itertuples():
        cost = ot.dist(values[:30], values[sample == int(row.sample[1])])
        assert row.distance == pytest.approx(np.sqrt(ot.emd2(ot.unif(30), ot.unif(30), cost)))
    own = sfm.tl.search_samples(tiles, "s0", k=1, use_rep="X_m", exclude=None)
    assert own["sample"].tolist() == ["s1"]
    with pytest.raises(TableError, match="All samples are of 'P0'.*exclude=None"):
        sfm.tl.search_samples(tiles[:60].copy(), "s0", use_rep="X_m")


def test_distances_of_shifted_clouds_are_the_shift():
    cloud = np.random.default_rng(0).normal(size=(80, 3))
    assert wasserstein(cloud, cloud + [3, 0, 4]) == pytest.approx(5)
    assert lower_bound(cloud, cloud + [3, 0, 4]) == pytest.approx(5)
    spread = 2 * cloud  # of 1-d clouds: sqrt(mean((x - 2x)^2)) when sorted alike
    assert wasserstein(cloud[:, :1], spread[:, :1]) == pytest.approx(np.sqrt((cloud[:, 0] ** 2).mean()))
    rng = np.random.default_rng(1)
    for _ in range(20):
        one, two = rng.normal(size=(30, 4)), rng.normal(size=(25, 4)) * rng.uniform(0.2, 3, 4) + rng.normal(size=4)
        assert lower_bound(one, two) <= wasserstein(one, two) + 1e-9


def test_samples_are_found_without_comparing_all():
    rng = np.random.default_rng(0)
    shift = {f"s{i:02d}": i * 2.0 for i in range(30)}
    values = np.concatenate([rng.normal(size=(40, 5)) + [shift[name], 0, 0, 0, 0] for name in shift])
    tiles = table(values, sample=np.repeat(list(shift), 40))
    hits = sfm.tl.search_samples(tiles, "s10", k=4, use_rep="X_m")
    clouds = {name: values[tiles.obs["sample"] == name] for name in shift}
    every = {name: wasserstein(clouds["s10"], cloud) for name, cloud in clouds.items() if name != "s10"}
    expected = pd.Series(every).sort_values().head(4)
    assert hits["sample"].tolist() == expected.index.tolist()
    np.testing.assert_allclose(hits["distance"], expected, rtol=1e-6)
    assert (hits["lower_bound"] <= hits["distance"] + 1e-9).all()
    assert hits.attrs["n_compared"] < 12
    with pytest.raises(TableError, match=r"No sample 'x'"):
        sfm.tl.search_samples(tiles, "x", use_rep="X_m")
    with pytest.raises(TableError, match="only sample"):
        sfm.tl.search_samples(tiles[:40].copy(), "s00", use_rep="X_m")


def test_a_graph_leaves_the_own_group_out_without_comparing_all(quick_graph, monkeypatch):
    """Of mixed groups the graph finds enough others; of groups that lie apart all rows are compared."""
    from spatialfm.learn import search_others as _search

    rng = np.random.default_rng(0)
    values = rng.normal(size=(3000, 4))
    mixed, apart = rng.choice(list("abc"), 3000), np.repeat(list("abc"), 1000)
    index = sfm.tl.build_index(table(values), "X_m", approximate=True)
    exact = sfm.tl.build_index(table(values), "X_m")
    compared = []
    nearest = _search.nearest

    def counted(one, rows, k):
        if one.graph is None:
            compared.append(len(rows))
        return nearest(one, rows, k)

    monkeypatch.setattr(_search, "nearest", counted)
    options = {"exclude": mixed[:100], "exclude_of": mixed}
    found = sfm.tl.search(index, table(values[:100]), k=5, **options)
    assert sum(compared) == 0
    expected = sfm.tl.search(exact, table(values[:100]), k=5, **options)
    both = expected.merge(found, on=["query", "hit"])
    assert len(both) / len(expected) > 0.95
    np.testing.assert_allclose(both["distance_x"], both["distance_y"], rtol=1e-4)
    assert found["rank"].tolist() == [1, 2, 3, 4, 5] * 100
    assert (mixed[found["hit"].str[1:].astype(int)] != mixed[found["query"].str[1:].astype(int)]).all()
    values[:, 0] += 50 * (apart == "a")  # nobody of b and c is near a
    index, exact = (sfm.tl.build_index(table(values), "X_m", approximate=way) for way in (True, False))
    compared.clear()
    options = {"exclude": apart[:20], "exclude_of": apart}
    found = sfm.tl.search(index, table(values[:20]), k=5, **options)
    assert compared == [20]
    pd.testing.assert_frame_equal(found, sfm.tl.search(exact, table(values[:20]), k=5, **options))


def test_rows_of_the_index_need_no_question_to_its_graph(quick_graph, monkeypatch):
    """What the graph keeps of its rows answers queries that are these rows; changed rows of the same name are asked."""
    rng = np.random.default_rng(0)
    values, patients = rng.normal(size=(1500, 5)), rng.choice(list("abcde"), 1500)
    index = sfm.tl.build_index(table(values, patient=patients), "X_m", approximate=True)
    from spatialfm.learn import search_others as others

    asked, nearest = [], others.nearest

    def counted(one, rows, k):
        asked.append(len(rows))
        return nearest(one, rows, k)

    monkeypatch.setattr(others, "nearest", counted)
    backwards = np.arange(1500)[::-1]
    cells = table(values, patient=patients)[backwards].copy()
    hits = sfm.tl.search(index, cells, k=10)
    assert sum(asked) < 15, "only queries with fewer than 10 others among 30 neighbours"
    every = cdist(values, values)
    every[patients[:, None] == patients] = np.inf
    places = np.argsort(every, axis=1)[:, :10]
    distances = np.take_along_axis(every, places, 1)
    found = hits.pivot(index="query", columns="rank", values="hit").loc[[f"c{i}" for i in range(1500)]].to_numpy()
    shared = [np.isin(places[i], [int(name[1:]) for name in found[i]]).mean() for i in range(1500)]
    assert np.mean(shared) > 0.98
    far = hits.pivot(index="query", columns="rank", values="distance").loc[[f"c{i}" for i in range(1500)]].to_numpy()
    assert np.quantile(np.abs(far - distances), 0.95) < 1e-5
    asked.clear()
    cells.obsm["X_m"] = cells.obsm["X_m"].copy()
    cells.obsm["X_m"][:100] += 1  # the same names, other places
    moved = sfm.tl.search(index, cells, k=10)
    assert 100 <= sum(asked) < 115
    true = cdist(values[backwards][:1] + 1, values)[0]
    true[patients == patients[-1]] = np.inf
    assert moved["hit"].head(1).item() == f"c{true.argmin()}"


def test_a_query_that_was_embedded_otherwise_is_refused(values, tmp_path):
    """Columns of equal number need not mean the same; tables without a record are taken at their word."""

    def made(n=30, basis=None, **changes):
        cells = table(values[:n])
        note = {"model": "kronos", "weights_sha256": "aa", "markers": json.dumps(["CD3", "CD8"]), "n_components": ""}
        cells.uns["spatialfm"] = {"X_m": note | changes}
        if basis is not None:
            cells.uns["spatialfm"]["X_m"]["n_components"] = 8
            cells.uns["spatialfm"]["X_m_basis"] = {"mean": np.zeros(9), "components": basis, "explained": np.ones(8)}
        return cells

    index = sfm.tl.build_index(made(), "X_m")
    index.save(tmp_path / "index.npz")
    for one in (index, Index.load(tmp_path / "index.npz")):
        assert len(sfm.tl.search(one, made(2), k=3)) == 6
        assert len(sfm.tl.search(one, table(values[:2]), k=3)) == 6  # no record
        assert len(sfm.tl.search(one, values[:2], k=3)) == 6
        for changes, message in [
            (
                {"model": "virtues"},
                "made differently in the query: model is 'virtues', in the index 'kronos'",
            ),
            ({"weights_sha256": "bb"}, "weights_sha256 is 'bb', in the index 'aa'. Embed both in the same way"),
            ({"markers": json.dumps(["CD8", "CD4"])}, "columns is 'CD4', 'CD8', in the index 'CD3', 'CD8'"),
        ]:
            with pytest.raises(TableError, match=message):
                sfm.tl.search(one, made(2, **changes), k=3)
    turned = json.dumps(["CD8", "CD3"])
    assert len(sfm.tl.search(index, made(2, markers=turned), k=3)) == 6  # one vector of all markers, in any order
    of_each = sfm.tl.build_index(made(output="marker"), "X_m")
    with pytest.raises(TableError, match="columns is 'CD8', 'CD3', in the index 'CD3', 'CD8'"):
        sfm.tl.search(of_each, made(2, output="marker", markers=turned), k=3)
    one, two = np.eye(8, 9), np.eye(8, 9)[::-1]
    index = sfm.tl.build_index(made(basis=one), "X_m")
    assert len(sfm.tl.search(index, made(2, basis=one.copy()), k=1)) == 2
    with pytest.raises(TableError, match=r"basis is .*embed_cells\(..., recipe=sfm.get.recipe.*'basis': sfm.get.basis"):
        sfm.tl.search(index, made(2, basis=two), k=1)
    cells = sfm.datasets.simulate_cells(n_patients=1, cells_per_patient=20, random_state=0)
    index = sfm.tl.build_index(cells, "X")
    with pytest.raises(TableError, match="columns is .*Bring both to the same columns"):
        sfm.tl.search(index, cells[:, ::-1].copy(), k=1)


def test_a_file_of_an_earlier_version_is_not_taken_at_its_word(values):
    """It listed columns, and told of what is absent as 'None': that cannot be compared with what tables say now."""
    cells = table(values[:30])
    cells.uns["spatialfm"] = {"X_m": {"model": "kronos", "markers": json.dumps(["CD3", "CD8"])}}
    earlier = {"model": "kronos", "weights_sha256": "None", "columns": ["CD3", "CD8"]}
    index = replace(sfm.tl.build_index(cells, "X_m"), made=earlier)
    with pytest.raises(TableError, match="file of an earlier version.*Build it again with sfm.tl.build_index"):
        sfm.tl.search(index, cells[:2].copy(), k=3)
    assert len(sfm.tl.search(index, values[:2], k=3)) == 6


def test_the_own_patient_is_known_however_the_number_is_kept(values):
    cells = AnnData(
        values, obs=pd.DataFrame({"patient": np.arange(len(values)) // 10}, index=[f"c{i}" for i in range(len(values))])
    )
    index = sfm.tl.build_index(cells, "X")
    query = cells[:20].copy()
    query.obs["patient"] = query.obs["patient"].astype(float)  # as pandas makes it where a value was missing
    hits = sfm.tl.search(index, query, k=3)
    assert not (hits["query"] == hits["hit"]).any()
    assert not (hits["query_patient"] == hits["hit_patient"]).any()


def test_a_patient_spelled_otherwise_than_in_the_index_is_refused(values):
    names = [f"c{i}" for i in range(len(values))]
    cells = AnnData(values, obs=pd.DataFrame({"patient": [f"P{i // 10}" for i in range(len(values))]}, index=names))
    index = sfm.tl.build_index(cells, "X")
    query = cells[:5].copy()
    for spelled in ("p0", "P0 "):
        query.obs["patient"] = spelled
        with pytest.raises(TableError, match="spell 1 name in two ways"):
            sfm.tl.search(index, query)
    query.obs["patient"] = "P00"  # may be another
    assert len(sfm.tl.search(index, query, k=2)) == 10


def test_samples_of_the_own_patient_are_not_found_where_the_column_is_called_otherwise():
    cells = sfm.datasets.simulate_cells(n_patients=4, cells_per_patient=40, random_state=0)
    cells.obs["sample"] = [f"s{i // 20}" for i in range(cells.n_obs)]
    cells.obs["PatientID"] = cells.obs.pop("patient")
    with pytest.raises(TableError, match='patient_key="PatientID"'):
        sfm.tl.search_samples(cells, "s0", use_rep="X_latent")
    hits = sfm.tl.search_samples(cells, "s0", use_rep="X_latent", patient_key="PatientID")
    assert "s1" not in set(hits["sample"])
    assert "s1" in set(sfm.tl.search_samples(cells, "s0", use_rep="X_latent", patient_key=None)["sample"])


def test_rows_of_a_sample_that_are_drawn_do_not_hang_on_their_order():
    cells = sfm.datasets.simulate_cells(n_patients=4, cells_per_patient=40, random_state=0)
    turned = cells[np.random.default_rng(0).permutation(cells.n_obs)].copy()
    one, two = (
        sfm.tl.search_samples(table, cells.obs["sample"].iloc[0], 3, use_rep="X_latent", max_rows=10)
        for table in (cells, turned)
    )
    np.testing.assert_allclose(one["distance"], two["distance"])
    assert one["sample"].tolist() == two["sample"].tolist()
