"""What holds time and event is said once, checked where it is said, and stored so that it comes back as it was."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

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


def test_a_patient_with_two_outcomes_is_named(recwarn):
    obs = pd.DataFrame({"patient": list("AABB"), "os": [10.0, 10.0, 10.0, 12.0], "died": [1, 1, 0, np.nan]})
    with pytest.warns(SpatialfmWarning, match=r"obs\['os'\].*several values for 1 patient: 'B'"):
        checked_outcome(obs, "os", "died", None, "here")
    recwarn.clear()
    checked_outcome(obs.assign(os=10.0), "os", "died", None, "here")  # a missing value says nothing else
    assert not len(recwarn)


def test_dates_are_subtracted():
    dates = pd.Series(pd.to_datetime(["2020-01-01", "2021-06-01"]))
    with pytest.raises(
        SurvivalError, match=r"as a number: \(patients\.obs\[\"os\"\] - .* / pandas\.Timedelta\(days=1\)\."
    ):
        event_times(dates, "os")
