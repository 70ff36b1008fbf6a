"""Tests of new patients: their level without a shift, what they find, and statistics by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import rankdata

from spatialfm.stats.new_patients import mean_ranks, shift


def test_mean_ranks_are_those_of_each_patient():
    rng = np.random.default_rng(0)
    values, groups = rng.normal(size=(30, 2)).round(1), rng.choice(list("cab"), 30)
    names, found = mean_ranks(values, groups)
    assert names.tolist() == ["a", "b", "c"]
    for row, name in enumerate(names):
        for column in range(2):
            expected = (rankdata(values[:, column])[groups == name].mean() - 0.5) / 30
            assert found[row, column] == pytest.approx(expected)
    np.testing.assert_allclose(mean_ranks(np.exp(values), groups)[1], found)


def test_without_a_shift_p_values_are_uniform():
    rng = np.random.default_rng(1)
    together, alone = [], []
    for _ in range(400):
        found = shift(rng.normal(size=(12, 3)), rng.normal(size=(4, 3)), 99, rng)
        together.append(found.p_value)
        alone.append(found.p_of_patient[0])
    for p in (together, alone):
        for level in (0.1, 0.25, 0.5):
            assert np.mean(np.array(p) <= level) == pytest.approx(level, abs=2.6 * np.sqrt(level * (1 - level) / 400))


def test_a_shift_is_found_and_its_column_named():
    rng = np.random.default_rng(2)
    known, new = rng.normal(size=(19, 4)), rng.normal(size=(6, 4))
    new[:, 2] -= 3
    found = shift(known, new, 999, rng)
    assert found.p_value == pytest.approx(1 / 1000)
    assert found.column == 2


def test_one_patient_by_itself_is_ranked_among_the_others():
    """p of the k-th furthest of K + 1 is k / (K + 1), here of distances by hand."""
    known = np.array([0.0, 1.0, 2.0, 3.0, 10.0])[:, None]
    for value in (1.5, 7.0, 20.0):
        row = np.r_[known[:, 0], value]
        away = [abs(row[i] - np.delete(row, i).mean()) for i in range(6)]
        expected = np.mean([one >= away[-1] for one in away])
        assert shift(known, np.array([[value]]), 9, np.random.default_rng(0)).p_of_patient[0] == pytest.approx(expected)


def test_constant_columns_do_not_differ():
    found = shift(np.ones((5, 2)), np.ones((2, 2)), 49, np.random.default_rng(0))
    assert found.p_value == 1
    assert found.p_of_patient.tolist() == [1, 1]
