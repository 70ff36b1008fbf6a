"""Cases (patients, or samples where each is one): their labels, and splits that keep each on one side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from .._errors import ClinicalError, TableError, counted
from .._keys import PATIENT_KEY, SAMPLE_KEY
from .checks import (
    check_samples,
    check_split,
    codes_by_appearance,
    listed,
    obs_column,
    order_of_names,
    tell_spellings,
)
from .one_value import leave_out, value_of_each
from .patient_names import suggestion

if TYPE_CHECKING:
    from anndata import AnnData

OnMissing = Literal["raise", "drop"]
MOST_CLASSES = 10  # different numbers above which a column is not a label


@dataclass(frozen=True)
class Cases:
    """Who the rows of a table belong to."""

    rows: np.ndarray  # rows that take part: those of cases with all columns
    codes: np.ndarray  # case of each of them
    samples: np.ndarray  # sample of each of them
    names: list[str]  # sorted
    table: pd.DataFrame  # one row per case: the columns that were asked for
    unit: str  # "patient", "sample" or "row"
    key: str  # column with the case; empty where each row is one
    n_dropped: int

    def part(self, adata: AnnData) -> AnnData:
        """The rows that take part."""
        return adata if len(self.rows) == adata.n_obs else adata[self.rows]

    def spread(self, values: np.ndarray, n: int) -> np.ndarray:
        """Values of the rows that take part in a table of `n` rows; NaN elsewhere."""
        of_all = np.full((n, *values.shape[1:]), np.nan, values.dtype)
        of_all[self.rows] = values
        return of_all

    def params(self) -> dict[str, Any]:
        """Their entry in a record."""
        return {"unit": self.unit, "case_key": self.key, "n_cases": len(self.names), "n_dropped": self.n_dropped}


@dataclass(frozen=True)
class Classes:
    """Label of each case."""

    codes: np.ndarray
    names: list[str]
    positive: int  # class that F1 and average precision of two classes are about

    @property
    def positive_name(self) -> str:
        """Name of that class; empty with more than two."""
        return self.names[self.positive] if len(self.names) == 2 else ""


def read_cases(
    adata: AnnData,
    columns: dict[str, str],
    *,
    patient_key: str | None,
    library_key: str | None,
    on_missing: OnMissing,
    block_key: str | None = None,
) -> Cases:
    """Cases and the one value that each has in some columns of ``obs``.

    Parameters
    ----------
    columns
        Columns, and the argument that each was passed as.
    patient_key, library_key
        Columns with patient and sample. Without the former samples are cases, without both rows. The usual name of a
        sample need not be there.
    block_key
        One more column: the site within which outcomes are shuffled.

    Raises
    ------
    TableError
        If a column is missing, a case has no value (unless dropped), or samples of one patient would be split.
    ClinicalError
        If a sample has two patients, or a case two values.
    """
    if on_missing not in ("raise", "drop"):
        raise TableError(f'on_missing={on_missing!r} is not known. Pass "raise" or "drop".')
    columns = columns if block_key is None else {block_key: "block_key"} | columns
    owner, samples, unit = _owner(adata, patient_key, library_key)
    codes, names = sorted_codes(owner)
    values = {key: obs_column(adata, key, argument, allow_missing=True) for key, argument in columns.items()}
    table = pd.DataFrame(
        {key: value_of_each(part, codes, names, unit=unit) for key, part in values.items()}, index=pd.Index(names)
    )
    missing = table.isna().any(axis=1).to_numpy()
    leave_out(missing, names, listed(columns), on_missing, unit)
    if missing.all():
        raise TableError(f"No {unit} has a value in {listed(columns)}: there is nothing to learn from.")
    rows = np.flatnonzero(~missing[codes])
    new_code = (np.cumsum(~missing) - 1)[codes[rows]]
    table = table[~missing]
    key = {"patient": patient_key, "sample": library_key, "row": ""}[unit]
    return Cases(rows, new_code, samples[rows], list(table.index), table, unit, str(key), int(missing.sum()))


def sorted_codes(column: pd.Series) -> tuple[np.ndarray, list[str]]:
    """Codes and names of the values that occur, by name: folds are independent of the order of rows."""
    codes, names = codes_by_appearance(column)
    order = order_of_names(names)
    return np.argsort(order)[codes], [names[i] for i in order]


def shuffled_rows(names: Sequence[str] | np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Positions at random, the same rows first in any order of the table."""
    return order_of_names(names)[rng.permutation(len(names))]


def in_order(adata: AnnData, cases: Cases) -> tuple[AnnData, Cases]:
    """Rows in the order of their names, for what draws rows by their number."""
    order = order_of_names(adata.obs_names[cases.rows])
    if (np.diff(order) == 1).all():
        return cases.part(adata), cases
    rows = cases.rows[order]
    return adata[rows], replace(cases, rows=rows, codes=cases.codes[order], samples=cases.samples[order])


def read_classes(cases: Cases, key: str, positive: str | None, *, need: int, why: str) -> Classes:
    """Classes of the cases; fewer than two, or one with fewer than `need` cases (because of `why`), are refused."""
    values = cases.table[key]
    numbers = pd.to_numeric(values.astype(object), errors="coerce")
    if numbers.notna().all() and numbers.nunique() > MOST_CLASSES:
        raise TableError(
            f"obs[{key!r}] (label_key=) has {numbers.nunique()} different numbers, which are not classes. Cut it at "
            "values of your own with pandas.cut, and pass the column of classes."
        )
    if isinstance(values.dtype, pd.CategoricalDtype):
        levels = list(values.cat.remove_unused_categories().cat.categories)
    else:
        levels = sorted(pd.unique(values), key=lambda level: (str(type(level)), level))
    if len(levels) < 2:
        who = f"All {len(values)} {cases.unit}s are" if len(values) > 1 else f"The only {cases.unit} is"
        raise TableError(
            f"{who} {str(levels[0])!r} in obs[{key!r}] (label_key=): one class cannot be told from another. Pass a "
            "column with two classes or more."
        )
    codes = pd.Categorical(values, categories=levels).codes.astype(int)
    names = [str(level) for level in levels]
    tell_spellings(names, f"obs[{key!r}] (label_key=)")
    counts = np.bincount(codes, minlength=len(names))
    few = [f"{name} ({n})" for name, n in zip(names, counts, strict=True) if n < need]
    if few:
        raise TableError(
            f"Classes of obs[{key!r}] with fewer than {need} {cases.unit}s, which {why} needs: {listed(few)}. "
            f"Pass a smaller number, or merge or leave out these classes."
        )
    if positive is not None and str(positive) not in names:
        raise TableError(f"positive={positive!r} is not a value of obs[{key!r}]; found {listed(names)}.")
    return Classes(codes, names, len(names) - 1 if positive is None else names.index(str(positive)))


def _owner(
    adata: AnnData, patient_key: str | None, library_key: str | None
) -> tuple[pd.Series, np.ndarray, Literal["patient", "sample", "row"]]:
    """Case and sample of each row, and what a case is."""
    if library_key == SAMPLE_KEY and SAMPLE_KEY not in adata.obs:
        library_key = None
    names = pd.Series(adata.obs_names, index=adata.obs_names)
    samples = names if library_key is None else obs_column(adata, library_key, "library_key", rows="rows")
    codes = np.arange(adata.n_obs) if library_key is None else codes_by_appearance(samples)[0]
    check_split(adata, patient_key, library_key)
    if patient_key is None and library_key is None and not adata.obs_names.is_unique:
        repeated = adata.obs_names[adata.obs_names.duplicated()].unique()
        raise TableError(
            f"{counted(len(repeated), 'name')} of obs_names repeat ({listed(repeated, 3)}): with patient_key=None rows "
            "are told apart by them, and those of one name would be one patient. Pass patient_key=, or make them "
            "unique: adata.obs_names_make_unique()."
        )
    if patient_key is None:
        return samples, codes, "row" if library_key is None else "sample"
    _check_named(adata, patient_key)
    if library_key is None:
        return obs_column(adata, patient_key, "patient_key", rows="rows", error=ClinicalError), codes, "patient"
    return patients_of_samples(adata, samples, patient_key), codes, "patient"


def patients_of_samples(adata: AnnData, samples: pd.Series, patient_key: str) -> pd.Series:
    """Patient of each row; a sample of two patients is refused."""
    _check_named(adata, patient_key)
    patients = obs_column(adata, patient_key, "patient_key", error=ClinicalError)
    check_samples(samples, patients, ClinicalError)
    return patients


def _check_named(adata: AnnData, patient_key: str) -> None:
    """Refuse a table without the usual column, and name what else may be intended."""
    if patient_key == PATIENT_KEY and PATIENT_KEY not in adata.obs:
        hint = suggestion(adata, patient_key, "patient_key")
        raise TableError(
            f"No column {PATIENT_KEY!r} in obs (patient_key=); found {listed(adata.obs.columns, 12)}. Pass the column "
            f"with the patient, or patient_key=None if each sample is one.{hint}"
        )
