"""Covariates of groups and of regressions, and clusters: read from the table, made numbers, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._errors import SurvivalError, counted
from .._outcome import numbers_of, tell_numbers_as_text
from .checks import codes_by_appearance, listed, obs_column, tell_spellings, tells_group
from .one_value import value_of_each
from .outcome import Outcome, column_as, patient_column, value_column

if TYPE_CHECKING:
    from anndata import AnnData


def design_matrix(
    columns: pd.DataFrame, reference: Mapping[str, str], standardize: bool = False
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Design ``(n, n_terms)`` of numbers, and a table of its terms with covariate, level and reference."""
    if unknown := [name for name in reference if name not in columns]:
        raise SurvivalError(f"reference= names {unknown[0]!r}, but the covariates are {listed(columns)}.")
    design, terms = {}, []
    for name, given in columns.items():
        column = given if name in reference else numbers_of(given)
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
        if not numeric and name not in reference:
            tell_numbers_as_text(column, f"Covariate {name!r}")
        column = column.astype("category").cat.remove_unused_categories()
        levels = [str(level) for level in column.cat.categories]
        tell_spellings(levels, f"Covariate {name!r}", unknown_is_one=name in reference)
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


def check_design(design: pd.DataFrame, penalizer: float | None) -> None:
    """Refuse terms that are constant or, without a penalty, collinear; `penalizer` is None where there is none to pass.

    Raises
    ------
    SurvivalError
        With their names.
    """
    spread = design.std().fillna(0.0)  # of one row
    if (constant := spread.index[spread <= 1e-12]).size:
        raise SurvivalError(f"Covariates {listed(constant)} are constant in these rows. Leave them out.")
    if not penalizer and np.linalg.matrix_rank(((design - design.mean()) / spread).to_numpy()) < design.shape[1]:
        raise SurvivalError(
            f"The {design.shape[1]} terms {listed(design)} are collinear, so that their coefficients cannot "
            "be separated (all fractions of a composition add up to 1). Leave one out"
            + ("." if penalizer is None else ", or pass a penalizer= above 0, such as 0.1.")
        )


def check_roles(
    group_key: str | None, strata: list[str], covariates: list[str], argument_of_group: str = "group_key"
) -> None:
    """Refuse a column in two roles.

    Raises
    ------
    SurvivalError
        With its name.
    """
    for argument, names in (("strata", strata), ("covariates", covariates)):
        if group_key in names:
            raise SurvivalError(
                f"{group_key!r} is both {argument_of_group}= and {argument}=: at equal values of it is nothing to "
                "compare."
            )
    if twice := [name for name in covariates if name in strata]:
        raise SurvivalError(f"{listed(twice)} is named in strata= and covariates=. Name it once.")


def read_covariates(patients: AnnData, names: Sequence[str]) -> dict[str, pd.Series]:
    """Columns of obs, or names in var, at which groups are compared, under ``column_as("covariate", name)``."""
    return {column_as("covariate", name): value_column(patients, name, "covariates") for name in names}


def covariate_columns(outcome: Outcome, names: Sequence[str]) -> pd.DataFrame:
    """The same of the rows of an outcome, under their own names."""
    return outcome.columns[[column_as("covariate", name) for name in names]].set_axis(list(names), axis=1)


def beside_covariates(outcome: Outcome, names: list[str]) -> np.ndarray:
    """Covariates ``(n, terms)`` that a test is made at; those that are constant or collinear are refused."""
    design, _ = design_matrix(covariate_columns(outcome, names), {})
    check_design(design, None)
    return design.to_numpy(dtype=np.float64)


def adjusting_covariates(
    outcome: Outcome, names: list[str], codes: np.ndarray, strata: np.ndarray | None, group_key: str
) -> np.ndarray:
    """Covariates ``(n, terms)`` at which the groups of `codes` are compared, within strata.

    Raises
    ------
    SurvivalError
        If they are constant, collinear, or determine a group.
    """
    x = beside_covariates(outcome, names)
    strata = np.zeros(len(x), int) if strata is None else strata
    others = np.column_stack([strata[:, None] == np.unique(strata), (x - x.mean(axis=0)) / x.std(axis=0)]).astype(float)
    groups = np.eye(int(codes.max()) + 1)[codes][:, 1:]
    rank = np.linalg.matrix_rank
    if rank(np.column_stack([others, groups])) < rank(others) + groups.shape[1]:
        raise SurvivalError(tells_group([f"obs[{name!r}]" for name in names], group_key))
    return x


def read_clusters(
    samples: AnnData, se_cluster_key: str, patient_key: str | None, time_key: str, event_key: str
) -> pd.Series:
    """Column of clusters; a patient in two of them, or with two outcomes, is refused."""
    clusters = obs_column(
        samples, se_cluster_key, "se_cluster_key", rows="rows", error=SurvivalError, allow_missing=True
    )
    patients = patient_column(samples, patient_key)
    if patients is None:
        return clusters
    of_patient = clusters.groupby(patients.astype(str)).nunique()
    if (of_patient > 1).any():
        raise SurvivalError(
            f"{counted(int((of_patient > 1).sum()), 'patient is', 'patients are')} in several clusters of "
            f"obs[{se_cluster_key!r}] (se_cluster_key=), first {listed(of_patient.index[of_patient > 1], 3)} of "
            f'obs[{patient_key!r}]: their rows are not independent. Pass se_cluster_key="{patient_key}".'
        )
    for key in (time_key, event_key):
        if key in samples.obs:
            known = samples.obs[key].notna().to_numpy()
            codes, names = codes_by_appearance(patients[known])
            remedy = (
                "An outcome belongs to the patient: correct the column; or, if each row has its own event (a "
                "lesion), pass patient_key=None."
            )
            value_of_each(samples.obs[key][known], codes, names, remedy=remedy, error=SurvivalError)
    return clusters


def check_clusters(clusters: np.ndarray | None, se_cluster_key: str | None, n_terms: int) -> None:
    """Refuse fewer clusters than the robust variance needs for so many terms."""
    if clusters is not None and clusters.max() + 1 <= n_terms:
        raise SurvivalError(
            f"{counted(int(clusters.max()) + 1, 'cluster')} in obs[{se_cluster_key!r}] (se_cluster_key=) for "
            f"{counted(n_terms, 'term')}: robust "
            f'standard errors need more of them, and hold from some 10 on. Pass strata="{se_cluster_key}" instead.'
        )
