"""Regression of the hazard of a cumulative incidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy.stats import chi2, f

from ..._errors import SurvivalError, counted, repeated_names, warn
from ..._fingerprint import DATA, fingerprint
from ..._keys import PATIENT_KEY
from ..._logging import logger
from ..._public import public
from ..._storable import write_uns
from ..._types import present
from ...cohort.causes import OTHER, Causes, read_causes
from ...cohort.checks import check_anndata, listed
from ...cohort.cox_table import EVENTS_PER_TERM, coefficient_table
from ...cohort.design import check_design, design_matrix
from ...cohort.outcome import EventValue, OnMissing, event_text, outcome_keys, value_column
from ...cohort.records import FineGrayRecord
from ...cohort.selected import OnSelected, check_selected, columns_of, with_doubt
from ...stats.cox import CoxFit, Ties, fit_cox
from ...stats.fine_gray import expand

if TYPE_CHECKING:
    from anndata import AnnData

StandardErrors = Literal["larger", "sandwich"]


@public
def fine_gray(
    patients: AnnData,
    covariates: str | Sequence[str],
    *,
    event_value: EventValue,
    censored_value: EventValue = None,
    layer: str | None = None,
    reference: Mapping[str, str] | None = None,
    standardize: bool = False,
    ties: Ties = "efron",
    se: StandardErrors = "larger",
    alpha: float = 0.05,
    time_key: str | None = None,
    event_key: str | None = None,
    entry_key: str | None = None,
    patient_key: str | None = PATIENT_KEY,
    on_missing: OnMissing = "raise",
    on_selected: OnSelected = "raise",
    key_added: str = "fine_gray",
    copy: bool = False,
) -> FineGrayRecord | None:
    """Fine and Gray's regression: subdistribution hazard ratios of one of several events.

    A ratio above 1 means a higher cumulative incidence of the event. Patients who had another event stay at risk, with
    a weight that falls as censoring does (Fine and Gray, JASA 1999; Geskus, Biometrics 2011), so that a covariate may
    matter only because it lowers the rate of the other events: read it together with :func:`spatialfm.tl.cox` with the
    same `event_value`, the hazard of those who are still without any event. Estimates are those of ``finegray`` and
    ``coxph`` in R, also with late entry. Censoring and entry are taken not to depend on covariates.

    Parameters
    ----------
    patients
        One row per patient, as from :func:`spatialfm.tl.composition` with `patient_key`.
    covariates
        Columns of ``obs``, or names in ``var`` (a phenotype's fraction). Strings and categoricals become one term for
        each level but the reference.
    event_value
        Value of `event_key` that is of interest, or several as one.
    censored_value
        Value of `event_key` that means censored, or several, where it is not 0; ``[]`` if no patient was. All others
        are competing events.
    layer
        Layer that names in ``var`` are read from (default: ``X``).
    reference
        Reference level of categorical covariates (default: the first category).
    standardize
        Whether numbers are brought to standard deviation 1.
    ties
        How several events at one time are taken: ``"efron"`` or ``"breslow"``, as R's ``cmprsk`` does.
    se
        ``"larger"``: the larger of two standard errors, that of the information matrix and the robust one (patients as
        clusters), and Student's distribution with patients less terms less one degrees of freedom. ``"sandwich"``: the
        robust one and the normal distribution, as R has them. It is too small where a covariate is skewed or patients
        are few: with 30 to 80 patients, 7 to 9 % of cohorts without effect have p below 0.05 (``cmprsk`` as well), with
        a skewed covariate 15 %.
    alpha
        1 - confidence level.
    time_key
        Column of ``obs``: time to the first event or censoring, from 0 on
        (default: as the table remembers, see :func:`spatialfm.pp.set_outcome`; otherwise ``"time"``).
    event_key
        Column of ``obs``: which event it was
        (default: as the table remembers, otherwise ``"event"``).
    entry_key
        Column of ``obs`` with the time at which a patient came under observation (left truncation), before `time_key`.
        Whoever had another event then also represents those who had theirs before they could enter (weights of Geskus).
    patient_key
        Column of ``obs`` that must not repeat, where there is one.
    on_missing
        What becomes of rows without outcome or covariate: ``"raise"``, or ``"drop"`` with their number in the record.
    on_selected
        What becomes of covariates that an outcome of these same patients made: ``"raise"``, or ``"mark"``: go on, and
        call the result optimistic.
    key_added
        Key of ``uns`` that is written.
    copy
        Whether to return the result instead of writing it.

    Returns
    -------
    None, or with `copy` the dictionary that is otherwise written to ``uns[key_added]``: ``table``, one row per term,
    with ``covariate``, ``level``, ``reference``, ``coef``, ``se``, ``hazard_ratio`` (of the subdistribution),
    ``ci_low``, ``ci_high``, ``z`` and ``p_value``; ``n``, ``events``, ``other_events``, ``events_per_term``,
    ``log_likelihood``, ``wald_statistic``, ``wald_dof``, ``wald_p_value``, ``se_method``, ``degrees_of_freedom``
    (infinite for the normal distribution), ``optimistic``, ``doubts``, ``params``.

    Raises
    ------
    SurvivalError
        If outcomes or covariates cannot be used, there is no event of interest, or the fit does not converge.

    Warns
    -----
    SpatialfmWarning
        With fewer than 10 events of interest per term, or without any competing event.

    Examples
    --------
    >>> import anndata as ad, pandas as pd
    >>> import spatialfm as sfm
    >>> time, fraction = list(range(1, 31)), [0.9, 0.4, 0.7, 0.6, 0.8, 0.3, 0.5, 0.2, 0.1, 0.6] * 3
    >>> event = ["relapse", "relapse", "death", "relapse", "none"] * 6
    >>> obs = pd.DataFrame({"time": time, "event": event, "tumor": fraction}, index=[f"P{i}" for i in time])
    >>> patients = ad.AnnData(obs=obs)
    >>> sfm.tl.fine_gray(patients, "tumor", event_value="relapse", censored_value="none", standardize=True)
    >>> patients.uns["fine_gray"]["table"][["hazard_ratio", "ci_low", "ci_high"]].round(2)
           hazard_ratio  ci_low  ci_high
    tumor          0.97    0.59      1.6
    """
    check_anndata(patients, "fine_gray", None if copy else key_added)
    keys = outcome_keys(patients, time_key, event_key, event_value, takes_value=False)
    names = [covariates] if isinstance(covariates, str) else list(covariates)
    _check_call(names, event_value)
    columns = pd.DataFrame({name: value_column(patients, name, "covariates", layer) for name in names})
    selected = check_selected(patients, "fine_gray", columns_of(patients, names, layer), on_selected, ordered="levels")
    causes = read_causes(
        patients,
        "fine_gray",
        **keys.arguments(),
        censored_value=censored_value,
        entry_key=entry_key,
        patient_key=patient_key,
        on_missing=on_missing,
        columns=columns,
    )
    design, terms = design_matrix(causes.outcome.columns[names], reference or {}, standardize)
    check_design(design, 0.0)

    outcome = causes.outcome
    x, names_of_terms = design.to_numpy(dtype=np.float64), list(map(str, design))
    fit = subdistribution(x, outcome.time, causes.codes, ties, outcome.entry, names_of_terms)
    events = int((causes.codes == 1).sum())
    estimates = _estimates(fit, len(causes.codes), terms, se, alpha)
    result: FineGrayRecord = {
        **estimates,
        "n": len(causes.codes),
        "events": events,
        "other_events": int((causes.codes == 2).sum()),
        "events_per_term": events / len(terms),
        "optimistic": selected.optimistic,
        "doubts": with_doubt(selected, _warn(estimates["table"], causes, events)),
        "params": {
            **selected.params(),
            "covariates": np.array(names, dtype=object),
            "layer": layer or "",
            "standardize": standardize,
            "ties": ties,
            "alpha": float(alpha),
            "entry_key": entry_key or "",
            **keys.params(),
            "censored_value": event_text(censored_value),
            "n_dropped": outcome.n_dropped,
            DATA: fingerprint(
                patients,
                [*names, keys.time, keys.event, entry_key],
                x=layer is None and any(name not in patients.obs for name in names),
            ),
        },
    }
    _tell(result, len(terms))
    if copy:
        return result
    write_uns(patients, key_added, result)
    return None


def subdistribution(
    x: np.ndarray,
    time: np.ndarray,
    codes: np.ndarray,
    ties: Ties = "efron",
    entry: np.ndarray | None = None,
    names: Sequence[str] = (),
) -> CoxFit:
    """Regression of the subdistribution hazard of cause 1 on ``(n, p)`` covariates, patients as clusters."""
    rows = expand(time, codes, 1, entry)
    return fit_cox(
        x[rows.patient],
        rows.stop,
        rows.event,
        ties=ties,
        clusters=rows.patient,
        entry=rows.start,
        case_weights=rows.weight,
        may_penalize=False,
        names=names,
    )


def _estimates(fit: CoxFit, n: int, terms: pd.DataFrame, se: StandardErrors, alpha: float) -> dict[str, Any]:
    """Table of terms and Wald's test of all of them, with the errors that are asked for."""
    p = len(terms)
    freedom = None if se == "sandwich" else max(n - p - 1, 1)
    robust = present(fit.robust_variance, "the robust variance")
    variance = robust if se == "sandwich" else larger_variance(fit.variance, robust)
    wald = float(fit.coef @ np.linalg.solve(variance, fit.coef))
    return {
        "table": coefficient_table(fit.coef, variance, terms, alpha, freedom),
        "log_likelihood": fit.log_likelihood,
        "wald_statistic": wald,
        "wald_dof": p,
        "wald_p_value": float(chi2.sf(wald, p) if freedom is None else f.sf(wald / p, p, freedom)),
        "se_method": se,
        "degrees_of_freedom": np.inf if freedom is None else float(freedom),
    }


def _tell(result: FineGrayRecord, n_terms: int) -> None:
    logger.info(
        "Fine and Gray's regression: %s, %s, %s of interest, %d others.",
        counted(n_terms, "term"),
        counted(result["n"], "row"),
        counted(result["events"], "event"),
        result["other_events"],
    )


def larger_variance(model: np.ndarray, robust: np.ndarray) -> np.ndarray:
    """The robust covariance ``(p, p)``, widened so that no term has less than the model's variance."""
    wider = np.sqrt(np.maximum(np.diag(model) / np.diag(robust), 1.0))
    return robust * np.outer(wider, wider)


def _check_call(names: list[str], event_value: EventValue) -> None:
    if not names:
        raise SurvivalError("No covariates. Name columns of obs or phenotypes in var.")
    if repeated := repeated_names(names):
        raise SurvivalError(f"{listed(repeated)} appears twice among covariates=. Name it once.")
    if event_value is None:
        raise SurvivalError("event_value=None: of which event? Pass its value in the column of events.")


def _warn(table: pd.DataFrame, causes: Causes, events: int) -> list[str]:
    doubts = []
    if OTHER not in causes.names:
        warn(
            "No row has another event than that of interest: this is a Cox regression, and sfm.tl.cox also tests for "
            "proportional hazards."
        )
    if events < EVENTS_PER_TERM * len(table):
        doubts.append(f"{events / len(table):.2g} events per term: ratios are exaggerated")
        warn(
            f"{counted(events, 'event')} of interest for {counted(len(table), 'term')}: with fewer than "
            f"{EVENTS_PER_TERM} events per term, hazard ratios are exaggerated. Name fewer covariates."
        )
    return doubts
