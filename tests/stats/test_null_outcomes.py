"""Outcomes drawn from a Cox model of covariates: who is next has the probability that lifelines' coefficients give."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter
from scipy.stats import chisquare

from spatialfm.stats.null_outcomes import NullOutcomes

EVERY = np.ones(4, bool)


def cohort(n: int = 30, seed: int = 0) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    time, limit = rng.exponential(np.exp(-x[:, 0])), rng.exponential(2, n)
    return x, np.minimum(time, limit), time <= limit


def test_without_covariates_and_censoring_outcomes_are_dealt_again():
    """All orders of four patients are as frequent as each other."""
    null = NullOutcomes(np.zeros((4, 0)), np.arange(1.0, 5), EVERY)
    time, event = null.draw(4800, np.random.default_rng(0))
    assert event.all()
    seen = Counter(map(tuple, time.astype(int)))
    assert set(seen) == set(permutations(range(1, 5)))
    assert chisquare(list(seen.values())).pvalue > 0.01


@pytest.mark.parametrize("late", [False, True])
def test_who_is_next_has_the_probability_of_its_hazard(late):
    x, time, event = cohort()
    entry = np.where(np.arange(30) % 5 == 0, 0.6 * time, 0.0) if late else None
    table = pd.DataFrame({"time": time, "event": event, "a": x[:, 0], "b": x[:, 1]})
    if late:
        table["entry"] = entry
    fit = CoxPHFitter().fit(table, "time", "event", entry_col="entry" if late else None)
    hazard = np.exp(x @ fit.params_.loc[["a", "b"]].to_numpy())
    times, failed = NullOutcomes(x, time, event, None, entry).draw(4000, np.random.default_rng(0))
    first = time[event].min()
    at_risk = (time >= first) & (True if entry is None else entry < first)
    expected = np.where(at_risk, hazard, 0) / hazard[at_risk].sum()
    often = (failed & (times == first)).mean(axis=0)
    assert often.sum() == pytest.approx(1)
    np.testing.assert_allclose(often, expected, atol=0.025)
    # the second event, in proportion among those who are left, who have not been censored, and who have come
    second = np.sort(time[event])[1]
    before = failed & (times == first)
    left = ~before & (times >= second) & (True if entry is None else entry < second)
    weights = np.where(left, hazard, 0)
    np.testing.assert_allclose(
        (failed & (times == second)).mean(axis=0),
        (weights / weights.sum(axis=1, keepdims=True)).mean(axis=0),
        atol=0.025,
    )


def test_times_ties_entries_and_strata_are_kept():
    x, time, event = cohort(40, 1)
    time = np.ceil(4 * time)
    entry = np.where(np.arange(40) % 3 == 0, 0.5 * time, 0.0)
    strata = np.arange(40) % 2
    times, failed = NullOutcomes(x, time, event, strata, entry).draw(50, np.random.default_rng(0))
    assert (times > entry).all()
    assert times[~failed].max() <= time.max()
    for code in (0, 1):
        rows = strata == code
        own = Counter(time[rows & event])
        for drawn, with_event in zip(times[:, rows], failed[:, rows], strict=True):
            seen = Counter(drawn[with_event])
            assert all(seen[at] <= n for at, n in own.items())
            assert set(seen) <= set(own)
            assert sum(seen.values()) >= sum(own.values()) - 2  # nobody may be left at risk at the end
    censored = np.flatnonzero(~event)
    kept = times[:, censored][~failed[:, censored]]
    assert (kept == np.broadcast_to(time[censored], (50, censored.size))[~failed[:, censored]]).all()


def test_censoring_of_those_with_event_is_kaplan_meiers_beyond_it():
    """One patient has the event at 1; of the others a third are censored at 2, 3 and 4 each."""
    time, event = np.array([1.0, *[2.0] * 20, *[3.0] * 20, *[4.0] * 20]), np.zeros(61, bool)
    event[0] = True
    times, failed = NullOutcomes(np.zeros((61, 0)), time, event).draw(3000, np.random.default_rng(0))
    stays = times[~failed[:, 0], 0]
    assert [np.mean(stays == at) for at in (2.0, 3.0, 4.0)] == pytest.approx([1 / 3] * 3, abs=0.03)
    assert failed[:, 0].mean() == pytest.approx(1 / 61, abs=0.01)


def test_nobody_left_at_risk_loses_the_event():
    """The last event has one patient at risk, who may have had an earlier one."""
    time, event = np.array([1.0, 2.0, 3.0]), np.array([True, False, True])
    times, failed = NullOutcomes(np.zeros((3, 0)), time, event).draw(200, np.random.default_rng(0))
    nobody = failed.sum(axis=1) == 1  # the third had it at 1, and the first was censored at 2: 1 / 3 times 1 / 2
    assert nobody.mean() == pytest.approx(1 / 6, abs=0.07)
    assert failed[nobody, 2].all()
    assert (times[nobody] == [2.0, 2.0, 1.0]).all()
    assert set(times[failed]) == {1.0, 3.0}
