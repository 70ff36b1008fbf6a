"""Calls of markers in samples: gates, tables, agreement (against scikit-learn) and versions, by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

from spatialfm.learn.positivity import Call
from spatialfm.learn.positivity_calls import (
    agreement,
    between_samples,
    fitted_calls,
    from_images,
    gated,
    gates_digest,
    next_version,
    probabilities,
    tables,
    unclear,
)

SAMPLES = pd.Series(pd.Categorical(["s1", "s2", "s1", "s2", "s1"]))


def test_cells_above_the_gate_of_their_own_sample_are_positive():
    values = np.array([[5.0, 1], [5, np.nan], [1, 3], [9, np.nan], [4, 2]])
    gates = pd.DataFrame({"CD3": [4.0, 6.0], "CD8": [2.0, 2.0]}, index=["s1", "s2"])
    calls = gated(values, SAMPLES, gates)
    table = probabilities(calls, SAMPLES, 2)
    np.testing.assert_array_equal(table[:, 0], [1, 0, 0, 1, 0])  # a cell at the gate is not above it
    np.testing.assert_array_equal(table[:, 1], [0, np.nan, 1, np.nan, 0])
    assert calls[1, 1].status == "not measured"


def test_thresholds_come_back_in_the_units_of_the_intensities():
    """Two populations around 10 and 1000: the threshold lies between them, whatever the cofactor of arcsinh."""
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(10, 1, 200), rng.normal(1000, 50, 200)])[:, None]
    samples = pd.Series(pd.Categorical(["s"] * 400))
    for cofactor in (0.5, 5.0):
        calls = fitted_calls(values, samples, np.array([cofactor]), "otsu", 20, 0.01, 0)
        assert 11 < calls[0, 0].threshold < 850
        assert tables(calls, ["s"], ["CD3"])["share"].iloc[0, 0] == pytest.approx(0.5, abs=0.01)


def test_a_sample_without_the_marker_is_not_called():
    rng = np.random.default_rng(0)
    values = np.concatenate([np.full(50, np.nan), rng.normal(1, 0.1, 25), rng.normal(100, 5, 25)])[:, None]
    samples = pd.Series(pd.Categorical(np.repeat(["s1", "s2"], 50)))
    calls = fitted_calls(values, samples, np.array([1.0]), "otsu", 20, 0.01, 0)
    assert calls[0, 0].status == "not measured"
    assert np.isnan(calls[0, 0].probability).all()
    assert (probabilities(calls, samples, 1)[75:, 0] == 1).all()


def test_calls_of_a_network_keep_their_probabilities():
    probability = np.array([[0.9, np.nan], [0.2, 0.1], [0.4, np.nan], [0.6, 0.7], [0.5, np.nan]])
    calls = from_images(probability, SAMPLES)
    np.testing.assert_allclose(probabilities(calls, SAMPLES, 2), probability, rtol=1e-6)
    assert [calls[0, 1].status, calls[1, 1].status] == ["not measured", "network"]


def test_markers_that_lie_apart_in_no_way_are_named():
    one = Call("unclear", np.nan, np.array([np.nan]), np.nan)
    calls = {(0, 0): Call("split", 1.0, np.array([1.0]), 3.0), (0, 1): one}
    assert unclear(calls, ["CD3", "CD8"]) == ["CD8"]


def test_shares_are_of_the_cells_that_were_called():
    calls = {(0, 0): Call("gate", 2.0, np.array([0.9, 0.5, np.nan, 0.1]), np.nan)}
    found_tables = tables(calls, ["s1"], ["CD3", "CD8"])
    assert found_tables["share"].loc["s1", "CD3"] == pytest.approx(1 / 3)  # one half is not positive
    assert np.isnan(found_tables["thresholds"].loc["s1", "CD8"])


def test_samples_are_compared_with_the_median_of_the_others():
    """Own thresholds 2, 4 and 8; the third sample is overruled, so that it says nothing about the others."""
    own, used = (2.0, 4.0, 8.0), (2.0, 4.0, 3.0)
    calls = {(i, 0): Call("split", used[i], np.zeros(0), np.nan, own[i]) for i in range(3)}
    samples = pd.Series(pd.Categorical(["a", "a", "a", "a", "b", "c"]))
    values = np.array([1.0, 3.0, 5.0, np.nan, 1.0, 1.0])[:, None]
    table = between_samples(calls, values, samples, ["CD3"]).set_index("sample")
    assert table["others"].tolist() == [4, 2, 3]
    assert table["fold"].tolist() == [0.5, 2, pytest.approx(8 / 3)]
    assert table.loc["a", "same"] == pytest.approx(2 / 3)  # the cell at 3 is above 2 and not above 4
    assert table["overruled"].tolist() == [False, False, True]


def test_agreement_is_cohens_kappa():
    rng = np.random.default_rng(0)
    ours, theirs = rng.random(40), (rng.random(40) > 0.4).astype(float)
    theirs[:5] = np.nan
    frames = [pd.DataFrame({"CD3": one}, index=["cell"] * 40) for one in (ours, theirs)]  # names that are not unique
    row = agreement(*frames, pd.Series(pd.Categorical(["s"] * 40))).iloc[0]
    known = slice(5, None)
    assert row["kappa"] == pytest.approx(cohen_kappa_score(ours[known] > 0.5, theirs[known] > 0.5))
    assert row["share"] == pytest.approx((ours[known] > 0.5).mean())
    assert row["agreement"] == pytest.approx(((ours[known] > 0.5) == (theirs[known] > 0.5)).mean())
    assert row["note"] == ""


@pytest.mark.parametrize(("n_positive", "note"), [(0, "no cell positive"), (98, ""), (99, "nearly all positive")])
def test_calls_that_split_nothing_are_noted(n_positive, note):
    theirs = pd.DataFrame({"CD3": np.arange(100) < n_positive}, dtype=float)
    table = agreement(theirs, theirs, pd.Series(pd.Categorical(["s"] * 100)))
    assert table["note"].tolist() == [note]


def test_a_digest_changes_with_every_number_and_name():
    gates = pd.DataFrame({"CD3": [1.0, 2.0]}, index=["s1", "s2"])
    others = [gates.rename(columns={"CD3": "CD8"}), gates.rename({"s1": "s3"}), gates + 1e-12, gates.iloc[::-1]]
    assert len({gates_digest(one) for one in [gates, *others[:3]]}) == 4
    assert gates_digest(gates) == gates_digest(gates.copy())


def test_a_version_counts_what_has_changed_since_the_one_before():
    before = pd.DataFrame({"CD3": [0.9, 0.1, 0.6], "CD8": [0.2, 0.2, np.nan]})
    first = next_version(None, "x", None, before)
    assert first.values.tolist() == [[1, "x", 0, 0]]
    assert next_version(first, "x", before, before) is not None
    assert len(next_version(first, "x", before, before)) == 1  # nothing has changed
    now = pd.DataFrame({"CD3": [0.4, 0.1, 0.7], "CD8": [0.8, 0.2, 0.1]})
    second = next_version(first, "y", before, now)
    # the first cell in two markers, the third from unknown to known
    assert second.iloc[1].tolist() == [2, "y", 2, 3]
    # the same gates, and calls that changed all the same
    assert len(next_version(second, "y", now, before)) == 3
