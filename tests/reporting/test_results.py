"""The overview of tests: which p-values are counted, and what a reader is warned of."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import spatialfm as sfm
from spatialfm.reporting.results import (
    FEW_EVENTS,
    SMALL,
    _parameters,
    caveats_of,
    p_values_of,
    results_of,
    results_section,
)
from spatialfm.reporting.source import ReportKeys, Source

KEYS = ReportKeys("sample", "patient", None, None, None, None, None, ())
PLENTY = {"n": [SMALL], "events": [FEW_EVENTS], "observed": [10.0], "expected": [10.0]}


def logrank(p=0.03, **changes):
    return {"statistic": 1.0, "p_value": p, "dof": 1, "groups": pd.DataFrame(PLENTY), "params": {}} | changes


def rmst(p, adjusted):
    differences = pd.DataFrame({"p_value": p, "p_adjusted": adjusted})
    return {"horizon": 5.0, "groups": pd.DataFrame({"rmst": [1.0], "n": [30]}), "differences": differences}


def source(**tables):
    made = {}
    for name, results in tables.items():
        made[name] = ad.AnnData(obs=pd.DataFrame(index=["p1", "p2"]))
        made[name].uns |= results
    return Source(None, None, pd.DataFrame(), made, [], [], KEYS)


def one(record, key="result"):
    (found,) = results_of(source(t={key: record}))
    return found


def text(**tables):
    return "".join(results_section(source(**tables)).body)


def test_p_values_are_taken_with_the_corrected_ones_of_their_family():
    ((values, corrected),) = p_values_of(one(rmst([0.01, np.nan], [0.02, np.nan])))
    assert values[0] == 0.01
    assert np.isnan(values[1])
    assert corrected[0] == 0.02
    pairs = pd.DataFrame({"p_value": [0.2, 0.4], "p_adjusted": [0.4, 0.4]})
    (first, none), (second, holm) = p_values_of(one(logrank(pairwise=pairs)))
    assert (first.tolist(), none) == ([0.03], None)
    assert (second.tolist(), holm.tolist()) == ([0.2, 0.4], [0.4, 0.4])
    assert p_values_of(one(logrank(p="0.03"))) == []  # text is not a number


def test_the_overview_counts_tests_that_were_made_and_what_chance_would_find():
    said = text(a={"one": rmst([0.5, 0.0004, np.nan], [0.5, 0.0008, np.nan])}, b={"two": logrank()})
    assert "3 p-values in 2 analyses." in said
    assert "about 0.15 would be below 0.05 by chance" in said
    assert 'value="0.0004"' in said
    assert 'value="0.0008"' in said
    assert "No result here has a p-value" in text(a={"one": rmst([np.nan], [np.nan])})
    assert "No result of a test" in text(a={"leiden": {"params": {}}})


def test_places_of_the_page_are_named_apart():
    anchors = [
        found.anchor for found in results_of(source(**{"a": {"b c": logrank(), "b-c": logrank(), "é": logrank()}}))
    ]
    assert anchors == ["result-a-b-c", "result-a-b-c-2", "result-a--"]


@pytest.mark.parametrize(
    ("n", "events", "says"),
    [
        (SMALL, FEW_EVENTS, []),
        (SMALL - 1, FEW_EVENTS, [f"Few patients ({SMALL - 1})"]),
        (SMALL, FEW_EVENTS - 1, [f"Few events ({FEW_EVENTS - 1})."]),
    ],
)
def test_few_patients_and_few_events_are_said(n, events, says):
    lines = caveats_of(one(logrank(groups=pd.DataFrame(PLENTY | {"n": [n], "events": [events]}))))
    assert len(lines) == 1 + len(says)
    assert all(line.startswith(start) for line, start in zip(lines[1:], says, strict=True))


def test_what_makes_a_result_doubtful_is_said_in_full():
    params = {
        "selected": ["risk, made by x"],
        "by_outcome": "yes",
        "circular": "",
        "note": "n.",
        "n_dropped": 2,
        "group_key": "arm",
    }
    lines = caveats_of(one(logrank(optimistic=True, doubts=["two of three agree"], params=params)))
    assert lines[1:] == [
        "Optimistic: the outcome itself made the groups or scores that are tested here.",
        "Two of three agree.",
        "Made with the outcome: risk, made by x",
        "n.",
        "2 rows without the needed values took no part.",
    ]


def test_groups_that_are_the_slides_are_said_to_be():
    made = source(t={"test": logrank(params={"group_key": "arm"})})
    obs = pd.DataFrame({"arm": list("aaabbb"), "slide": list("xxxyyy")}, index=list("123456"))
    made.tables["t"] = ad.AnnData(obs=obs, uns=dict(made.tables["t"].uns))
    (found,) = results_of(made)
    assert any(line.startswith("Groups of 'arm'") and "'slide'" in line for line in caveats_of(found))


def test_a_result_of_other_values_is_out_of_date():
    obs = pd.DataFrame({"time": np.arange(1.0, 25), "event": 1, "arm": list("ab") * 12})
    table = ad.AnnData(obs=obs.set_axis([f"p{i}" for i in range(24)]))
    sfm.tl.logrank(table, "arm", time_key="time", event_key="event", patient_key=None)

    def told(table):
        (found,) = results_of(Source(None, None, pd.DataFrame(), {"t": table}, [], [], KEYS))
        return [line for line in caveats_of(found) if line.startswith("Out of date")]

    assert told(table) == []
    assert told(table[:20].copy()) == ["Out of date: the table has fewer rows now than the result was made of."]
    table.obs.loc["p3", "time"] = 99.0
    assert len(told(table)) == 1


def test_parameters_are_shown_but_for_empty_ones_and_words_said_elsewhere():
    params = {
        "alpha": 0.05,
        "group_key": "",
        "keys": ["a", "b"],
        "note": "n",
        "selected": "s",
        "none": None,
        "off": False,
    }
    assert _parameters(params) == "alpha=0.05, keys=[a, b], off=False"
    assert _parameters("text") == ""


def test_what_is_no_known_result_is_named_once_and_tools_of_others_are_not():
    said = text(t={"test": logrank(), "mine": {"x": 1}, "umap": {"params": {}}})
    assert "Not described here: t.uns[&#x27;mine&#x27;]." in said
