"""Survival outcomes: read from obs, checked once for all survival tools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from .._dense import column_of_x
from .._errors import SpatialfmError, SurvivalError, counted, warn
from .._fingerprint import digest
from .._keys import PATIENT_KEY, SAMPLE_KEY, layer_names
from .._logging import logger
from .._missing_codes import tell_missing_code
from .._outcome import EventValue, RememberedOutcome, event_text, event_times, events, remembered_outcome
from .._time_units import tell_two_units, unit_in
from ..stats.risk_table import expected_events
from .checks import check_anndata, check_samples, listed, named, obs_column, tell_spellings
from .late_entry import tell_late_entry
from .patient_names import ask_for_patients, check_names, suggestion

if TYPE_CHECKING:
    from anndata import AnnData

OnMissing = Literal["raise", "drop"]
_AS = "__as__"
NO_OUTCOME = dict.fromkeys(("time_key", "event_key", "event_value", "outcome_from"), "")  # of a record


@dataclass(frozen=True)
class Outcome:
    """Time and event of the ``n`` rows that have them, and any further columns asked for."""

    time: np.ndarray  # (n,) float
    event: np.ndarray  # (n,) bool
    columns: pd.DataFrame  # (n, .) further columns
    n_dropped: int
    names: pd.Index  # (n,)
    entry: np.ndarray | None = None  # (n,) float, below time; None: all from the start


@dataclass(frozen=True)
class OutcomeKeys:
    """Columns of time and event, the value that means the event, and where they were said."""

    time: str
    event: str
    value: EventValue
    source: str  # "arguments", "default names", or what remembered them

    def arguments(self) -> dict[str, Any]:
        """As arguments of `read_outcome`."""
        return {"time_key": self.time, "event_key": self.event, "event_value": self.value}

    def params(self) -> dict[str, str]:
        """As the record of a result keeps them."""
        return {
            "time_key": self.time, "event_key": self.event, "event_value": event_text(self.value),
            "outcome_from": self.source,
        }  # fmt: skip


def outcome_keys(
    patients: AnnData,
    time_key: str | None,
    event_key: str | None,
    event_value: EventValue = None,
    *,
    takes_value: bool = True,
) -> OutcomeKeys:
    """The columns that are meant: those given, otherwise those remembered, otherwise ``"time"`` and ``"event"``.

    Parameters
    ----------
    takes_value
        Whether a remembered value that means the event is taken along; functions of several kinds of event ask for it.

    Raises
    ------
    SurvivalError
        If the columns are not known, or if one is given that is not remembered and the other is not given: time and
        event would be those of two different outcomes.
    """
    known = remembered_outcome(patients)
    if known is None:
        n_named = sum(key is not None for key in (time_key, event_key))
        keys = OutcomeKeys(
            time_key or "time", event_key or "event", event_value,
            ("default names", "arguments and default names", "arguments")[n_named],
        )  # fmt: skip
        for argument, given_key, key in (("time_key", time_key, keys.time), ("event_key", event_key, keys.event)):
            if given_key is None and key not in patients.obs:
                raise SurvivalError(
                    f"No column {key!r} in obs ({argument}=); found {listed(patients.obs.columns, 12)}. Pass "
                    f"{argument}=<column>, or say once which columns hold time and event, with "
                    f"sfm.pp.set_outcome(patients, time_key=..., event_key=...)."
                    " (Tables joined by anndata.concat forget it, unless its uns_merge is 'same'.)"
                    f"{suggestion(patients, key, argument)}"
                )
        return keys
    own = {"time_key": known.time_key, "event_key": known.event_key}
    other = {
        argument
        for argument, key in (("time_key", time_key), ("event_key", event_key))
        if key not in (None, own[argument])
    }
    if other and (time_key is None or event_key is None):
        argument, missing = ("time_key", "event_key") if "time_key" in other else ("event_key", "time_key")
        raise SurvivalError(
            f"{argument}={(time_key if argument == 'time_key' else event_key)!r} is not the column that the table "
            f"remembers, {own[argument]!r}, and {missing}= is not given: that of the remembered outcome, "
            f"{own[missing]!r}, may belong to another one. Pass both time_key= and event_key=."
        )
    if time_key is not None and event_key is not None:
        value = known.event_value if takes_value and event_value is None and not other else event_value
        source = "arguments" if value is event_value else f"arguments, event_value {_by(known)}"
        return OutcomeKeys(time_key, event_key, value, source)
    for argument, key in own.items():
        if key not in patients.obs:
            raise SurvivalError(
                f"No column {key!r} in obs, which holds {'times' if argument == 'time_key' else 'events'} by what the "
                f"table remembers ({_by(known)}); found {listed(patients.obs.columns, 12)}. Columns that differ within "
                f"a row are left out where rows are pooled. Pass time_key= and event_key=, or add it with "
                "sfm.pp.add_clinical(patients, table, on=...)."
            )
    value = known.event_value if takes_value and event_value is None else event_value
    return OutcomeKeys(known.time_key, known.event_key, value, _by(known))


def named_outcome(
    patients: AnnData, time_key: str | None, event_key: str | None, event_value: EventValue
) -> OutcomeKeys | None:
    """As `outcome_keys`, for functions that also work without an outcome, which a usual name alone does not name."""
    if remembered_outcome(patients) is None:
        if (time_key is None) != (event_key is None):
            raise SurvivalError("Pass both of time_key= and event_key=, or neither.")
        if time_key is None:
            return None
    return outcome_keys(patients, time_key, event_key, event_value)


def _by(known: RememberedOutcome) -> str:
    return f"remembered from {known.said_to}" if known.said_to else "remembered"


def read_outcome(
    patients: AnnData,
    what: str,
    *,
    time_key: str,
    event_key: str,
    event_value: EventValue = None,
    entry_key: str | None = None,
    patient_key: str | None,
    on_missing: OnMissing,
    columns: pd.DataFrame | None = None,
    known_entry: str = "",
) -> Outcome:
    """Times and events of the rows, by rising time, after all refusals.

    Parameters
    ----------
    columns
        Further columns, one row per row of `patients`; a missing value there counts as a missing outcome does.
    known_entry
        Column that is known to hold late entries, though the call does not take them.

    Raises
    ------
    SurvivalError
        If a column is absent or incomplete, a time negative, an entry not before it, an event neither 0 nor 1 without
        `event_value`, a patient in several rows, or if there is no event.
    """
    check_anndata(patients, what)
    if on_missing not in ("raise", "drop"):
        raise SurvivalError(f'on_missing={on_missing!r} is not known. Pass "raise" or "drop".')
    check_patients(patients, patient_key)
    if entry_key is None:
        tell_late_entry(patients, what, time_key, known_entry)

    def column(key: str, argument: str) -> pd.Series:
        return obs_column(patients, key, argument, rows="rows", error=SurvivalError, allow_missing=True)

    time, event = column(time_key, "time_key"), column(event_key, "event_key")
    columns = pd.DataFrame(index=patients.obs.index) if columns is None else columns
    if entry_key is not None:
        columns = columns.assign(**{column_as("entry", entry_key): column(entry_key, "entry_key")})
    missing = _missing(time, event, columns)
    if missing.any() and on_missing == "raise":
        parts = {time_key: time, event_key: event, **columns}
        absent = [str(key).split(_AS)[-1] for key, values in parts.items() if values.isna().any()]
        raise SurvivalError(
            f"{int(missing.sum())} of {len(missing)} rows have no value in {listed(absent)}: "
            f'{listed(missing.index[missing])}. Fill them, or pass on_missing="drop" to leave these rows out.'
        )
    keep = ~missing.to_numpy()
    if missing.any():
        logger.info("%s: %d rows left out for missing values: %s.", what, (~keep).sum(), listed(missing.index[~keep]))
    outcome = Outcome(
        event_times(time[keep], time_key),
        events(event[keep], event_key, event_value),
        columns[keep],
        int((~keep).sum()),
        patients.obs_names[keep],
    )
    if entry_key is not None:
        entry = event_times(columns.pop(column_as("entry", entry_key))[keep], entry_key, "entry_key")
        outcome = replace(outcome, columns=columns[keep], entry=_before(entry, outcome, entry_key, time_key))
    outcome = _in_order(outcome)
    if not outcome.event.any():
        raise SurvivalError(
            f"No event among {counted(int(keep.sum()), 'row')} (obs[{event_key!r}] is "
            f"{listed(pd.unique(event[keep]), 3)} throughout): there is nothing to estimate. Check that 1, or "
            "event_value=, encodes the event."
        )
    tell_two_units(outcome.time, outcome.event, time_key)
    return outcome


def _in_order(outcome: Outcome) -> Outcome:
    """Rows by time, event, entry and name, so that what is drawn at random does not depend on how a table is sorted."""
    entry = np.zeros(outcome.time.size) if outcome.entry is None else outcome.entry
    order = np.lexsort((outcome.names.to_numpy(dtype=str), entry, outcome.event, outcome.time))
    return Outcome(
        outcome.time[order],
        outcome.event[order],
        outcome.columns.iloc[order],
        outcome.n_dropped,
        outcome.names[order],
        None if outcome.entry is None else outcome.entry[order],
    )


def check_patients(
    samples: AnnData,
    patient_key: str | None,
    *,
    error: type[SpatialfmError] = SurvivalError,
    unit: str = "the unit of survival analysis",
) -> None:
    """Refuse a patient in several rows: their outcomes are one observation, not several. Nothing to check for None."""
    patients = patient_column(samples, patient_key, error)
    if patients is None:
        return
    repeated = patients[patients.duplicated(keep=False)]
    if len(repeated):
        raise error(
            f"{counted(samples.n_obs, 'row holds', 'rows hold')} {counted(patients.nunique(), 'patient')} "
            f"(obs[{patient_key!r}]), for example {listed(repeated.astype(str).unique(), 3)} several times. Patients "
            f'are {unit}: make one row per patient with sfm.tl.composition(cells, ..., patient_key="{patient_key}").'
        )


def patient_column(
    samples: AnnData, patient_key: str | None, error: type[SpatialfmError] = SurvivalError
) -> pd.Series | None:
    """Patient of each row; None if there is no column, allowed for the usual name only.

    Missing names are refused, and so is a sample of two patients.
    """
    if patient_key is None or (patient_key == PATIENT_KEY and PATIENT_KEY not in samples.obs):
        if patient_key is not None:
            ask_for_patients(samples, patient_key, error)
        return None
    if patient_key not in samples.obs:
        hint = suggestion(samples, patient_key, "patient_key")
        raise error(
            f"No column {patient_key!r} in obs (patient_key=); found {listed(samples.obs.columns, 12)}. Pass the "
            f"column with the patient, or patient_key=None if each row is one.{hint}"
        )
    patients = samples.obs[patient_key]
    if patients.isna().any():
        raise error(
            f"{counted(int(patients.isna().sum()), 'row has', 'rows have')} no patient in obs[{patient_key!r}], first "
            f"{listed(patients.index[patients.isna()], 3)}. Fill the column, or pass patient_key=None if each row is a "
            "patient."
        )
    check_names(samples.obs, patients, "patient_key", error)
    if SAMPLE_KEY in samples.obs:
        check_samples(samples.obs[SAMPLE_KEY], patients, error)
    return patients


def read_groups(patients: AnnData, group_key: str | None) -> pd.DataFrame | None:
    """Column ``group`` of strings as an ordered categorical; None for no groups."""
    if group_key is None:
        return None
    column = obs_column(patients, group_key, "group_key", rows="rows", error=SurvivalError, allow_missing=True)
    if pd.api.types.is_float_dtype(column.dtype) and column.nunique() > 10:
        raise SurvivalError(
            f"obs[{group_key!r}] has {column.nunique()} different numbers, which are not groups. Pass it to "
            f'sfm.tl.cox as it is, look for a cut with sfm.tl.cut_point(patients, "{group_key}"), or cut it at values '
            "of your own with pandas.cut."
        )
    return pd.DataFrame({"group": named(column, "group_key").cat.as_ordered()})


def column_as(role: str, name: str) -> str:
    """Name under which a column is kept among others that may have the same name; messages show `name`."""
    return f"{role}{_AS}{name}"


def read_block(patients: AnnData, block_key: str | None) -> dict[str, pd.Series]:
    """Column of the site within which outcomes are shuffled, if any, under ``column_as("block", block_key)``."""
    if block_key is None:
        return {}
    column = obs_column(patients, block_key, "block_key", rows="rows", error=SurvivalError, allow_missing=True)
    return {column_as("block", block_key): column}


def read_strata(patients: AnnData, strata: Sequence[str]) -> dict[str, pd.Series]:
    """Columns of obs whose levels are compared only within, under ``column_as("stratum", name)``."""
    columns = {}
    for name in strata:
        column = obs_column(patients, name, "strata", rows="rows", error=SurvivalError, allow_missing=True)
        if pd.api.types.is_float_dtype(column.dtype) and column.nunique() > 10:
            raise SurvivalError(
                f"obs[{name!r}] (strata=) has {column.nunique()} different numbers, which are not strata. Cut it at "
                "values of your own with pandas.cut, or make it a covariate of sfm.tl.cox."
            )
        columns[column_as("stratum", name)] = column.astype("category")
        tell_spellings([str(one) for one in pd.unique(column.dropna())], f"obs[{name!r}] (strata=)")
    return columns


def stratum_codes(outcome: Outcome) -> np.ndarray | None:
    """One code ``(n,)`` for each combination of levels of the strata; None for no strata."""
    names = [name for name in outcome.columns if str(name).startswith(column_as("stratum", ""))]
    return outcome.columns.groupby(names, observed=True, sort=True).ngroup().to_numpy() if names else None


def group_codes(outcome: Outcome, group_key: str, need: int = 1) -> tuple[np.ndarray, list[str]]:
    """Codes ``(n,)`` and names of the groups that occur; fewer than `need` are refused."""
    groups = outcome.columns["group"].cat.remove_unused_categories()
    names = list(groups.cat.categories)
    if len(names) < need:
        raise SurvivalError(
            f"Only one group in obs[{group_key!r}] ({listed(names)}): there is nothing to compare. Pass a column with "
            "two groups or more."
        )
    return groups.cat.codes.to_numpy(), names


def outcome_digest(outcome: Outcome, codes: np.ndarray, names: Sequence[str]) -> str:
    """Hash of the rows that take part, with group, time and event of each: the same for two tools on the same data."""
    entry = () if outcome.entry is None else (outcome.entry,)
    return digest(outcome.names, np.array(names, dtype=object)[codes], outcome.time, outcome.event, *entry)


def value_column(patients: AnnData, key: str, argument: str, layer: str | None = None) -> pd.Series:
    """A column of obs, or of X (or a layer) by its name in var, as scanpy's ``sc.get.obs_df`` finds them."""
    in_obs, in_var = key in patients.obs, key in patients.var_names
    if in_obs and in_var:
        raise SurvivalError(
            f"{key!r} ({argument}=) is a column of obs and a name in var. Rename one: patients.obs.rename(columns=...)."
        )
    if in_obs:
        tell_missing_code(patients.obs[key], f"obs[{key!r}] ({argument}=)")
        return patients.obs[key]
    if in_var:
        if layer is not None and layer not in patients.layers:
            raise SurvivalError(f"No layer {layer!r} (layer=); found {listed(layer_names(patients))}.")
        return pd.Series(np.asarray(column_of_x(patients, key, layer), dtype=float), index=patients.obs_names)
    raise SurvivalError(
        f"No column {key!r} in obs and no such name in var ({argument}=); obs has {listed(patients.obs.columns, 12)}, "
        f"var has {listed(patients.var_names, 12)}."
    )


def observed_expected(
    time: np.ndarray, event: np.ndarray, codes: np.ndarray, n_groups: int, entry: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Events of each group, and those expected if all groups had one hazard (the log-rank test's).

    The expected number is the sum, over the rows of a group, of the pooled Nelson-Aalen cumulative hazard at each
    row's time (less that at its entry).
    """
    observed = np.bincount(codes, weights=event, minlength=n_groups)
    return observed, np.bincount(codes, weights=expected_events(time, event, entry), minlength=n_groups)


def _before(entry: np.ndarray, outcome: Outcome, entry_key: str, time_key: str) -> np.ndarray:
    units = unit_in(entry_key), unit_in(time_key)
    if all(units) and len(set(units)) > 1:
        warn(
            f"obs[{entry_key!r}] (entry_key=) reads as {units[0]}s by its name and obs[{time_key!r}] (time_key=) as "
            f"{units[1]}s: who was under observation when is read from both as they are. Bring both to one unit."
        )
    late = entry >= outcome.time
    if late.any():
        rows = listed(
            (
                f"{name} ({a:g}, {b:g})"
                for name, a, b in zip(outcome.names[late], entry[late], outcome.time[late], strict=True)
            ),
            5,
        )
        raise SurvivalError(
            f"{counted(int(late.sum()), 'row')} of obs[{entry_key!r}] (entry_key=) not before obs[{time_key!r}], and "
            f"so never observed: {rows}. Both count from the same start, as diagnosis"
            f"{', and in one unit' if late.mean() > 0.5 else ''}: correct the columns, or leave these rows out before "
            "this call."
        )
    return entry


def _missing(time: pd.Series, event: pd.Series, columns: pd.DataFrame) -> pd.Series:
    return time.isna() | event.isna() | columns.isna().any(axis=1)
