"""Refusals that several tools share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._errors import SpatialfmError, TableError, counted, repeated_names, warn
from .._errors import listed as _listed
from .._keys import PATIENT_KEY, SAMPLE_KEY
from .._outcome import NOT_KNOWN
from .._spelling import NO_NAME, TEXT_OF_MISSING, as_read, by_reading, check_label_names, order_of_names
from .._storable import check_key
from .patient_names import ask_for_patients, check_names, patients_of_rows, suggestion

if TYPE_CHECKING:
    from anndata import AnnData


def listed(names: Iterable[object], limit: int = 6) -> str:
    """``'a', 'b' and 3 more``: names for a message."""
    return _listed(names, limit)


def as_names(names: str | Iterable[str] | None) -> list[str]:
    """One name or several as a list, each once.

    Examples
    --------
    >>> as_names("age"), as_names(["age", "stage", "age"]), as_names(None)
    (['age'], ['age', 'stage'], [])
    """
    return [names] if isinstance(names, str) else list(dict.fromkeys(names or ()))


def tells_group(others: Sequence[str], group_key: str) -> str:
    """What is said where columns determine the groups that are compared."""
    return (
        f"{' and '.join(others)} tells which group of obs[{group_key!r}] a row is in: no test can tell an effect of "
        "the group from one of that. Compare without, and say so; or measure patients of both groups in each."
    )


def check_anndata(adata: AnnData, what: str, key_added: str | None = None) -> None:
    """Refuse anything but an AnnData with rows, and a key that could not be saved."""
    from anndata import AnnData

    if isinstance(adata, AnnData):
        if not adata.n_obs:
            raise TableError(f"{what} was given a table without rows. Look at what was selected before.")
        check_key(adata, key_added)
        return
    if hasattr(adata, "tables"):
        raise TableError(f"{what} takes an AnnData, not a SpatialData; pass one of its tables: sdata['<table>'].")
    raise TableError(f"{what} takes an AnnData, not {type(adata).__name__}.")


def obs_column(
    adata: AnnData,
    key: str,
    argument: str,
    *,
    rows: str = "cells",
    error: type[SpatialfmError] = TableError,
    allow_missing: bool = False,
    without: str = "",
) -> pd.Series:
    """Column of obs; an absent one, or one with missing values, is refused by name; `without` says how to go on."""
    if key not in adata.obs:
        hint = suggestion(adata, key, argument) + _left_out(adata, key) + (f" {without}" if without else "")
        raise error(f"No column {key!r} in obs ({argument}=); found {listed(adata.obs.columns, 12)}.{hint}")
    column = adata.obs[key]
    if column.ndim != 1:
        raise error(
            f"{column.shape[1]} columns of obs are named {key!r} ({argument}=). Give each a unique name, for "
            "example with adata.obs.columns = [...]."
        )
    if argument in ("patient_key", "library_key"):
        check_names(adata.obs, column, argument, error)
    if argument == "cluster_key" and not pd.api.types.is_numeric_dtype(column.dtype):
        refuse_text_of_missing(map(str, column.dropna().unique()), f"obs[{key!r}] ({argument}=)", error)
    missing = column.isna()
    if missing.any() and not allow_missing:
        raise error(
            f"{int(missing.sum())} of {len(column)} {rows} have no value in obs[{key!r}] ({argument}=), first "
            f"{listed(column.index[missing], 3)}. Fill them, or leave them out: "
            f'adata[adata.obs["{key}"].notna()].copy().'
        )
    return column


def _left_out(adata: AnnData, key: str) -> str:
    """Why a table of patients lacks a column that the cells had; empty where that is not known."""
    record = adata.uns.get("composition")
    if not isinstance(record, Mapping) or key not in {str(name) for name in record.get("columns_left_out", ())}:
        return ""
    return (
        " The cells have it, with different or missing values within a row, so that it was left out: correct it there, "
        "or call sfm.tl.composition with the cells of one value alone."
    )


def patients_asked_for(adata: AnnData, patient_key: str | None, risk: str) -> np.ndarray | None:
    """`patients_of_rows`, with an absent column refused unless it is the usual one, which nobody asked for by name."""
    if patient_key is None or patient_key == PATIENT_KEY:
        return patients_of_rows(adata, patient_key, risk=risk)
    return obs_column(adata, patient_key, "patient_key").astype(str).to_numpy()


def check_samples(samples: pd.Series, patients: pd.Series, error: type[SpatialfmError]) -> None:
    """Refuse a sample of two patients: one of the two columns is wrong. Rows without sample are ignored."""
    known = samples.notna().to_numpy()
    pairs = pd.DataFrame({"sample": samples.astype(str).to_numpy(), "patient": patients.astype(str).to_numpy()})
    pairs = pairs[known].drop_duplicates()
    twice = pairs[pairs["sample"].duplicated(keep=False)]
    if len(twice):
        sample = twice["sample"].iloc[0]
        raise error(
            f"{counted(twice['sample'].nunique(), 'sample belongs', 'samples belong')} to more than one patient; "
            f"{sample!r} to {listed(twice.loc[twice['sample'] == sample, 'patient'])} (obs[{patients.name!r}]). "
            "Correct the column; or, where samples are numbered within each patient, name them apart: "
            f'adata.obs["sample_id"] = adata.obs["{patients.name}"].astype(str) + "_" + '
            f'adata.obs["{samples.name}"].astype(str).'
        )


def check_split(
    adata: AnnData,
    patient_key: str | None,
    library_key: str | None = SAMPLE_KEY,
    error: type[SpatialfmError] = TableError,
) -> None:
    """Refuse samples or rows as the cases of a split if patients have several by ``obs["patient"]``.

    A column of another name is taken at its word: it may be the better one.
    """
    ask_for_patients(adata, patient_key, error, library_key)
    if patient_key not in (None, SAMPLE_KEY, library_key) or PATIENT_KEY not in adata.obs or patient_key == PATIENT_KEY:
        return
    case = library_key if patient_key is None else patient_key
    unit = "rows" if case not in adata.obs else "samples"
    cases = adata.obs_names if case not in adata.obs else adata.obs[case].astype(str)
    pairs = pd.DataFrame({"patient": adata.obs[PATIENT_KEY].astype(str).to_numpy(), "case": np.asarray(cases)})
    pairs = pairs.drop_duplicates()
    several = pairs.loc[pairs["patient"].duplicated(), "patient"].unique()
    if len(several):
        raise error(
            f"patient_key={patient_key!r}, but {counted(len(several), 'patient has', 'patients have')} several {unit} "
            f"(obs[{PATIENT_KEY!r}]), first {listed(several, 3)}: they would be on both sides of a split. Pass "
            f"patient_key={PATIENT_KEY!r}."
        )


def tell_split(adata: AnnData, patient_key: str | None) -> None:
    """Warn where several of what counts as a patient are of one, by ``obs["patient"]``: they would be on both sides.

    With one patient in all there is nothing else to hold out.
    """
    if patient_key in (None, PATIENT_KEY) or not {patient_key, PATIENT_KEY} <= set(adata.obs):
        return
    pairs = adata.obs[[patient_key, PATIENT_KEY]].astype(object).dropna().drop_duplicates()
    several = pairs.loc[pairs[PATIENT_KEY].duplicated(), PATIENT_KEY].unique()
    if len(several) and pairs[PATIENT_KEY].nunique() > 1:
        warn(
            f"patient_key={patient_key!r}, but {counted(len(several), 'patient has', 'patients have')} several "
            f"(obs[{PATIENT_KEY!r}]), first {listed(several, 3)}: rows of a patient are on both sides of a split, and "
            f"scores are too good for new patients. Pass patient_key={PATIENT_KEY!r}."
        )


def named(column: pd.Series, argument: str, *, whole: bool = False) -> pd.Series:
    """Values as text in the order of the categories, otherwise of numbers or the alphabet; a categorical.

    Categories that no row has are dropped. With `whole`, numbers that are whole are written as such: a column of
    integers becomes one of floats where values are missing, and its label 1 would otherwise be called 1.0.

    Raises
    ------
    TableError
        If two values read alike, as 1 and "1" do.

    Warns
    -----
    SpatialfmWarning
        If two values differ in case or spaces alone, as ``"Treated"`` and ``"treated "`` do.
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        values, ordered = column.cat.remove_unused_categories(), bool(column.cat.ordered)
        levels = list(values.cat.categories)
    else:
        levels, ordered = list(pd.unique(column.dropna())), False
        try:
            levels = sorted(levels)
        except TypeError:  # of several kinds
            levels = sorted(levels, key=lambda level: (str(type(level)), str(level)))
        values = pd.Series(pd.Categorical(column, categories=levels), index=column.index, name=column.name)
    floats = all(isinstance(level, float | np.floating) for level in levels)
    as_integers = whole and floats and all(float(level).is_integer() for level in levels)
    names = [str(int(level)) if as_integers else str(level) for level in levels]
    if twice := repeated_names(names):
        alike = [repr(level) for level, name in zip(levels, names, strict=True) if name == twice[0]]
        raise TableError(
            f"obs[{column.name!r}] ({argument}=) holds {' and '.join(alike)}, which read alike. If they mean the same, "
            f'make them so: adata.obs["{column.name}"] = adata.obs["{column.name}"].astype(str); otherwise rename one.'
        )
    of_patients = argument in ("group_key", "covariates", "time_key")
    tell_spellings(names, f"obs[{column.name!r}] ({argument}=)", unknown_is_one=not of_patients)
    codes = pd.Categorical.from_codes(values.cat.codes, pd.Index(names, dtype=object), ordered=ordered)
    return pd.Series(codes, index=column.index, name=column.name)


def label_column(adata: AnnData, label_key: str) -> pd.Series:
    """Labels of cells as they stand in ``obs``, missing where there is none.

    Raises
    ------
    TableError
        If there is no such column, or its labels read alike or are missing ones as text (`check_label_names`).
    """
    column = obs_column(adata, label_key, "label_key", allow_missing=True)
    check_label_names(column)
    return column


def refuse_text_of_missing(names: Iterable[str], where: str, error: type[SpatialfmError] = TableError) -> None:
    """Refuse values that only a missing one becomes as text; it would count as one more type, group or level.

    Raises
    ------
    SpatialfmError
        If a value reads ``"nan"``, ``"<NA>"``, ``"NaT"`` or is empty.
    """
    for name in names:
        if as_read(name) in TEXT_OF_MISSING:
            raise error(
                f"{where} holds {name!r}, which is what a missing value becomes as text, and would count as a value of "
                f"its own. Make it missing: column.astype(object).replace({name!r}, None); or rename it."
            )


def states_order(column: pd.Series, names: Sequence[str]) -> bool:
    """Whether more than the alphabet says in which order time points, `names`, come.

    Text as files keep it, and the categories that pandas makes of it, state none; numbers in names, as of weeks, do.

    Examples
    --------
    >>> states_order(pd.Series(["post", "pre"]), ["post", "pre"]), states_order(pd.Series(["C1", "C2"]), ["C1", "C2"])
    (False, True)
    """
    categories = getattr(column.dtype, "categories", None)
    if pd.api.types.is_numeric_dtype(column.dtype if categories is None else categories.dtype):
        return True
    if categories is not None and (column.dtype.ordered or list(categories) != sorted(categories, key=str)):
        return True  # which somebody arranged
    numbers = [re.findall(r"\d+(?:\.\d+)?", name) for name in names]
    alike = {re.sub(r"\d+(?:\.\d+)?", "#", name) for name in names}
    return (
        len(alike) == 1
        and all(numbers)
        and numbers == sorted(numbers, key=lambda texts: [float(text) for text in texts])
    )


def tell_time_order(column: pd.Series, names: Sequence[str], argument: str) -> None:
    """Warn where nothing but the alphabet says which time point comes first: ``"post"`` is before ``"pre"`` there."""
    if states_order(column, names):
        return
    values = f'adata.obs["{column.name}"]'
    warn(
        f"obs[{column.name!r}] ({argument}=) states no order of its time points, so that they are in that of the "
        f"alphabet: {listed(names)}. If that is not their order in time, changes have the wrong sign. State it: "
        f"{values} = pandas.Categorical({values}, [first, ..., last], ordered=True)."
    )


def tell_spellings(names: Sequence[str], where: str, *, unknown_is_one: bool = False) -> None:
    """Warn of values that differ in case or spaces alone, each of which counts as one; refuse missing ones as text.

    ``"None"`` may be meant (no treatment), or be a missing value: that is said. So is ``"NA"`` or ``"unknown"`` of
    patients; with `unknown_is_one`, as of types of cells, it is not.
    """
    refuse_text_of_missing(names, where)
    if doubtful := [name for name in names if as_read(name) in (NO_NAME if unknown_is_one else NO_NAME | NOT_KNOWN)]:
        warn(
            f"{where} holds {doubtful[0]!r}, which counts as a value. If it stands for missing ones, make them so: "
            f"column.astype(object).replace({doubtful[0]!r}, None)."
        )
    twice = [same for same in by_reading(names).values() if len(same) > 1]
    if twice:
        more = "" if len(twice) == 1 else f", and {len(twice) - 1} more such"
        warn(
            f"{where} holds {' and '.join(map(repr, twice[0]))}, which count as different values{more}. If they mean "
            "the same, write them alike."
        )


def codes_of(column: pd.Series) -> tuple[np.ndarray, list[str]]:
    """Integer codes and names of the categories; unused ones are kept, others come in sorted order."""
    if not isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype("category")
    names = [str(name) for name in column.cat.categories]
    tell_spellings(names, f"obs[{column.name!r}]", unknown_is_one=True)
    return column.cat.codes.to_numpy(), names


def by_name(adata: AnnData) -> tuple[AnnData, np.ndarray | slice]:
    """The table with its rows in the order of their names, a view, and where each row of the table is in there.

    What is clustered, fitted or drawn in that order does not depend on the order of the table. A table that is in that
    order is taken as it is, so that nothing is copied.

    Examples
    --------
    >>> from anndata import AnnData
    >>> cells = AnnData(obs=pd.DataFrame(index=["b", "c", "a"]))
    >>> ordered, place = by_name(cells)
    >>> ordered.obs_names.tolist(), ordered.obs_names[place].tolist()
    (['a', 'b', 'c'], ['b', 'c', 'a'])
    """
    order = order_of_names(adata.obs_names)
    if (order[1:] > order[:-1]).all():
        return adata, slice(None)
    return adata[order], np.argsort(order)


def order_of_places(xy: np.ndarray, names: Iterable[object]) -> np.ndarray:
    """Cells by their place, those at one place by name: of equally far ones the same are found in any order of a table.

    Examples
    --------
    >>> order_of_places(np.array([[1.0, 0.0], [0.0, 2.0], [0.0, 2.0]]), ["a", "c", "b"])
    array([2, 1, 0])
    """
    return np.lexsort((np.argsort(order_of_names(names)), *np.asarray(xy).T[::-1]))


def codes_by_appearance(column: pd.Series) -> tuple[np.ndarray, list[str]]:
    """Integer codes and names of the values that occur, in the order in which they do."""
    codes, names = pd.factorize(np.asarray(column.astype(object)))
    return codes, [str(name) for name in names]
