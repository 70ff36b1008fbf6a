"""Outcomes of patients: read in an order of their own, with every event kept, against written-out numbers."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from lifelines.statistics import multivariate_logrank_test

from spatialfm._errors import SpatialfmWarning, SurvivalError
from spatialfm._outcome import RememberedOutcome, remember_outcome
from spatialfm.cohort.outcome import (
    OutcomeKeys,
    event_times,
    events,
    expected_events,
    group_codes,
    named_outcome,
    observed_expected,
    outcome_digest,
    outcome_keys,
    read_groups,
    read_outcome,
    read_strata,
    stratum_codes,
    value_column,
)


def patients(**columns) -> AnnData:
    n = len(next(iter(columns.values())))
    frame = {"time": np.arange(1.0, n + 1), "event": np.ones(n, int)} | columns
    return AnnData(obs=pd.DataFrame(frame, index=[f"p{i}" for i in range(n)]))


def read(table, on_missing="raise", **options):
    options = {"time_key": "time", "event_key": "event", "patient_key": None} | options
    return read_outcome(table, "test", on_missing=on_missing, **options)


def test_rows_come_by_time_and_then_by_name():
    table = patients(time=[3.0, 1.0, 3.0, 2.0], event=[1, 0, 0, 1])
    for rows in ([0, 1, 2, 3], [2, 3, 1, 0]):
        found = read(table[rows])
        assert found.time.tolist() == [1, 2, 3, 3]
        assert found.event.tolist() == [False, True, False, True]
        assert found.names.tolist() == ["p1", "p3", "p2", "p0"]


def test_missing_values_are_named_or_left_out():
    table = patients(time=[1.0, np.nan, 3.0], event=[1, 1, 0])
    with pytest.raises(SurvivalError, match=r"1 of 3 rows have no value in 'time': 'p1'"):
        read(table)
    found = read(table, "drop")
    assert (found.time.tolist(), found.n_dropped) == ([1, 3], 1)
    with pytest.raises(SurvivalError, match="No event among 2 rows"):
        read(patients(event=[0, 0]))


def test_entries_in_another_unit_than_times_are_named():
    table = patients(entry=[0.1, 0.2])
    table.obs = table.obs.rename(columns={"entry": "entry_years", "time": "OS_days"})
    keys = {"time_key": "OS_days", "event_key": "event", "patient_key": None, "on_missing": "raise"}
    with pytest.warns(SpatialfmWarning, match=r"'entry_years'.* reads as years by its name and .*'OS_days'.* as days"):
        read_outcome(table, "a test", entry_key="entry_years", **keys)
    table.obs = table.obs.rename(columns={"entry_years": "entry_days"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_outcome(table, "a test", entry_key="entry_days", **keys)
    table.obs["entry_days"] = [300.0, 900.0]  # days among months: all would come too late
    with pytest.raises(SurvivalError, match="Both count from the same start, as diagnosis, and in one unit: correct"):
        read_outcome(table, "a test", entry_key="entry_days", **keys)


@pytest.mark.parametrize(("entry", "fine"), [([0.0, 1.9], True), ([0.0, 2.0], False), ([0.0, 2.5], False)])
def test_who_enters_at_their_own_time_was_never_observed(entry, fine):
    table = patients(entry=entry)
    if fine:
        np.testing.assert_array_equal(read(table, entry_key="entry").entry, entry)
    else:
        with pytest.raises(SurvivalError, match=r"1 row of obs\['entry'\] \(entry_key=\) not before obs\['time'\]"):
            read(table, entry_key="entry")


@pytest.mark.parametrize(
    ("values", "meant", "expected"),
    [
        ([0, 1, 1], None, [0, 1, 1]),
        ([False, True, False], None, [0, 1, 0]),
        (["dead", "alive", "relapse"], "dead", [1, 0, 0]),
        (["dead", "alive", "relapse"], ["relapse", "dead"], [1, 0, 1]),
        ([1, 2, 0], [1, 2], [1, 1, 0]),
        (["1", "2", "0"], 2, [0, 1, 0]),
    ],
)
def test_all_values_that_mean_the_event_count(values, meant, expected):
    assert events(pd.Series(values), "event", meant).tolist() == [bool(one) for one in expected]


def test_values_that_nobody_explained_are_asked_about():
    with pytest.raises(SurvivalError, match="Which value means that the event was seen"):
        events(pd.Series([0, 1, 2]), "event")
    with pytest.raises(SurvivalError, match="event_value='gone' is not a value"):
        events(pd.Series(["dead", "alive"]), "event", ["dead", "gone"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0, -1.0], "negative or infinite time: .1 "),
        ([1.0, np.inf], "negative or infinite"),
        ([True, False], "True and False, not times"),
        (["1", "x"], "not numbers, in 1 row"),
        (["1", "2"], "numbers as text"),
        (pd.to_timedelta([1, 2], unit="D"), "durations"),
    ],
)
def test_what_is_no_time(values, message):
    with pytest.raises(SurvivalError, match=message):
        event_times(pd.Series(values), "time")
    assert event_times(pd.Series([0, 5]), "time").dtype == np.float64
    assert event_times(pd.Series([0, 2.5, np.int64(3)], dtype=object), "time").tolist() == [0, 2.5, 3]
    with pytest.raises(SurvivalError, match="numbers as text"):
        event_times(pd.Series([1.0, True], dtype=object), "time")


def test_expected_events_are_those_of_the_log_rank_test():
    rng = np.random.default_rng(0)
    time, event, codes = rng.integers(1, 9, 50).astype(float), rng.random(50) < 0.6, np.arange(50) % 3
    seen, expected = observed_expected(time, event, codes, 3)
    assert seen.sum() == pytest.approx(expected.sum())
    by_hand = [sum(((time == t) & event).sum() * ((time >= t) & (codes == g)).sum() / (time >= t).sum()
                   for t in np.unique(time)) for g in range(3)]  # fmt: skip
    np.testing.assert_allclose(expected, by_hand)
    assert multivariate_logrank_test(time, codes, event).p_value < 1


def test_expected_events_from_an_entry_on():
    """Hazards are 1/2 at 1 (two at risk), 1/2 at 2 (the third has come at 1), 1 at 4."""
    found = expected_events(np.array([1.0, 2.0, 4.0]), np.ones(3, bool), np.array([0.0, 0.0, 1.0]))
    np.testing.assert_allclose(found, [0.5, 1.0, 1.5])
    np.testing.assert_allclose(expected_events(np.array([1.0, 2.0]), np.array([1, 0], bool)), [0.5, 0.5])


def test_groups_and_strata():
    table = patients(group=pd.Categorical(["b", "a", "b"], ["b", "a", "c"]), site=["x", "y", "x"], arm=["k", "k", "l"])
    columns = read_groups(table, "group")
    columns.index = table.obs_names
    outcome = read(table, columns=columns.assign(**read_strata(table, ["site", "arm"])))
    codes, names = group_codes(outcome, "group", 2)
    assert (codes.tolist(), names) == ([0, 1, 0], ["b", "a"])
    assert stratum_codes(outcome).tolist() == [0, 2, 1]  # x with k, y with k, x with l
    assert outcome_digest(outcome, codes, names) != outcome_digest(outcome, codes[::-1].copy() * 0, names)
    with pytest.raises(SurvivalError, match="Only one group"):
        group_codes(read(table, columns=columns.assign(group=columns["group"].where(columns["group"] == "b")),
                         on_missing="drop"), "group", 2)  # fmt: skip
    with pytest.raises(SurvivalError, match="11 different numbers, which are not groups"):
        read_groups(patients(group=np.arange(11) / 3), "group")


def test_a_value_is_a_column_or_a_marker():
    table = AnnData(
        np.array([[1.0, 2.0]]), obs=pd.DataFrame({"age": [5]}, index=["p"]), var=pd.DataFrame(index=["CD3", "age"])
    )
    assert value_column(table, "CD3", "key").tolist() == [1.0]
    with pytest.raises(SurvivalError, match="a column of obs and a name in var"):
        value_column(table, "age", "key")
    with pytest.raises(SurvivalError, match="No column 'x'"):
        value_column(table, "x", "key")


def test_columns_are_those_given_then_those_remembered_then_the_usual_ones():
    table = patients(os=[1.0, 2.0], dead=["no", "yes"])
    assert outcome_keys(table, None, None) == OutcomeKeys("time", "event", None, "default names")
    assert outcome_keys(table, "os", None) == OutcomeKeys("os", "event", None, "arguments and default names")
    assert outcome_keys(table, "os", "dead", "yes") == OutcomeKeys("os", "dead", "yes", "arguments")
    assert named_outcome(table, None, None, None) is None
    remember_outcome(table, RememberedOutcome("os", "dead", "yes", "sfm.io.read_cohort"))
    by = "remembered from sfm.io.read_cohort"
    assert outcome_keys(table, None, None) == OutcomeKeys("os", "dead", ["yes"], by)
    assert outcome_keys(table, "os", None) == OutcomeKeys("os", "dead", ["yes"], by)
    assert outcome_keys(table, None, None, "no") == OutcomeKeys("os", "dead", "no", by)
    assert outcome_keys(table, None, None, takes_value=False).value is None
    assert outcome_keys(table, "time", "event") == OutcomeKeys("time", "event", None, "arguments")
    assert outcome_keys(table, "os", "dead") == OutcomeKeys("os", "dead", ["yes"], f"arguments, event_value {by}")
    assert named_outcome(table, None, None, None) == outcome_keys(table, None, None)


@pytest.mark.parametrize("given", [("time", None), (None, "event")])
def test_time_and_event_of_two_outcomes_are_never_mixed(given):
    table = patients(os=[1.0, 2.0], dead=[0, 1])
    remember_outcome(table, RememberedOutcome("os", "dead"))
    with pytest.raises(SurvivalError, match=r"is not the column that the table remembers.*Pass both time_key="):
        outcome_keys(table, *given)


def test_what_is_not_known_is_asked_for():
    table = patients(os=[1.0, 2.0]).copy()
    del table.obs["time"]
    with pytest.raises(SurvivalError, match=r"No column 'time' in obs \(time_key=\).*sfm\.pp\.set_outcome\(patients"):
        outcome_keys(table, None, None)
    with pytest.raises(SurvivalError, match="Pass both of time_key= and event_key=, or neither"):
        named_outcome(table, "os", None, None)
    remember_outcome(table, RememberedOutcome("pfs", "event", None, "sfm.pp.set_outcome"))
    with pytest.raises(SurvivalError, match=r"No column 'pfs' in obs, which holds times by what the table remembers"):
        outcome_keys(table, None, None)
