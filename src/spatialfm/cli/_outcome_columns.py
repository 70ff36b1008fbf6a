"""Columns of a cohort table that may be time and event of survival, by their names and values.

They are named, not taken: which of two times is meant, and which value is the event, only the study knows.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from .._errors import listed
from .._outcome import EVENT_WORDS
from .._spelling import words_in
from ._yaml import dump

_ENDPOINTS = {"os", "pfs", "dfs", "rfs", "efs", "dss", "dmfs", "ttp", "survival", "follow", "followup"}
_UNITS = {"time", "months", "month", "days", "weeks", "years"}
_TIME = _ENDPOINTS | _UNITS
_NO_TIME = {"age", "date", "year", "status", "event", "group", "born", "birth"}
_EVENT = EVENT_WORDS | {"alive", "vital", "censor", "censored", "censoring"}
_STATUS = _ENDPOINTS | {"last", "life"}  # beside "status", which alone may be of a receptor
_NO_EVENT = _UNITS | {"date"}
_VALUES = 4  # an event has few


def candidates(clinical: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Columns that may be times, and columns that may be events, in their order."""
    times, events = [], []
    for name in map(str, clinical):
        words, values = words_in(name), clinical[name].dropna()
        numbers = pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_bool_dtype(values.dtype)
        if words & _TIME and not words & _NO_TIME and numbers and values.nunique() > 2 and values.min() >= 0:
            times.append(name)
        status = "status" in words and (words == {"status"} or bool(words & _STATUS))
        if (words & _EVENT or status) and not words & _NO_EVENT and 0 < values.nunique() <= _VALUES:
            events.append(name)
    return times, events


def in_words(clinical: pd.DataFrame, times: Sequence[str], events: Sequence[str]) -> str:
    """What to write into the settings, with the columns to choose from; empty where there are none."""
    if not (times and events):
        mentioned = "" if not (times or events) else f" ({listed([*times, *events], 5)} may be one of them)"
        return (
            f"survival: no columns of time and event{mentioned}; name them in the settings, survival.time_key and "
            "survival.event_key"
        )
    lines = [
        "survival: no columns 'time' and 'event', so there will be no survival analysis. These may be meant:",
        f"  time: {listed(list(times), 5)}",
        *(f"  event: {name!r} with {_values(clinical[name])}" for name in events[:5]),
        "Name them in the settings (spatialfm init COHORT > config.yaml):",
        "  survival:",
        *(f"    {dump({key: name}).strip()}" for key, name in (("time_key", times[0]), ("event_key", events[0]))),
    ]
    if not _one_is_the_event(clinical[events[0]], events[0]):
        lines.append("    event_value: <the value that means that the event was seen>")
    lines.append("or pass --time-key, --event-key and --event-value to 'spatialfm survival'.")
    return "\n".join(lines)


def values_to_choose(table: pd.DataFrame, event_key: str) -> list[str | int | float]:
    """Values of a column of events of which one is to be called the event; none where 1 is, or where it has many."""
    if event_key not in table or _one_is_the_event(table[event_key], event_key):
        return []
    values = pd.unique(table[event_key].dropna())
    if len(values) > _VALUES:
        return []
    numbers = pd.api.types.is_numeric_dtype(table[event_key].dtype)
    return [int(one) if numbers and one == int(one) else float(one) if numbers else str(one) for one in values]


def _values(column: pd.Series) -> str:
    return listed(pd.unique(column.dropna().astype(str)), _VALUES)


def _one_is_the_event(column: pd.Series, name: str) -> bool:
    """Whether 1 (or True) means the event: not where it means that a patient was censored, or is alive."""
    if words_in(name) & {"censor", "censored", "censoring", "alive"}:
        return False
    values = column.dropna()
    numbers = pd.api.types.is_numeric_dtype(values.dtype) and set(values.unique()) <= {0, 1}
    return pd.api.types.is_bool_dtype(values.dtype) or numbers
