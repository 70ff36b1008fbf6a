"""Who is in a second cohort: patients of the first among them, outcomes, and times at which both say something."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._errors import SpatialfmError, SpatialfmWarning, SurvivalError, counted, listed, warn
from ..metrics._survival import decile_times
from ._outcome import EventValue, OnMissing, Outcome, column_as, read_outcome, value_column
from ._patient_names import _read
from ._survival_record import MODEL
from ._transfer_signatures import same_rows
from ._transferred_columns import covariate_design, named_values, target_covariates, target_features

if TYPE_CHECKING:
    from anndata import AnnData

ROW = column_as("row", "position")
UNITS = 5.0  # ratio of median times from which units are doubted
DIFFERENT = 0.9  # share of different values from which a column tells patients apart


def shared_patients(
    source: AnnData, target: AnnData, kind: str, record: Mapping, patient_key: str | None
) -> tuple[np.ndarray, np.ndarray]:
    """Rows ``(n,)`` of the target that are called as patients of the source, and that have the values of one."""
    names = [_names(table, patient_key) for table in (source, target)]
    called = np.zeros(target.n_obs, bool)
    if None not in (names[0], names[1]):
        theirs = set(names[0])
        called = np.array([name in theirs for name in names[1]], bool)
    alike = np.zeros(target.n_obs, bool)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SpatialfmWarning)  # said once where the target is read
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
    """What a result says of patients that are in both cohorts; refused unless the user decided."""
    shared = called | alike
    if not shared.any():
        return []
    names = target.obs[patient_key] if patient_key in target.obs else pd.Series(target.obs_names)
    first = listed(names[shared].astype(str), 3)
    same = int((shared & alike).sum())
    what = (
        f"{counted(int(called.sum()), 'patient')} of the target called as patients of the source"
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
    warn(f"{what}{more}: what is said of them is optimistic.")
    return [f"optimistic: {counted(int(shared.sum()), 'patient')} of the source among them"]


def _names(table: AnnData, patient_key: str | None) -> list[str] | None:
    if patient_key is not None and patient_key in table.obs:
        return [_read(name) for name in table.obs[patient_key]]
    names = list(table.obs_names.astype(str))
    return None if names == [str(i) for i in range(len(names))] else [_read(name) for name in names]  # row numbers


def _rows(source: AnnData, table: AnnData, kind: str, record: Mapping) -> np.ndarray:
    params = record["params"]
    layer = str(params["layer"])
    if kind == "cut_point":
        column = value_column(table, str(params["key"]), "key", layer or None)
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
    *,
    time_key: str | None,
    event_key: str | None,
    event_value: EventValue,
) -> Outcome | None:
    """Times and events of the rows to keep, whose positions are ``columns[ROW]``; None where there is no outcome.

    Without keys, the source's are looked for.
    """
    if time_key is None and event_key is None:
        time_key, event_key = str(params.get("time_key") or ""), str(params.get("event_key") or "")
        if time_key not in target.obs or event_key not in target.obs:
            return None
    if time_key is None or event_key is None:
        raise SurvivalError("Pass both of time_key= and event_key=, or neither: then the source's are looked for.")
    columns = pd.DataFrame({ROW: np.flatnonzero(keep)}, index=target.obs_names[keep])
    table = target if keep.all() else target[keep]
    return read_outcome(
        table, "predict_survival", time_key=time_key, event_key=event_key, event_value=event_value,
        patient_key=patient_key, on_missing=on_missing, columns=columns,
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
    """Times of evaluation: deciles of the target's events up to where the source knows, or those given."""
    first, end = time[event].min(), time.max()
    if times is None:
        at = decile_times(time, event)
        at = at[(at <= last) & (at < end)]
        if not len(at):
            raise SurvivalError(
                f"The source knows survival up to {last:g}, the first event of the target is at {first:g} and its "
                f"last patient is seen at {end:g}: there is no time at which a prediction can be held against what "
                "was observed. Pass score=False for predictions alone."
            )
        return at
    at = _rising(times)
    if (late := at[at > last]).size:
        raise SurvivalError(
            f"times= {listed([f'{value:g}' for value in late], quoted=False)} are behind the follow-up of the source, "
            f"which knows survival up to {last:g}. Pass at most {last:g}."
        )
    return at


def prediction_times(times: Sequence[float] | None, source_time: np.ndarray, last: float) -> np.ndarray:
    """Times of predicted survival where there is no outcome: quartiles of the source's times, or those given."""
    if times is None:
        return np.unique(np.minimum(np.quantile(source_time, [0.25, 0.5, 0.75]), last))
    at = _rising(times)
    if (at > last).any():
        raise SurvivalError(f"The source knows survival up to {last:g}, times= go up to {at.max():g}.")
    return at


def _rising(times: Sequence[float]) -> np.ndarray:
    at = np.atleast_1d(np.asarray(times, dtype=np.float64))
    if at.ndim != 1 or not at.size or not np.isfinite(at).all() or (np.diff(at) <= 0).any() or (at <= 0).any():
        raise SurvivalError("times= are not numbers above 0 that rise from each to the next. Pass times=[12, 24].")
    return at
