"""Patients of a table of cells, and their outcome: checked once, before cells are clustered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._errors import ClinicalError, SurvivalError, TableError, counted
from .._keys import SAMPLE_KEY
from .._logging import logger
from ._check import check_samples, check_split, codes_by_appearance, listed, obs_column, value_of_each
from ._outcome import EventValue, event_times, events
from ._signature_outcome import Binary, Outcome, Survival

if TYPE_CHECKING:
    from anndata import AnnData


@dataclass(frozen=True)
class Patients:
    """Who the cells belong to, and what became of them."""

    rows: np.ndarray  # cells of patients with outcome
    codes: np.ndarray  # patient of each of them
    names: list[str]
    table: pd.DataFrame  # a row a patient: outcome
    outcome: Outcome
    positive: str
    n_dropped: int


def read_patients(
    adata: AnnData,
    patient_key: str,
    library_key: str | None,
    outcome: str | tuple[str, str],
    positive: str | None,
    event_value: EventValue,
    n_folds: int,
    on_missing: str,
) -> Patients:
    """Patients with their outcome.

    Raises
    ------
    TableError
        If a column is missing or has other than two values, or there are fewer patients than folds.
    ClinicalError
        If a patient has two outcomes, or a sample two patients.
    SurvivalError
        If times or events cannot be used.
    """
    if on_missing not in ("raise", "drop"):
        raise TableError(f'on_missing={on_missing!r} is not known. Pass "raise" or "drop".')
    if n_folds < 2:
        raise TableError(f"n_folds={n_folds} holds nobody out. Pass 2 or more.")
    keys = [outcome] if isinstance(outcome, str) else list(outcome)
    if len(keys) not in (1, 2):
        raise TableError(f"outcome={outcome!r} is neither a column nor (time, event).")
    column = obs_column(adata, patient_key, "patient_key")
    if library_key is not None and not (library_key == SAMPLE_KEY and SAMPLE_KEY not in adata.obs):
        check_samples(obs_column(adata, library_key, "library_key"), column, ClinicalError)
    check_split(adata, patient_key, library_key)
    columns = {key: obs_column(adata, key, "outcome", allow_missing=True) for key in keys}
    codes, names = codes_by_appearance(column)
    values = {key: column.astype(object).where(column.notna(), None) for key, column in columns.items()}
    table = pd.DataFrame({key: value_of_each(part, codes, names) for key, part in values.items()}, index=names)
    missing = table.isna().any(axis=1).to_numpy()
    if missing.any() and on_missing == "raise":
        raise TableError(
            f"{int(missing.sum())} of {len(names)} patients have no value in {listed(keys)}: "
            f'{listed(np.array(names)[missing])}. Fill them, or pass on_missing="drop" to leave them out.'
        )
    rows = np.flatnonzero(~missing[codes])
    kept = np.cumsum(~missing) - 1
    table = table[~missing]
    if missing.any():
        logger.info(
            "%d patients without %s left out: %s", missing.sum(), listed(keys), listed(np.array(names)[missing])
        )
    found, name = (
        (_binary(table[keys[0]], keys[0], positive), "")
        if len(keys) == 1
        else (_survival(table, keys, event_value), "")
    )
    if isinstance(found, Binary):
        name = str(table[keys[0]][found.y].iloc[0])
    _check_sizes(found, n_folds, keys)
    return Patients(rows, kept[codes[rows]], list(table.index), table, found, name, int(missing.sum()))


def _binary(values: pd.Series, key: str, positive: str | None) -> Binary:
    levels = sorted(pd.unique(values), key=str)
    if len(levels) != 2:
        raise TableError(
            f"obs[{key!r}] has {len(levels)} values among the patients ({listed(levels)}); two are needed. Make a "
            "column of true and false, or pass outcome=(time, event)."
        )
    if positive is None:
        if {str(level) for level in levels} not in ({"0", "1"}, {"False", "True"}, {"0.0", "1.0"}):
            raise TableError(f"Which of {listed(levels)} in obs[{key!r}] is the response? Pass positive=.")
        return Binary(np.array([str(value) in ("1", "True", "1.0") for value in values]))
    if str(positive) not in {str(level) for level in levels}:
        raise TableError(f"positive={positive!r} is no value of obs[{key!r}]; found {listed(levels)}.")
    return Binary((values.astype(str) == str(positive)).to_numpy())


def _survival(table: pd.DataFrame, keys: list[str], event_value: EventValue) -> Survival:
    times = event_times(table[keys[0]].infer_objects(), keys[0], "outcome")
    found = Survival(times, events(table[keys[1]], keys[1], event_value, "outcome"))
    if not found.event.any():
        raise SurvivalError(
            f"No event in obs[{keys[1]!r}] among {counted(len(table), 'patient')}: there is nothing to predict."
        )
    return found


def _check_sizes(outcome: Outcome, n_folds: int, keys: list[str]) -> None:
    kind = "patients of the rarer outcome" if isinstance(outcome, Binary) else "patients with an event"
    n = int(min(outcome.strata.sum(), (~outcome.strata).sum()) if isinstance(outcome, Binary) else outcome.event.sum())
    if n < n_folds:
        raise TableError(
            f"{n} {kind} in {listed(keys)} cannot be spread over n_folds={n_folds} folds. Pass fewer folds, or more "
            "patients."
        )
