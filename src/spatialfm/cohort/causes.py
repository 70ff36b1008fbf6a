"""Outcomes with several kinds of event, of which the first that comes ends the follow-up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._errors import SurvivalError
from .checks import listed, obs_column, tell_spellings
from .outcome import EventValue, OnMissing, Outcome, column_as, events, read_outcome

if TYPE_CHECKING:
    from anndata import AnnData

_CAUSE = column_as("cause", "event_key")
OTHER = "other events"


@dataclass(frozen=True)
class Causes:
    """An outcome, and what happened to each of its rows."""

    outcome: Outcome
    codes: np.ndarray  # (n,) 0 for censored, 1, 2, ... for `names`
    names: list[str]


def read_causes(
    patients: AnnData,
    what: str,
    *,
    time_key: str,
    event_key: str,
    event_value: EventValue,
    censored_value: EventValue,
    entry_key: str | None,
    patient_key: str | None,
    on_missing: OnMissing,
    columns: pd.DataFrame | None = None,
) -> Causes:
    """Times and causes of the rows; `event_value` is the first cause, then, and all other events are the second.

    Raises
    ------
    SurvivalError
        As `spatialfm.cohort.outcome.read_outcome` does; if it is not known which value means censored, or no other
        event is there.
    """
    column = obs_column(patients, event_key, "event_key", rows="rows", error=SurvivalError, allow_missing=True)
    present = column.dropna().astype(object)
    censored = _censored(present, event_key, censored_value)
    values = [value for value in pd.unique(present) if str(value) not in censored]
    if not values:
        raise SurvivalError(
            f"No event in obs[{event_key!r}]: all rows are {listed(sorted(censored))}, which means censored "
            "(censored_value=)."
        )
    tell_spellings([str(value) for value in values], f"obs[{event_key!r}] (event_key=)")
    columns = pd.DataFrame(index=patients.obs.index) if columns is None else columns
    outcome = read_outcome(
        patients,
        what,
        time_key=time_key,
        event_key=event_key,
        event_value=values,
        entry_key=entry_key,
        patient_key=patient_key,
        on_missing=on_missing,
        columns=columns.assign(**{_CAUSE: column.astype(object).where(column.notna(), "")}),
    )
    seen = outcome.columns.pop(_CAUSE)
    if event_value is None:
        ordered = _ordered(column, values)
        codes = np.where(outcome.event, pd.Categorical(seen.astype(str), [str(one) for one in ordered]).codes + 1, 0)
        return Causes(outcome, codes, [_name(one) for one in ordered])
    wanted = events(seen, event_key, event_value, others_censored=False)
    if (wanted & ~outcome.event).any():
        raise SurvivalError(f"event_value={event_value!r} also means censored (censored_value=). Pass two values.")
    codes = np.where(wanted, 1, np.where(outcome.event, 2, 0))
    text = [event_value] if isinstance(event_value, str | int | bool) else list(event_value)
    return Causes(outcome, codes, [" or ".join(map(str, text)), OTHER][: max(1, codes.max())])


def _name(value: object) -> str:
    """1.0 is event 1: a column with gaps holds floats."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _censored(present: pd.Series, event_key: str, censored_value: EventValue) -> set[str]:
    if censored_value is not None:
        censored = events(present, event_key, censored_value, argument="event_key", others_censored=False)
        return set(present[censored].astype(str))
    zero = present.isin([0]).to_numpy(dtype=bool) & ~present.map(lambda value: isinstance(value, str)).to_numpy(bool)
    if not zero.any():
        counts = present.astype(str).value_counts()
        raise SurvivalError(
            f"obs[{event_key!r}] (event_key=) holds {listed(f'{name} ({n})' for name, n in counts.items())}. Which of "
            "them means that no event was seen? Pass censored_value=<that value>, or a list of them; "
            "censored_value=[] where none does, and all were seen to have an event."
        )
    return set(present[zero].astype(str))


def _ordered(column: pd.Series, values: list) -> list:
    if isinstance(column.dtype, pd.CategoricalDtype):
        return [value for value in column.cat.categories if value in values]
    return sorted(values, key=lambda value: (isinstance(value, str), value))
