"""Times at which two cohorts say something, and units."""

from __future__ import annotations

import numpy as np
import pytest

from spatialfm._errors import SpatialfmWarning, SurvivalError
from spatialfm.cohort.external_cohort import check_horizon, check_units, common_times, prediction_times, tell_few


@pytest.mark.parametrize(("factor", "said"), [(1.0, False), (4.9, False), (5.1, True), (0.21, False), (0.19, True)])
def test_times_of_another_order_are_said(recwarn, factor, said):
    time = np.arange(1.0, 12)
    assert bool(check_units(time * factor, time)) is said
    assert any("same unit" in str(one.message) for one in recwarn) is said


def test_times_of_evaluation_are_deciles_of_events_that_the_source_knows():
    time = np.arange(1.0, 101)
    event = np.ones(100, bool)
    np.testing.assert_array_equal(common_times(None, time, event, 35.0), [10, 20, 30])
    np.testing.assert_array_equal(common_times([5, 35.0], time, event, 35.0), [5, 35])
    with pytest.raises(SurvivalError, match="times= 36 are behind the follow-up"):
        common_times([5, 36], time, event, 35.0)
    with pytest.raises(SurvivalError, match="there is no time at which"):
        common_times(None, time, event, 0.5)


@pytest.mark.parametrize("times", [[2, 1], [0, 1], [1, 1], [], [np.nan], [np.inf]])
def test_times_rise_from_above_zero(times):
    with pytest.raises(SurvivalError, match="not numbers above 0 that rise"):
        prediction_times(times, np.array([1.0]), 5.0)


def test_times_without_an_outcome_are_quartiles_of_the_source():
    np.testing.assert_allclose(prediction_times(None, np.arange(101.0), 60.0), [25, 50, 60])
    with pytest.raises(SurvivalError, match="The source has survival up to 5"):
        prediction_times([6], np.array([1.0]), 5.0)


@pytest.mark.parametrize(("horizon", "fine"), [(5.0, True), (5.1, False), (0.0, False), (1.0, True)])
def test_a_horizon_is_one_that_both_were_followed_to(horizon, fine):
    if fine:
        check_horizon(horizon, np.array([3.0, 9.0]), 5.0)
    else:
        with pytest.raises(SurvivalError, match="Pass a time above 0 and at most 5"):
            check_horizon(horizon, np.array([3.0, 9.0]), 5.0)


def test_few_events_are_said():
    assert tell_few(10, 1.0) == []
    with pytest.warns(SpatialfmWarning, match="9 events in the target"):
        assert len(tell_few(9, np.nan)) == 2
