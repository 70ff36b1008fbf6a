"""Tables of a search for signatures, laid out by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from spatialfm.cohort.signature_patients import SignaturePatients
from spatialfm.learn.signature_clusters import Clusters
from spatialfm.learn.signature_record import CandidateClusters, search_record
from spatialfm.learn.signature_search import JudgedClusters, RankedFold
from spatialfm.stats.signature_outcome import Binary


@pytest.fixture
def search():
    """Eight patients, three clusters; the first goes with response, the third against it."""
    y = np.arange(8) < 4
    names = [f"p{i}" for i in range(8)]
    codes = np.repeat(np.arange(8), 2)
    patients = SignaturePatients(
        np.arange(16), codes, names, pd.DataFrame({"responded": y}, index=names), Binary(y), "True", 0, np.full(8, 5)
    )
    clusters = Clusters(np.array([[0, 1] * 8, [0] * 6 + [1] * 10]), np.array([0, 0, 1]), np.array([0, 1, 0]),
                        np.array([0, 1, 0]))  # fmt: skip
    ranks = np.array([[3, 1, 0]] * 4 + [[1, 1, 2]] * 3 + [[1, 3, 2]])
    shares = np.array([[0.5, 0.5, 0.0]] * 4 + [[0.2, 0.1, 0.3]] * 4)
    candidates = CandidateClusters(clusters, shares, np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]), ranks)
    ratio = tuple(np.array(one) for one in ([4.0, 0.9, 0.5], [2.0, 0.5, 0.2], [8.0, 1.5, 0.9]))
    observed = JudgedClusters(np.array([1.0, 0.5, 0.8]), ratio, [0, 2])
    held_out = np.full((2, 8), np.nan)
    held_out[0, ::2], held_out[1, 1::2] = y[::2], y[1::2]
    folds = [RankedFold(np.arange(8) % 2 == k, ranks, 0) for k in (0, 1)]
    null = {"as published (optimistic)": np.array([0.6, 0.95, 0.7]), "nested": np.array([0.4, 0.5, np.nan]),
            "best cluster": np.array([0.85, 0.9, 0.75])}  # fmt: skip
    return patients, candidates, observed, np.array([0.9, 0.7]), held_out, folds, null, [0.5, 2.0], 0


def test_scores_stand_beside_their_nulls(search):
    scores = search_record(*search)["scores"]
    assert scores.index.name == "AUROC"
    published = scores.loc["as published (optimistic)"]
    assert published["score"] == pytest.approx(0.8)
    assert published["sd"] == pytest.approx(0.1)
    assert published["p_value"] == pytest.approx(2 / 4)
    assert np.isnan(published["ci_low"])
    nested = scores.loc["nested"]
    assert nested["score"] == 1
    assert nested["null_mean"] == pytest.approx(0.45)
    assert nested["p_value"] == pytest.approx(1 / 3)  # a shuffle without a score is left out
    assert (nested["ci_low"], nested["ci_high"]) == (1, 1)


def test_clusters_are_named_by_resolution_and_judged_against_the_best_of_each_shuffle(search):
    table = search_record(*search)["clusters"]
    assert list(table.index) == ["r0.5_c0", "r2_c0", "r0.5_c1"]  # by score
    assert table["n_cells"].tolist() == [8, 6, 8]
    assert table["n_patients"].tolist() == [8, 4, 8]
    assert table["side"].tolist() == ["response", "non-response", "non-response"]
    assert table["p_max"].tolist() == pytest.approx([1 / 4, 3 / 4, 4 / 4])
    assert table["signature"].tolist() == ["RS1", "NRS1", ""]
    np.testing.assert_allclose(table["q_value"], stats.false_discovery_control(table["p_value"]))


def test_signatures_have_their_cut_points_and_patients_their_ranks(search):
    record = search_record(*search)
    assert record["signatures"]["cluster"].tolist() == ["r0.5_c0", "r2_c0"]
    assert record["signatures"]["cut_1"].tolist() == [0.1, 0.3]
    assert record["signatures"]["cut_2"].tolist() == [0.4, 0.6]
    patients = record["patients"]
    assert patients["rank_NRS1"].tolist() == [0] * 4 + [2] * 4
    assert patients["fraction_RS1"].tolist() == [0.5] * 4 + [0.2] * 4
    assert patients["fold"].tolist() == [0, 1] * 4
    assert patients["nested"].tolist() == [1] * 4 + [0] * 4
    assert patients["n_cells_drawn"].tolist() == [2] * 8


def test_without_folds_there_is_no_nested_score(search):
    arguments = list(search)
    arguments[4], arguments[5] = np.zeros((0, 8)), []
    record = search_record(*arguments)
    assert list(record["scores"].index) == ["as published (optimistic)"]
    assert "nested" not in record["null"]
    assert "nested" not in record["patients"]
