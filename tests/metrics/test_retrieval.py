"""Scores of hits by hand, and their chance level against what must come out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning, TableError


@pytest.fixture
def hits():
    return pd.DataFrame(
        {"query": ["q1"] * 3 + ["q2"] * 3, "rank": [1, 2, 3] * 2, "hit": ["a", "b", "c", "c", "b", "a"]}
    )


def test_scores_by_hand(hits):
    labels = pd.Series({"a": "T", "b": "B", "c": "B"})
    query_labels = pd.Series({"q1": "B", "q2": "B"})
    compositions = pd.DataFrame({"T": [1.0, 0.5, 0.0], "B": [0.0, 0.5, 1.0]}, index=list("abc"))
    query_compositions = pd.DataFrame({"T": [0.5, 1.0], "B": [0.5, 0.0]}, index=["q1", "q2"])
    table = sfm.metrics.retrieval(
        hits,
        labels=labels,
        query_labels=query_labels,
        compositions=compositions,
        query_compositions=query_compositions,
        k=[1, 3],
    ).set_index("measure")["value"]
    assert table["accuracy@1"] == 0.5  # q1's first is T, q2's is B
    assert table["accuracy@3"] == 1
    assert table["precision@3"] == pytest.approx(2 / 3)
    assert table["rmse@1"] == pytest.approx((0.5 + 1) / 2)
    assert table["rmse@3"] == 0


def test_chance_is_what_random_hits_give():
    rng = np.random.default_rng(0)
    names = [f"c{i}" for i in range(400)]
    labels = pd.Series(rng.choice(["a", "b"], 400, p=[0.75, 0.25]), index=names)
    hits = pd.DataFrame({"query": np.repeat(names, 3), "rank": [1, 2, 3] * 400, "hit": rng.choice(names, 1200)})
    itself = hits["hit"] == hits["query"]
    hits.loc[itself, "hit"] = np.where(hits.loc[itself, "query"] == "c0", "c1", "c0")
    table = sfm.metrics.retrieval(hits, labels=labels, k=[1, 3]).set_index("measure")
    a, b = (labels == "a").mean(), (labels == "b").mean()
    n = {"a": round(400 * a), "b": round(400 * b)}
    wrong = {kind: stats.hypergeom(399, n[kind] - 1, 3).pmf(0) for kind in n}  # three of the others, no hit
    assert table.loc["accuracy@1", "chance"] == pytest.approx(sum(n[x] / 400 * (n[x] - 1) / 399 for x in n))
    assert table.loc["accuracy@3", "chance"] == pytest.approx(sum(n[x] / 400 * (1 - wrong[x]) for x in n))
    assert table.loc["accuracy@1", "low"] < table.loc["accuracy@1", "chance"] < table.loc["accuracy@1", "high"]


def test_names_that_are_missing_are_told(hits):
    with pytest.raises(TableError, match="Pass labels=, compositions="):
        sfm.metrics.retrieval(hits)
    with pytest.raises(TableError, match=r"labels= lacks 1 of the names in 'hit': 'c'"):
        sfm.metrics.retrieval(hits, labels=pd.Series({"a": 1, "b": 1, "q1": 1, "q2": 1}))
    with pytest.raises(TableError, match="no hits"):
        sfm.metrics.retrieval(hits[:0], labels=pd.Series({"a": 1}))


@pytest.fixture
def cohort():
    """Three patients of four cells; a label that a patient has throughout, and hits of the own patient first."""
    names = [f"{patient}{i}" for patient in "PQR" for i in range(4)]
    patients = pd.Series([name[0] for name in names], index=names)
    labels = patients.map({"P": "x", "Q": "x", "R": "y"})
    rows = []
    for query in names:
        own = [name for name in names if name[0] == query[0] and name != query]
        others = [name for name in names if name[0] != query[0]]
        rows += [{"query": query, "rank": i + 1, "hit": hit} for i, hit in enumerate([query, own[0], *others])]
    return pd.DataFrame(rows), labels, patients


def test_hits_of_the_own_patient_neither_count_nor_are_they_chance(cohort):
    hits, labels, patients = cohort
    with pytest.warns(SpatialfmWarning, match="12 of 120 hits are of the query's own patient and are left out"):
        table = sfm.metrics.retrieval(hits, labels=labels, patients=patients, k=[1]).set_index("measure")
    # the first hit of others is of Q for P, of P for Q and R
    assert table.loc["accuracy@1", "value"] == pytest.approx(2 / 3)
    assert table.loc["accuracy@1", "chance"] == pytest.approx((4 / 8 + 4 / 8 + 0) / 3)
    assert table.loc["accuracy@1", ["unit", "n_patients"]].tolist() == ["patient", 3]
    counted = sfm.metrics.retrieval(hits, labels=labels, patients=patients, exclude=None, k=[1])
    counted = counted.set_index("measure")
    assert counted.loc["accuracy@1", "value"] == 1  # itself does not count, its patient does
    assert counted.loc["accuracy@1", "chance"] == pytest.approx((7 / 11 + 7 / 11 + 3 / 11) / 3)
    alone = sfm.metrics.retrieval(hits, labels=labels, k=[1]).set_index("measure")
    assert alone.loc["accuracy@1", "value"] == 1
    assert alone.loc["accuracy@1", "unit"] == "query"


def test_the_interval_is_a_jackknife_over_patients():
    rng = np.random.default_rng(1)
    names = [f"c{i}" for i in range(40)]
    patients = pd.Series(np.repeat(list("PQRS"), 10), index=names)
    labels = pd.Series(rng.choice(["x", "y"], 40), index=names)
    hits = pd.concat(
        pd.DataFrame({"query": name, "rank": [1, 2, 3], "hit": rng.choice(patients.index[patients != own], 3, False)})
        for name, own in patients.items()
    )
    table = sfm.metrics.retrieval(hits, labels=labels, patients=patients, k=[2]).set_index("measure")
    right = labels[hits["hit"]].to_numpy() == labels[hits["query"]].to_numpy()
    without = []
    for patient in "PQRS":
        kept = (patients[hits["hit"]].to_numpy() != patient) & (patients[hits["query"]].to_numpy() != patient)
        first = pd.Series(right[kept]).groupby(hits["query"].to_numpy()[kept]).apply(lambda part: part[:2].mean())
        without.append(first.mean())
    half = stats.t.ppf(0.975, 3) * np.sqrt(3 / 4 * np.sum((np.array(without) - np.mean(without)) ** 2))
    row = table.loc["precision@2"]
    assert row["high"] - row["value"] == pytest.approx(half)
    assert row["value"] - row["low"] == pytest.approx(half)


def test_mcnemar_is_that_of_statsmodels(monkeypatch):
    from statsmodels.stats.contingency_tables import mcnemar

    from spatialfm.metrics import _retrieval

    rng = np.random.default_rng(0)
    names = [f"c{i}" for i in range(60)]
    labels = pd.Series(rng.choice(["x", "y", "z"], 60), index=names)
    hits = pd.DataFrame({"query": np.repeat(names, 3), "rank": [1, 2, 3] * 60})
    hits["hit"] = [rng.choice(labels.index[labels == labels[query]]) if rng.random() < 0.5 else rng.choice(names)
                   for query in hits["query"]]  # fmt: skip
    hits = hits[hits["hit"] != hits["query"]]
    drawn = []
    inner = _retrieval._random_rows
    monkeypatch.setattr(_retrieval, "_random_rows", lambda *args: drawn.append(inner(*args)) or drawn[-1])
    table = sfm.metrics.retrieval(hits, labels=labels, k=[3]).set_index("measure")
    place = hits.groupby("query").cumcount().to_numpy()
    queries = np.unique(hits["query"])
    random = drawn[0][0][np.searchsorted(queries, hits["query"]), place]
    one = (labels[hits["hit"]].to_numpy() == labels[hits["query"]].to_numpy()).astype(int)
    two = (labels.sort_index().to_numpy()[random] == labels[hits["query"]].to_numpy()).astype(int)
    expected = mcnemar(pd.crosstab(one, two).to_numpy(), exact=False, correction=False).pvalue
    assert table.loc["precision@3", "p_mcnemar"] == pytest.approx(expected)


def test_compositions_of_two_units_are_refused():
    """Percent on both sides is 100 times the score; on one, the score would be of the unit."""
    hits = pd.DataFrame({"query": ["q", "q"], "rank": [1, 2], "hit": ["a", "b"]})
    of_index = pd.DataFrame({"T": [0.9, 0.2], "B": [0.1, 0.8]}, index=["a", "b"])
    of_query = pd.DataFrame({"T": [0.5], "B": [0.5]}, index=["q"])
    table = sfm.metrics.retrieval(hits, compositions=100 * of_index, query_compositions=100 * of_query, k=[1, 2])
    # |0.5 - 0.9| and |0.5 - 0.2| in both types
    assert table["value"].to_numpy() == pytest.approx([40.0, 80.0, 30.0, 60.0])
    for one, two in ((1, 100), (250, 1)):
        with pytest.raises(TableError, match="not in one unit"):
            sfm.metrics.retrieval(hits, compositions=one * of_index, query_compositions=two * of_query, k=[1])


def test_chance_of_compositions_leaves_the_own_patient_out():
    names = ["a1", "a2", "b1", "b2"]
    compositions = pd.DataFrame({"T": [0.0, 0.0, 1.0, 0.5], "B": [1.0, 1.0, 0.0, 0.5]}, index=names)
    patients = pd.Series(["a", "a", "b", "b"], index=names)
    hits = pd.DataFrame({"query": ["a1", "a2"], "rank": 1, "hit": ["b1", "b2"]})
    table = sfm.metrics.retrieval(hits, compositions=compositions, patients=patients, k=[1], n_chance=4000)
    table = table.set_index("measure")
    assert table["value"].round(9).to_dict() == {"rmse@1": 0.75, "l1@1": 1.5}
    assert table.loc["rmse@1", "chance"] == pytest.approx(0.75, abs=0.02)  # 1 or 1/2, never 0


def test_types_in_another_order_are_the_same_types():
    hits = pd.DataFrame({"query": ["q"], "rank": [1], "hit": ["a"]})
    of_index = pd.DataFrame({"T": [0.75], "B": [0.25]}, index=["a"])
    of_query = pd.DataFrame({"B": [0.25], "T": [0.75]}, index=["q"])
    found = sfm.metrics.retrieval(hits, compositions=of_index, query_compositions=of_query, k=[1])
    assert found["value"].tolist() == [0, 0]
    with pytest.raises(TableError, match="'NK' is in one alone"):
        sfm.metrics.retrieval(
            hits, compositions=of_index, query_compositions=of_query.rename(columns={"B": "NK"}), k=[1]
        )


def test_patients_are_one_whether_numbers_are_whole_or_floats():
    names = list("abcd")
    hits = pd.DataFrame({"query": ["a", "a"], "rank": [1, 2], "hit": ["b", "c"]})
    labels, patients = pd.Series(list("xxyy"), index=names), pd.Series([1, 1, 2, 2], index=names)
    with pytest.warns(SpatialfmWarning, match="1 of 2 hits are of the query's own patient"):
        found = sfm.metrics.retrieval(
            hits, labels=labels, patients=patients, query_patients=patients.astype(float), k=[1]
        )
    assert found["value"].tolist() == [0, 0]


def test_chance_has_as_many_hits_as_there_are():
    names = [f"c{i}" for i in range(11)]
    labels = pd.Series(["x"] * 6 + ["y"] * 5, index=names)
    hits = pd.DataFrame({"query": "c0", "rank": [1, 2], "hit": ["c7", "c8"]})
    found = sfm.metrics.retrieval(hits, labels=labels, k=[50]).set_index("measure")
    # two of ten others, five of them right
    assert found.loc["accuracy@50", "chance"] == pytest.approx(1 - (5 * 4) / (10 * 9))


def test_the_order_of_labels_changes_no_chance():
    rng = np.random.default_rng(0)
    names = [f"c{i}" for i in range(40)]
    compositions = pd.DataFrame(rng.dirichlet(np.ones(3), 40), index=names)
    hits = pd.DataFrame({"query": names, "rank": 1, "hit": names[::-1]})
    one, two = (sfm.metrics.retrieval(hits, compositions=table, k=[1]) for table in (compositions, compositions[::-1]))
    pd.testing.assert_frame_equal(one, two)


def test_a_query_that_finds_itself_gains_nothing():
    """Of the hits a, b, c of query a, the first is a itself: b is the first that counts."""
    hits = pd.DataFrame({"query": ["a"] * 3 + ["b"] * 3, "rank": [1, 2, 3] * 2, "hit": ["a", "b", "c", "b", "c", "a"]})
    labels = pd.Series({"a": "T", "b": "B", "c": "T"})
    table = sfm.metrics.retrieval(hits, labels=labels, k=[1, 2]).set_index("measure")["value"]
    assert table["accuracy@1"] == 0
    assert table["precision@2"] == pytest.approx((0.5 + 0) / 2)
