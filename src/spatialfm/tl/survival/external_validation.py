"""Predictions of a source's model, cut or grouping for another cohort, and their validation there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..._errors import SurvivalError, counted
from ..._logging import logger
from ...cohort.checks import listed
from ...cohort.external_cohort import (
    ROW,
    check_horizon,
    check_units,
    common_times,
    prediction_times,
    refuse_shared,
    shared_patients,
    tell_few,
    tell_group_shift,
)
from ...cohort.outcome import OnMissing, Outcome, value_column
from ...cohort.survival_record import MODEL
from ...learn.external_scores import Scored, calibration_tables, decision_table, score_tables
from ...learn.transferred import MODELS, Transferred, apply_groups, apply_model, cut_groups
from .external_groups import group_scores, risk_cut

if TYPE_CHECKING:
    from anndata import AnnData

SURVIVAL = "survival_"  # columns of predictions, before the time


@dataclass(frozen=True)
class AppliedResult:
    """A result of the source on the rows of the target."""

    kind: str
    model: Transferred | None  # None of a grouping and of a cut
    threshold: float  # NaN without a cut
    groups: pd.Series | None
    keep: np.ndarray  # (n,) rows with a prediction
    shared: np.ndarray  # (n,) rows that are patients of the source, too
    doubts: list[str]

    def predictions(self, names: pd.Index, times: np.ndarray) -> pd.DataFrame:
        """Risk, group and survival at the times, one row per patient; missing where nothing was predicted."""
        columns: dict[str, Any] = {}
        if self.model is not None:
            columns["risk"] = np.where(self.keep, self.model.risk, np.nan)
        if self.groups is not None:
            columns["group"] = self.groups.where(self.keep)
        if self.model is not None:
            curves = np.where(self.keep[:, None], self.model.survival(times), np.nan)
            columns |= {f"{SURVIVAL}{time:g}": curve for time, curve in zip(times, curves.T, strict=True)}
        return pd.DataFrame(columns, index=names)


@dataclass(frozen=True)
class ExternalScores:
    """How predictions do: tables, and the times that they are of."""

    tables: dict[str, Any]  # none without an outcome
    times: np.ndarray  # empty without a model
    horizon: float
    doubts: list[str]


def apply(
    source: AnnData,
    target: AnnData,
    key: str,
    record: Mapping,
    kind: str,
    *,
    cut: str | float | None,
    patient_key: str | None,
    on_shared: str,
    on_missing: str,
) -> AppliedResult:
    """The result ``uns[key]`` of the source on the target, after all refusals of the target's rows."""
    called, alike = shared_patients(source, target, kind, record, patient_key)
    doubts = refuse_shared(source, target, called, alike, patient_key, on_shared)
    keep = ~(called | alike) if on_shared == "drop" else np.ones(target.n_obs, bool)
    model = apply_model(source, target, key, record, kind) if kind in MODELS else None
    threshold = _threshold(source, key, record, kind, cut, model)
    groups = _groups(source, target, record, kind, threshold, model)
    known = np.isfinite(model.risk) if model is not None else groups.notna().to_numpy()
    _check_missing(target, known | ~keep, on_missing)
    doubts = doubts + (model.doubts if model is not None else tell_group_shift(source, target, kind, record))
    return AppliedResult(kind, model, threshold, groups, keep & known, called | alike, doubts)


def validate(
    applied: AppliedResult,
    outcome: Outcome | None,
    times: Sequence[float] | None,
    horizon: float | None,
    thresholds: np.ndarray,
    n_groups: int,
    *,
    n_bootstrap: int,
    alpha: float,
    random_state: int,
) -> ExternalScores:
    """Predictions compared with the outcome, if there is one; and times of prediction."""
    model, tables, doubts = applied.model, {}, []
    drawn = {"n_bootstrap": n_bootstrap, "alpha": alpha, "random_state": random_state}
    at, middle = np.array([]), np.nan
    if model is not None:
        at = _times(model, outcome, applied.keep, times, horizon)
        middle = float(at[(len(at) - 1) // 2] if horizon is None else horizon)
    if model is not None and outcome is not None:
        doubts += check_units(outcome.time, model.source_time)
        tables |= _scores(model, outcome, at, middle, thresholds, n_groups, **drawn)
        slope = tables["scores"].loc["calibration_slope", "value"]
        doubts += tell_few(int(outcome.event.sum()), slope)
    if applied.groups is not None and outcome is not None:
        own_groups = applied.groups.iloc[outcome.columns[ROW]].reset_index(drop=True)
        tables |= group_scores(own_groups, outcome.time, outcome.event, alpha, random_state)
    return ExternalScores(tables, at, middle, doubts)


def _threshold(
    source: AnnData, key: str, record: Mapping, kind: str, cut: str | float | None, model: Transferred | None
) -> float:
    """Value above which patients are ``high``: the source's; NaN without a cut."""
    if kind == "cut_point":
        return float(record["cut"])
    return np.nan if model is None or cut is None else risk_cut(source, key, model.source_risk, cut)


def _groups(
    source: AnnData, target: AnnData, record: Mapping, kind: str, threshold: float, model: Transferred | None
) -> pd.Series | None:
    params = record["params"]
    if kind == "stratify":
        return apply_groups(source, target, record[MODEL], params)
    if kind == "cut_point":
        column = value_column(target, str(params["score_key"]), "score_key", str(params["layer"]) or None)
        if not pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype):
            raise SurvivalError(
                f"{params['score_key']!r} of the target holds {column.dtype} values, which cannot be cut."
            )
        return cut_groups(column.to_numpy(dtype=np.float64, na_value=np.nan), threshold, target.obs_names)
    return None if np.isnan(threshold) else cut_groups(model.risk, threshold, target.obs_names)


def _check_missing(target: AnnData, known: np.ndarray, on_missing: OnMissing) -> None:
    if known.all():
        return
    names = target.obs_names[~known]
    if on_missing == "raise":
        raise SurvivalError(
            f"{counted(len(names), 'patient')} of the target without a value of a feature: {listed(names)}. Fill it, "
            'or pass on_missing="drop" to leave them without prediction.'
        )
    logger.info("predict_survival: no prediction for %d patients without a feature: %s.", len(names), listed(names))
    if not known.any():
        raise SurvivalError("No patient of the target has all features of the source's model.")


def _times(
    model: Transferred,
    outcome: Outcome | None,
    keep: np.ndarray,
    times: Sequence[float] | None,
    horizon: float | None,
) -> np.ndarray:
    """Times of prediction, no later than the source was followed; the horizon among those that were not given."""
    last = float(model.last[keep].min())
    if horizon is not None:
        check_horizon(horizon, model.source_time if outcome is None else outcome.time, last)
    if outcome is None:
        evaluated = prediction_times(times, model.source_time, last)
    else:
        evaluated = common_times(times, outcome.time, outcome.event, last)
    return evaluated if times is not None or horizon is None else np.union1d(evaluated, [float(horizon)])


def _scores(
    model: Transferred, outcome: Outcome, times: np.ndarray, horizon: float, thresholds: np.ndarray, n_groups: int,
    *, n_bootstrap: int, alpha: float, random_state: int,
) -> dict[str, Any]:  # fmt: skip
    rows = outcome.columns[ROW].to_numpy()
    last = model.last[rows]
    until = np.zeros(len(model.risk))
    until[rows] = np.minimum(outcome.time, last)  # behind it the source's hazard is not known
    scored = Scored(
        outcome.time, outcome.event, model.risk[rows], model.log_risk[rows], model.hazard_until(until)[rows],
        outcome.event & (outcome.time <= last), model.survival(times)[rows], model.stratum[rows],
    )  # fmt: skip
    predicted = 1 - model.survival(np.array([horizon]))[rows, 0]
    return {
        **score_tables(scored, times, n_bootstrap, alpha, random_state),
        **calibration_tables(scored, times, n_groups, alpha),
        "decision_curve": decision_table(predicted, scored, horizon, thresholds, n_bootstrap, alpha, random_state),
    }
