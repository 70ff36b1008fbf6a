"""Scores of hits by hand, and their chance level against what must come out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import spatialfm as sfm
from spatialfm._errors import TableError


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
    table = sfm.metrics.retrieval(hits, labels=labels, k=[1, 3]).set_index("measure")
    a, b = (labels == "a").mean(), (labels == "b").mean()
    same = a**2 + b**2
    assert table.loc["accuracy@1", "chance"] == pytest.approx(same, abs=0.01)
    either = a * (1 - b**3) + b * (1 - a**3)
    assert table.loc["accuracy@3", "chance"] == pytest.approx(either, abs=0.01)
    assert table.loc["accuracy@1", "low"] < table.loc["accuracy@1", "chance"] < table.loc["accuracy@1", "high"]


def test_names_that_are_missing_are_told(hits):
    with pytest.raises(TableError, match="Pass labels=, compositions="):
        sfm.metrics.retrieval(hits)
    with pytest.raises(TableError, match=r"labels= lacks 1 of the names in 'hit': 'c'"):
        sfm.metrics.retrieval(hits, labels=pd.Series({"a": 1, "b": 1, "q1": 1, "q2": 1}))
    with pytest.raises(TableError, match="no hits"):
        sfm.metrics.retrieval(hits[:0], labels=pd.Series({"a": 1}))
