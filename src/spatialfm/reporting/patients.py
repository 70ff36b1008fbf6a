"""Sections on compositions by patient and on survival."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .. import pl
from .._errors import SpatialfmError, counted, listed
from .._keys import SAMPLES
from .._outcome import EventValue, remembered_outcome
from ..pl._kaplan_meier import at_risk_at
from ..tl import composition, kaplan_meier
from .elements import Html, Section, note, table, tag
from .figures import drawn
from .kinds import kind_of
from .results import results_of
from .source import Source

if TYPE_CHECKING:
    from anndata import AnnData

N_TIMES = 7  # of the table of numbers at risk


def compositions_section(source: Source) -> Section:
    """Shares of phenotypes or niches in each patient: those that were made, otherwise those of the cells."""
    title, body = "Compositions by patient", []
    for name, patients in source.patients.items():
        if patients.X is None or not patients.n_vars:
            continue
        params = patients.uns["composition"].get("params", {})
        unit = "patient" if params.get("patient_key") else "sample"
        what = str(params.get("cluster_key", "type"))
        body += [tag("h3", f"{what} ({name})"), *_composition(patients, what, unit)]
    key = source.keys.phenotype
    if not body and source.cells is not None and key is not None and source.keys.library in source.cells.obs:
        patient = source.keys.patient if source.keys.patient in source.cells.obs else None
        try:
            composed = composition(source.cells, key, library_key=source.keys.library, patient_key=patient)
        except SpatialfmError as error:
            body.append(note(f"No composition: {error}", kind="caution"))
        else:
            body += _composition(composed, key, "patient" if patient else "sample")
    if not body:
        text = "No table of patients by phenotypes is there. sfm.tl.composition makes one."
        body.append(note(text, kind="absent"))
    return Section("compositions", title, body)


def survival_section(source: Source) -> Section:
    """Curves that were made, or those of all patients, with numbers at risk."""
    title, body = "Survival", []
    for one in results_of(source):
        if one.kind.function == "kaplan_meier":
            body += [tag("h3", f"{one.key} ({one.table_name})"), *curves(one.table, one.key)]
    if not body:
        body = _all_patients(source)
    return Section("survival", title, body)


def curves(patients: AnnData, key: str) -> list[Html]:
    """Figure and tables of Kaplan-Meier curves."""
    record = patients.uns[key]
    params, groups = record["params"], record["groups"]
    group_key = str(params.get("group_key") or "")
    text = (
        f"Time: {params['time_key']}; event: {params['event_key']}"
        + (f" = {_value(params['event_value'])}" if str(params.get("event_value") or "") else "")
        + (f"; groups: {group_key}" if group_key else "")
        + f". {counted(int(groups['n'].sum()), 'patient')}, {counted(int(groups['events'].sum()), 'event')}."
    )
    body = [tag("p", text)]
    if bool(record.get("optimistic", False)):
        body.append(note("Optimistic: the outcome itself made these groups.", kind="caution"))
    figure = drawn(
        lambda: pl.kaplan_meier(patients, key=key, logrank_key=_test_of(patients, params), show=False, return_fig=True),
        alt=f"Kaplan-Meier curves of {listed(groups.index, 8, quoted=False)}, with numbers at risk.",
        caption="Kaplan-Meier estimate with its interval at each time; ticks: censored patients; below: at risk.",
    )
    body += [figure, table(groups, "Patients, events and median time, with its interval.", index="group")]
    risk = numbers_at_risk(record)
    body.append(table(risk, "Number at risk just before each time.", index="group"))
    return body


def _value(text: object) -> str:
    """Value that means the event, or several, as a record has them."""
    try:
        values = json.loads(str(text))
    except ValueError:
        return str(text)
    return listed(values, quoted=False) if isinstance(values, list) else str(values)


def numbers_at_risk(record: Mapping) -> pd.DataFrame:
    """Number at risk of each group at evenly spaced times."""
    frame = record["table"]
    times = _round_times(float(frame["time"].max()))
    rows = {
        str(name): at_risk_at(frame[frame["group"].astype(str) == str(name)], times) for name in record["groups"].index
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=[f"{time:g}" for time in times]).astype(int)


def _round_times(last: float) -> np.ndarray:
    """Round times from 0 up to the last one."""
    if not last > 0:
        return np.zeros(1)
    step = last / (N_TIMES - 1)
    power = 10.0 ** np.floor(np.log10(step))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= step)
    return np.arange(0, last + 1e-9, step)


def _test_of(patients: AnnData, params: Mapping) -> str:
    """Key of the log-rank test of the same groups and outcome."""
    same = ("group_key", "time_key", "event_key", "event_value", "entry_key")
    for key, record in patients.uns.items():
        kind = kind_of(record) if isinstance(record, Mapping) else None
        if kind is not None and kind.function == "logrank":
            if all(str(record["params"].get(name, "")) == str(params.get(name, "")) for name in same):
                return str(key)
    return "logrank"


def _composition(patients: AnnData, what: str, unit: str) -> list[Html]:
    group = "risk_group" if "risk_group" in patients.obs and patients.obs["risk_group"].notna().all() else None
    figure = drawn(
        lambda: pl.composition(patients, group_key=group, show=False, return_fig=True),
        alt=f"Stacked bars: shares of {counted(patients.n_vars, 'category', 'categories')} of {what} in each {unit}.",
        caption=f"Shares of {what} among the cells of each {unit}.",
    )
    frame = patients.to_df()
    frame.index = frame.index.astype(str)
    if "n_cells" in patients.obs:
        frame.insert(0, "cells", patients.obs["n_cells"].to_numpy())
    return [figure, table(frame, f"Shares of {what} among the cells of each {unit}.", index=unit)]


def _all_patients(source: Source) -> list[Html]:
    """Curves of all patients, where outcomes are known and nobody made curves."""
    time, event, value = _outcome(source)
    rows = _patients_with(source, time, event)
    if rows is None:
        text = f"No curves were made, and no table has the outcome of patients in {time!r} and {event!r}."
        return [note(text, kind="absent")]
    try:
        kaplan_meier(rows, time_key=time, event_key=event, event_value=value, patient_key=None, on_missing="drop")
    except SpatialfmError as error:
        return [note(f"No curve of all patients: {error}", kind="caution")]
    return [tag("p", "No curves of groups were made: all patients together."), *curves(rows, "kaplan_meier")]


def _outcome(source: Source) -> tuple[str, str, EventValue]:
    """Columns of time and event, and the value that means the event: as passed, as remembered, or the usual ones."""
    keys = source.keys
    asked = keys.time is not None or keys.event is not None
    time, event = keys.time or "time", keys.event or "event"
    tables = list(source.tables.values())
    if source.sdata is not None and SAMPLES in source.sdata.tables:
        tables.append(source.sdata.tables[SAMPLES])
    for one in tables:
        known = remembered_outcome(one)
        if known is not None and (not asked or (known.time_key, known.event_key) == (time, event)):
            value = known.event_value if keys.event_value is None else keys.event_value
            return known.time_key, known.event_key, value
    return time, event, keys.event_value


def _patients_with(source: Source, time: str, event: str) -> AnnData | None:
    """One row per patient with an outcome, as a table of its own."""
    from anndata import AnnData

    for patients in source.patients.values():
        if {time, event} <= set(patients.obs):
            return AnnData(obs=patients.obs[[time, event]].copy())
    for frame in (source.samples, None if source.cells is None else source.cells.obs):
        if frame is not None and {time, event, source.keys.patient} <= set(frame):
            rows = frame[[source.keys.patient, time, event]].drop_duplicates()
            rows = rows[rows[source.keys.patient].notna()]
            if rows[source.keys.patient].duplicated().any():
                return None  # a patient with two outcomes
            return AnnData(obs=rows.set_index(source.keys.patient).rename_axis(None).set_axis(
                rows[source.keys.patient].astype(str), axis=0))  # fmt: skip
    return None
