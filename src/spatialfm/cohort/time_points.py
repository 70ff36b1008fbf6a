"""Patients with cells at several time points: read and checked once, before anything is compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._errors import TableError
from .._logging import logger
from ..stats.patient_groups import LEAST
from .adjusted import Adjustment, check_adjustment, lacking, read_adjustment
from .checks import codes_by_appearance, listed, named, obs_column, order_of_names, states_order, tell_time_order
from .one_value import leave_out, value_of_each

if TYPE_CHECKING:
    from anndata import AnnData


@dataclass(frozen=True)
class TimePoints:
    """Who has cells when.

    Attributes
    ----------
    rows
        Cells of each (patient, time point).
    times, pairs
        Time points in their order, and those that are compared.
    pairs_of
        Pairs that each patient has both time points of.
    group_of
        Group of each patient; empty where none was asked for.
    groups
        Groups in their order.
    adjustment
        Covariates and site of each patient; None where none were asked for.
    """

    rows: dict[tuple[str, str], np.ndarray]
    times: list[str]
    pairs: list[tuple[str, str]]
    pairs_of: dict[str, list[tuple[str, str]]]
    group_of: dict[str, str]
    groups: list[str]
    adjustment: Adjustment | None = None


def read_time_points(
    adata: AnnData,
    *,
    time_key: str,
    patient_key: str,
    group_key: str | None,
    library_key: str | None,
    time_points: Sequence[str] | None,
    reference: str | None,
    min_cells: int,
    on_missing: str,
    covariates: str | Sequence[str] | None = None,
    block_key: str | None = None,
) -> TimePoints:
    """Cells of each patient and time point.

    Raises
    ------
    TableError
        If columns or time points are missing, or patients, cells or groups are too few.
    ClinicalError
        If a sample belongs to two patients or time points, or a patient to two groups or values of a covariate.
    """
    if group_key is None and (covariates or block_key):
        raise TableError("covariates= and block_key= are of the comparison of groups. Pass group_key= as well.")
    if on_missing not in ("raise", "drop"):
        raise TableError(f'on_missing={on_missing!r} is not known. Pass "raise" or "drop".')
    column = obs_column(adata, time_key, "time_key")
    patients = obs_column(adata, patient_key, "patient_key").astype(str).to_numpy()
    times = _times(column, time_key, time_points, reference)
    at = column.astype(str).to_numpy()
    if library_key is not None:
        samples = obs_column(adata, library_key, "library_key").astype(str)
        _check_samples(samples, {patient_key: patients, time_key: at}, library_key)
    pairs = _pairs(times, reference)
    used = np.isin(at, times)
    frame = pd.DataFrame({"patient": patients[used], "time": at[used]}, index=np.flatnonzero(used))
    # draws are by place: names, not the order of rows, decide which cells they are
    frame = frame.iloc[order_of_names(adata.obs_names[used])]
    rows = {key: part.index.to_numpy() for key, part in frame.groupby(["patient", "time"], sort=False)}
    names = sorted(set(frame["patient"]))
    group_of: dict[str, str] = {}
    groups: list[str] = []
    if group_key is not None:
        group_of, groups = _groups(adata, patients, names, group_key, on_missing)
        names = [name for name in names if name in group_of]
    adjustment, names = _beside(adata, patients, names, covariates, block_key, on_missing)
    pairs_of = _complete(names, rows, pairs, min_cells, on_missing)
    if group_key is not None:
        _check_groups(pairs_of, pairs, group_of, groups, group_key)
    if adjustment is not None:
        for one, two in combinations(groups, 2):
            compared = [name for name in pairs_of if group_of[name] in (one, two)]
            codes = np.array([int(group_of[name] == two) for name in compared])
            check_adjustment(adjustment.of(compared), codes, str(group_key), block_key)
    return TimePoints(rows, times, pairs, pairs_of, group_of, groups, adjustment)


def _beside(
    adata: AnnData,
    patients: np.ndarray,
    names: list[str],
    covariates: str | Sequence[str] | None,
    block_key: str | None,
    on_missing: str,
) -> tuple[Adjustment | None, list[str]]:
    """Covariates and site of the patients, and who has them."""
    if not (covariates or block_key):
        return None, names
    of_them = np.isin(patients, names)
    adjustment = read_adjustment(adata[of_them], patients[of_them], covariates, block_key)
    without = set(lacking(adjustment, block_key, on_missing))
    if without:
        logger.info("%d patients without covariates or block left out: %s", len(without), listed(sorted(without)))
    return adjustment, [name for name in names if name not in without]


def _times(column: pd.Series, time_key: str, time_points: Sequence[str] | None, reference: str | None) -> list[str]:
    levels = list(named(column, "time_key").cat.categories)
    if time_points is not None:
        times = [str(time) for time in time_points]
        if absent := [time for time in times if time not in levels]:
            raise TableError(
                f"No cell has {absent[0]!r} in obs[{time_key!r}] (time_points=); found {listed(levels, 12)}."
            )
        if len(set(times)) < len(times):
            raise TableError(f"time_points= names a time point twice: {listed(times, 12)}.")
        levels = times
    elif reference is None:
        tell_time_order(column, levels, "time_key")
    elif str(reference) in levels and not states_order(column, levels):  # what all else is compared with is first
        levels = [str(reference), *(level for level in levels if level != str(reference))]
    if len(levels) < 2:
        raise TableError(
            f"obs[{time_key!r}] (time_key=) holds {len(levels)} time point ({listed(levels)}); a shift needs two. Pass "
            "the column of when a sample was taken, or a table with the cells of both time points: "
            'anndata.concat([baseline, treated], label="time_point", keys=["baseline", "on-treatment"], '
            'index_unique="-").'
        )
    return levels


def _pairs(times: list[str], reference: str | None) -> list[tuple[str, str]]:
    if reference is None:
        return list(combinations(times, 2))
    if str(reference) not in times:
        raise TableError(f"reference={reference!r} is not a time point; found {listed(times, 12)}.")
    return [(str(reference), time) for time in times if time != str(reference)]


def _check_samples(samples: pd.Series, columns: dict[str, np.ndarray], library_key: str) -> None:
    codes, names = codes_by_appearance(samples)
    for key, values in columns.items():
        remedy = (
            "A sample is one tissue of one patient at one time: correct the columns, or where names repeat, tell them "
            f'apart: adata.obs["{library_key}"] = adata.obs["{library_key}"].astype(str) + "_" + '
            f'adata.obs["{key}"].astype(str). library_key=None skips this check.'
        )
        value_of_each(pd.Series(values, name=key), codes, names, unit="sample", remedy=remedy)


def _groups(
    adata: AnnData, patients: np.ndarray, names: list[str], group_key: str, on_missing: str
) -> tuple[dict[str, str], list[str]]:
    """Group of each patient that has one, and the groups in their order."""
    column = obs_column(adata, group_key, "group_key", allow_missing=True)
    values = named(column, "group_key")
    in_names = np.isin(patients, names)
    pairs = value_of_each(
        values[in_names],
        pd.Index(names).get_indexer(patients[in_names]),
        names,
        argument="group_key",
        remedy="Patients are compared, so each is in one group, at all time points: correct the column.",
    )
    leave_out(pairs.isna().to_numpy(), names, f"obs[{group_key!r}] (group_key=)", on_missing)
    pairs = pairs.dropna()
    groups = [name for name in values.cat.categories if name in set(pairs)]
    if len(groups) < 2:
        raise TableError(
            f"obs[{group_key!r}] (group_key=) holds one group of patients, {listed(groups)}; two are the least. Pass "
            "group_key=None for distances without a comparison."
        )
    return {str(name): str(group) for name, group in pairs.items()}, groups


def _complete(
    names: list[str],
    rows: dict[tuple[str, str], np.ndarray],
    pairs: list[tuple[str, str]],
    min_cells: int,
    on_missing: str,
) -> dict[str, list[tuple[str, str]]]:
    """Pairs of time points at which each patient has enough cells."""
    short, pairs_of = {}, {}
    for name in names:
        few = {time: len(rows.get((name, time), ())) for pair in pairs for time in pair}
        few = {time: n for time, n in few.items() if n < min_cells}
        if few:
            short[name] = few
        if kept := [pair for pair in pairs if not set(pair) & set(few)]:
            pairs_of[name] = kept
    texts = [f"{name} ({', '.join(f'{n} at {time}' for time, n in few.items())})" for name, few in short.items()]
    if short and on_missing == "raise":
        raise TableError(
            f"{len(short)} of {len(names)} patients have fewer than min_cells={min_cells} cells at a time point: "
            f'{listed(texts, 5)}. Pass on_missing="drop" to leave them out there'
            + (", or a lower min_cells." if any(n for few in short.values() for n in few.values()) else ".")
        )
    if not pairs_of:
        raise TableError(
            f"No patient has min_cells={min_cells} cells at two time points: {listed(texts, 5)}. Check that patients "
            "have the same name at all time points."
        )
    if short:
        logger.info("Left out where cells are too few: %s", listed(texts, 12))
    return pairs_of


def _check_groups(
    pairs_of: dict[str, list[tuple[str, str]]],
    pairs: list[tuple[str, str]],
    group_of: dict[str, str],
    groups: list[str],
    group_key: str,
) -> None:
    """Refuse where no pair of time points has three patients in two groups."""
    sizes = {
        pair: [sum(group_of[name] == group for name, has in pairs_of.items() if pair in has) for group in groups]
        for pair in pairs
    }
    if not any(sum(n >= LEAST for n in counts) >= 2 for counts in sizes.values()):
        counts = listed((f"{group}: {n}" for group, n in zip(groups, sizes[pairs[0]], strict=True)), 8)
        raise TableError(
            f"Fewer than {LEAST} patients in a group of obs[{group_key!r}] have both time points ({counts}), too few "
            "to compare. Pass group_key=None for distances without a comparison."
        )
