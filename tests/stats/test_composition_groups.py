"""Compositions of groups on arrays: shares, changes and folds that were set."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from spatialfm.stats.composition_groups import (
    ComparedRows,
    changes,
    clr_t,
    compare,
    described,
    of_patients,
    pooled,
    rank_test,
)


def rows_of(counts, codes, **more):
    return ComparedRows(
        np.asarray(counts, float), True, np.asarray(codes), ["a", "b"], np.zeros((len(counts), 0)), **more
    )


@pytest.fixture
def doubled():
    """Type 0 is twice as frequent in group b, against three types that stay."""
    counts = np.random.default_rng(0).poisson(400, (30, 4)).astype(float)
    counts[15:, 0] *= 2
    return rows_of(counts, np.repeat([0, 1], 15))


def test_a_planted_fold_is_found_and_the_rest_is_the_frame(doubled):
    table, frame = compare(doubled, None, 199, np.random.default_rng(0))
    assert table["log2_fold_change"].iloc[0] == pytest.approx(1, abs=0.05)
    assert table["log2_low"].iloc[0] < 1 < table["log2_high"].iloc[0]
    assert not frame[0]
    assert frame.sum() >= 2
    assert table["p_value"].iloc[0] < 0.001
    shares = doubled.shares
    np.testing.assert_allclose(table["mean_difference"], shares[15:].mean(axis=0) - shares[:15].mean(axis=0))
    np.testing.assert_allclose(table["difference"], np.median(shares[15:], axis=0) - np.median(shares[:15], axis=0))
    welch = stats.ttest_ind(shares[15:], shares[:15], equal_var=False).confidence_interval()
    np.testing.assert_allclose(table["mean_low"], welch.low, rtol=0.01)
    np.testing.assert_allclose(table["mean_high"], welch.high, rtol=0.01)


def test_samples_of_a_patient_are_pooled_by_their_cells():
    rows = rows_of([[9, 1], [10, 30], [4, 4]], [0, 0, 1], units=np.array([0, 0, 1]))
    together = pooled(rows)
    np.testing.assert_array_equal(together.counts, [[19, 31], [4, 4]])
    np.testing.assert_array_equal(together.codes, [0, 1])


def test_changes_are_later_less_earlier():
    rows = rows_of([[6, 4], [1, 9], [5, 5], [8, 2]], [0, 1, 0, 1], units=np.array([3, 5, 3, 5]),
                   time=np.array([0, 1, 1, 0]), model="changes")  # fmt: skip
    moved, codes = changes(rows, rows.shares)
    np.testing.assert_allclose(moved, [[-0.1, 0.1], [-0.7, 0.7]])
    np.testing.assert_array_equal(codes, [0, 1])
    np.testing.assert_allclose(described(rows)["difference"], [-0.6, 0.6])
    assert len(of_patients(rows).codes) == 2


@pytest.mark.parametrize("method", ["mannwhitney", "kruskal"])
def test_rank_tests_are_those_of_scipy(doubled, method):
    p = rank_test(method, np.column_stack([doubled.shares, np.ones(30)]), doubled.codes)
    one, two = doubled.shares[:15, 1], doubled.shares[15:, 1]
    expected = stats.mannwhitneyu(two, one).pvalue if method == "mannwhitney" else stats.kruskal(one, two).pvalue
    assert p[1] == pytest.approx(expected)
    assert p[4] == 1.0


def test_centred_log_ratios_find_the_fold(doubled):
    found = clr_t(doubled.counts, doubled.codes, 0.5, np.random.default_rng(0))
    assert found["log2_fold_change"][0] == pytest.approx(1, abs=0.1)
    assert found["log2_low"][0] < 1 < found["log2_high"][0]
    rare = np.column_stack([doubled.counts, np.ones(30)])
    assert np.isnan(clr_t(rare, doubled.codes, 0.5, np.random.default_rng(0))["p_value"][4])
