"""A survival model, cut or grouping of one cohort, applied to another and held against what happened there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from ..._errors import SurvivalError, counted
from ..._fingerprint import DATA, fingerprint
from ..._keys import PATIENT_KEY
from ..._logging import logger
from ..._origin import Origin, patient_names, remember
from ..._public import public
from ..._storable import default_key, write_obsm, write_uns
from ...cohort.checks import check_anndata, listed
from ...cohort.external_cohort import (
    ROW,
    check_horizon,
    check_units,
    common_times,
    external_outcome,
    new_key,
    outcome_keys,
    prediction_times,
    refuse_shared,
    shared_patients,
    tell_few,
    tell_group_shift,
    used_columns,
)
from ...cohort.outcome import EventValue, OnMissing, Outcome, event_text, value_column
from ...cohort.selected import OnSelected, Selected, check_selected, columns_of, matrix_of, with_doubt
from ...cohort.survival_record import MODEL
from ...learn.external_scores import Scored, calibration_tables, decision_table, score_tables
from ...learn.transferred import MODELS, Transferred, apply_groups, apply_model, cut_groups, read_record
from .external_groups import group_scores, risk_cut

if TYPE_CHECKING:
    from anndata import AnnData

OnShared = Literal["raise", "drop", "mark"]
SURVIVAL = "survival_"  # columns of predictions, before the time
PARTS = {"risk": "", "group": "_group"}  # of predictions, and what is added to the key


@public
def predict_survival(
    source: AnnData,
    target: AnnData,
    *,
    key: str = "cox",
    cut: str | float | None = None,
    score: bool = True,
    times: Sequence[float] | None = None,
    horizon: float | None = None,
    thresholds: Sequence[float] | None = None,
    n_groups: int = 5,
    time_key: str | None = None,
    event_key: str | None = None,
    event_value: EventValue = None,
    patient_key: str | None = PATIENT_KEY,
    n_bootstrap: int = 1000,
    alpha: float = 0.05,
    random_state: int = 0,
    on_missing: OnMissing = "raise",
    on_shared: OnShared = "raise",
    on_selected: OnSelected = "raise",
    key_added: str | None = None,
    copy: bool = False,
) -> dict[str, object] | None:
    """Apply a survival model, a cut or a grouping of one cohort to another as it is: external validation.

    Nothing is fitted to the target: coefficients, baseline hazard, means and standard deviations, levels, principal
    components, thresholds and centres are the source's. What the target's patients are predicted is then held against
    what happened to them (Royston and Altman, BMC Medical Research Methodology 2013):

    - *Calibration slope*: the coefficient of the predicted logarithm of risk in a Cox regression of the target. 1 is
      right; below 1 predictions are too extreme, as those of an overfitted model are; 0 is no relation.
    - *Calibration in the large*: events over those expected from the predicted cumulative hazard up to each patient's
      time (Crowson et al., Statistical Methods in Medical Research 2016). 1 is right; above it more patients had the
      event than were predicted to.
    - *Calibration curve*: predicted risk by a time against the observed (1 less Kaplan-Meier) in groups of rising
      prediction, and smooth, with the mean distance of the two (ICI; Austin et al., Statistics in Medicine 2020).
    - *Concordance, time-dependent AUC, Brier score*, as :func:`spatialfm.metrics.survival` has them.
    - *Decision curve*: the net benefit of treating those whose risk by `horizon` is above a threshold (Vickers et al.,
      BMC Medical Informatics and Decision Making 2008).

    Parameters
    ----------
    source
        Patients with the result ``uns[key]`` of :func:`spatialfm.tl.cox`, :func:`spatialfm.tl.coxnet`,
        :func:`spatialfm.tl.survival_forest`, :func:`spatialfm.tl.stratify` or :func:`spatialfm.tl.cut_point`. A forest
        is grown again from the source's own rows, which must be unchanged; of the others all is in the result.
    target
        Patients of the other cohort, one row each, with columns of the same names, made in the same way.
    key
        Key of ``uns`` of `source`.
    cut
        Where the risk of a model is cut into ``low`` and ``high``: ``"median"`` of the source's patients, a number, or
        the key of ``uns`` of `source` with the :func:`spatialfm.tl.cut_point` of its risk. Default: not at all.
    score
        Whether predictions are held against the target's outcome, where it has one.
    times
        Times of prediction, calibration, AUC and Brier score (default: deciles 1 to 9 of the target's events, up to
        where the source's follow-up ends, and `horizon`).
    horizon
        Time of the decision curve (default: the middle one of `times`).
    thresholds
        Risks from which one would treat (default: 0.01 to 0.99).
    n_groups
        Groups of the calibration curve.
    time_key
        Column of ``target.obs`` with the time (default: that of the source, where the target has both columns).
    event_key
        Column of ``target.obs`` with the event (default: that of the source, likewise).
    event_value
        Value of `event_key` of the target that means the event, where it does not hold 0 and 1.
    patient_key
        Column of both with the patient; where it is absent, names of rows.
    n_bootstrap
        Resamplings of the target's patients for intervals; the model is taken as it is.
    alpha
        1 - confidence level.
    random_state
        Seed of the bootstrap.
    on_missing
        What becomes of patients without a feature or outcome: ``"raise"``, or ``"drop"``: those without a feature have
        no prediction, those without outcome are predicted but not scored.
    on_shared
        What becomes of patients that are in both cohorts, by name or by their values: ``"raise"``, ``"drop"`` (they get
        no prediction) or ``"mark"``: go on, and call the result optimistic.
    on_selected
        What becomes of features of the target that its own outcome made: ``"raise"``, or ``"mark"``.
    key_added
        Where the target is written to (default: `key` and ``"_predicted"``).
    copy
        Whether to return the result instead of writing it.

    Returns
    -------
    None, or with `copy` the dictionary that is else written to ``target.uns[key_added]``, with ``predictions``.
    ``target.obs[key_added]`` is the risk on the source's scale (of the Cox models, the logarithm of the hazard ratio to
    its average patient); ``obs[key_added + "_group"]`` the group, where there is a cut or grouping;
    ``obsm[key_added + "_survival"]`` the probability of being without event at the times. The columns may be tested on
    the target: it had no say in them. The dictionary holds ``kind``; with an outcome, ``scores`` (``value``,
    ``ci_low``, ``ci_high`` of ``calibration_slope``, ``observed_expected`` and the scores of
    :func:`spatialfm.metrics.survival`) and ``curves``; ``calibration``, a row a time and group (``predicted`` and
    ``observed`` risk with ``ci_low`` and ``ci_high``); ``calibration_large``, the same of all, with their ``ratio`` and
    ``ici``; ``calibration_smooth``; ``decision_curve``, a row a threshold, with ``net_benefit``, ``treat_all`` and
    ``gain`` over the better of treating all and none; with groups ``group_table``, log-rank ``p_value`` and ``test``;
    ``optimistic``; ``doubts``; ``params``.

    Raises
    ------
    SurvivalError
        If there is no such result, a feature or level is missing in one of the cohorts, or outcomes cannot be used.
    TableError
        If representations were made differently.

    Warns
    -----
    SpatialfmWarning
        Where the target's values or times are of another order than the source's, or types are counted in one only.

    Examples
    --------
    >>> import anndata as ad, numpy as np, pandas as pd
    >>> import spatialfm as sfm
    >>> def cohort(name, n, seed):
    ...     rng = np.random.default_rng(seed)
    ...     tumor = rng.normal(size=n)
    ...     obs = {"time": rng.exponential(np.exp(-tumor)), "event": 1, "tumor": tumor}
    ...     return ad.AnnData(obs=pd.DataFrame(obs, index=[f"{name}{i}" for i in range(n)]))
    >>> here, there = cohort("A", 80, 0), cohort("B", 60, 1)
    >>> sfm.tl.cox(here, "tumor")
    >>> sfm.tl.predict_survival(here, there, cut="median", n_bootstrap=100)
    >>> scores = there.uns["cox_predicted"]["scores"]
    >>> bool(scores.loc["calibration_slope", "ci_low"] < 1 < scores.loc["calibration_slope", "ci_high"])
    True
    >>> there.obs["cox_predicted_group"].value_counts().to_dict()
    {'low': 34, 'high': 26}
    """
    for table in (source, target):
        check_anndata(table, "predict_survival", key_added)
    record, kind = read_record(source, key)
    thresholds = _check_call(kind, cut, thresholds, n_groups, n_bootstrap, alpha)
    name = new_key(key_added or default_key(f"{key}_predicted"), kind, record)
    selected = _check_selected(target, kind, record, on_selected)
    called, alike = shared_patients(source, target, kind, record, patient_key)
    doubts = refuse_shared(source, target, called, alike, patient_key, on_shared)
    keep = ~(called | alike) if on_shared == "drop" else np.ones(target.n_obs, bool)

    model = apply_model(source, target, key, record, kind) if kind in MODELS else None
    threshold = _threshold(source, key, record, kind, cut, model)
    groups = _groups(source, target, record, kind, threshold, model)
    known = groups.notna().to_numpy() if model is None else np.isfinite(model.risk)
    _check_missing(target, known | ~keep, on_missing)
    keep &= known
    keys = {"time_key": time_key, "event_key": event_key, "event_value": event_value}
    outcome = external_outcome(target, record["params"], keep, patient_key, on_missing, **keys) if score else None

    result: dict[str, object] = {"kind": kind}
    drawn = {"n_bootstrap": n_bootstrap, "alpha": float(alpha), "random_state": random_state}
    if model is not None:
        times = _times(model, outcome, keep, times, horizon)
        horizon = float(times[(len(times) - 1) // 2] if horizon is None else horizon)
        doubts += model.doubts + ([] if outcome is None else check_units(outcome.time, model.source_time))
        if outcome is not None:
            result |= _scores(model, outcome, times, horizon, thresholds, n_groups, **drawn)
            slope = result["scores"].loc["calibration_slope", "value"]
            doubts += tell_few(int(outcome.event.sum()), slope)
    else:
        doubts += tell_group_shift(source, target, kind, record)
    if groups is not None and outcome is not None:
        mine = groups.iloc[outcome.columns[ROW]].reset_index(drop=True)
        result |= group_scores(mine, outcome.time, outcome.event, alpha, random_state)
    optimistic = selected.optimistic or (on_shared == "mark" and bool((called | alike).any()))
    result |= {"optimistic": optimistic, "doubts": with_doubt(selected, doubts)}
    by = outcome_keys(time_key, event_key, record)
    result["params"] = {
        "key": key,
        "cut": threshold,
        "times": np.array([]) if model is None else times,
        "horizon": np.nan if model is None else horizon,
        **_counts(source, keep, called | alike, outcome, model),
        **dict(zip(("time_key", "event_key"), by, strict=True)),
        "event_value": event_text(event_value),
        **drawn,
        "selected": selected.text,
        DATA: fingerprint(target, [*used_columns(kind, record), *(by if outcome else ())]),
    }
    _log(result)
    predictions = _predictions(target, keep, model, groups, times)
    return _write(target, name, result, predictions, record, copy)


def _counts(
    source: AnnData, keep: np.ndarray, shared: np.ndarray, outcome: Outcome | None, model: Transferred | None
) -> dict[str, int]:
    """How many patients were predicted, scored, learnt from and in both cohorts."""
    return {
        "n": int(keep.sum()),
        "n_scored": 0 if outcome is None else len(outcome.time),
        "events": 0 if outcome is None else int(outcome.event.sum()),
        "n_source": int(source.n_obs) if model is None else len(model.source_risk),
        "n_shared": int(shared.sum()),
    }


def _check_call(
    kind: str, cut: object, thresholds: Sequence[float] | None, n_groups: int, n_bootstrap: int, alpha: float
) -> np.ndarray:
    if n_bootstrap < 100 or not 0 < alpha < 1 or n_groups < 2:
        raise SurvivalError(
            f"n_bootstrap={n_bootstrap}, alpha={alpha}, n_groups={n_groups}: the first must be 100 or more, the second "
            "between 0 and 1, the third 2 or more."
        )
    if cut is not None and kind not in MODELS:
        raise SurvivalError(f"cut={cut!r} cuts the risk of a model, and a result of {kind} has groups of its own.")
    at = np.arange(0.01, 0.995, 0.01) if thresholds is None else np.asarray(list(thresholds), dtype=np.float64)
    if not at.size or not ((at > 0) & (at < 1)).all() or (np.diff(at) <= 0).any():
        raise SurvivalError("thresholds= are not probabilities between 0 and 1 that rise from each to the next.")
    return at


def _check_selected(target: AnnData, kind: str, record: Mapping, on_selected: OnSelected) -> Selected:
    layer = str(record["params"].get("layer", "")) or None
    made = columns_of(target, used_columns(kind, record), None if layer == "X" else layer)
    if kind in ("coxnet", "survival_forest") and str(record["params"]["use_rep"]):
        made |= matrix_of(target, str(record["params"]["use_rep"]), layer)
    return check_selected(target, "predict_survival", made, on_selected)


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
        found = prediction_times(times, model.source_time, last)
    else:
        found = common_times(times, outcome.time, outcome.event, last)
    return found if times is not None or horizon is None else np.union1d(found, [float(horizon)])


def _scores(
    model: Transferred, outcome: Outcome, times: np.ndarray, horizon: float, thresholds: np.ndarray, n_groups: int,
    *, n_bootstrap: int, alpha: float, random_state: int,
) -> dict[str, object]:  # fmt: skip
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


def _log(result: Mapping[str, object]) -> None:
    params = result["params"]
    if "scores" in result:
        scores = result["scores"]
        logger.info(
            "Validated on %d other patients with %d events: concordance %.3f (%.3f to %.3f), calibration slope %.2f "
            "(%.2f to %.2f), %.2f times the expected events (%.2f to %.2f).",
            *(params["n_scored"], params["events"], *scores.loc["harrell"], *scores.loc["calibration_slope"]),
            *scores.loc["observed_expected"],
        )
    else:
        logger.info("%d patients predicted, %d with an outcome.", params["n"], params["n_scored"])


def _predictions(
    target: AnnData, keep: np.ndarray, model: Transferred | None, groups: pd.Series | None, times: np.ndarray | None
) -> pd.DataFrame:
    """Risk, group and survival at the times, a row a patient; missing where nothing was predicted."""
    found = {}
    if model is not None:
        found["risk"] = np.where(keep, model.risk, np.nan)
    if groups is not None:
        found["group"] = groups.where(keep)
    if model is not None:
        curves = np.where(keep[:, None], model.survival(times), np.nan)
        found |= {f"{SURVIVAL}{time:g}": curve for time, curve in zip(times, curves.T, strict=True)}
    return pd.DataFrame(found, index=target.obs_names)


def _write(
    target: AnnData, name: str, result: dict[str, object], predictions: pd.DataFrame, record: Mapping, copy: bool
) -> dict[str, object] | None:
    params, how = record["params"], "selected" if result["optimistic"] else "elsewhere"
    outcome = tuple(str(params[one]) for one in ("time_key", "event_key") if params.get(one))
    columns = {f"{name}{end}": predictions[part] for part, end in PARTS.items() if part in predictions}
    for column, values in columns.items() if outcome else ():
        origin = Origin(str(result["kind"]), how, outcome, column=column)
        remember(None if copy else target, origin, values.rename(column), patients=patient_names(target))
    if copy:
        return result | {"predictions": predictions}
    if isinstance(target.uns.get(name), Mapping):  # of an earlier call
        for column in (f"{name}{end}" for end in PARTS.values()):
            target.obs.drop(columns=column, inplace=True, errors="ignore")
        target.obsm.pop(f"{name}_survival", None)
    for column, values in columns.items():
        target.obs[column] = values
    survival = predictions.filter(like=SURVIVAL).rename(columns=lambda column: column.removeprefix(SURVIVAL))
    if survival.shape[1]:
        write_obsm(target, f"{name}_survival", survival)
    write_uns(target, name, result)
    return None
