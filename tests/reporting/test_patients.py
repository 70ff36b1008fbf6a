"""Curves, numbers at risk and compositions of the page: which tables are taken, and what is counted, by hand."""

from __future__ import annotations

from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import spatialfm as sfm
from spatialfm.reporting import patients as module
from spatialfm.reporting.elements import Html
from spatialfm.reporting.patients import (
    _outcome,
    _patients_with,
    _round_times,
    _test_of,
    _value,
    compositions_section,
    numbers_at_risk,
    survival_section,
)
from spatialfm.reporting.source import ReportKeys, Source

KEYS = ReportKeys("sample", "patient", None, None, None, None, None, ())
OUTCOMES = pd.DataFrame(
    {"time": [2.0, 5.0, 5.0, 12.0], "event": [1, 0, 1, 0], "arm": pd.Categorical(list("aabb"))},
    index=["p1", "p2", "p3", "p4"],
)


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    monkeypatch.setattr(module, "drawn", lambda draw, alt, caption: Html(f"{alt} {caption}"))


def source(*, cells=None, samples=None, keys=KEYS, **tables):
    samples = pd.DataFrame(index=pd.Index([], dtype=object)) if samples is None else samples
    return Source(None, cells, samples, tables, [], [], keys)


@pytest.mark.parametrize(
    ("last", "times"),
    [
        (60, [0, 10, 20, 30, 40, 50, 60]),
        (100, [0, 20, 40, 60, 80, 100]),  # a sixth is 16.7
        (13, [0, 2.5, 5, 7.5, 10, 12.5]),  # a sixth is 2.2
        (7, [0, 2, 4, 6]),
        (0.6, [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]),
        (55, [0, 10, 20, 30, 40, 50]),
        (0, [0]),
    ],
)
def test_times_are_round_and_end_at_the_last_one(last, times):
    assert _round_times(float(last)) == pytest.approx(times)


def test_who_has_an_event_at_a_time_is_at_risk_just_before_it():
    table = ad.AnnData(obs=OUTCOMES)
    sfm.tl.kaplan_meier(table, "arm", time_key="time", event_key="event", patient_key=None)
    risk = numbers_at_risk(table.uns["kaplan_meier"])
    times = range(0, 13, 2)
    assert list(risk) == [str(time) for time in times]
    for arm, rows in OUTCOMES.groupby("arm", observed=True):
        assert risk.loc[arm].tolist() == [int((rows["time"] >= time).sum()) for time in times]


def test_values_of_events_are_read_as_a_record_has_them():
    assert [_value(text) for text in ('"died"', '["died", "relapsed"]', "2", "died of it")] == [
        "died", "died, relapsed", "2", "died of it",
    ]  # fmt: skip


def test_the_test_beside_curves_is_of_the_same_groups_and_outcome():
    groups = pd.DataFrame({"observed": [1], "expected": [1.0]})
    test = {"statistic": 1.0, "p_value": 0.3, "dof": 1, "groups": groups}
    same = {"group_key": "arm", "time_key": "time", "event_key": "event"}
    table = ad.AnnData(obs=OUTCOMES)
    table.uns["late"] = test | {"params": same | {"time_key": "late"}}
    assert _test_of(table, same) == "logrank"  # the default, where none is of these
    table.uns["mine"] = test | {"params": same}
    assert _test_of(table, same) == "mine"


def test_outcomes_are_those_passed_then_remembered_then_the_usual():
    table = ad.AnnData(obs=OUTCOMES.rename(columns={"time": "months", "event": "status"}))
    assert _outcome(source(t=table)) == ("time", "event", None)
    sfm.pp.set_outcome(table, time_key="months", event_key="status")
    assert _outcome(source(t=table))[:2] == ("months", "status")
    table.obs["state"] = ["dead", "alive", "dead", "lost"]
    sfm.pp.set_outcome(table, time_key="months", event_key="state", event_value="dead")
    assert _outcome(source(t=table)) == ("months", "state", ["dead"])
    assert _outcome(source(t=table, keys=replace(KEYS, event_value="lost")))[2] == "lost"
    passed = replace(KEYS, time="months", event="state")  # the same columns: what means the event is remembered
    assert _outcome(source(t=table, keys=passed)) == ("months", "state", ["dead"])
    named = replace(KEYS, event="died", event_value=2)
    assert _outcome(source(t=table, keys=named)) == ("time", "died", 2)


def test_a_patient_of_several_samples_counts_once_and_one_of_two_outcomes_stops_it():
    samples = pd.DataFrame(
        {"patient": ["p", "p", "q", None], "time": [3.0, 3.0, 4.0, 9.0], "event": [1, 1, 0, 1]}, index=list("abcd")
    )
    rows = _patients_with(source(samples=samples), "time", "event")
    assert rows.obs["time"].to_dict() == {"p": 3, "q": 4}
    samples.loc["b", "time"] = 5.0
    assert _patients_with(source(samples=samples), "time", "event") is None
    assert _patients_with(source(samples=samples), "months", "event") is None


def test_without_curves_all_patients_are_one_group():
    table = ad.AnnData(obs=OUTCOMES[["time", "event"]])
    table.uns["composition"] = {"params": {}}
    said = "".join(survival_section(source(patients=table)).body)
    assert "all patients together" in said
    assert "Time: time; event: event. 4 patients, 2 events." in said
    assert "kaplan_meier" not in table.uns  # the reader's table stays as it is
    assert "no table has the outcome of patients in" in "".join(survival_section(source()).body)


def test_curves_of_groups_that_the_outcome_made_are_called_optimistic():
    table = ad.AnnData(obs=OUTCOMES)
    sfm.tl.kaplan_meier(table, "arm", time_key="time", event_key="event", patient_key=None)
    assert "Optimistic" not in "".join(survival_section(source(t=table)).body)
    table.uns["kaplan_meier"]["optimistic"] = True
    said = "".join(survival_section(source(t=table)).body)
    assert "Optimistic" in said
    assert "groups: arm. 4 patients, 2 events." in said


def test_shares_are_of_patients_where_the_cells_name_them():
    obs = pd.DataFrame({"sample": list("aabbb"), "type": pd.Categorical(list("TBTTB"))}, index=list("12345"))
    keys = replace(KEYS, phenotype="type")
    said = "".join(compositions_section(source(cells=ad.AnnData(obs=obs), keys=keys)).body)
    assert "of each sample" in said
    assert 'value="0.6666666' in said  # T in sample b
    obs["patient"] = "p"
    said = "".join(compositions_section(source(cells=ad.AnnData(obs=obs), keys=keys)).body)
    assert "of each patient" in said
    assert 'value="0.6"' in said
    assert "No table of patients by phenotypes" in "".join(compositions_section(source()).body)


def test_a_composition_that_was_made_is_shown_instead():
    table = ad.AnnData(np.array([[0.25, 0.75]]), obs=pd.DataFrame({"n_cells": [8]}, index=["p"]))
    table.uns["composition"] = {"params": {"patient_key": "patient", "cluster_key": "niche"}}
    said = "".join(compositions_section(source(mine=table)).body)
    assert "<h3>niche (mine)</h3>" in said
    assert "Shares of niche among the cells of each patient." in said
    assert 'value="8"' in said
