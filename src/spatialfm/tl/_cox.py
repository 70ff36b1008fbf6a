"""Cox proportional-hazards regression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.stats import chi2, norm

from .._errors import SurvivalError, counted, warn
from .._fingerprint import DATA, fingerprint
from .._keys import PATIENT_KEY
from .._logging import logger
from .._public import public
from .._storable import write_uns
from ._check import check_anndata, listed, obs_column
from ._concordance import concordant_pairs
from ._cox_fit import CoxFit, Ties, fit_cox
from ._logrank import holm
from ._outcome import (
    EventValue,
    OnMissing,
    Outcome,
    column_as,
    event_text,
    patient_column,
    read_outcome,
    read_strata,
    stratum_codes,
    value_column,
)
from ._selected import OnSelected, check_selected, columns_of, with_doubt

if TYPE_CHECKING:
    from anndata import AnnData

CLUSTERS = 20  # below, robust standard errors are too short
EVENTS_PER_TERM = 10  # below, coefficients are biased and intervals too short (Peduzzi et al., J Clin Epidemiol 1995)


@public
def cox(
    samples: AnnData,
    covariates: str | Sequence[str],
    *,
    layer: str | None = None,
    reference: Mapping[str, str] | None = None,
    standardize: bool = False,
    strata: str | Sequence[str] | None = None,
    ties: Ties = "efron",
    cluster_key: str | None = None,
    penalizer: float = 0.0,
    test_proportional_hazards: bool = True,
    alpha: float = 0.05,
    time_key: str = "time",
    event_key: str = "event",
    event_value: EventValue = None,
    patient_key: str | None = PATIENT_KEY,
    on_missing: OnMissing = "raise",
    on_selected: OnSelected = "raise",
    key_added: str = "cox",
    copy: bool = False,
) -> dict[str, object] | None:
    """Cox regression with a test of proportional hazards.

    Estimates, standard errors and tests are those of R's survival package (Therneau and Grambsch, Modeling Survival
    Data, 2000).

    Parameters
    ----------
    samples
        One row a patient, as from :func:`spatialfm.tl.composition` with `patient_key`; several rows a patient with
        `cluster_key`.
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
    ties
        How several events at one time are taken: ``"efron"``, close to the exact likelihood, or ``"breslow"``, whose
        estimates are pulled to zero by many ties.
    cluster_key
        Column of ``obs`` with what rows belong together: the patient, where several samples of one are rows, or the
        hospital. Standard errors, intervals and p-values are then the robust ones of Lin and Wei (JASA 1989), which
        hold though rows of one cluster are alike; they need some 20 clusters or more. The test of proportional hazards
        takes rows as independent all the same.
    penalizer
        Strength of the ridge penalty on covariates of standard deviation 1, for one row; with one, estimates are
        shrunk, and intervals and p-values only approximate.
    test_proportional_hazards
        Whether to test each term, and all together, for a coefficient that changes with time, on the scale of the
        Kaplan-Meier estimate (Grambsch and Therneau 1994, as the score test of R's ``cox.zph``).
    alpha
        1 - confidence level.
    time_key, event_key
        Columns of ``obs``: time to event or censoring, from 0 on, and whether the event was seen (1) or not (0).
    event_value
        Value of `event_key` that means the event, or several, where it does not hold 0 and 1; all others are censored.
    patient_key
        Column of ``obs`` that must not repeat, where there is one, unless `cluster_key` keeps its rows together; they
        then have one outcome. None: rows are patients, or have events of their own.
    on_missing
        What becomes of rows without outcome, covariate or cluster: ``"raise"``, or ``"drop"`` with their number in the
        record.
    on_selected
        What becomes of covariates or strata that an outcome of these same patients made, by whatever way (signatures,
        :func:`spatialfm.tl.stratify` with `merge_into`, :func:`spatialfm.tl.cut_point`, cross-validated risk):
        ``"raise"``, since no test that takes them as given holds, or ``"mark"``: go on, and call the result optimistic.
    key_added
        Key of ``uns`` that is written.
    copy
        Whether to return the result instead of writing it.

    Returns
    -------
    None, or with `copy` the dictionary that is else written to ``uns[key_added]``: ``table``, a row a term, with
    ``covariate``, ``level``, ``reference``, ``coef``, ``se``, ``hazard_ratio``, ``ci_low``, ``ci_high`` (of the hazard
    ratio), ``z``, ``p_value``, with `cluster_key` ``se_naive`` (as if rows were independent) and, if tested,
    ``ph_p_value``; ``ph_global_p_value``; ``n``, ``events``, ``events_per_term`` and ``n_clusters``; ``concordance``
    on these same patients (within strata), hence optimistic; ``log_likelihood``; statistic, degrees of freedom and
    p-value of three tests that no term matters: ``lr_statistic``, ``lr_dof``, ``lr_p_value`` (likelihood ratio),
    ``score_*`` and ``wald_*``; the first two are NaN with clusters, where they do not hold; ``optimistic``, whether the
    outcome made a covariate; ``doubts``; ``params``.

    Raises
    ------
    SurvivalError
        If outcomes or covariates cannot be used, covariates are constant or collinear, or the fit does not converge.

    Warns
    -----
    SpatialfmWarning
        With fewer than 10 events a term, or fewer than 20 clusters; where hazards are not proportional (p below 0.05
        after Holm's correction).

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
    check_anndata(samples, "cox", key_added)
    names = [covariates] if isinstance(covariates, str) else list(covariates)
    strata_names = [strata] if isinstance(strata, str) else list(strata or ())
    _check_call(names, strata_names, ties, penalizer, alpha)
    columns = pd.DataFrame({name: value_column(samples, name, "covariates", layer) for name in names})
    made = columns_of(samples, [*names, *strata_names], layer)
    selected = check_selected(samples, "cox", made, on_selected, ordered="levels")
    columns = columns.assign(**read_strata(samples, strata_names))
    if cluster_key is not None:
        columns[column_as("cluster", cluster_key)] = _clusters(samples, cluster_key, patient_key, time_key, event_key)
    outcome = read_outcome(
        samples,
        "cox",
        time_key=time_key,
        event_key=event_key,
        event_value=event_value,
        patient_key=patient_key if cluster_key is None else None,
        on_missing=on_missing,
        columns=columns,
    )
    design, terms = design_matrix(outcome.columns[names], reference or {}, standardize)
    _check_design(design, penalizer)
    clusters = None if cluster_key is None else pd.factorize(outcome.columns[column_as("cluster", cluster_key)])[0]
    _check_clusters(clusters, cluster_key, len(terms))

    strata_codes = stratum_codes(outcome)
    x = design.to_numpy(dtype=np.float64)
    fit = fit_cox(
        x, outcome.time, outcome.event, strata=strata_codes, ties=ties, penalizer=penalizer, clusters=clusters
    )
    table = _table(fit, terms, alpha)
    if test_proportional_hazards:
        table["ph_p_value"] = chi2.sf(fit.ph_statistic, 1)
    result = {
        "table": table,
        **_summary(fit, outcome, len(terms)),
        "concordance": _concordance(x @ fit.coef, outcome, strata_codes),
        **({"ph_global_p_value": float(chi2.sf(fit.ph_global, len(terms)))} if test_proportional_hazards else {}),
        **({} if clusters is None else {"n_clusters": int(clusters.max()) + 1}),
        "optimistic": selected.optimistic,
        "params": {
            "selected": selected.text,
            "covariates": np.array(names, dtype=object),
            "layer": layer or "",
            "strata": np.array(strata_names, dtype=object),
            "standardize": standardize,
            "penalizer": float(penalizer),
            "alpha": float(alpha),
            "time_key": time_key,
            "event_key": event_key,
            "event_value": event_text(event_value),
            "ties": ties,
            "cluster_key": cluster_key or "",
            "n_dropped": outcome.n_dropped,
            DATA: fingerprint(
                samples,
                [*names, *strata_names, cluster_key, time_key, event_key],
                x=layer is None and any(name not in samples.obs for name in names),
            ),
        },
    }
    result["doubts"] = with_doubt(selected, _warn(table, int(outcome.event.sum()), result.get("n_clusters"), penalizer))
    logger.info(
        "Cox regression: %s, %s, %s.",
        counted(len(terms), "term"),
        counted(result["n"], "row"),
        counted(result["events"], "event"),
    )
    if copy:
        return result
    write_uns(samples, key_added, result)
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


def _check_call(names: list[str], strata: list[str], ties: str, penalizer: float, alpha: float) -> None:
    if not names:
        raise SurvivalError("No covariates. Name columns of obs or phenotypes in var: sfm.tl.cox(samples, [...]).")
    if repeated := [name for name in dict.fromkeys(names) if names.count(name) > 1 or name in strata]:
        raise SurvivalError(f"{listed(repeated)} appears twice among covariates= and strata=. Name it once.")
    if ties not in ("efron", "breslow"):
        raise SurvivalError(f'ties={ties!r} is not known. Pass "efron" or "breslow".')
    if not penalizer >= 0:
        raise SurvivalError(f"penalizer={penalizer} is negative. Pass 0 for none.")
    if not 0 < alpha < 1:
        raise SurvivalError(f"alpha={alpha} is not between 0 and 1. Pass alpha=0.05 for 95 % intervals.")


def _check_design(design: pd.DataFrame, penalizer: float) -> None:
    spread = design.std().fillna(0.0)  # of one row
    if (constant := spread.index[spread <= 1e-12]).size:
        raise SurvivalError(f"Covariates {listed(constant)} are constant in these rows. Leave them out.")
    if penalizer == 0 and np.linalg.matrix_rank(((design - design.mean()) / spread).to_numpy()) < design.shape[1]:
        raise SurvivalError(
            f"The {design.shape[1]} terms {listed(design)} are collinear, so that their coefficients cannot "
            "be told apart (all fractions of a composition add up to 1). Leave one out, or pass a penalizer= above 0, "
            "such as 0.1."
        )


def _clusters(samples: AnnData, cluster_key: str, patient_key: str | None, time_key: str, event_key: str) -> pd.Series:
    """Column of clusters; a patient in two of them, or with two outcomes, is refused."""
    clusters = obs_column(samples, cluster_key, "cluster_key", rows="rows", error=SurvivalError, allow_missing=True)
    patients = patient_column(samples, patient_key)
    if patients is None:
        return clusters
    of_patient = clusters.groupby(patients.astype(str)).nunique()
    if (of_patient > 1).any():
        raise SurvivalError(
            f"{counted(int((of_patient > 1).sum()), 'patient is', 'patients are')} in several clusters of "
            f"obs[{cluster_key!r}] (cluster_key=), first {listed(of_patient.index[of_patient > 1], 3)} of "
            f"obs[{patient_key!r}]: their rows are not independent. Pass "
            f'cluster_key="{patient_key}".'
        )
    for key in (time_key, event_key):
        if key in samples.obs:
            values = samples.obs[key].groupby(patients.astype(str)).nunique()
            if (values > 1).any():
                raise SurvivalError(
                    f"{counted(int((values > 1).sum()), 'patient has', 'patients have')} more than one value in "
                    f"obs[{key!r}], first {listed(values.index[values > 1], 3)} of obs[{patient_key!r}]. An outcome "
                    "belongs to the patient: correct the column; or, where each row has an event of its own (a "
                    "lesion), pass patient_key=None."
                )
    return clusters


def _check_clusters(clusters: np.ndarray | None, cluster_key: str | None, n_terms: int) -> None:
    if clusters is not None and clusters.max() + 1 <= n_terms:
        raise SurvivalError(
            f"{counted(int(clusters.max()) + 1, 'cluster')} in obs[{cluster_key!r}] (cluster_key=) for "
            f"{counted(n_terms, 'term')}: robust "
            f'standard errors need more of them, and hold from some 20 on. Pass strata="{cluster_key}" instead.'
        )


def _table(fit: CoxFit, terms: pd.DataFrame, alpha: float) -> pd.DataFrame:
    naive = np.sqrt(np.diag(fit.variance))
    se = naive if fit.robust_variance is None else np.sqrt(np.diag(fit.robust_variance))
    reach = norm.isf(alpha / 2) * se
    with np.errstate(over="ignore"):
        table = terms.assign(
            coef=fit.coef,
            se=se,
            hazard_ratio=np.exp(fit.coef),
            ci_low=np.exp(fit.coef - reach),
            ci_high=np.exp(fit.coef + reach),
            z=fit.coef / se,
            p_value=2 * norm.sf(np.abs(fit.coef / se)),
        )
    return table if fit.robust_variance is None else table.assign(se_naive=naive)


def _concordance(risk: np.ndarray, outcome: Outcome, strata: np.ndarray | None) -> float:
    strata = np.zeros(risk.size, int) if strata is None else strata
    counts = [
        concordant_pairs(outcome.time[mine], outcome.event[mine], risk[mine])
        for mine in (strata == code for code in np.unique(strata))
    ]
    right, pairs = np.sum(counts, axis=0)
    return float(right / pairs) if pairs else np.nan


def _summary(fit: CoxFit, outcome: Outcome, n_terms: int) -> dict[str, float]:
    variance = fit.variance if fit.robust_variance is None else fit.robust_variance
    independent = 1.0 if fit.robust_variance is None else np.nan
    dof = n_terms if np.isclose(fit.dof, n_terms) else fit.dof
    tests = {
        "lr": 2 * (fit.log_likelihood - fit.null_log_likelihood) * independent,
        "score": fit.score_statistic * independent,
        "wald": float(fit.coef @ np.linalg.solve(variance, fit.coef)),
    }
    events = int(outcome.event.sum())
    result = {"n": len(outcome.time), "events": events, "events_per_term": events / n_terms}
    result["log_likelihood"] = fit.log_likelihood
    for name, statistic in tests.items():
        result |= {
            f"{name}_statistic": statistic,
            f"{name}_dof": dof,
            f"{name}_p_value": float(chi2.sf(statistic, dof)),
        }
    return result


def _warn(table: pd.DataFrame, events: int, n_clusters: int | None, penalizer: float) -> list[str]:
    """Warn of what cannot be trusted; and the same in short, for a figure."""
    doubts = []
    if n_clusters is not None and n_clusters < CLUSTERS:
        doubts.append(f"{counted(n_clusters, 'cluster')}: intervals are too short")
        warn(
            f"{counted(n_clusters, 'cluster')}: with fewer than {CLUSTERS}, robust standard errors are too short. A "
            "cluster of many patients, as a hospital, may be strata= instead."
        )
    if events < EVENTS_PER_TERM * len(table):
        doubts.append(f"{events / len(table):.2g} events a term: ratios are exaggerated, intervals too short")
        warn(
            f"{counted(events, 'event')} for {counted(len(table), 'term')}: with fewer than {EVENTS_PER_TERM} events a "
            "term, hazard ratios are exaggerated and intervals too short. "
            + (
                "Name fewer covariates: intervals of a penalised regression are too short as well."
                if penalizer
                else "Name fewer covariates, or pass a penalizer= above 0, such as 0.1."
            )
        )
    if "ph_p_value" in table:
        doubtful = table.index[holm(table["ph_p_value"].to_numpy()) < 0.05]
        if len(doubtful):
            doubts.append(f"hazards not proportional: {listed(doubtful, 3)}")
            warn(
                f"The hazards of {listed(doubtful)} are not proportional (p of the test below 0.05 after Holm's "
                "correction): one hazard ratio does not describe the whole follow-up. Pass strata= for a categorical "
                "covariate, or look at the curves with sfm.tl.kaplan_meier."
            )
    return doubts
