"""Cox proportional-hazards regression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy.stats import chi2

from ..._errors import SurvivalError, counted, repeated_names, warn
from ..._fingerprint import DATA, fingerprint
from ..._keys import PATIENT_KEY
from ..._logging import logger
from ..._public import public
from ..._storable import write_uns
from ...cohort.checks import check_anndata, listed
from ...cohort.cox_table import EVENTS_PER_TERM, Distribution, coefficient_table, concordance_of, summary, variance_of
from ...cohort.design import check_clusters, check_design, design_matrix, read_clusters
from ...cohort.outcome import (
    EventValue,
    OnMissing,
    Outcome,
    OutcomeKeys,
    column_as,
    outcome_keys,
    read_outcome,
    read_strata,
    stratum_codes,
    value_column,
)
from ...cohort.records import CoxRecord
from ...cohort.selected import OnSelected, check_selected, columns_of, with_doubt
from ...cohort.survival_record import MODEL, cox_record, describe_columns
from ...stats.cox import CoxFit, Ties, fit_cox
from .logrank import holm

if TYPE_CHECKING:
    from anndata import AnnData

ClusterSE = Literal["jackknife", "sandwich"]
CLUSTERS = 30  # below, standard errors of clusters are rough
DOMINANT = 1 / 3  # share of rows in one cluster above which estimates are that cluster's
FEW_ROWS = 5  # of a level: for so few, the normal distribution of a coefficient does not hold


@public
def cox(
    patients: AnnData,
    covariates: str | Sequence[str],
    *,
    layer: str | None = None,
    reference: Mapping[str, str] | None = None,
    standardize: bool = False,
    strata: str | Sequence[str] | None = None,
    ties: Ties = "efron",
    se_cluster_key: str | None = None,
    cluster_se: ClusterSE = "jackknife",
    distribution: Distribution = "auto",
    penalizer: float = 0.0,
    test_proportional_hazards: bool = True,
    alpha: float = 0.05,
    time_key: str | None = None,
    event_key: str | None = None,
    event_value: EventValue = None,
    entry_key: str | None = None,
    patient_key: str | None = PATIENT_KEY,
    on_missing: OnMissing = "raise",
    on_selected: OnSelected = "raise",
    key_added: str = "cox",
    copy: bool = False,
) -> CoxRecord | None:
    """Cox regression with a test of proportional hazards.

    Estimates, standard errors and tests are those of R's survival package (Therneau and Grambsch, Modeling Survival
    Data, 2000); of few patients, errors and p-values allow for their number (`distribution`).

    Parameters
    ----------
    patients
        One row per patient, as from :func:`spatialfm.tl.composition` with `patient_key`; several rows per patient with
        `se_cluster_key`.
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
        Columns of ``obs`` whose levels have their own baseline hazard.
    ties
        How several events at one time are taken: ``"efron"``, close to the exact likelihood, or ``"breslow"``, whose
        estimates are pulled to zero by many ties.
    se_cluster_key
        Column of ``obs`` with what rows belong together: the patient, where several samples of one are rows, or the
        hospital. Standard errors, intervals and p-values then hold though rows of one cluster are alike. The test of
        proportional hazards takes rows as independent all the same.
    cluster_se
        Where they come from. ``"jackknife"``: each cluster is left out in turn (one Newton step from the estimates of
        all; Lipsitz et al., Biometrics 1994), and the t distribution with clusters less one degrees of freedom, which
        holds with 10 clusters or with one that has half of the rows. ``"sandwich"``: those of Lin and Wei (JASA 1989)
        with the normal distribution, as R has them; with 10 to 20 clusters 9 to 17 % of cohorts without effect have p
        below 0.05.
    distribution
        What intervals and p-values of rows without clusters rest on. ``"normal"``: as in R; with 30 patients, 7 to 10 %
        of the terms without effect have p below 0.05 in regressions with 4 or 5 terms. ``"t"``: Student's distribution
        with rows less terms less one degrees of freedom, standard errors times the root of rows over rows less terms,
        and F for the tests of all terms (by simulation: 3 to 6 %). ``"auto"``: ``"t"`` below 100 rows or 10 events a
        term; the result names them.
    penalizer
        Strength of the ridge penalty on covariates of standard deviation 1, for one row; with one, estimates are
        shrunk, and intervals and p-values only approximate.
    test_proportional_hazards
        Whether to test each term, and all together, for a coefficient that changes with time, on the scale of the
        Kaplan-Meier estimate (Grambsch and Therneau 1994, as the score test of R's ``cox.zph``).
    alpha
        1 - confidence level.
    time_key
        Column of ``obs``: time to event or censoring, from 0 on
        (default: as the table remembers, see :func:`spatialfm.pp.set_outcome`; otherwise ``"time"``).
    event_key
        Column of ``obs``: whether the event was seen (1) or not (0)
        (default: as the table remembers, otherwise ``"event"``).
    event_value
        Value of `event_key` that means the event, or several, where it does not hold 0 and 1; all others are censored
        (default: as the table remembers).
        With competing events, that is a regression of the cause-specific hazard; of the cumulative incidence it is
        :func:`spatialfm.tl.fine_gray`.
    entry_key
        Column of ``obs`` with the time at which a patient came under observation (left truncation), before `time_key`.
        At risk from then on.
    patient_key
        Column of ``obs`` that must not repeat, where there is one, unless `se_cluster_key` keeps its rows together;
        they then have one outcome. None: rows are patients, or have their own events.
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
    None, or with `copy` the dictionary that is otherwise written to ``uns[key_added]``: ``table``, one row per term,
    with ``covariate``, ``level``, ``reference``, ``coef``, ``se``, ``hazard_ratio``, ``ci_low``, ``ci_high`` (of the
    hazard ratio), ``z`` (of the t distribution, where that is used), ``p_value``, with `se_cluster_key` ``se_naive``
    (as if rows were independent) and, if tested, ``ph_p_value``; ``ph_global_p_value``; ``se_method``; ``distribution``
    (``"t"``, ``"normal"``) with ``degrees_of_freedom`` (infinite for the normal); ``n``, ``events``,
    ``events_per_term`` and ``n_clusters``; ``concordance`` on these same patients (within strata), so optimistic;
    ``log_likelihood``; statistic, degrees of freedom and p-value of three tests that no term matters: ``lr_statistic``,
    ``lr_dof``, ``lr_p_value`` (likelihood ratio), ``score_*`` and ``wald_*``; the first two are NaN with clusters,
    where they do not hold; ``optimistic``, whether the outcome made a covariate; ``doubts``; ``model``, from which
    :func:`spatialfm.tl.predict_survival` predicts another cohort; ``params``.

    Raises
    ------
    SurvivalError
        If outcomes or covariates cannot be used, covariates are constant or collinear, or the fit does not converge.

    Warns
    -----
    SpatialfmWarning
        With fewer than 10 events per term, a level of 5 rows or fewer, fewer than 30 clusters, or one that has a third
        of the rows; where hazards are not proportional (p below 0.05 after Holm's correction).

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
    tumor          1.34    0.83     2.16
    """
    check_anndata(patients, "cox", None if copy else key_added)
    keys = outcome_keys(patients, time_key, event_key, event_value)
    names = [covariates] if isinstance(covariates, str) else list(covariates)
    strata_names = [strata] if isinstance(strata, str) else list(strata or ())
    _check_call(names, strata_names, distribution, se_cluster_key)
    columns = pd.DataFrame({name: value_column(patients, name, "covariates", layer) for name in names})
    rests_on = columns_of(patients, [*names, *strata_names], layer)
    selected = check_selected(patients, "cox", rests_on, on_selected, ordered="levels")
    columns = columns.assign(**read_strata(patients, strata_names))
    columns = columns.assign(**(clusters := _cluster_column(patients, se_cluster_key, patient_key, keys)))
    outcome = read_outcome(
        patients, "cox", **keys.arguments(), entry_key=entry_key, patient_key=None if clusters else patient_key,
        on_missing=on_missing, columns=columns,
    )  # fmt: skip
    design, terms = design_matrix(outcome.columns[names], reference or {}, standardize)
    check_design(design, penalizer)
    rows = _Rows(design, terms, outcome, stratum_codes(outcome), _cluster_codes(outcome, se_cluster_key))
    check_clusters(rows.clusters, se_cluster_key, len(terms))

    fit = _fit(rows, ties, penalizer, cluster_se)
    estimates = _estimates(rows, fit, distribution, alpha, test_proportional_hazards, cluster_se, se_cluster_key)
    result: CoxRecord = {
        **estimates,
        MODEL: cox_record(
            rows.x, fit.coef, describe_columns(outcome.columns[names], reference or {}, standardize),
            outcome.time, outcome.event, outcome.entry, rows.strata,
            outcome.columns[[column_as("stratum", name) for name in strata_names]] if strata_names else None,
        ),
        "optimistic": selected.optimistic,
        "params": {
            **selected.params(), "covariates": np.array(names, dtype=object),
            "layer": layer or "", "strata": np.array(strata_names, dtype=object),
            "standardize": standardize, "penalizer": float(penalizer), "alpha": float(alpha),
            **keys.params(),
            "entry_key": entry_key or "", "ties": ties, "se_cluster_key": se_cluster_key or "",
            "distribution": distribution, "n_dropped": outcome.n_dropped,
            DATA: fingerprint(
                patients,
                [*names, *strata_names, se_cluster_key, keys.time, keys.event, entry_key],
                x=layer is None and any(name not in patients.obs for name in names),
            ),
        },
    }  # fmt: skip
    result["doubts"] = with_doubt(selected, _warn(rows, result["table"], penalizer))
    _tell(result, len(terms))
    if copy:
        return result
    write_uns(patients, key_added, result)
    return None


@dataclass(frozen=True)
class _Rows:
    """Rows of a regression with their design, codes of strata and of clusters."""

    design: pd.DataFrame
    terms: pd.DataFrame
    outcome: Outcome
    strata: np.ndarray | None
    clusters: np.ndarray | None

    @property
    def x(self) -> np.ndarray:
        """The design as numbers ``(rows, terms)``."""
        return self.design.to_numpy(dtype=np.float64)


def _check_call(names: list[str], strata: list[str], distribution: str, se_cluster_key: str | None) -> None:
    if not names:
        raise SurvivalError("No covariates. Name columns of obs or phenotypes in var: sfm.tl.cox(patients, [...]).")
    if repeated := repeated_names([*names, *dict.fromkeys(strata)]):
        raise SurvivalError(f"{listed(repeated)} appears twice among covariates= and strata=. Name it once.")
    if distribution != "auto" and se_cluster_key is not None:
        raise SurvivalError(
            f'distribution="{distribution}" is of rows without clusters: with se_cluster_key= it follows from '
            "cluster_se=. Leave it out."
        )


def _cluster_column(
    patients: AnnData, se_cluster_key: str | None, patient_key: str | None, keys: OutcomeKeys
) -> dict[str, pd.Series]:
    """The column of clusters under its name in the outcome's table; empty where there is none."""
    if se_cluster_key is None:
        return {}
    clusters = read_clusters(patients, se_cluster_key, patient_key, keys.time, keys.event)
    return {column_as("cluster", se_cluster_key): clusters}


def _cluster_codes(outcome: Outcome, se_cluster_key: str | None) -> np.ndarray | None:
    if se_cluster_key is None:
        return None
    return pd.factorize(outcome.columns[column_as("cluster", se_cluster_key)])[0]


def _fit(rows: _Rows, ties: Ties, penalizer: float, cluster_se: ClusterSE) -> CoxFit:
    return fit_cox(
        rows.x,
        rows.outcome.time,
        rows.outcome.event,
        strata=rows.strata,
        ties=ties,
        penalizer=penalizer,
        clusters=rows.clusters,
        jackknife=rows.clusters is not None and cluster_se == "jackknife",
        entry=rows.outcome.entry,
        by_lifelines=True,
        names=list(map(str, rows.design)),
    )


def _estimates(
    rows: _Rows,
    fit: CoxFit,
    distribution: Distribution,
    alpha: float,
    test_proportional_hazards: bool,
    cluster_se: ClusterSE,
    se_cluster_key: str | None,
) -> dict[str, Any]:
    """Table of terms, tests of all together, concordance, and how errors were estimated."""
    clusters, n_terms = rows.clusters, len(rows.terms)
    events = int(rows.outcome.event.sum())
    variance, dof = variance_of(fit, len(rows.x), events, clusters, se_cluster_key, rows.terms, distribution)
    table = coefficient_table(fit.coef, variance, rows.terms, alpha, dof)
    if clusters is not None:
        table["se_naive"] = np.sqrt(np.diag(fit.variance))
    if test_proportional_hazards:
        table["ph_p_value"] = chi2.sf(fit.ph_statistic, 1)
    return {
        "table": table,
        **summary(fit, variance, dof, rows.outcome, n_terms),
        "concordance": concordance_of(rows.x @ fit.coef, rows.outcome, rows.strata),
        **({"ph_global_p_value": float(chi2.sf(fit.ph_global, n_terms))} if test_proportional_hazards else {}),
        "se_method": "information matrix" if clusters is None else cluster_se,
        "distribution": "normal" if dof is None else "t",
        "degrees_of_freedom": np.inf if dof is None else float(dof),
        **({} if clusters is None else {"n_clusters": int(clusters.max()) + 1}),
    }


def _tell(result: CoxRecord, n_terms: int) -> None:
    logger.info(
        "Cox regression: %s, %s, %s.",
        counted(n_terms, "term"),
        counted(result["n"], "row"),
        counted(result["events"], "event"),
    )


def _warn(rows: _Rows, table: pd.DataFrame, penalizer: float) -> list[str]:
    """Warn of what cannot be trusted; and the same in short, for a figure."""
    doubts, design, events = [], rows.design, int(rows.outcome.event.sum())
    sizes = None if rows.clusters is None else np.bincount(rows.clusters)
    if sizes is not None and len(sizes) < CLUSTERS:
        doubts.append(f"{counted(len(sizes), 'cluster')}: intervals are rough")
        warn(
            f"{counted(len(sizes), 'cluster')}: with fewer than {CLUSTERS}, their standard errors are rough. A cluster "
            "of many patients, as a hospital, may be strata= instead."
        )
    if sizes is not None and sizes.max() > DOMINANT * sizes.sum():
        doubts.append(f"one cluster has {sizes.max() / sizes.sum():.0%} of the rows")
        warn(
            f"One cluster has {counted(int(sizes.max()), 'row')} of {sizes.sum()}: the estimates are largely its own, "
            "and intervals wide. Take one row, or a mean, of each cluster."
        )
    two_levels = design.columns[[set(np.unique(design[name])) <= {0.0, 1.0} for name in design]]
    rows = {name: int(min(design[name].sum(), (1 - design[name]).sum())) for name in two_levels}
    if few := {name: n for name, n in rows.items() if n <= FEW_ROWS}:
        doubts.append(f"levels of few rows: {listed(list(few), 3)}")
        warn(
            f"{listed(f'{name} ({n})' for name, n in few.items())}: a level of {FEW_ROWS} rows or fewer, for which "
            "p-values and intervals of a Cox regression are rough. sfm.tl.logrank permutes such groups."
        )
    if events < EVENTS_PER_TERM * len(table):
        doubts.append(f"{events / len(table):.2g} events per term: ratios are exaggerated")
        warn(
            f"{counted(events, 'event')} for {counted(len(table), 'term')}: with fewer than {EVENTS_PER_TERM} events "
            "per term, hazard ratios are exaggerated, and intervals are around what is exaggerated. "
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
