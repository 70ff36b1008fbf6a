"""What holds time and event is said once, checked where it is said, and stored so that it comes back as it was."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning, SurvivalError
from spatialfm._outcome import (
    RememberedOutcome,
    carry_outcome,
    checked_outcome,
    event_times,
    events,
    remember_outcome,
    remembered_outcome,
    tell_numbers_as_text,
    tell_other_unit,
    tell_two_units,
)

OBS = pd.DataFrame(
    {"os": [1.0, 2.0, np.nan], "status": ["dead", "alive", None], "grade": [1, 2, 3], "seen": [1.0, np.nan, 2.0]},
    index=list("abc"),
)


@pytest.mark.parametrize(
    ("event_key", "value"), [("status", "dead"), ("status", ["dead", "alive"]), ("seen", [1, 2]), ("seen", 2)]
)
def test_it_comes_back_from_a_file_as_it_was_said(tmp_path, event_key, value):
    table = ad.AnnData(obs=OBS)
    outcome = checked_outcome(table.obs, "os", event_key, value, "here")
    remember_outcome(table, outcome)
    table.write_h5ad(tmp_path / "table.h5ad")
    found = remembered_outcome(ad.read_h5ad(tmp_path / "table.h5ad"))
    wanted = value if isinstance(value, list) else [value]
    assert found == RememberedOutcome("os", event_key, wanted, "here")
    # numbers stay numbers: of a column with gaps the text of 2 is "2.0"
    column = OBS[event_key].dropna()
    assert events(column, event_key, found.event_value).tolist() == column.isin(wanted).tolist()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (("os", None, None), "Pass both of time_key= and event_key="),
        ((None, None, "dead"), "event_value='dead' without a column"),
        (("os", "os", None), "both 'os'"),
        (("pfs", "status", "dead"), r"No column 'pfs' in obs \(time_key=\)"),
        (("os", "status", None), r"only 0, 1, False and True are understood"),
        (("os", "status", "died"), r"event_value='died' is not a value of obs\['status'\]"),
        (("status", "grade", 1), r"obs\['status'\] \(time_key=\) holds"),
    ],
)
def test_what_is_no_outcome_is_refused_where_it_is_said(keys, message):
    with pytest.raises(SurvivalError, match=message):
        checked_outcome(OBS, *keys, "here")


def test_a_column_without_any_value_is_no_outcome():
    with pytest.raises(SurvivalError, match="has no value in any row"):
        checked_outcome(OBS.assign(os=np.nan), "os", "status", "dead", "here")


def test_it_is_carried_and_leaves_other_notes_alone():
    source, target = ad.AnnData(obs=OBS), ad.AnnData(obs=OBS)
    target.uns["spatialfm"] = {"X_model": {"model": "m"}}
    carry_outcome(source, target)
    assert remembered_outcome(target) is None
    remember_outcome(source, RememberedOutcome("os", "seen", 1))
    carry_outcome(source, target)
    carry_outcome(None, target)
    assert remembered_outcome(target) == RememberedOutcome("os", "seen", [1])
    assert target.uns["spatialfm"]["X_model"] == {"model": "m"}


@pytest.mark.parametrize(
    ("values", "wanted", "others"),
    [
        (["dead", "alive", "Dead"], "dead", "'Dead'"),
        (["dead", "alive", "DEAD ", " dead"], "dead", "'DEAD ', ' dead'"),
        (["relapse", "none", "Death", "death"], ["relapse", "death"], "'Death'"),
        (["dead", "alive", "deceased", "Died"], "dead", "'deceased', 'Died'"),  # of two centres
        (["1:DECEASED", "alive", "dead"], "1:DECEASED", "'dead'"),
        (["yes", "alive", "y", "1"], "yes", "'y', '1'"),
    ],
)
def test_an_event_that_is_spelled_in_several_ways_is_not_censored_in_some_rows(values, wanted, others):
    with pytest.raises(SurvivalError, match=f"also spells the event {others}, and these .* would count as censored"):
        events(pd.Series(values), "status", wanted)
    every = [value for value in values if value not in ("alive", "none")]
    assert events(pd.Series(values), "status", every).tolist() == [value in every for value in values]


@pytest.mark.parametrize(
    ("values", "wanted", "words"),
    [
        (["dead", "alive", "unknown", "n/a"], "dead", "'unknown', 'n/a', and 2 rows"),
        (["dead", "Unknown"], "dead", "'Unknown', and 1 row"),
        (["yes", "no", "-"], "yes", "'-', and 1 row"),
        ([1, 0, "?"], 1, r"'\?', and 1 row"),
    ],
)
def test_that_nobody_knows_of_an_event_is_not_censoring(values, wanted, words):
    with pytest.raises(SurvivalError, match=f"holds {words} of which nobody knows.* Make them missing"):
        events(pd.Series(values), "status", wanted)
    seen = events(pd.Series(values), "status", wanted, others_censored=False)  # as another event it is one
    assert seen.tolist() == [value == wanted for value in values]
    remedy = pd.Series(values, dtype=object).replace(dict.fromkeys(["unknown", "n/a", "Unknown", "-", "?"])).dropna()
    assert events(remedy, "status", wanted).tolist() == [value == wanted for value in remedy]


@pytest.mark.parametrize(("values", "wanted"), [(["+", "-"], "+"), (["x", "."], "x"), (["relapse", "none"], "relapse")])
def test_what_stands_for_no_event_is_taken_where_nothing_else_does(values, wanted):
    assert events(pd.Series(values), "status", wanted).tolist() == [True, False]


@pytest.mark.parametrize(
    ("key", "values", "years"),
    [
        ("os_months", [12.5, 1233.0], 103),  # 3.4 years in days
        ("OS.Days", [100.0, 36525.0], 100),
        ("followUpYears", [3.0, 70.0], 70),
    ],
)
def test_times_longer_than_a_life_by_their_unit_are_said(key, values, years):
    with pytest.warns(SpatialfmWarning, match=f"which would be {years} years; 1 row is above 60 years"):
        assert event_times(pd.Series(values), key).tolist() == values


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("os_months", [12.5, 700.0]),
        ("time", [1e4]),
        ("age_years", [71.0]),
        ("days_or_months", [1e5]),
        ("os_months", []),
    ],
)
def test_times_that_may_be_are_not_remarked_on(key, values, recwarn):
    event_times(pd.Series(values, dtype=float), key)
    assert not recwarn.list


@pytest.mark.parametrize(
    ("unit", "key", "longest", "match"),
    [
        ("months", "survival_days", 900.0, "column 'survival_days', which reads as days by its name"),
        ("Years", "OS.months", 40.0, "column 'OS.months', which reads as months by its name"),
        ("months", "time", 3653.0, "times go to 3,653, which would be 304 years"),  # 10 years in days
        ("years", "", 120.0, "times go to 120, which would be 120 years"),  # 10 years in months
    ],
)
def test_a_unit_that_the_drawn_times_cannot_have_is_named(unit, key, longest, match):
    with pytest.warns(SpatialfmWarning, match=match):
        tell_other_unit(unit, key, longest)


@pytest.mark.parametrize(
    ("unit", "key", "longest"),
    [
        (None, "survival_days", 900.0),
        ("days", "survival_days", 4471.0),
        ("months", "time", 300.0),
        ("weeks after surgery", "weeks", 90.0),
        ("years", "age", 88.0),
        ("Monate", "survival_days", 900.0),
    ],
)
def test_a_unit_that_may_be_is_not_remarked_on(unit, key, longest, recwarn):
    tell_other_unit(unit, key, longest)
    assert not recwarn.list


AGES = [str(age) for age in range(41, 61)]


@pytest.mark.parametrize(
    ("values", "beside"),
    [
        ([*AGES, ">80", "n.d."], "20 different numbers, and in 2 rows '>80', 'n.d.'"),
        ([*AGES[:6], "1,5", None], "6 different numbers, and in 1 row '1,5'"),
        (AGES, "20 different numbers as text"),
        (["0.5", "1.5", "2.5", "3.5", "4.5", "5.5"], "6 different numbers as text"),
    ],
)
def test_numbers_that_became_levels_are_said(values, beside):
    with pytest.warns(SpatialfmWarning, match=f"Covariate 'age' holds {beside}: all of it is taken as categories"):
        tell_numbers_as_text(pd.Series(values, dtype=object), "Covariate 'age'")


@pytest.mark.parametrize(
    "values",
    [
        ["1", "2", "3", "4", "X"],  # stages
        [str(cluster) for cluster in range(20)],
        [str(cluster) for cluster in range(1, 13)],
        [*AGES[:6], *"abc"],  # names, of which some are numbers
        ["a", "b", None],
        [None, None],
    ],
)
def test_codes_and_names_are_not_remarked_on(values, recwarn):
    tell_numbers_as_text(pd.Series(values, dtype=object).astype("category"), "Covariate 'stage'")
    assert not recwarn


def test_text_that_is_numbers_throughout_is_said_where_it_is_used_alone(recwarn):
    tell_numbers_as_text(pd.Series(AGES), "Column 'block'", only_mixed=True)
    assert not recwarn


def followed(n_events=20, n_others=30, per_month=1.0):
    """Patients with events spread over 60 months, and others followed for 20 to 120; events in another unit."""
    time = np.r_[np.linspace(3, 60, n_events) * per_month, np.linspace(20, 120, n_others)]
    return pd.DataFrame({"os": time, "died": np.r_[np.ones(n_events, int), np.zeros(n_others, int)]})


def test_days_to_events_among_months_of_follow_up_are_told():
    obs = followed(per_month=365.25 / 12)  # events at 91 to 1,826 days: half after 959; half of the others before 70
    with pytest.warns(SpatialfmWarning, match=r"after 958\.8, .* less than 70\. Are events in days"):
        checked_outcome(obs, "os", "died", None, "here")
    with pytest.warns(SpatialfmWarning, match="Are events in days"):
        sfm.tl.kaplan_meier(ad.AnnData(obs=obs.set_axis([f"P{i}" for i in obs.index])), time_key="os", event_key="died")


@pytest.mark.parametrize(
    "obs",
    [
        followed(),
        followed(per_month=1 / 30.4),  # not told from deaths in the first weeks
        followed(n_events=4, per_month=30.4),  # of so few the medians may be far apart by chance
        followed(n_others=4, per_month=30.4),
    ],
)
def test_times_in_one_unit_and_a_few_rows_are_not_told(obs, recwarn):
    tell_two_units(obs["os"].to_numpy(), obs["died"].to_numpy(), "os")
    assert not len(recwarn)


def test_rows_without_time_or_event_have_no_part_in_units():
    obs = followed(per_month=30.4)
    obs.loc[obs.index[:16], "died"] = np.nan  # four events are left
    obs.loc[obs.index[20:30], "os"] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checked_outcome(obs, "os", "died", None, "here")


def test_a_patient_with_two_outcomes_is_named(recwarn):
    obs = pd.DataFrame({"patient": list("AABB"), "os": [10.0, 10.0, 10.0, 12.0], "died": [1, 1, 0, np.nan]})
    with pytest.warns(SpatialfmWarning, match=r"obs\['os'\].*several values for 1 patient: 'B'"):
        checked_outcome(obs, "os", "died", None, "here")
    recwarn.clear()
    checked_outcome(obs.assign(os=10.0), "os", "died", None, "here")  # a missing value says nothing else
    assert not len(recwarn)
