"""Patients of a table of cells, and their outcome: checked once, before cells are clustered."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._errors import ClinicalError, SurvivalError, TableError, counted, warn
from .._keys import SAMPLE_KEY
from .._outcome import reads_adverse, remembered_outcome
from .._spelling import as_read
from ..stats.depth import depth_by_class, depth_by_survival, depth_within, draw_evenly
from ..stats.signature_outcome import Binary, Outcome, Survival
from .checks import check_samples, check_split, codes_by_appearance, listed, obs_column, order_of_names
from .depth import Depth, class_depth, depth_of, survival_depth
from .one_value import leave_out, value_of_each
from .outcome import EventValue, event_times, events
from .sketch import Sketch, drawn_evenly

if TYPE_CHECKING:
    from anndata import AnnData

_YES = frozenset({"1", "1.0", "true", "yes", "y"})  # what a column is called happened


@dataclass(frozen=True)
class SignaturePatients:
    """Who the cells belong to, and what became of them."""

    rows: np.ndarray  # cells of patients with outcome
    codes: np.ndarray  # patient of each of them
    names: list[str]
    table: pd.DataFrame  # one row per patient: outcome
    outcome: Outcome
    positive: str
    n_dropped: int
    n_cells: np.ndarray  # of each patient, all of them


def read_patients(
    adata: AnnData,
    patient_key: str,
    library_key: str | None,
    outcome: str | tuple[str, str],
    positive: str | None,
    event_value: EventValue,
    n_folds: int,
    on_missing: str,
) -> SignaturePatients:
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
        raise TableError(f"n_folds={n_folds} holds no patient out. Pass 2 or more.")
    keys = [outcome] if isinstance(outcome, str) else list(outcome)
    if len(keys) not in (1, 2):
        raise TableError(f"outcome={outcome!r} is neither a column nor (time, event).")
    column = obs_column(adata, patient_key, "patient_key")
    if library_key is not None and not (library_key == SAMPLE_KEY and SAMPLE_KEY not in adata.obs):
        check_samples(obs_column(adata, library_key, "library_key"), column, ClinicalError)
    check_split(adata, patient_key, library_key)
    columns = {key: obs_column(adata, key, "outcome", allow_missing=True) for key in keys}
    codes, names = codes_by_appearance(column)
    order = order_of_names(names)  # who is in which fold, and whose outcomes change places, follows from it
    codes, names = order.argsort()[codes], [names[place] for place in order]
    values = {key: column.astype(object).where(column.notna(), None) for key, column in columns.items()}
    table = pd.DataFrame(
        {key: value_of_each(part, codes, names) for key, part in values.items()}, index=pd.Index(names)
    )
    missing = table.isna().any(axis=1).to_numpy()
    leave_out(missing, names, listed(keys), on_missing)
    rows = np.flatnonzero(~missing[codes])
    new_code = np.cumsum(~missing) - 1
    table = table[~missing]
    outcome_and_name, name = (
        (_binary(table[keys[0]], keys[0], positive), "")
        if len(keys) == 1
        else (_survival(table, keys, event_value), "")
    )
    if isinstance(outcome_and_name, Binary):
        name = str(table[keys[0]][outcome_and_name.y].iloc[0])
    _check_sizes(outcome_and_name, n_folds, keys)
    codes = new_code[codes[rows]]
    n_cells = np.bincount(codes, minlength=len(table))
    return SignaturePatients(rows, codes, list(table.index), table, outcome_and_name, name, int(missing.sum()), n_cells)


def remembered_value(adata: AnnData, outcome: str | tuple[str, str], event_value: EventValue) -> EventValue:
    """Value that means the event: the one given, otherwise the one that the table remembers of these columns."""
    known = remembered_outcome(adata)
    if event_value is not None or known is None or isinstance(outcome, str):
        return event_value
    return known.event_value if (known.time_key, known.event_key) == tuple(outcome) else None


@dataclass(frozen=True)
class Draw:
    """The cells that clusters and ranks are made of, and whose they are."""

    patients: SignaturePatients
    part: np.ndarray  # places among the cells of patients with outcome
    depth: dict[str, Any]  # numbers of cells for ``params``
    in_proportion: bool  # whether patients of more cells have more of them here
    sketch: Sketch | None  # where they are fewer than was asked for, since all are too many to cluster


def drawn(
    patients: SignaturePatients, cells: Depth, keys: list[str], random_state: int, size: int | None, names: pd.Index
) -> Draw:
    """The same patients with equally many cells, `size` together at most, or, of ``"all"``, in proportion.

    Warns where numbers of cells go with the outcome.
    """
    outcome, n_cells = patients.outcome, patients.n_cells

    def goes_with_outcome(n: np.ndarray) -> bool:
        if isinstance(outcome, Binary):
            return depth_by_class(n, outcome.y.astype(int)).associated
        return depth_by_survival(n, outcome.time, outcome.event).associated

    depth = depth_of(cells, n_cells, "cells_per_patient", goes_with_outcome)
    too_many = size is not None and np.minimum(n_cells, np.inf if depth is None else depth).sum() > size
    if too_many and depth is not None and size is not None:
        depth = depth_within(n_cells, size)
    if depth is None:
        remedy = 'Pass cells_per_patient="even" for clusters, ranks and a nested score of equally many cells.'
    elif goes_with_outcome(np.minimum(n_cells, depth)):
        remedy = f"They still do where {depth:,} cells of each are drawn. Pass a smaller cells_per_patient=."
    else:
        remedy = (
            f"Signatures and the nested score are therefore made of {depth:,} cells of each; the score as published, "
            "of all cells, depends on their numbers too."
        )
    if isinstance(outcome, Binary):
        classes = [f"not {patients.positive}", patients.positive]
        numbers = class_depth(n_cells, outcome.y.astype(int), classes, keys[0], remedy)
    else:
        numbers = survival_depth(n_cells, outcome.time, outcome.event, keys, remedy)
    part, sketch = np.arange(len(patients.codes)), None
    if too_many and size is not None:
        groups, unit = (None, "") if depth is None else (patients.codes, "patient")
        sketch = drawn_evenly(order_of_names(names[patients.rows]), groups, unit, size, random_state)
        part = sketch.rows
    elif depth is not None:
        part = draw_evenly(patients.codes, depth, np.random.default_rng((random_state, 7)))
    of_part = replace(patients, rows=patients.rows[part], codes=patients.codes[part])
    return Draw(of_part, part, numbers, depth is None, sketch)


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
        if reads_adverse(key):
            without, having = map(str, levels)
            raise TableError(
                f"obs[{key!r}] reads as an adverse outcome, and {having} would count as the response: as favorable, of "
                f"low risk in sfm.tl.score_signatures. Pass positive={without!r}, for patients without it, or "
                f"positive={having!r} if it is the response."
            )
        return Binary(np.array([str(value) in ("1", "True", "1.0") for value in values]))
    if str(positive) not in {str(level) for level in levels}:
        raise TableError(f"positive={positive!r} is not a value of obs[{key!r}]; found {listed(levels)}.")
    if reads_adverse(key if as_read(positive) in _YES else positive):
        warn(
            f"positive={positive!r} of obs[{key!r}] reads as adverse. Signatures of these patients are called RS, and "
            "sfm.tl.score_signatures counts them as favorable, of low risk: pass the other value if that is not meant."
        )
    return Binary((values.astype(str) == str(positive)).to_numpy())


def _survival(table: pd.DataFrame, keys: list[str], event_value: EventValue) -> Survival:
    times = event_times(table[keys[0]].infer_objects(), keys[0], "outcome")
    survival = Survival(times, events(table[keys[1]], keys[1], event_value, "outcome"))
    if not survival.event.any():
        raise SurvivalError(
            f"No event in obs[{keys[1]!r}] among {counted(len(table), 'patient')}: there is nothing to predict."
        )
    return survival


def _check_sizes(outcome: Outcome, n_folds: int, keys: list[str]) -> None:
    kind = "patients of the rarer outcome" if isinstance(outcome, Binary) else "patients with an event"
    n = int(min(outcome.strata.sum(), (~outcome.strata).sum()) if isinstance(outcome, Binary) else outcome.event.sum())
    if n < n_folds:
        raise TableError(
            f"{n} {kind} in {listed(keys)} cannot be spread over n_folds={n_folds} folds. Pass fewer folds, or more "
            "patients."
        )
