"""Two groups of patients compared at equal covariates, within sites, or within patients; read once from cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import stats

from .._errors import SpatialfmError, SurvivalError, TableError
from ..stats.composition_groups import ComparedRows, fitted, modelled
from ..stats.group_tests import placements, ranks_of
from ..stats.patient_groups import LEAST, SHUFFLES
from .checks import as_names, obs_column
from .composition_rows import check_terms, terms_of
from .one_value import leave_out, value_of_each
from .outcome import Outcome, column_as

if TYPE_CHECKING:
    from anndata import AnnData


@dataclass(frozen=True)
class Adjustment:
    """Terms of the model besides the group, by unit (a patient, or a patient in one of the groups)."""

    covariates: pd.DataFrame  # (units, covariates)
    blocks: pd.Series | None = None  # (units,) site or batch
    pairs: pd.Series | None = None  # (units,) patient, where groups are within patients

    @property
    def given(self) -> bool:
        """Whether groups are not compared as they are."""
        return self.covariates.shape[1] > 0 or self.blocks is not None or self.pairs is not None

    def of(self, units: Sequence[str]) -> Adjustment:
        """That of some of the units, in their order."""
        parts = (None if part is None else part.loc[units] for part in (self.blocks, self.pairs))
        return Adjustment(self.covariates.loc[units], *parts)

    def rows(self, codes: np.ndarray) -> ComparedRows:
        """As what compositions are compared as: one mechanism for all comparisons of groups. Codes are 0 and 1."""
        columns = {str(name): column for name, column in self.covariates.items()}
        codes = np.asarray(codes)
        return ComparedRows(
            counts=np.ones((len(codes), 1)),
            known=False,
            codes=codes,
            names=["1", "2"],
            covariates=terms_of(columns, len(codes)),
            units=None if self.pairs is None else pd.factorize(self.pairs)[0],
            blocks=None if self.blocks is None else pd.factorize(self.blocks)[0],
            model="groups" if self.pairs is None else "pairs",
        )


def read_adjustment(
    adata: AnnData, patients: np.ndarray, covariates: str | Sequence[str] | None, block_key: str | None
) -> Adjustment:
    """Covariates and site of each patient, missing where they are; ``patients`` is the patient of each row.

    Raises
    ------
    ClinicalError
        If a patient has several values.
    """
    names = as_names(covariates)
    order = pd.unique(np.asarray(patients, dtype=object))
    columns = {name: _by_patient(adata, name, "covariates", patients, order) for name in names}
    blocks = None if block_key is None else _by_patient(adata, block_key, "block_key", patients, order)
    return Adjustment(pd.DataFrame(columns, index=order), blocks)


def shuffling_blocks(
    blocks: pd.Series | None,
    block_key: str | None,
    outcomes: pd.DataFrame,
    n_permutations: int,
    error: type[SpatialfmError] = TableError,
) -> np.ndarray | None:
    """Codes of the sites within which outcomes change places; None where they do so among all patients.

    Parameters
    ----------
    blocks
        Site of each patient, the column `block_key`; None where none was given.
    outcomes
        Outcome of each patient, in as many columns as it has.

    Raises
    ------
    SpatialfmError
        If nothing is shuffled, or no site has patients of two outcomes to exchange.
    """
    if blocks is None:
        return None
    if not n_permutations:
        raise error(
            f"block_key={block_key!r} is where outcomes are shuffled, and n_permutations=0 shuffles none. Pass "
            "n_permutations=, for example 200, or leave block_key= out."
        )
    codes = pd.factorize(blocks)[0]
    of_patient = outcomes.reset_index(drop=True).astype(str).agg("\n".join, axis=1)
    if of_patient.groupby(codes).nunique().max() < 2:
        raise error(
            f"obs[{block_key!r}] (block_key=) determines the outcome: within none of its levels is there anything to "
            "shuffle. Leave it out, and state it."
        )
    return codes


def survival_blocks(outcome: Outcome, block_key: str | None, n_permutations: int) -> np.ndarray | None:
    """As `shuffling_blocks`, of patients whose outcome was read with the column of :func:`read_block`."""
    blocks = outcome.columns.get(column_as("block", block_key or ""))
    seen = pd.DataFrame({"time": outcome.time, "event": outcome.event})
    return shuffling_blocks(blocks, block_key, seen, n_permutations, SurvivalError)


def lacking(adjustment: Adjustment, block_key: str | None, on_missing: str) -> list[str]:
    """Patients without a covariate or site; refused unless they are to be dropped."""
    columns = adjustment.covariates
    if adjustment.blocks is not None:
        columns = columns.assign(**{str(block_key): adjustment.blocks})
    missing = columns.isna()
    if on_missing == "raise" and missing.any(axis=None):
        key = next(name for name in missing if missing[name].any())
        argument = "covariates" if key in adjustment.covariates else "block_key"
        leave_out(missing[key].to_numpy(), missing.index.to_numpy(), f"obs[{key!r}] ({argument}=)", on_missing)
    return [str(name) for name in missing.index[missing.any(axis=1)]]


def check_adjustment(
    adjustment: Adjustment, codes: np.ndarray, group_key: str, block_key: str | None, least: int = LEAST
) -> None:
    """Refuse covariates without variety, or that determine the group, of two groups with at least `least` patients.

    Raises
    ------
    TableError
        With the columns.
    """
    if adjustment.given and np.bincount(codes, minlength=2).min() >= least:
        names = [str(name) for name in adjustment.covariates]
        check_terms(adjustment.rows(codes), group_key, names, block_key)


def compared(values: np.ndarray, rows: ComparedRows, n_permutations: int = SHUFFLES) -> dict[str, float]:
    """Code 1 against 0 at equal covariates, within blocks or within pairs; NaN if these patients do not suffice.

    Ranks and values are linear in the group and the other terms. Without blocks and pairs errors do not assume
    equal spread (CR2, Satterthwaite); within blocks and pairs residuals of the model without the group are shuffled
    (Freedman and Lane 1983). ``p_value`` is the larger one of ranks and values.

    Parameters
    ----------
    values
        ``(units,)``, NaN for none.
    rows
        From :meth:`Adjustment.rows`, of all these units.

    Returns
    -------
    ``effect`` (rank-biserial correlation) with ``effect_low`` and ``effect_high``, ``p_value``; ``difference`` of
    means with ``low`` and ``high`` (95 %).
    """
    nothing = dict.fromkeys(("effect", "effect_low", "effect_high", "p_value", "difference", "low", "high"), np.nan)
    keep = np.isfinite(values)
    if rows.units is not None:
        whole = pd.Series(rows.codes[keep]).groupby(rows.units[keep]).transform("nunique").to_numpy() == 2
        keep[np.flatnonzero(keep)[~whole]] = False
    anew = {name: getattr(rows, name) for name in ("units", "blocks")}
    anew = {name: None if part is None else pd.factorize(part[keep])[0] for name, part in anew.items()}
    kept = {name: getattr(rows, name)[keep] for name in ("counts", "codes", "covariates")}
    part = replace(rows, **kept, **anew)
    distinct = _without_repeats(part) if np.bincount(part.codes, minlength=2).min() >= LEAST else None
    if distinct is None:
        return nothing
    column = values[keep].astype(float)[:, None]
    tested = modelled(distinct, ranks_of(placements(column)), column, n_permutations, np.random.default_rng(0))
    fit = fitted(distinct, column, distinct.design()[0])
    low, high = fit.interval()
    of_ranks = {name: float(tested[name][0]) for name in ("effect", "effect_low", "effect_high", "p_value")}
    return of_ranks | {"difference": float(fit.value[0]), "low": float(low[0]), "high": float(high[0])}


def welch(one: np.ndarray, two: np.ndarray) -> tuple[float, float, float]:
    """Difference of means (2 minus 1) of groups as they are and its 95 % interval; NaN below three patients."""
    if min(len(one), len(two)) < LEAST:
        return np.nan, np.nan, np.nan
    apart = float(two.mean() - one.mean())
    if not np.ptp(one) + np.ptp(two) > 0:
        return apart, apart, apart
    interval = stats.ttest_ind(two, one, equal_var=False).confidence_interval()
    return apart, float(interval.low), float(interval.high)


def _without_repeats(rows: ComparedRows) -> ComparedRows | None:
    """Without covariates that are redundant in these patients; None if they determine the group or leave no error."""
    rank = np.linalg.matrix_rank
    kept = np.zeros((len(rows.codes), 0))
    start = replace(rows, covariates=kept).design()[0][:, :-1]
    for column in rows.covariates.T:
        wider = np.column_stack([start, kept, column])
        if rank(wider) == wider.shape[1]:
            kept = np.column_stack([kept, column])
    reduced = replace(rows, covariates=kept)
    design = reduced.design()[0]
    if rank(design) < design.shape[1]:
        return None
    if rows.model != "pairs" and len(design) - design.shape[1] < LEAST:
        return None
    return reduced


def _by_patient(adata: AnnData, key: str, argument: str, patients: np.ndarray, order: np.ndarray) -> pd.Series:
    pairs = value_of_each(
        obs_column(adata, key, argument, allow_missing=True),
        pd.Index(order).get_indexer(patients),
        order,
        argument=argument,
        remedy="Patients are compared, so each has one: correct the column, or pass one that belongs to the patient.",
    )
    if pd.api.types.is_numeric_dtype(pairs.dtype) and not pd.api.types.is_bool_dtype(pairs.dtype):
        return pairs.astype("float64")  # with NaN for what is missing, of any type
    return pairs
