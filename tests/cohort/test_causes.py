"""Kinds of event: numbers of their own, and censoring that is said."""

from __future__ import annotations

import pandas as pd
import pytest
from anndata import AnnData

from spatialfm._errors import SurvivalError
from spatialfm.cohort.causes import read_causes


def read(events, event_value=None, censored_value=None, on_missing="raise"):
    n = len(events)
    obs = pd.DataFrame({"time": [float(i + 1) for i in range(n)], "event": events}, index=[f"p{i}" for i in range(n)])
    found = read_causes(
        AnnData(obs=obs), "test", time_key="time", event_key="event", event_value=event_value, entry_key=None,
        censored_value=censored_value, patient_key=None, on_missing=on_missing,
    )  # fmt: skip
    return found.codes.tolist(), found.names


@pytest.mark.parametrize(
    ("events", "options", "codes", "names"),
    [
        ([0, 1, 2, 1], {}, [0, 1, 2, 1], ["1", "2"]),
        ([0, 1, 2, 3], {"event_value": 2}, [0, 2, 1, 2], ["2", "other events"]),
        ([0, 1, 2, 3], {"event_value": [1, 3]}, [0, 1, 2, 1], ["1 or 3", "other events"]),
        ([0, 1, 1], {"event_value": 1}, [0, 1, 1], ["1"]),
        (["alive", "death", "relapse"], {"censored_value": "alive"}, [0, 1, 2], ["death", "relapse"]),
        (["a", "b", "c"], {"censored_value": []}, [1, 2, 3], ["a", "b", "c"]),
        ([0.0, 2.0, 1.0], {}, [0, 2, 1], ["1", "2"]),
    ],
)
def test_codes_of_events(events, options, codes, names):
    assert read(events, **options) == (codes, names)


def test_categories_keep_their_order():
    events = pd.Categorical(["none", "b", "a"], ["none", "b", "a"])
    assert read(events, censored_value="none") == ([0, 1, 2], ["b", "a"])


@pytest.mark.parametrize(
    ("events", "options", "message"),
    [
        (["alive", "death"], {}, "Which of them means that no event was seen"),
        ([0, 0], {}, "No event in obs"),
        ([0, 1], {"event_value": 0}, "also means censored"),
        (["a", "b"], {"censored_value": "c"}, "is not a value"),
    ],
)
def test_what_cannot_be_told_is_asked(events, options, message):
    with pytest.raises(SurvivalError, match=message):
        read(events, **options)
