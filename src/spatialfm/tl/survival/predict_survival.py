"""A survival model, cut or grouping of one cohort, applied to another and compared with what happened there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from ..._errors import SurvivalError
from ..._fingerprint import DATA, fingerprint
from ..._keys import PATIENT_KEY
from ..._logging import logger
from ..._origin import Origin, patient_names, remember
from ..._public import public
from ..._storable import default_key, write_obsm, write_uns
from ...cohort.checks import check_anndata
from ...cohort.external_cohort import external_outcome, new_key, source_outcome, target_outcome, used_columns
from ...cohort.outcome import EventValue, OnMissing, Outcome, event_text
from ...cohort.records import PredictionRecord
from ...cohort.selected import OnSelected, Selected, check_selected, columns_of, matrix_of, with_doubt
from ...learn.transferred import MODELS, read_record
from .external_validation import SURVIVAL, AppliedResult, apply, validate

if TYPE_CHECKING:
    from anndata import AnnData

OnShared = Literal["raise", "drop", "mark"]
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
) -> PredictionRecord | None:
    """Apply a survival model, a cut or a grouping of one cohort to another as it is: external validation.

    Nothing is fitted to the target: coefficients, baseline hazard, means and standard deviations, levels, principal
    components, thresholds and centres are the source's. Predictions for the target's patients are then compared with
    what happened to them (Royston and Altman, BMC Medical Research Methodology 2013):

    - *Calibration slope*: the coefficient of the predicted logarithm of risk in a Cox regression of the target. 1 is
      right; below 1 predictions are too extreme, as those of an overfitted model are; 0 means no relation.
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
        Whether predictions are compared with the target's outcome, where it has one.
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
        Column of ``target.obs`` with the time (default: that of the source, where the target has both
        columns, otherwise what the target remembers, see :func:`spatialfm.pp.set_outcome`).
    event_key
        Column of ``target.obs`` with the event (default: that of the source, likewise).
    event_value
        Value of `event_key` of the target that means the event, where it does not hold 0 and 1 (default: as the target
        remembers, otherwise, in the source's column, as in the source).
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
    None, or with `copy` the dictionary that is otherwise written to ``target.uns[key_added]``, with ``predictions``.
    ``target.obs[key_added]`` is the risk on the source's scale (of the Cox models, the logarithm of the hazard ratio to
    its average patient); ``obs[key_added + "_group"]`` the group, where there is a cut or grouping;
    ``obsm[key_added + "_survival"]`` the probability of being without event at the times. The columns may be tested on
    the target: it had no say in them. The dictionary holds ``kind``; with an outcome, ``scores`` (``value``,
    ``ci_low``, ``ci_high`` of ``calibration_slope``, ``observed_expected`` and the scores of
    :func:`spatialfm.metrics.survival`) and ``curves``; ``calibration``, one row per time and group (``predicted`` and
    ``observed`` risk with ``ci_low`` and ``ci_high``); ``calibration_large``, the same of all, with their ``ratio`` and
    ``ici``; ``calibration_smooth``; ``decision_curve``, one row per threshold, with ``net_benefit``, ``treat_all`` and
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
        check_anndata(table, "predict_survival", None if copy else key_added)
    record, kind = read_record(source, key)
    thresholds = _check_call(kind, cut, thresholds, n_bootstrap)
    name = new_key(key_added or default_key(f"{key}_predicted"), kind, record)
    selected = _check_selected(target, kind, record, on_selected)
    applied = apply(
        source, target, key, record, kind,
        cut=cut, patient_key=patient_key, on_shared=on_shared, on_missing=on_missing,
    )  # fmt: skip
    keys = target_outcome(target, record, time_key, event_key, event_value) if score else None
    outcome = None
    if keys is not None:
        outcome = external_outcome(target, record["params"], applied.keep, patient_key, on_missing, keys)

    drawn = {"n_bootstrap": n_bootstrap, "alpha": float(alpha), "random_state": random_state}
    validated = validate(applied, outcome, times, horizon, thresholds, n_groups, **drawn)

    by = source_outcome(record) if keys is None else [keys.time, keys.event]
    optimistic = selected.optimistic or (on_shared == "mark" and bool(applied.shared.any()))
    result = {"kind": kind, **validated.tables, "optimistic": optimistic}
    result["doubts"] = with_doubt(selected, applied.doubts + validated.doubts)
    result["params"] = {
        "key": key,
        "cut": applied.threshold,
        "times": validated.times,
        "horizon": validated.horizon,
        **_counts(source, applied, outcome),
        **dict(zip(("time_key", "event_key"), by, strict=True)),
        "event_value": event_text(event_value) if keys is None else event_text(keys.value),
        "outcome_from": "" if keys is None else keys.source,
        **drawn,
        **selected.params(),
        DATA: fingerprint(target, [*used_columns(kind, record), *(by if outcome else ())]),
    }
    _log(result)
    return _write(target, name, result, applied.predictions(target.obs_names, validated.times), record, copy)


def _counts(source: AnnData, applied: AppliedResult, outcome: Outcome | None) -> dict[str, int]:
    """How many patients were predicted, scored, learnt from and in both cohorts."""
    return {
        "n": int(applied.keep.sum()),
        "n_scored": 0 if outcome is None else len(outcome.time),
        "events": 0 if outcome is None else int(outcome.event.sum()),
        "n_source": int(source.n_obs) if applied.model is None else len(applied.model.source_risk),
        "n_shared": int(applied.shared.sum()),
    }


def _check_call(kind: str, cut: object, thresholds: Sequence[float] | None, n_bootstrap: int) -> np.ndarray:
    if n_bootstrap < 100:
        raise SurvivalError(f"n_bootstrap={n_bootstrap} gives no interval. Pass 100 or more.")
    if cut is not None and kind not in MODELS:
        raise SurvivalError(f"cut={cut!r} cuts the risk of a model, and a result of {kind} has its own groups.")
    at = np.arange(0.01, 0.995, 0.01) if thresholds is None else np.asarray(list(thresholds), dtype=np.float64)
    if not at.size or not ((at > 0) & (at < 1)).all() or (np.diff(at) <= 0).any():
        raise SurvivalError("thresholds= are not probabilities between 0 and 1 that rise from each to the next.")
    return at


def _check_selected(target: AnnData, kind: str, record: Mapping, on_selected: OnSelected) -> Selected:
    layer = str(record["params"].get("layer", "")) or None
    rests_on = columns_of(target, used_columns(kind, record), None if layer == "X" else layer)
    if kind in ("coxnet", "survival_forest") and str(record["params"]["use_rep"]):
        rests_on |= matrix_of(target, str(record["params"]["use_rep"]), layer)
    return check_selected(target, "predict_survival", rests_on, on_selected)


def _log(result: Mapping[str, Any]) -> None:
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


def _write(
    target: AnnData, name: str, result: dict[str, Any], predictions: pd.DataFrame, record: Mapping, copy: bool
) -> PredictionRecord | None:
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
