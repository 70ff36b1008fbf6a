"""Pieces of follow-up of Fine and Gray's regression, by hand and as a Cox regression of lifelines."""

from __future__ import annotations

import numpy as np
import pytest

from spatialfm.stats.fine_gray import expand


def test_weights_fall_with_the_chance_to_be_uncensored():
    """Patient 1 has the other event at 2; of the three then at risk one is censored at 3: G falls to 1/2.

    Those at risk of censoring at 3 are the two seen from 3 on.
    """
    time, cause = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1, 2, 0, 1])
    found = expand(time, cause, 1)
    mine = found.patient == 1
    pieces = sorted(zip(found.start[mine], found.stop[mine], found.weight[mine], strict=True))
    assert [(a, b) for a, b, _ in pieces] == [(-np.inf, 2.0), (2.0, 3.0), (3.0, 4.0)]
    np.testing.assert_allclose([w for *_, w in pieces], [1, 1, 0.5])
    assert found.event.sum() == 2
    assert not found.event[mine].any()


def test_without_other_events_it_is_the_rows_themselves():
    time, cause = np.array([3.0, 1.0, 2.0]), np.array([1, 0, 1])
    found = expand(time, cause, 1)
    assert found.patient.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(found.stop, time)
    np.testing.assert_array_equal(found.event, [True, False, True])
    assert (found.weight == 1).all()


def test_without_censoring_other_events_stay_at_risk_with_full_weight():
    """The weighted numbers at risk are then those of the subdistribution: all who have not had the event."""
    rng = np.random.default_rng(0)
    time, cause = rng.permutation(np.arange(1.0, 31)), rng.integers(1, 3, 30)
    found = expand(time, cause, 1)
    for t in time[cause == 1]:
        at_risk = found.weight[(found.start < t) & (found.stop >= t)].sum()
        assert at_risk == pytest.approx(30 - ((cause == 1) & (time < t)).sum())


def test_entry_at_zero_changes_nothing():
    rng = np.random.default_rng(1)
    time, cause = rng.uniform(0.5, 5, 40), rng.integers(0, 3, 40)
    one, two = expand(time, cause, 1), expand(time, cause, 1, np.zeros(40))
    np.testing.assert_allclose(one.weight, two.weight)
    np.testing.assert_array_equal(one.stop, two.stop)
