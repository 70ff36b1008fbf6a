"""Predictions of a model of one cohort for another's patients. Nothing is fitted to the target here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._errors import SurvivalError, warn
from ..cohort.checks import listed, obs_column
from ..cohort.survival_record import MODEL, cohort_digest
from ..cohort.transferred_columns import (
    check_compositions,
    covariate_design,
    level_codes,
    named_values,
    target_covariates,
    target_features,
    tell_shift,
)
from .survival_learners import ForestModel
from .survival_nested import read_survival_cases, step_values

if TYPE_CHECKING:
    from anndata import AnnData

MODELS = ("cox", "coxnet", "survival_forest")
SURE = 1e-8  # probability below which survival is not distinguished from 0


@dataclass(frozen=True)
class Transferred:
    """Predictions for the ``n`` patients of the target; NaN where a feature is missing."""

    kind: str
    risk: np.ndarray  # (n,)
    log_risk: np.ndarray  # (n,), on the scale of a linear predictor
    source_risk: np.ndarray  # of the source's own patients, by the model that was fitted to them
    source_time: np.ndarray  # their times
    steps: np.ndarray  # (m,) times at which survival falls
    survival_steps: np.ndarray  # (n, m)
    hazard_steps: np.ndarray  # (n, m) cumulative
    last: np.ndarray  # (n,) end of follow-up of the source
    stratum: np.ndarray  # (n,) codes, -1 where missing; 0 without strata
    features: np.ndarray  # (n, p), as the model takes them
    doubts: list[str]

    def survival(self, times: np.ndarray) -> np.ndarray:
        """Probability ``(n, n_times)`` of being without event."""
        return step_values(self.steps, self.survival_steps, times, 1.0)

    def hazard_until(self, time: np.ndarray) -> np.ndarray:
        """Cumulative hazard ``(n,)`` of each patient up to its own time."""
        padded = np.concatenate([np.zeros((len(self.risk), 1)), self.hazard_steps], axis=1)
        return padded[np.arange(len(self.risk)), np.searchsorted(self.steps, time, side="right")]


def read_record(source: AnnData, key: str) -> tuple[Mapping, str]:
    """``uns[key]`` of the source, and what kind it is.

    Raises
    ------
    SurvivalError
        If there is none, or it is of another kind, or of a version that did not keep its model.
    """
    record = source.uns.get(key)
    if not isinstance(record, Mapping):
        raise SurvivalError(
            f"No result {key!r} in uns of the source (key=); found {listed(source.uns)}. Fit one to the source, as "
            'with sfm.tl.cox(source, ["stage"]).'
        )
    if "cut" in record and "candidates" in record:
        return record, "cut_point"
    model = record.get(MODEL)
    if isinstance(model, Mapping) and str(model.get("kind")) in (*MODELS, "stratify"):
        return record, str(model["kind"])
    raise SurvivalError(
        f"uns[{key!r}] of the source contains no model to apply: results of cox, coxnet, survival_forest, stratify and "
        "cut_point do, from this version on. Run the function again on the source."
    )


def apply_model(source: AnnData, target: AnnData, key: str, record: Mapping, kind: str) -> Transferred:
    """Risk and survival of the target's patients by the source's model."""
    apply = {"cox": _cox, "coxnet": _coxnet, "survival_forest": _forest}[kind]
    return apply(source, target, key, record[MODEL], record["params"])


def _cox(source: AnnData, target: AnnData, key: str, model: Mapping, params: Mapping) -> Transferred:
    layer = str(params["layer"]) or None
    columns = target_covariates(target, model["columns"], layer)
    in_var = [name for name in columns if name not in target.obs]
    if in_var:
        check_compositions(source, target, in_var, layer)
    design = covariate_design(columns, model["columns"])
    risk = design @ np.asarray(model["coef"], float) - float(model["center"])
    described = {name: what for name, what in json.loads(model["columns"]).items() if "mean" in what}
    numbers = columns[list(described)].to_numpy(dtype=np.float64, na_value=np.nan)
    doubts = tell_shift(list(described), numbers, pd.DataFrame(described).T) if described else []
    names = [str(name) for name in params["strata"]]
    return _linear("cox", model, risk, _strata(target, names, json.loads(model["strata"])), design, doubts)


def _coxnet(source: AnnData, target: AnnData, key: str, model: Mapping, params: Mapping) -> Transferred:
    x = target_features(source, target, model, params)
    doubts = tell_shift(json.loads(model["features"]), x, model["scale"])
    scale = model["scale"]
    risk = ((x - scale["mean"].to_numpy()) / scale["sd"].to_numpy()) @ np.asarray(model["coef"], float)
    return _linear("coxnet", model, risk, np.zeros(len(x), int), x, doubts)


def _linear(
    kind: str, model: Mapping, risk: np.ndarray, stratum: np.ndarray, features: np.ndarray, doubts: list[str]
) -> Transferred:
    baseline = model["baseline"]
    steps = np.unique(baseline["time"].to_numpy(dtype=np.float64))
    codes = baseline["stratum"].to_numpy()
    hazards, last = [], []
    for code in np.unique(codes):
        in_stratum = baseline[codes == code]
        times = in_stratum["time"].to_numpy(dtype=np.float64)
        hazards.append(step_values(times, in_stratum["hazard"].to_numpy(dtype=np.float64)[None], steps, 0.0)[0])
        last.append(times.max())
    known = (stratum >= 0) & np.isfinite(risk)
    risk = np.where(known, risk, np.nan)
    with np.errstate(over="ignore"):
        hazard = np.array(hazards)[np.maximum(stratum, 0)] * np.exp(np.minimum(risk, 50.0))[:, None]
    return Transferred(
        kind, risk, risk, np.asarray(model["risk"], float), np.asarray(model["time"], float), steps, np.exp(-hazard),
        hazard, np.array(last)[np.maximum(stratum, 0)], stratum, features, doubts,
    )  # fmt: skip


def _strata(target: AnnData, names: list[str], levels: list[list[str]]) -> np.ndarray:
    """Code ``(n,)`` of the source's stratum of each patient; -1 where it is missing."""
    if not names:
        return np.zeros(target.n_obs, int)
    parts = []
    for i, name in enumerate(names):
        column = obs_column(target, name, "strata", rows="rows", error=SurvivalError, allow_missing=True)
        parts.append(level_codes(column, list(dict.fromkeys(one[i] for one in levels)), name))
    per_column = [list(dict.fromkeys(one[i] for one in levels)) for i in range(len(names))]
    place = {tuple(order.index(text) for order, text in zip(per_column, one, strict=True)): code
             for code, one in enumerate(levels)}  # fmt: skip
    codes = np.array([-1 if -1 in row else place.get(row, -2) for row in zip(*parts, strict=True)], dtype=int)
    if (codes == -2).any():
        first = target.obs[names].iloc[int(np.argmax(codes == -2))].astype(str).tolist()
        raise SurvivalError(
            f"{int((codes == -2).sum())} patients of the target are in a stratum that the source has not, first "
            f"{' and '.join(first)} ({', '.join(names)}): it has no baseline hazard. Leave them out."
        )
    return codes


def _forest(source: AnnData, target: AnnData, key: str, model: Mapping, params: Mapping) -> Transferred:
    """The forest is grown again on the source, whose data must be those that it was grown on."""
    x = target_features(source, target, model, params)
    doubts = tell_shift(json.loads(model["features"]), x, model["scale"])
    text = str(params["event_value"])
    cohort = read_survival_cases(
        source, "predict_survival", use_rep=str(params["use_rep"]) or None, layer=str(params["layer"]) or None,
        covariates=[str(name) for name in params["covariates"]], time_key=str(params["time_key"]),
        event_key=str(params["event_key"]), event_value=json.loads(text) if text else None, patient_key=None,
        on_missing="drop", on_selected="mark",
    )  # fmt: skip
    names = list(source.obs_names[cohort.rows])
    if cohort_digest(names, cohort.x, cohort.time, cohort.event) != str(model["digest"]):
        raise SurvivalError(
            f"The source is not what the forest of uns[{key!r}] was grown on: rows, features or outcomes changed "
            "since. Run sfm.tl.survival_forest on it again, or pass the table as it was."
        )
    cohort = cohort.part(pd.Index(names).get_indexer([str(name) for name in model["names"]]))  # trees see this order
    chosen = json.loads(str(model["chosen"]))
    seed = int(params["random_state"])
    grown = ForestModel(int(params["n_components"]) or None, [], int(params["n_trees"]), 0, seed).fit(cohort, chosen)
    source_risk = np.asarray(model["risk"], float)
    if not np.allclose(grown.risk(cohort.x), source_risk, rtol=1e-6):
        warn(
            f"The forest of uns[{key!r}] was grown with another version of scikit-survival: grown again, it is a "
            "slightly different one."
        )
    known = np.isfinite(x).all(axis=1)
    risk = np.full(len(x), np.nan)
    steps = grown.forest.unique_times_
    survival, hazard = np.full((2, len(x), len(steps)), np.nan)
    if known.any():
        prepared = grown.prepare.transform(x[known])
        risk[known] = grown.risk(x[known])
        survival[known] = np.clip(grown.forest.predict_survival_function(prepared, return_array=True), 0, 1)
        hazard[known] = grown.forest.predict_cumulative_hazard_function(prepared, return_array=True)
    log_risk = np.log(np.maximum(risk, SURE))
    time = np.asarray(model["time"], float)
    last = np.full(len(x), time.max())
    return Transferred(
        "survival_forest", risk, log_risk, source_risk, time, steps, survival, hazard, last, np.zeros(len(x), int), x,
        doubts,
    )  # fmt: skip


def apply_groups(source: AnnData, target: AnnData, model: Mapping, params: Mapping) -> pd.Series:
    """Group of the nearest of the source's clusters."""
    features = list(json.loads(model["features"]))
    layer = str(params["layer"])
    values = named_values(source, target, features, None if layer == "X" else layer)
    centers = np.asarray(model["centers"], float)
    nearest = ((values[:, None, :] - centers[None]) ** 2).sum(axis=2).argmin(axis=1)
    names = list(json.loads(model["names"]))
    ordered = bool(params["uses_outcome"])
    codes = np.asarray(model["group"], int)[nearest]
    return pd.Series(pd.Categorical.from_codes(codes, names, ordered=ordered), index=target.obs_names)


def cut_groups(values: np.ndarray, cut: float, index: pd.Index) -> pd.Series:
    """``low`` up to the cut, ``high`` above, missing where the value is."""
    codes = np.where(np.isnan(values), -1, (values > cut).astype(int))
    return pd.Series(pd.Categorical.from_codes(codes, ["low", "high"], ordered=True), index=index)
