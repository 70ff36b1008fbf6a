"""Concordances of several scores, each without each patient, against lifelines on the patients that are left."""

from __future__ import annotations

import numpy as np
import pytest
from lifelines.utils import concordance_index
from scipy import stats

from spatialfm.stats.concordance import concordances
from spatialfm.stats.paired_concordance import difference_from_chance, paired_difference


@pytest.fixture
def cohort():
    rng = np.random.default_rng(1)
    time, event = rng.integers(1, 15, 30).astype(float), rng.random(30) < 0.7
    return time, event, np.column_stack([-time + rng.normal(0, 6, 30), rng.integers(0, 4, 30)])


def test_values_and_those_without_each_patient(cohort):
    time, event, scores = cohort
    found = concordances(time, event, scores)
    for column, score in enumerate(scores.T):
        assert found.value[column] == pytest.approx(concordance_index(time, -score, event), abs=1e-12)
        for i in range(30):
            kept = np.delete(np.arange(30), i)
            expected = concordance_index(time[kept], -score[kept], event[kept])
            assert found.left_out[i, column] == pytest.approx(expected, abs=1e-12)


def test_late_entry_at_the_time_of_an_event_is_not_at_risk_then():
    """Patient 1 enters when patient 0 has the event: the only pair left is 0 against 2."""
    time, event = np.array([2.0, 5.0, 6.0]), np.array([True, False, False])
    found = concordances(time, event, np.array([[3.0], [9.0], [1.0]]), entry=np.array([0.0, 2.0, 0.0]))
    assert (found.n_pairs, found.value[0]) == (1, 1.0)


def test_differences_are_those_of_the_jackknife(cohort):
    time, event, scores = cohort
    found = concordances(time, event, scores)
    apart = found.left_out[:, 1] - found.left_out[:, 0]
    error = np.sqrt(29 / 30 * ((apart - apart.mean()) ** 2).sum())
    result = paired_difference(found, 0, 1, 29)
    assert result.value == pytest.approx(found.value[1] - found.value[0])
    assert result.se == pytest.approx(error, rel=1e-12)
    assert result.p_value == pytest.approx(2 * stats.t.sf(abs(result.value) / error, 29), rel=1e-10)
    assert result.high - result.low == pytest.approx(2 * stats.t.ppf(0.975, 29) * error, rel=1e-10)
    assert paired_difference(found, 0, 0, 29).p_value == 1.0
    assert difference_from_chance(found, 0, 29).value == pytest.approx(found.value[0] - 0.5)


def test_a_perfect_score_against_a_constant_has_no_error_to_judge_by():
    time = np.arange(1.0, 9)
    found = concordances(time, np.ones(8, bool), np.column_stack([-time, np.zeros(8)]))
    assert found.value.tolist() == [1.0, 0.5]
    assert np.isnan(paired_difference(found, 0, 1, 7).p_value)
