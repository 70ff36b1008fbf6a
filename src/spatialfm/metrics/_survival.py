"""How well a risk score, and predicted survival, agree with what happened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from .._errors import SurvivalError, counted, listed, warn
from .._origin import remembered
from .._origin_match import recognise
from .._public import public
from ..stats.survival_scores import ScoredPatients, brier, concordance_of, decile_times, dynamic_auc, integrated
from ._row_order import check_row_order

DRAWS_AT_ONCE = 200  # bounds the memory of the bootstrap


@public
def survival(
    time: Sequence[float],
    event: Sequence[bool],
    risk: Sequence[float] | np.ndarray,
    *,
    times: Sequence[float] | None = None,
    survival: np.ndarray | None = None,
    folds: Sequence | np.ndarray | None = None,
    n_bootstrap: int = 1000,
    alpha: float = 0.05,
    random_state: int = 0,
) -> dict[str, Any]:
    """Concordance, time-dependent AUC and Brier score of predictions under censoring, with bootstrap intervals.

    Harrell's concordance is the share of comparable pairs of patients in which the one with the higher risk has the
    event first; it depends on who was censored. Uno's weighs pairs by the inverse probability of being seen, and does
    not (Uno et al., Statistics in Medicine 2011). The cumulative/dynamic AUC at a time tells those with the event by
    then from those without (Uno et al., JASA 2007). 0.5 is chance for all three. The Brier score is the squared error
    of survival probabilities, weighted for censoring (Graf et al., Statistics in Medicine 1999): lower is better, and
    a Kaplan-Meier curve of all patients, which uses no predictor, is given for comparison. All are those of
    scikit-survival, with censoring estimated on the same patients.

    Parameters
    ----------
    time
        ``(n,)``, time to event or censoring, from 0 on; one entry per patient.
    event
        ``(n,)``, whether the event was seen.
    risk
        ``(n,)``, higher for an earlier event. For an honest score, predicted for patients that the model was not
        fitted on. Or ``(n, n_partitions)``, predicted in several partitions into folds: scores are means over them.
    times
        Times at which AUC and Brier score are computed; at each, some have had the event and some are still seen
        (default: deciles 1 to 9 of the times of event).
    survival
        ``(n, n_times)``, predicted probabilities of being without event at `times`, for the Brier score; or
        ``(n, n_times, n_partitions)``.
    folds
        ``(n,)`` or ``(n, n_partitions)``, the fold in which each patient was held out. Concordance and AUC then compare
        patients of one fold only: risks from different models need not have a common scale.
    n_bootstrap
        Number of resamplings of patients with replacement, at least 100; 0 for no intervals. Predictions are kept: of
        what other training sets would change the intervals hold the variance between partitions, where there are
        several, by which they are widened.
    alpha
        1 - confidence level of the percentile intervals.
    random_state
        Seed of the bootstrap.

    Returns
    -------
    ``scores``, a table with ``value``, ``ci_low`` and ``ci_high`` of ``harrell``, ``uno``, ``mean_auc`` (times weighted
    by the events there) and, with `survival`, ``integrated_brier`` and ``integrated_brier_kaplan_meier``; ``curves``, a
    row a time, with ``time``, ``at_risk`` (seen without event just before), ``events`` (up to then), ``auc``,
    ``auc_ci_low``, ``auc_ci_high`` and, with `survival`, ``brier``, ``brier_ci_low``, ``brier_ci_high`` and
    ``brier_kaplan_meier``; ``alpha``.

    Raises
    ------
    SurvivalError
        If shapes or values do not fit, there is no event, a time is outside of what was seen, or columns name the same
        patients in another order.

    Warns
    -----
    SpatialfmWarning
        If `risk` is what an outcome of the same patients has made, such as scores of signatures found among them.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> time, event, risk = [2, 3, 5, 6, 8, 9], [1, 1, 0, 1, 1, 0], [0.9, 0.8, 0.3, 0.2, 0.4, 0.1]
    >>> result = sfm.metrics.survival(time, event, risk, times=[4, 7], n_bootstrap=200)
    >>> result["scores"]["value"].round(3).to_dict()
    {'harrell': 0.917, 'uno': 0.876, 'mean_auc': 0.92}
    >>> result["curves"][["time", "at_risk", "events", "auc"]].round(3)
       time  at_risk  events  auc
    0   4.0        4       2  1.0
    1   7.0        2       3  0.8
    """
    check_row_order(SurvivalError, time=time, event=event, risk=risk, folds=folds, survival=survival)
    partitions = _partitions(time, event, risk, folds)
    _tell_selected(risk)
    patients = partitions[0]
    if 0 < n_bootstrap < 100:
        raise SurvivalError(f"n_bootstrap={n_bootstrap} gives no interval. Pass 100 or more, or 0 for none.")
    at = _times(patients, times)
    curves_of = _curves(survival, patients, at, times, len(partitions))
    ones = np.ones((1, len(patients.time)))
    if np.isnan([concordance_of(one, ones)[0][0] for one in partitions]).any():
        raise SurvivalError(
            "No two patients are comparable: no patient had the event before another patient's time"
            f"{' in the same fold' if folds is not None else ''}. Longer follow-up or more patients are needed."
        )
    each = [_all_scores(one, ones, at, curve) for one, curve in zip(partitions, curves_of, strict=True)]
    # by value, since patients have no names here: the draws are independent of the order of rows
    order = np.lexsort((*(one.risk for one in reversed(partitions)), patients.event, patients.time))
    drawn = [
        _bootstrap(one, at, curve, n_bootstrap, order, np.random.default_rng(random_state))  # the same draws for all
        for one, curve in zip(partitions, curves_of, strict=True)
    ]
    values = {name: np.mean([one[name] for one in each], axis=0) for name in each[0]}
    draws = {name: np.mean([one[name] for one in drawn], axis=0) for name in drawn[0]}
    if len(partitions) > 1:
        draws = {name: _widened(draws[name], values[name], [one[name] for one in each]) for name in draws}

    scores, curves = {}, {"time": at, **_counts(patients, at)}
    for name, value in values.items():
        low, high = _interval(draws.get(name), alpha, value.shape[1])
        if value.shape[1] == 1 and name not in ("auc", "brier", "brier_kaplan_meier"):
            scores[name] = (value[0, 0], low[0], high[0])
        else:
            curves |= {name: value[0], f"{name}_ci_low": low, f"{name}_ci_high": high}
    for name in ("brier_kaplan_meier_ci_low", "brier_kaplan_meier_ci_high"):
        curves.pop(name, None)
    table = pd.DataFrame.from_dict(scores, orient="index", columns=["value", "ci_low", "ci_high"])
    return {"scores": table.rename_axis("score"), "curves": pd.DataFrame(curves), "alpha": float(alpha)}


def _tell_selected(risk: Sequence | np.ndarray) -> None:
    """Warn of a risk that the outcome of these patients has made, which the session knows by its values."""
    selected = [one for one in remembered() if one.origin.how == "selected"]
    values = risk if isinstance(risk, pd.Series) else pd.Series(np.asarray(risk)) if np.ndim(risk) == 1 else None
    if not selected or values is None:
        return
    known = [one for one in recognise(values, [], selected, "") if one.sure]
    if known:
        warn(
            f"risk= was {known[0].origin}: the scores say how well the outcome was put in, and are optimistic for "
            "other patients."
        )


def _partitions(time: Sequence, event: Sequence, risk: Sequence, folds: Sequence | None) -> list[ScoredPatients]:
    """Patients with the predictions and folds of each partition."""
    risks, parts = np.asarray(risk), None if folds is None else np.asarray(folds)
    if risks.ndim < 2:
        return [_patients(time, event, risk, folds)]
    if risks.ndim > 2 or not risks.shape[1] or (parts is not None and parts.shape != risks.shape):
        raise SurvivalError(
            f"risk= is {risks.shape}{'' if parts is None else f', folds= {parts.shape}'}. Pass one column per "
            "partition in both."
        )
    return [_patients(time, event, risks[:, i], None if parts is None else parts[:, i]) for i in range(risks.shape[1])]


def _curves(
    survival: np.ndarray | None, patients: ScoredPatients, at: np.ndarray, times: Sequence[float] | None, n: int
) -> list[np.ndarray | None]:
    """Predicted survival of each partition."""
    if survival is None:
        return [None] * n
    if np.ndim(survival) < 3:
        return [_survival(survival, patients, at, times)] * n
    if np.shape(survival)[2] != n:
        raise SurvivalError(f"survival= holds {np.shape(survival)[2]} partitions, risk= {n}. Pass the same in both.")
    return [_survival(np.asarray(survival)[:, :, i], patients, at, times) for i in range(n)]


def _widened(draws: np.ndarray, value: np.ndarray, of_partitions: list[np.ndarray]) -> np.ndarray:
    """Bootstrap draws ``(n_draws, k)``, moved away from their mean as far as the spread of partitions asks for."""
    between = np.var(of_partitions, axis=0, ddof=1)
    with np.errstate(invalid="ignore"):
        within = np.nanvar(draws, axis=0, ddof=1) if len(draws) > 1 else np.full(value.shape[1:], np.nan)
        factor = np.sqrt(np.divide(within + between, within, out=np.ones_like(between), where=within > 0))
    return value + (draws - value) * factor


def _patients(time: Sequence, event: Sequence, risk: Sequence, folds: Sequence | None) -> ScoredPatients:
    columns = {"time": time, "event": event, "risk": risk}
    values = {name: pd.to_numeric(pd.Series(np.asarray(value).ravel()), errors="coerce").to_numpy(dtype=np.float64)
              for name, value in columns.items()}  # fmt: skip
    n = values["time"].size
    folds = np.zeros(n, int) if folds is None else pd.factorize(np.asarray(folds).ravel())[0]
    if wrong := {name: value.size for name, value in {**values, "folds": folds}.items() if value.size != n}:
        raise SurvivalError(f"time has {n} entries, but {wrong}. Pass one of each a patient.")
    if not n:
        raise SurvivalError("There are no patients to score.")
    for name, value in values.items():
        if (bad := ~np.isfinite(value)).any():
            first = int(np.flatnonzero(bad)[0])
            raise SurvivalError(
                f"{name}= holds {int(bad.sum())} values that are missing, infinite or no number, first "
                f"{np.asarray(columns[name]).ravel()[first]!r} at position {first}. Pass numbers"
                + (", True where the event was seen." if name == "event" else ", or leave these patients out.")
            )
    if (values["time"] < 0).any():
        raise SurvivalError(f"time= holds {int((values['time'] < 0).sum())} negative times. Correct them first.")
    if not np.isin(values["event"], (0, 1)).all():
        raise SurvivalError(
            f"event= holds {listed(np.unique(values['event']), 5, quoted=False)}, and only 0, 1, False and True are "
            "understood. Pass True where the event was seen."
        )
    if not values["event"].any():
        raise SurvivalError(f"No event among {counted(n, 'patient')}: there is nothing to score. 1 encodes the event.")
    if (folds < 0).any():
        raise SurvivalError(f"{counted(int((folds < 0).sum()), 'patient has', 'patients have')} no fold (folds=).")
    return ScoredPatients(values["time"], values["event"] == 1, values["risk"], folds)


def _times(patients: ScoredPatients, times: Sequence[float] | None) -> np.ndarray:
    first, last = patients.time[patients.event].min(), patients.time.max()
    if times is None:
        return decile_times(patients.time, patients.event)
    at = np.atleast_1d(np.asarray(times, dtype=np.float64))
    if at.ndim != 1 or not at.size or not np.isfinite(at).all() or (np.diff(at) <= 0).any():
        raise SurvivalError("times= are not numbers that rise from each to the next. Pass for example times=[12, 24].")
    outside = at[(at < first) | (at >= last)]
    if outside.size:
        raise SurvivalError(
            f"times= {listed([f'{value:g}' for value in outside], quoted=False)} are outside of what was seen: the "
            f"first event is at {first:g}, and no patient is seen after {last:g}. Pass times from {first:g} to before "
            f"{last:g}."
        )
    return at


def _survival(
    survival: np.ndarray, patients: ScoredPatients, at: np.ndarray, times: Sequence[float] | None
) -> np.ndarray:
    values = np.asarray(survival, dtype=np.float64)
    if times is None or values.shape != (len(patients.time), at.size):
        raise SurvivalError(
            f"survival= is {values.shape}, times= {'is not given' if times is None else f'has {at.size} entries'}, "
            f"and there are {len(patients.time)} patients. Pass times=, and one column of survival= for each of them."
        )
    if not ((values >= 0) & (values <= 1)).all():
        raise SurvivalError("survival= holds values that are not probabilities (from 0 to 1).")
    if (np.diff(values, axis=1) > 1e-6).any():
        raise SurvivalError("survival= rises with time for some patients: pass the probability of being without event.")
    return values


def _all_scores(
    patients: ScoredPatients, weights: np.ndarray, at: np.ndarray, predicted: np.ndarray | None
) -> dict[str, np.ndarray]:
    """Each score as ``(n_draws, 1)`` or ``(n_draws, n_times)``."""
    harrell, uno = concordance_of(patients, weights)
    auc, mean = dynamic_auc(patients, weights, at)
    scores = {"harrell": harrell[:, None], "uno": uno[:, None], "mean_auc": mean[:, None], "auc": auc}
    if predicted is None:
        return scores
    all_alike = patients.survival(np.ones((1, len(patients.time))))[:, patients.index(at)]
    for name, values in {"": predicted, "_kaplan_meier": np.repeat(all_alike, len(patients.time), axis=0)}.items():
        scores[f"brier{name}"] = brier(patients, weights, at, values)
        if at.size > 1:
            scores[f"integrated_brier{name}"] = integrated(scores[f"brier{name}"], at)[:, None]
    return scores


def _bootstrap(
    patients: ScoredPatients,
    at: np.ndarray,
    predicted: np.ndarray | None,
    n_bootstrap: int,
    order: np.ndarray,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    n = len(patients.time)
    weights = np.empty((n_bootstrap, n))
    weights[:, order] = rng.multinomial(n, np.full(n, 1 / n), size=n_bootstrap)
    parts = [
        _all_scores(patients, weights[start : start + DRAWS_AT_ONCE], at, predicted)
        for start in range(0, n_bootstrap, DRAWS_AT_ONCE)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}


def _interval(draws: np.ndarray | None, alpha: float, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Percentiles over the draws in which the score is defined."""
    limits = np.full((2, n), np.nan)
    if draws is not None:
        for i, column in enumerate(draws.T):
            if np.isfinite(column).any():
                limits[:, i] = np.nanquantile(column, [alpha / 2, 1 - alpha / 2])
    return limits[0], limits[1]


def _counts(patients: ScoredPatients, at: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "at_risk": (patients.time[None, :] >= at[:, None]).sum(axis=1),
        "events": ((patients.time[None, :] <= at[:, None]) & patients.event).sum(axis=1),
    }
