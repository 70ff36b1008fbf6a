"""Columns that may be time and event are named with their values; none is taken."""

from __future__ import annotations

import pandas as pd
import pytest
from cli_cohort import write_cohort

from spatialfm.cli import main
from spatialfm.cli._outcome_columns import candidates, in_words

TIMES = [
    "months",
    "OS (months)",
    "os_months",
    "followUp_days",
    "PFS",
    "survival time",
    "time to relapse",
    "days_to_death",
]
EVENTS = ["died", "vital_status", "OS_STATUS", "status", "Dead", "censored", "relapse", "pfs event"]
NEITHER = {
    "age_years": [50, 61, 47, 70],
    "er_status": ["pos", "neg", "pos", "neg"],
    "year of birth": [1950, 1961, 1947, 1970],
    "date of death": [20200101, 20200102, 20200103, 20200104],
    "grade": [1, 2, 3, 1],
    "survival": [0, 1, 1, 0],  # as a time it has two values, as an event no name of one
    "months before": [-3, -1, -2, -4],
}


@pytest.mark.parametrize("name", TIMES)
def test_times_are_known_by_name_and_values(name):
    assert candidates(pd.DataFrame({name: [1.5, 2, 3, None]})) == ([name], [])
    assert candidates(pd.DataFrame({name: ["a", "b", "c", "d"]}))[0] == []


@pytest.mark.parametrize("name", EVENTS)
def test_events_are_known_by_name_and_few_values(name):
    assert candidates(pd.DataFrame({name: ["yes", "no", "no", None]})) == ([], [name])
    assert candidates(pd.DataFrame({name: range(10)}))[1] == []


def test_other_columns_are_neither():
    assert candidates(pd.DataFrame(NEITHER)) == ([], [])


def test_the_words_name_what_to_write_and_leave_the_value_open():
    table = pd.DataFrame({"OS (months)": [1.5, 2, 3], "vital_status": ["Dead", "Alive", "Alive"], "died": [1, 0, 0]})
    said = in_words(table, *candidates(table))
    assert "time: 'OS (months)'" in said
    assert "event: 'vital_status' with 'Dead', 'Alive'" in said
    assert "event: 'died' with '1', '0'" in said
    assert "    time_key: OS (months)\n    event_key: vital_status\n    event_value: <" in said
    assert "event_value" not in in_words(table, ["OS (months)"], ["died"]).split("or pass")[0]
    # 1 of a column called so is not an event
    assert "event_value: <" in in_words(table.rename(columns={"died": "censored"}), ["OS (months)"], ["censored"])
    assert "('died' may be one of them)" in in_words(table, [], ["died"])


def test_check_proposes_them(tmp_path, capsys):
    write_cohort(tmp_path, 2)
    table = pd.read_csv(tmp_path / "cohort.csv").assign(months=[3.5, 8.0], died=["yes", "no"])
    pd.concat([table, table.assign(sample=["a", "b"], patient=["a", "b"], months=[1.0, 2.5])]).to_csv(
        tmp_path / "cohort.csv", index=False
    )
    assert main(["check", str(tmp_path / "cohort.csv"), "--no-estimate"]) == 0
    said = capsys.readouterr().out
    assert "  time: 'months'\n  event: 'died' with 'yes', 'no'" in said
