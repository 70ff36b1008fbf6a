"""Compiled loops: one outcome does not change with its neighbours in the same call, and a race is run by hand."""

from __future__ import annotations

import numpy as np

from spatialfm.stats.cut_kernels import draw, scan


def test_outcomes_of_one_call_do_not_touch_each_other():
    rng = np.random.default_rng(0)
    x, n_low = rng.normal(size=(20, 2)), np.array([5, 9, 14])
    time, event = np.ceil(3 * rng.exponential(size=(6, 20))), rng.random((6, 20)) < 0.7
    entry = np.full(20, -np.inf)
    every = scan(time, event, entry, x, n_low)
    for i in range(6):
        np.testing.assert_array_equal(scan(time[i : i + 1], event[i : i + 1], entry, x, n_low)[0], every[i])


def test_a_race_by_hand():
    """First at 1 is the second patient; the fourth comes after 1 and starts when the race has got to 0.2."""
    race, limit = np.array([[0.9, 0.2, 0.5, 0.4]]), np.array([[9.0, 9.0, 1.5, np.inf]])
    entry = np.array([-np.inf, -np.inf, -np.inf, 1.0])
    drawn, failed = draw(race, limit, entry, np.array([1.0, 2.0, 3.0]), np.array([1, 1, 1]), 5.0)
    assert failed.tolist() == [[True, True, False, True]]
    assert drawn.tolist() == [[3.0, 1.0, 1.5, 2.0]]  # 0.4 + 0.2 is before 0.9; the third was censored at 1.5
    drawn, failed = draw(race, limit, np.full(4, -np.inf), np.array([1.0, 2.0]), np.array([2, 1]), 5.0)
    assert failed.tolist() == [[True, True, False, True]]
    assert drawn.tolist() == [[2.0, 1.0, 1.5, 1.0]]  # two at 1
