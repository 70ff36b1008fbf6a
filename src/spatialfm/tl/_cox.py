"""Cox proportional-hazards regression."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._errors import SpatialfmWarning, SurvivalError
from .._keys import PATIENT_KEY
from .._logging import logger
from ._check import listed, obs_column
from ._logrank import holm
from ._outcome import OnMissing, Outcome, read_outcome, value_column

if TYPE_CHECKING:
    from anndata import AnnData
    from lifelines import CoxPHFitter

EVENTS_PER_TERM = 10  # below, coefficients are biased and intervals too short (Peduzzi et al., J Clin Epidemiol 1995)
_TIME, _EVENT = "__time__", "__event__"


def cox(
    samples: AnnData,
    covariates: str | Sequence[str],
    *,
    layer: str | None = None,
    reference: Mapping[str, str] | None = None,
    standardize: bool = False,
    strata: str | Sequence[str] | None = None,
    penalizer: float = 0.0,
    test_proportional_hazards: bool = True,
    alpha: float = 0.05,
    time_key: str = "time",
    event_key: str = "event",
    patient_key: str | None = PATIENT_KEY,
    on_missing: OnMissing = "raise",
    key_added: str = "cox",
    copy: bool = False,
) -> dict[str, object] | None:
    """Cox regression with a test of proportional hazards (lifelines; ties after Efron).

    Parameters
    ----------
    samples
        One row a patient, as from :func:`spatialfm.tl.composition` with `patient_key`.
    covariates
        Columns of ``obs``, or names in ``var`` (a phenotype's fraction). Strings and categoricals become one term for
        each level but the reference.
    layer
        Layer that names in ``var`` are read from (default: ``X``).
    reference
        Reference level of categorical covariates (default: the first category).
    standardize
        Whether numbers are brought to standard deviation 1, so that a hazard ratio is that of one standard deviation:
        the ratio of a whole unit means little for a fraction.
    strata
        Columns of ``obs`` whose levels have a baseline hazard of their own.
    penalizer
        Strength of the ridge penalty; with one, estimates are shrunk, and intervals and p-values only approximate.
    test_proportional_hazards
        Whether to test each term with scaled Schoenfeld residuals against the Kaplan-Meier transform of time (Grambsch
        and Therneau 1994).
    alpha
        1 - confidence level.
    time_key, event_key
        Columns of ``obs``: time to event or censoring, from 0 on, and whether the event was seen (1) or not (0).
    patient_key
        Column of ``obs`` that must not repeat, where there is one.
    on_missing
        What becomes of rows without outcome or covariate: ``"raise"``, or ``"drop"`` with their number in the record.
    key_added
        Key of ``uns`` that is written.
    copy
        Whether to return the result instead of writing it.

    Returns
    -------
    None, or with `copy` the dictionary that is else written to ``uns[key_added]``: ``table``, a row a term, with
    ``covariate``, ``level``, ``reference``, ``coef``, ``se``, ``hazard_ratio``, ``ci_low``, ``ci_high`` (of the hazard
    ratio), ``z``, ``p_value`` and, if tested, ``ph_p_value``; ``n``, ``events``, ``events_per_term``; ``concordance``
    on these same patients, hence optimistic; ``log_likelihood``, and of the likelihood-ratio test of all terms
    ``lr_statistic``, ``lr_dof`` and ``lr_p_value``; ``params``.

    Raises
    ------
    SurvivalError
        If outcomes or covariates cannot be used, covariates are constant or collinear, or the fit does not converge.

    Warns
    -----
    SpatialfmWarning
        With fewer than 10 events a term; where hazards are not proportional (p below 0.05 after Holm's correction).

    Examples
    --------
    >>> import anndata as ad, pandas as pd
    >>> import spatialfm as sfm
    >>> time, fraction = list(range(1, 25)), [0.9, 0.4, 0.7, 0.6, 0.8, 0.3, 0.5, 0.2] * 3
    >>> obs = pd.DataFrame({"time": time, "event": 1, "tumor": fraction}, index=[f"P{i}" for i in time])
    >>> patients = ad.AnnData(obs=obs)
    >>> sfm.tl.cox(patients, "tumor", standardize=True)
    >>> patients.uns["cox"]["table"][["hazard_ratio", "ci_low", "ci_high"]].round(2)
           hazard_ratio  ci_low  ci_high
    tumor          1.34    0.86     2.08
    """
    names = [covariates] if isinstance(covariates, str) else list(covariates)
    strata_names = [strata] if isinstance(strata, str) else list(strata or ())
    _check_call(names, strata_names, penalizer, alpha)
    columns = pd.DataFrame({name: value_column(samples, name, "covariates", layer) for name in names})
    for name in strata_names:
        columns[_stratum(name)] = obs_column(
            samples, name, "strata", rows="rows", error=SurvivalError, allow_missing=True
        ).astype("category")
    outcome = read_outcome(
        samples,
        "cox",
        time_key=time_key,
        event_key=event_key,
        patient_key=patient_key,
        on_missing=on_missing,
        columns=columns,
    )
    design, terms = design_matrix(outcome.columns[names], reference or {}, standardize)
    _check_design(design, penalizer)

    frame = _frame(design, outcome, strata_names)
    fitter = _fit(frame, strata_names, penalizer, alpha)
    table = _table(fitter, terms)
    if test_proportional_hazards:
        table["ph_p_value"] = _proportional_hazards(fitter, frame)
    result = {
        "table": table,
        **_summary(fitter, outcome, len(terms)),
        "params": {
            "covariates": np.array(names, dtype=object),
            "layer": layer or "",
            "strata": np.array(strata_names, dtype=object),
            "standardize": standardize,
            "penalizer": float(penalizer),
            "alpha": float(alpha),
            "time_key": time_key,
            "event_key": event_key,
            "ties": "Efron",
            "n_dropped": outcome.n_dropped,
        },
    }
    _warn(table, int(outcome.event.sum()))
    logger.info("Cox regression: %d terms, %d patients, %d events.", len(terms), result["n"], result["events"])
    if copy:
        return result
    samples.uns[key_added] = result
    return None


def design_matrix(
    columns: pd.DataFrame, reference: Mapping[str, str], standardize: bool = False
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Design ``(n, n_terms)`` of numbers, and a table of its terms with covariate, level and reference."""
    if unknown := [name for name in reference if name not in columns]:
        raise SurvivalError(f"reference= names {unknown[0]!r}, but the covariates are {listed(columns)}.")
    design, terms = {}, []
    for name, column in columns.items():
        numeric = pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype)
        if numeric and name not in reference:
            values = column.to_numpy(dtype=np.float64)
            if not np.isfinite(values).all():
                raise SurvivalError(f"Covariate {name!r} holds infinite values. Correct them first.")
            if standardize and not pd.api.types.is_bool_dtype(column.dtype) and values.std() > 0:
                values = (values - values.mean()) / values.std(ddof=1)
            design[name] = values
            terms.append((name, name, "", ""))
            continue
        column = column.astype("category").cat.remove_unused_categories()
        levels = [str(level) for level in column.cat.categories]
        base = str(reference.get(name, levels[0]))
        if base not in levels:
            raise SurvivalError(f"Covariate {name!r} has no level {base!r} (reference=); found {listed(levels)}.")
        if len(levels) == 1:
            raise SurvivalError(f"Covariate {name!r} has one level ({levels[0]!r}) in these rows. Leave it out.")
        for code, level in enumerate(levels):
            if level != base:
                design[f"{name}[{level}]"] = (column.cat.codes == code).to_numpy(dtype=np.float64)
                terms.append((f"{name}[{level}]", name, level, base))
    table = pd.DataFrame(terms, columns=["term", "covariate", "level", "reference"]).set_index("term")
    table.index.name = None
    return pd.DataFrame(design, index=columns.index), table


def _stratum(name: str) -> str:
    return f"__stratum_{name}__"


def _check_call(names: list[str], strata: list[str], penalizer: float, alpha: float) -> None:
    if not names:
        raise SurvivalError("No covariates. Name columns of obs or phenotypes in var: sfm.tl.cox(samples, [...]).")
    if repeated := [name for name in dict.fromkeys(names) if names.count(name) > 1 or name in strata]:
        raise SurvivalError(f"{listed(repeated)} appears twice among covariates= and strata=. Name it once.")
    if not penalizer >= 0:
        raise SurvivalError(f"penalizer={penalizer} is negative. Pass 0 for none.")
    if not 0 < alpha < 1:
        raise SurvivalError(f"alpha={alpha} is not between 0 and 1. Pass alpha=0.05 for 95 % intervals.")


def _check_design(design: pd.DataFrame, penalizer: float) -> None:
    spread = design.std()
    if (constant := spread.index[spread <= 1e-12]).size:
        raise SurvivalError(f"Covariates {listed(constant)} are constant in these rows. Leave them out.")
    if penalizer == 0 and np.linalg.matrix_rank(((design - design.mean()) / spread).to_numpy()) < design.shape[1]:
        raise SurvivalError(
            f"The {design.shape[1]} terms {listed(design)} are collinear, so that their coefficients cannot be told "
            "apart (all fractions of a composition add up to 1). Leave one out, or pass penalizer=0.1."
        )


def _frame(design: pd.DataFrame, outcome: Outcome, strata: list[str]) -> pd.DataFrame:
    frame = design.copy()
    frame[_TIME], frame[_EVENT] = outcome.time, outcome.event.astype(float)
    for name in strata:
        frame[_stratum(name)] = outcome.columns[_stratum(name)].cat.codes.to_numpy()
    return frame.reset_index(drop=True)


def _fit(frame: pd.DataFrame, strata: list[str], penalizer: float, alpha: float) -> CoxPHFitter:
    from lifelines import CoxPHFitter
    from lifelines.exceptions import ConvergenceError

    try:
        return CoxPHFitter(penalizer=penalizer, alpha=alpha).fit(
            frame, duration_col=_TIME, event_col=_EVENT, strata=[_stratum(name) for name in strata] or None
        )
    except ConvergenceError as error:
        raise SurvivalError(
            f"The Cox regression did not converge ({str(error).splitlines()[0]}). A covariate that separates those "
            "with from those without event has no finite coefficient: leave it out, or pass penalizer=0.1."
        ) from error


def _table(fitter: CoxPHFitter, terms: pd.DataFrame) -> pd.DataFrame:
    summary = fitter.summary.loc[terms.index]
    interval = np.exp(fitter.confidence_intervals_.loc[terms.index].to_numpy())
    return terms.assign(
        coef=summary["coef"],
        se=summary["se(coef)"],
        hazard_ratio=summary["exp(coef)"],
        ci_low=interval[:, 0],
        ci_high=interval[:, 1],
        z=summary["z"],
        p_value=summary["p"],
    )


def _proportional_hazards(fitter: CoxPHFitter, frame: pd.DataFrame) -> np.ndarray:
    from lifelines.statistics import proportional_hazard_test

    # lifelines' default, the rank of time, depends on the order of rows where times are tied
    return np.atleast_1d(proportional_hazard_test(fitter, frame, time_transform="km").p_value)


def _summary(fitter: CoxPHFitter, outcome: Outcome, n_terms: int) -> dict[str, float]:
    ratio = fitter.log_likelihood_ratio_test()
    events = int(outcome.event.sum())
    return {
        "n": len(outcome.time),
        "events": events,
        "events_per_term": events / n_terms,
        "concordance": float(fitter.concordance_index_),
        "log_likelihood": float(fitter.log_likelihood_),
        "lr_statistic": float(ratio.test_statistic),
        "lr_dof": int(ratio.degrees_freedom),
        "lr_p_value": float(ratio.p_value),
    }


def _warn(table: pd.DataFrame, events: int) -> None:
    if events < EVENTS_PER_TERM * len(table):
        warnings.warn(
            f"{events} events for {len(table)} terms: with fewer than {EVENTS_PER_TERM} events a term, hazard ratios "
            "are exaggerated and intervals too short. Name fewer covariates, or pass penalizer=0.1.",
            SpatialfmWarning,
            stacklevel=3,
        )
    if "ph_p_value" in table:
        doubtful = table.index[holm(table["ph_p_value"].to_numpy()) < 0.05]
        if len(doubtful):
            warnings.warn(
                f"The hazards of {listed(doubtful)} are not proportional (p of the test below 0.05 after Holm's "
                "correction): one hazard ratio does not describe the whole follow-up. Pass strata= for a categorical "
                "covariate, or look at the curves with sfm.tl.kaplan_meier.",
                SpatialfmWarning,
                stacklevel=3,
            )
