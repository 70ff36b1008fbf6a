"""Time and event of patients: what columns may hold, and which columns these are, said once and remembered.

A table keeps the names of its columns in ``uns["spatialfm"]["outcome"]``; what is made of it (tables of cells, samples
and patients) brings them along, so that no survival function has to be told again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ._errors import SurvivalError, counted, listed, warn
from ._keys import OUTCOME, PATIENT_KEY, UNS
from ._missing_codes import tell_missing_code
from ._spelling import DOUBTFUL, TEXT_OF_MISSING, as_read, words_in
from ._time_units import tell_long, tell_two_units

if TYPE_CHECKING:
    from anndata import AnnData

EventValue = str | int | bool | Sequence[str | int] | None
FEWEST_NUMBERS = 6  # different ones; fewer may be codes, such as grades
MOST_WORDS = 0.2  # of the rows; with more words beside them, numbers are names
_SIGNS = frozenset({"-", "."})  # of what is missing, or of no event where nothing else says so
NOT_KNOWN = (DOUBTFUL | TEXT_OF_MISSING | {"null", "unk", "not known", "not reported"}) - _SIGNS
# words of one event in tables of several centres, each said without the number that cBioPortal puts before it
_WORDS = (frozenset({"yes", "y", "true", "t", "1"}), frozenset({"dead", "died", "death", "deceased"}))
# words of events, and of what else nobody wishes for
EVENT_WORDS = frozenset({"event", "dead", "death", "died", "deceased", "relapse", "relapsed", "recurrence", "recurred"})
EVENT_WORDS |= {"progression", "progressed"}
_ADVERSE = EVENT_WORDS | {"progressor", "progressors", "metastasis", "metastatic", "failure", "failed"}
_OTHERWISE = frozenset({"no", "non", "not", "free", "without", "alive", "response", "responder", "responded"})


@dataclass(frozen=True)
class RememberedOutcome:
    """Columns of ``obs`` with time and event, the value that means the event, and the function that was told."""

    time_key: str
    event_key: str
    event_value: EventValue = None
    said_to: str = ""


def checked_outcome(
    obs: pd.DataFrame, time_key: str | None, event_key: str | None, event_value: EventValue, said_to: str
) -> RememberedOutcome | None:
    """What is to be remembered, after all refusals; None where no column is named.

    Missing values are allowed: the survival functions ask what becomes of them.

    Raises
    ------
    SurvivalError
        If one of two columns is named, one is absent or holds no times or no events, or `event_value` is not in it.
    """
    if time_key is None and event_key is None:
        if event_value is not None:
            raise SurvivalError(f"event_value={event_value!r} without a column. Pass time_key= and event_key=, too.")
        return None
    if time_key is None or event_key is None:
        raise SurvivalError("Pass both of time_key= and event_key=, or neither.")
    if time_key == event_key:
        raise SurvivalError(f"time_key= and event_key= are both {time_key!r}. Pass the column of each.")
    for argument, key in {"time_key": time_key, "event_key": event_key}.items():
        if key not in obs:
            raise SurvivalError(f"No column {key!r} in obs ({argument}=); found {listed(obs.columns, 12)}.")
    for key in (time_key, event_key):
        if obs[key].isna().all():
            raise SurvivalError(
                f"obs[{key!r}] has no value in any row, so that it is not an outcome. Pass another column."
            )
    timed, told = obs[time_key].notna().to_numpy(), obs[event_key].notna().to_numpy()
    times = event_times(obs[time_key][timed], time_key)
    happened = events(obs[event_key][told], event_key, event_value)
    tell_two_units(times[told[timed]], happened[timed[told]], time_key)
    _tell_several(obs, time_key, event_key)
    return RememberedOutcome(time_key, event_key, event_value, said_to)


def _tell_several(obs: pd.DataFrame, time_key: str, event_key: str) -> None:
    """Warn of patients with several times, or with and without the event."""
    if PATIENT_KEY not in obs:
        return
    values = obs.groupby(PATIENT_KEY, observed=True)
    for argument, key in {"time_key": time_key, "event_key": event_key}.items():
        several = values[key].nunique()
        several = several[several > 1]
        if len(several):
            warn(
                f"obs[{key!r}] ({argument}=) has several values for {counted(len(several), 'patient')}: "
                f"{listed(several.index, 5)}. A patient has one outcome, and tables of patients leave the column out. "
                "Correct it, or pass the column that is of the patient."
            )


def remember_outcome(table: AnnData, outcome: RememberedOutcome) -> None:
    """Put the names of the columns into ``uns``."""
    value = "" if outcome.event_value is None else json.dumps([_plain(one) for one in _as_list(outcome.event_value)])
    note = {
        "time_key": outcome.time_key, "event_key": outcome.event_key, "event_value": value, "said_to": outcome.said_to,
    }  # fmt: skip
    table.uns[UNS] = {**table.uns.get(UNS, {}), OUTCOME: note}


def remembered_outcome(table: AnnData) -> RememberedOutcome | None:
    """The columns that a table remembers; None for none."""
    notes = table.uns.get(UNS, {})
    note = notes.get(OUTCOME) if isinstance(notes, Mapping) else None
    if not isinstance(note, Mapping) or not {"time_key", "event_key"} <= set(note):
        return None
    text = str(note.get("event_value", ""))
    value = json.loads(text) if text else None
    return RememberedOutcome(str(note["time_key"]), str(note["event_key"]), value, str(note.get("said_to", "")))


def carry_outcome(source: AnnData | None, target: AnnData) -> None:
    """Let a table that was made of another one remember the same columns."""
    outcome = None if source is None else remembered_outcome(source)
    if outcome is not None:
        remember_outcome(target, outcome)


def numbers_of(column: pd.Series) -> pd.Series:
    """Numbers in a column of objects, as joins of tables leave them, as numbers; any other column as it is.

    As objects they would be taken for categories, each value a level of its own.

    Examples
    --------
    >>> numbers_of(pd.Series([1, 2.5], dtype=object)).dtype, numbers_of(pd.Series(["1"], dtype=object)).dtype
    (dtype('float64'), dtype('O'))
    """
    if column.dtype == object and all(isinstance(one, Real) and not isinstance(one, bool | np.bool_) for one in column):
        return column.astype(np.float64)
    return column


def tell_numbers_as_text(column: pd.Series, what: str, *, only_mixed: bool = False) -> None:
    """Warn of numbers that a few words beside them, or their being text, make categories: each a level of its own.

    Parameters
    ----------
    column
        Text or categories.
    what
        What it is, for the message.
    only_mixed
        Whether to leave out text that is numbers throughout, which of a column that nobody asked for may be names.

    Warns
    -----
    SpatialfmWarning
        If most values are numbers, of more kinds than codes have, and they do not count from 0 or 1 as clusters do.
    """
    if isinstance(column.dtype, pd.CategoricalDtype) and pd.api.types.is_numeric_dtype(column.cat.categories.dtype):
        return  # which somebody made of numbers
    text = column.dropna().astype(str)
    counts = text.value_counts()
    values = pd.to_numeric(pd.Series(counts.index), errors="coerce").to_numpy()
    numbers, words = np.sort(values[np.isfinite(values)]), list(counts.index[~np.isfinite(values)])
    if not len(numbers) or (only_mixed and not words):
        return
    is_coded = not words and np.array_equal(numbers, numbers[:1] + np.arange(len(numbers))) and numbers[0] in (0, 1)
    n_words = int(counts[words].sum())
    if len(numbers) < FEWEST_NUMBERS or is_coded or n_words > MOST_WORDS * len(text):
        return
    beside = f", and in {counted(n_words, 'row')} {listed(words, 4)}" if words else " as text"
    warn(
        f"{what} holds {len(numbers)} different numbers{beside}: all of it is taken as categories, each number a level "
        "of its own. If it is a number, write numbers alone, and leave empty what is not known: "
        "pandas.to_numeric(column, errors='coerce')."
    )


def event_times(time: pd.Series, key: str, argument: str = "time_key") -> np.ndarray:
    """Times from 0 on as floats.

    Raises
    ------
    SurvivalError
        If they are not numbers, negative or infinite.

    Warns
    -----
    SpatialfmWarning
        If they are longer than a life in the unit that the column's name states, or one reads as a code for missing.
    """
    if pd.api.types.is_timedelta64_dtype(time.dtype):
        raise SurvivalError(
            f"obs[{key!r}] ({argument}=) holds durations, not numbers. Say in which unit: "
            f'patients.obs["{key}"] = patients.obs["{key}"] / pandas.Timedelta(days=1).'
        )
    if pd.api.types.is_bool_dtype(time.dtype):
        raise SurvivalError(
            f"obs[{key!r}] ({argument}=) holds True and False, not times. Are the columns of time and event swapped?"
        )
    time = numbers_of(time)
    if not pd.api.types.is_numeric_dtype(time.dtype):
        text = time.astype(object)
        unread = text[pd.to_numeric(text, errors="coerce").isna()]
        if len(unread) or pd.api.types.is_datetime64_any_dtype(time.dtype):
            raise SurvivalError(
                f"obs[{key!r}] ({argument}=) holds {time.dtype} values that are not numbers, in "
                f"{counted(len(unread) or len(text), 'row')}: "
                f"{listed(pd.unique(text if unread.empty else unread), 3)}. Write the time from the start of follow-up "
                f"to event or censoring there, as a number{_from_dates(time, key)}."
            )
        raise SurvivalError(
            f"obs[{key!r}] ({argument}=) holds numbers as text. Convert them: "
            f'patients.obs["{key}"] = pandas.to_numeric(patients.obs["{key}"].astype(object)).'
        )
    values = time.to_numpy(dtype=np.float64)
    bad = ~np.isfinite(values) | (values < 0)
    if bad.any():
        rows = listed((f"{name} ({value:g})" for name, value in zip(time.index[bad], values[bad], strict=True)), 5)
        raise SurvivalError(
            f"{counted(int(bad.sum()), 'row')} of obs[{key!r}] ({argument}=) with a negative or infinite time: {rows}. "
            f'Correct them, or leave them out: patients[patients.obs["{key}"].between(0, 1e300)].copy().'
        )
    tell_long(values, key, argument)
    tell_missing_code(values, f"obs[{key!r}] ({argument}=)")
    return values


def _from_dates(time: pd.Series, key: str) -> str:
    """How a time is made of dates, where a column holds these."""
    if not pd.api.types.is_datetime64_any_dtype(time.dtype):
        return ""
    return f': (patients.obs["{key}"] - patients.obs["<start of follow-up>"]) / pandas.Timedelta(days=1)'


def reads_adverse(name: object) -> bool:
    """Whether a column, or a value in one, reads as an event that nobody wishes for.

    Examples
    --------
    >>> reads_adverse("relapsed"), reads_adverse("relapse-free"), reads_adverse("nonprogressor"), reads_adverse("CR")
    (True, False, False, False)
    """
    words = words_in(name)
    return bool(words & _ADVERSE) and not words & _OTHERWISE


def events(
    event: pd.Series,
    key: str,
    event_value: EventValue = None,
    argument: str = "event_key",
    *,
    others_censored: bool = True,
) -> np.ndarray:
    """Who had the event ``(n,)``: 1 and True, or `event_value`. What text means is asked, never guessed.

    Parameters
    ----------
    others_censored
        Whether all other values mean that no event was seen, or other events, too.

    Raises
    ------
    SurvivalError
        If other values than 0 and 1 are there without `event_value`, `event_value` is not among them, it is spelled
        in several ways, of which not all are named, or if a value that would count as censored says that nothing is
        known.
    """
    values = event.astype(object)
    if event_value is None:
        if not values.isin([0, 1]).all():
            raise SurvivalError(
                f"obs[{key!r}] ({argument}=) holds {_with_counts(values)}, and only 0, 1, False and True are "
                "understood. Which value means that the event was seen? Pass event_value=<that value>, or a list of "
                "them; all other rows count as censored."
            )
        return values.astype(float).to_numpy() == 1
    wanted = _as_list(event_value)
    text = values.astype(str)
    seen = np.zeros(len(values), dtype=bool)
    for value in wanted:
        # bool before str: str(True) does not spell 1, but True == 1
        matches = (values == value).to_numpy(dtype=bool) | (text == str(value)).to_numpy()
        if not matches.any():
            raise SurvivalError(
                f"event_value={value!r} is not a value of obs[{key!r}] ({argument}=), which holds "
                f"{_with_counts(values)}."
            )
        seen |= matches
    _refuse_other_spellings(values, seen, wanted, key, argument)
    if others_censored:
        _refuse_not_known(values[~seen], key, argument)
    return seen


def _refuse_other_spellings(values: pd.Series, seen: np.ndarray, wanted: list, key: str, argument: str) -> None:
    """Refuse ``"Dead"`` beside ``"dead"``: rows with the spelling that was not named would count as censored."""
    named = {word for value in wanted for word in _words_of(value)}
    others = [
        value for value in pd.unique(values[~seen]) if not pd.isna(value) and not named.isdisjoint(_words_of(value))
    ]
    if others:
        n = int(values[~seen].isin(others).sum())
        every = [_plain(value) for value in [*wanted, *others]]
        raise SurvivalError(
            f"obs[{key!r}] ({argument}=) also spells the event {listed(others, 5)}, and these "
            f"{counted(n, 'row')} would count as censored. Write all alike, or pass event_value={every}."
        )


def _words_of(value: object) -> frozenset[str]:
    """How a value reads, with all other words of the same event.

    Examples
    --------
    >>> sorted(_words_of("1:DECEASED"))
    ['1:deceased', 'dead', 'death', 'deceased', 'died']
    """
    read = as_read(value)
    word = re.sub(r"^\d+\s*[:=]\s*", "", read)
    return frozenset({read}).union(*(words for words in _WORDS if word in words))


def _refuse_not_known(others: pd.Series, key: str, argument: str) -> None:
    """Refuse ``"unknown"`` among the rows without the event: whether it was seen is missing there, not censored."""
    present = [value for value in pd.unique(others) if not pd.isna(value)]
    doubtful = NOT_KNOWN if all(as_read(value) in NOT_KNOWN | _SIGNS for value in present) else NOT_KNOWN | _SIGNS
    words = [value for value in present if as_read(value) in doubtful]
    if words:
        column, n = f'patients.obs["{key}"]', int(others.isin(words).sum())
        raise SurvivalError(
            f"obs[{key!r}] ({argument}=) holds {listed(words, 5)}, and {counted(n, 'row')} of which nobody knows "
            f"whether the event was seen would count as censored. Make them missing (empty, in a file): {column} = "
            f"{column}.astype(object).replace({dict.fromkeys(words)}); if these patients were seen without the event, "
            "rename the value."
        )


def event_text(event_value: EventValue) -> str:
    """`event_value` as a record keeps it: JSON text, empty for none."""
    return "" if event_value is None else json.dumps([str(value) for value in _as_list(event_value)])


def _as_list(event_value: EventValue) -> list:
    if isinstance(event_value, str) or not isinstance(event_value, Iterable):
        return [event_value]
    return list(event_value)


def _with_counts(values: pd.Series) -> str:
    counts = values.value_counts()
    return ", ".join(f"{value!r} ({n})" for value, n in counts.iloc[:8].items()) + (
        f" and {len(counts) - 8} more values" if len(counts) > 8 else ""
    )


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else value
