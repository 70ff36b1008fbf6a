"""Units of times: told where values cannot be in the one that is stated, and not told where they may be."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning
from spatialfm._outcome import checked_outcome, event_times
from spatialfm._time_units import tell_other_unit, tell_two_units


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
