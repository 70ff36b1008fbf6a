"""Who is in a second cohort: patients of the first among them, outcomes, and times that both cover."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._errors import SpatialfmError, SpatialfmWarning, SurvivalError, counted, listed, warn
from .._outcome import remembered_outcome
from .._spelling import name_read
from ..stats.survival_scores import decile_times
from .comparability import same_rows
from .outcome import EventValue, OnMissing, Outcome, OutcomeKeys, column_as, named_outcome, read_outcome, value_column
from .survival_record import MODEL
from .transferred_columns import covariate_design, named_values, target_covariates, target_features, tell_shift

if TYPE_CHECKING:
    from anndata import AnnData

ROW = column_as("row", "position")
FEW_EVENTS = 10
UNITS = 5.0  # ratio of median times from which units are doubted
DIFFERENT = 0.9  # share of different values from which a column identifies patients


def used_columns(kind: str, record: Mapping) -> list[str]:
    """Columns of the target's obs or var that the result rests on."""
    if kind == "cut_point":
        return [str(record["params"]["score_key"])]
    if kind == "stratify":
        return [str(name) for name in json.loads(record[MODEL]["features"])]
    strata = [str(name) for name in record["params"].get("strata", [])]
    return [*json.loads(record[MODEL]["columns"]), *strata]


def source_outcome(record: Mapping) -> list[str]:
    """Columns of time and event of the source."""
    return [str(record["params"].get(name) or "") for name in ("time_key", "event_key")]


def _source_value(record: Mapping, column: pd.Series) -> EventValue:
    """Values that mean the event in the source, of those in the target's column; None for none.

    Where 0 means the event, 1 would be taken for it otherwise.
    """
    text = str(record["params"].get("event_value") or "")
    values = [int(value) if value.isdecimal() else value for value in json.loads(text)] if text else []
    texts = set(column.dropna().astype(object).map(str))
    return [value for value in values if str(value) in texts or column.isin([value]).any()] or None


def target_outcome(
    target: AnnData, record: Mapping, time_key: str | None, event_key: str | None, event_value: EventValue
) -> OutcomeKeys | None:
    """Columns of the outcome: those given, otherwise the source's, otherwise those that the target remembers.

    None where the target has neither.

    Raises
    ------
    SurvivalError
        If one of two is given, or the target has the source's columns and remembers others.
    """
    known, (time, event) = remembered_outcome(target), source_outcome(record)
    if event_value is None and known is None and event_key in (None, event) and event in target.obs:
        event_value = _source_value(record, target.obs[event])
    if time_key is None and event_key is None and time in target.obs and event in target.obs:
        if known is None:
            return OutcomeKeys(time, event, event_value, "the source's columns")
        if (known.time_key, known.event_key) != (time, event):
            raise SurvivalError(
                f"The target has the source's outcome, {listed([time, event])}, and remembers another, "
                f"{listed([known.time_key, known.event_key])}. Pass time_key= and event_key= of the one that is meant."
            )
    if known is None and (time_key is None) != (event_key is None):
        raise SurvivalError("Pass both of time_key= and event_key=, or neither: then the source's are looked for.")
    return named_outcome(target, time_key, event_key, event_value)


def new_key(name: str, kind: str, record: Mapping) -> str:
    """Refuse to write over what the prediction is made of."""
    if used := [
        one for one in (*used_columns(kind, record), *source_outcome(record)) if one in (name, f"{name}_group")
    ]:
        raise SurvivalError(
            f"key_added={name!r} would replace obs[{used[0]!r}], which the prediction rests on. Pass another name."
        )
    return name


def shared_patients(
    source: AnnData, target: AnnData, kind: str, record: Mapping, patient_key: str | None
) -> tuple[np.ndarray, np.ndarray]:
    """Rows ``(n,)`` of the target with names of patients of the source, and with the values of one."""
    theirs, names = (_names(table, patient_key) for table in (source, target))
    called = np.zeros(target.n_obs, bool)
    if theirs is not None and names is not None:
        known = set(theirs)
        called = np.array([name in known for name in names], bool)
    alike = np.zeros(target.n_obs, bool)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SpatialfmWarning)  # reported once where the target is read
            rows = [_rows(source, table, kind, record) for table in (source, target)]
    except SpatialfmError:  # of a source that was thinned names alone can be compared
        return called, alike
    if rows[0].shape[1] == rows[1].shape[1]:
        telling = [i for i in range(rows[0].shape[1]) if _tells_apart(rows[0][:, i])]
        if telling:
            alike = same_rows(rows[0][:, telling], rows[1][:, telling])
    return called, alike if alike.sum() > max(1, 0.01 * len(alike)) else alike & called


def refuse_shared(
    source: AnnData, target: AnnData, called: np.ndarray, alike: np.ndarray, patient_key: str | None, on_shared: str
) -> list[str]:
    """Note on patients that are in both cohorts; refused unless the user decided."""
    shared = called | alike
    if not shared.any():
        return []
    names = target.obs[patient_key] if patient_key in target.obs else pd.Series(target.obs_names)
    first = listed(names[shared].astype(str), 3)
    same = int((shared & alike).sum())
    what = (
        f"{counted(int(called.sum()), 'patient')} of the target with names of patients of the source"
        if called.any()
        else f"{counted(same, 'patient')} of the target with the values of patients of the source"
    )
    more = f", {same} of them with the same values" if called.any() and same else ""
    if on_shared == "raise":
        rename = (
            f'target.obs["{patient_key}"] = "other_" + target.obs["{patient_key}"].astype(str)'
            if patient_key in target.obs
            else 'target.obs_names = "other_" + target.obs_names'
        )
        raise SurvivalError(
            f'{what}, first {first}{more}: a model is not tested on patients that made it. on_shared="drop" leaves '
            "them out"
            + ("" if same else f"; if they are other people who happen to be called alike, name them apart: {rename}")
            + "."
        )
    if on_shared == "drop":
        return []
    warn(f"{what}{more}: results for them are optimistic.")
    return [f"optimistic: {counted(int(shared.sum()), 'patient')} of the source among them"]


def tell_group_shift(source: AnnData, target: AnnData, kind: str, record: Mapping) -> list[str]:
    """Warn if the scores that are cut or grouped differ from those of the source; and in short."""
    try:
        own = _rows(source, source, kind, record)
    except SpatialfmError:  # of a source that was thinned there is nothing to compare with
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpatialfmWarning)  # reported where the groups are made
        rows = _rows(source, target, kind, record)
    names = [str(record["params"]["score_key"])] if kind == "cut_point" else json.loads(record[MODEL]["features"])
    with np.errstate(all="ignore"):
        limits = {"mean": np.nanmean(own, 0), "sd": np.nanstd(own, 0), "low": np.nanmin(own, 0)}
    return tell_shift(names, rows, pd.DataFrame({**limits, "high": np.nanmax(own, 0)}))


def tell_few(n_events: int, slope: float) -> list[str]:
    """Warn if events are too few to judge a model; and in short."""
    doubts = [] if np.isfinite(slope) else ["no calibration slope: predictions are alike, or part those with event"]
    if n_events >= FEW_EVENTS:
        return doubts
    warn(
        f"{counted(n_events, 'event')} in the target: with fewer than {FEW_EVENTS} scores are hardly informative, and "
        "intervals are too short; 100 or more are advised for a validation (Collins et al., Statistics in Medicine "
        "2016)."
    )
    return [f"{counted(n_events, 'event')}: intervals are too short", *doubts]


def _names(table: AnnData, patient_key: str | None) -> list[str] | None:
    if patient_key is not None and patient_key in table.obs:
        return [name_read(name) for name in table.obs[patient_key]]
    names = list(table.obs_names.astype(str))
    return None if names == [str(i) for i in range(len(names))] else [name_read(name) for name in names]  # row numbers


def _rows(source: AnnData, table: AnnData, kind: str, record: Mapping) -> np.ndarray:
    params = record["params"]
    layer = str(params["layer"])
    if kind == "cut_point":
        column = value_column(table, str(params["score_key"]), "score_key", layer or None)
        return column.to_numpy(dtype=np.float64, na_value=np.nan)[:, None]
    model = record[MODEL]
    if kind == "cox":
        return covariate_design(target_covariates(table, model["columns"], layer or None), model["columns"])
    if kind == "stratify":
        return named_values(source, table, json.loads(model["features"]), None if layer == "X" else layer)
    return target_features(source, table, model, params)


def _tells_apart(values: np.ndarray) -> bool:
    """Whether a column has almost as many values as rows, and with decimals: what two people do not share by chance."""
    values = values[np.isfinite(values)]
    fine = np.abs(values - np.round(values, 3)) > 1e-9
    return len(values) > 2 and len(np.unique(values)) > DIFFERENT * len(values) and bool(fine.mean() > 0.5)


def external_outcome(
    target: AnnData,
    params: Mapping,
    keep: np.ndarray,
    patient_key: str | None,
    on_missing: OnMissing,
    keys: OutcomeKeys,
) -> Outcome:
    """Times and events of the rows to keep, whose positions are ``columns[ROW]``."""
    columns = pd.DataFrame({ROW: np.flatnonzero(keep)}, index=target.obs_names[keep])
    table = target if keep.all() else target[keep]
    return read_outcome(
        table, "predict_survival", **keys.arguments(),
        patient_key=patient_key, on_missing=on_missing, columns=columns,
        known_entry=str(params.get("entry_key") or ""),
    )  # fmt: skip


def check_units(time: np.ndarray, source_time: np.ndarray) -> list[str]:
    """Warn where times of the two cohorts are of different orders."""
    ours, theirs = float(np.median(source_time)), float(np.median(time))
    if min(ours, theirs) > 0 and not 1 / UNITS <= theirs / ours <= UNITS:
        warn(
            f"The median time is {theirs:.3g} in the target and {ours:.3g} in the source: are both in the same unit "
            "(days, months, years)? Predictions at a time, and calibration, are wrong otherwise."
        )
        return ["times of another order than the source's"]
    return []


def common_times(times: Sequence[float] | None, time: np.ndarray, event: np.ndarray, last: float) -> np.ndarray:
    """Times of evaluation: deciles of the target's events within the follow-up of the source, or those given."""
    first, end = time[event].min(), time.max()
    if times is None:
        at = decile_times(time, event)
        at = at[(at <= last) & (at < end)]
        if not len(at):
            raise SurvivalError(
                f"The source has survival up to {last:g}, the first event of the target is at {first:g} and its "
                f"last patient is seen at {end:g}: there is no time at which a prediction can be compared with what "
                "was observed. Pass score=False for predictions alone."
            )
        return at
    at = _rising(times)
    if (late := at[at > last]).size:
        raise SurvivalError(
            f"times= {listed([f'{value:g}' for value in late], quoted=False)} are behind the follow-up of the source, "
            f"which has survival up to {last:g}. Pass at most {last:g}."
        )
    return at


def check_horizon(horizon: float, time: np.ndarray, last: float) -> None:
    """Refuse a time that one of the cohorts does not cover."""
    end = min(last, float(time.max()))
    if not 0 < horizon <= end:
        raise SurvivalError(
            f"horizon={horizon:g} is not a time up to which both cohorts were followed: the source until {last:g}, the "
            f"target until {time.max():g}. Pass a time above 0 and at most {end:g}."
        )


def prediction_times(times: Sequence[float] | None, source_time: np.ndarray, last: float) -> np.ndarray:
    """Times of predicted survival where there is no outcome: quartiles of the source's times, or those given."""
    if times is None:
        return np.unique(np.minimum(np.quantile(source_time, [0.25, 0.5, 0.75]), last))
    at = _rising(times)
    if (at > last).any():
        raise SurvivalError(f"The source has survival up to {last:g}, times= go up to {at.max():g}.")
    return at


def _rising(times: Sequence[float]) -> np.ndarray:
    at = np.atleast_1d(np.asarray(times, dtype=np.float64))
    if at.ndim != 1 or not at.size or not np.isfinite(at).all() or (np.diff(at) <= 0).any() or (at <= 0).any():
        raise SurvivalError("times= are not numbers above 0 that rise from each to the next. Pass times=[12, 24].")
    return at
