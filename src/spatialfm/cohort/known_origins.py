"""What a column of a table is known to be made of: judged by rows, or by patients where it repeats theirs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._keys import PATIENT_KEY, SAMPLE_KEY
from .._origin import Reference, keep, known, name_hashes, numbers_of
from .._origin_match import MOST_SPLIT, KnownColumn, RowLookup, recognise, rows_of
from .._origin_mixed import calculated, divided, splits_of
from .patient_names import like_patients

if TYPE_CHECKING:
    from anndata import AnnData

Units = tuple[np.ndarray, np.ndarray]


def origins(
    table: AnnData, columns: Mapping[str, pd.Series], unit_keys: Iterable[str | None] = ()
) -> dict[str, list[KnownColumn]]:
    """What each column (by its place, ``"obs:<name>"``) is known to be made of.

    A column that repeats one value in all cells of a patient is judged by patients: 1,000 cells are one observation of
    it. The patient is one of `unit_keys`, or a column with a usual name.
    """
    references = known(table)
    if not references:
        return {}
    units = _units(table.obs, unit_keys)
    alike = [] if units is None else [place for place, values in columns.items() if _one_value(values, units)]
    others = {place: values for place, values in columns.items() if place not in alike}
    known_at = _origins_of(table.obs, others, references, units) if others else {}
    if alike and units is not None:
        known_at |= _origins_of_units(table.obs, {place: columns[place] for place in alike}, references, units)
    return {place: known_at[place] for place in columns if place in known_at}


def _origins_of(
    obs: pd.DataFrame,
    columns: Mapping[str, pd.Series],
    references: list[Reference],
    units: Units | None = None,
) -> dict[str, list[KnownColumn]]:
    """The same by rows; of a column that repeats the values of `units` sums are not asked for."""
    rows, several = _rows(obs), len(obs) <= MOST_SPLIT
    if several:
        every = {f"obs:{name}": obs[name] for name in obs} | dict(columns)
        given = [] if units is None else [place for place, values in every.items() if _one_value(values, units)]
        known_origins = calculated(every, rows, references, given)
        keep(known_origins)
        references = [*references, *known_origins]
        rows = replace(rows, splits=splits_of(obs, rows, references))
    known_at = {place: recognise(values, rows, references, place) for place, values in columns.items()}
    if several:
        known_at |= {place: divided(columns[place], rows, references) for place, some in known_at.items() if not some}
    return {place: some for place, some in known_at.items() if some}


def _origins_of_units(
    obs: pd.DataFrame, columns: Mapping[str, pd.Series], references: list[Reference], units: Units
) -> dict[str, list[KnownColumn]]:
    """The same by units: what was remembered of rows has to be followed in each row, with evidence of as many units."""
    first, rows, own = units[1], _rows(obs), name_hashes(obs.index)
    of_units = obs.iloc[first][[name for name in obs if _one_value(obs[name], units)]]
    known_at = _origins_of(of_units, {place: values.iloc[first] for place, values in columns.items()}, references)
    of_rows = [one for one in references if np.isin(own, one.rows).any()]
    kept: dict[str, list[KnownColumn]] = {}
    for place, values in columns.items():
        in_rows = {one.origin: one for one in recognise(values, rows, of_rows, place)}
        # what the table itself records of this column needs no proof
        some = [one for one in in_rows.values() if any((r.origin, r.place) == (one.origin, place) for r in of_rows)]
        for one in known_at.get(place, []):
            if one.origin not in {r.origin for r in of_rows}:
                some.append(replace(one, n=len(obs) if one.n == len(first) else one.n))
            elif one.origin in in_rows and one.origin not in {other.origin for other in some}:
                some.append(replace(in_rows[one.origin], sure=one.sure and in_rows[one.origin].sure))
        if some:
            kept[place] = [one for one in some if one.sure] or some
    return kept


def _rows(obs: pd.DataFrame) -> RowLookup:
    """Rows as they are looked up: by their names, those before a join, and those of their patients."""
    ids = [name_hashes(obs[key]) for key in _naming(obs)]
    if (plain := without_suffix(obs.index)) is not None:
        ids.append(name_hashes(plain))
    return rows_of(obs.index, ids)


def _units(obs: pd.DataFrame, unit_keys: Iterable[str | None]) -> Units | None:
    """Patients, otherwise samples: number of each row ``(n,)``, and first row of each; None where rows are these."""
    for key in dict.fromkeys((*unit_keys, PATIENT_KEY, *like_patients(obs), SAMPLE_KEY)):
        if key is None or key not in obs:
            continue
        codes = pd.factorize(obs[key], use_na_sentinel=False)[0]
        first = np.unique(codes, return_index=True)[1]
        if 2 <= len(first) < len(codes):
            return codes, first
    return None


def _one_value(values: pd.Series, units: Units) -> bool:
    """Whether all rows of a unit have one value, as the age of a patient among cells."""
    codes, first = units
    numbers = numbers_of(values)[0]
    of_first = numbers[first][codes]
    return bool(((numbers == of_first) | (np.isnan(numbers) & np.isnan(of_first))).all())


def _naming(obs: pd.DataFrame) -> list[str]:
    """Columns that may hold the names of rows: those of patients and, of few rows, all that tell most rows apart."""
    usual = [key for key in dict.fromkeys((PATIENT_KEY, *like_patients(obs))) if key in obs]
    if len(obs) > MOST_SPLIT:
        return usual
    text = [name for name in obs if obs[name].dtype.kind not in "fbmM" and obs[name].nunique() > len(obs) / 2]
    return list(dict.fromkeys([*usual, *text]))


def without_suffix(names: pd.Index) -> pd.Index | None:
    """Names as they were before tables were joined with ``index_unique=``; None where they have no such ends.

    Examples
    --------
    >>> without_suffix(pd.Index(["P0-a", "P1-a", "P2-a", "P0-b", "P1-b", "P2-b"])).tolist()
    ['P0', 'P1', 'P2', 'P0', 'P1', 'P2']
    >>> without_suffix(pd.Index(["P-0", "P-1", "P-2"])) is None
    True
    """
    plain, ends = [], set()
    for name in names:  # of a million, the first few tell as a rule that there are none
        part = re.fullmatch(r"(.+)[-_.:]([^-_.:]+)", str(name))
        if part is None:
            return None
        plain.append(part[1])
        ends.add(part[2])
        if 3 * len(ends) > len(names):
            return None
    return pd.Index(plain) if plain else None
