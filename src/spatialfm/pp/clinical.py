"""``sfm.pp.add_clinical``: joins clinical columns, one row per patient or sample, to the rows of an AnnData."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from anndata import AnnData
from spatialdata.models import TableModel

from .._errors import ClinicalError, InputFileError, warn
from .._keys import INSTANCE_KEY, REGION_KEY, SAMPLE_KEY, SAMPLES, TABLE
from .._logging import logger
from .._outcome import EventValue, RememberedOutcome, checked_outcome, remember_outcome
from .._public import public
from .joins import (
    case_clash,
    column_name,
    counted,
    listed,
    not_canonical,
    same_values,
    storable,
    storable_frame,
    text_keys,
)
from .tables import SPREADSHEET_SUFFIXES, TABLE_SUFFIXES, read_table

if TYPE_CHECKING:
    from spatialdata import SpatialData


Told = tuple[str | None, str | None, EventValue]  # columns of time and event, and which value is one


@dataclass(frozen=True)
class Target:
    """An AnnData that gets columns, its key of each row, and how messages call it."""

    adata: AnnData
    keys: pd.Series  # text, None where missing
    numeric: bool
    name: str


@public
def add_clinical(
    adata: AnnData | SpatialData,
    table: pd.DataFrame | str | PathLike,
    on: str,
    *,
    table_on: str | None = None,
    clinical_keys: str | Sequence[str] | None = None,
    on_missing: Literal["raise", "drop", "keep"] = "raise",
    overwrite: bool = False,
    time_key: str | None = None,
    event_key: str | None = None,
    event_value: EventValue = None,
) -> None:
    """Join the columns of a clinical table, one row per patient or sample.

    Parameters
    ----------
    adata
        Cells or samples. Of a SpatialData, its tables ``"samples"`` and ``"table"`` where they have the key.
    table
        One row per key, as a frame or a file (``.csv``, ``.tsv``, ``.tab``, ``.txt``, ``.parquet``). Separator,
        decimal sign and encoding of text are found in the file; the key stays as it is written.
    on
        Column of `obs` that both share, such as ``"patient"`` or ``"sample"``; also the name of the index of `obs`.
    table_on
        The same column in `table`, if it has another name; also the name of its index.
    clinical_keys
        Columns to join (default: all but the key).
    on_missing
        What becomes of rows of `adata` whose key `table` lacks: an error, dropped, or kept with missing values.
    overwrite
        Whether columns of `obs` with other values may be replaced. Missing values are filled in any case, from
        whichever side has one.
    time_key
        Column of the clinical table, or of `obs`, with the time to event or censoring. Said here, no survival function
        has to be told again, as with `spatialfm.pp.set_outcome`.
    event_key
        Column with the event (1) or not (0).
    event_value
        Value of `event_key` that means the event, or several, where it does not hold 0 and 1; all others are censored.

    Returns
    -------
    None. Writes the columns to `obs`: text as categories, numbers as they are; names as stores take
    them (``"Overall survival (d)"`` becomes ``"Overall_survival_d"``). Keys are compared as text where one side
    has numbers and the other text, and only where no two spellings of a number meet (``7`` is not ``"007"``).
    Nothing is written where an error is raised.

    Raises
    ------
    ClinicalError
        If `table` has two rows of one key or rows without; keys of rows are missing in it; kinds of keys do not fit; a
        column is there already with other values, is reserved, or holds dates.
    SurvivalError
        If what is called an outcome cannot be one.
    InputFileError
        If the file is missing or of an unknown kind.

    Warns
    -----
    SpatialfmWarning
        If rows of `table` are used for no row of `adata`.

    Examples
    --------
    >>> import anndata as ad, pandas as pd, spatialfm as sfm
    >>> cells = ad.AnnData(obs=pd.DataFrame({"patient": ["p1", "p2", "p2"]}, index=["a", "b", "c"]))
    >>> sfm.pp.add_clinical(cells, pd.DataFrame({"patient": ["p1", "p2"], "age": [61, 48]}), on="patient")
    >>> cells.obs
      patient  age
    a      p1   61
    b      p2   48
    c      p2   48
    """
    targets, told = _targets(adata, on), (time_key, event_key, event_value)
    rows, keys, numeric = read_clinical(table, table_on or on, clinical_keys)
    for target in targets:
        _check_kinds(target, keys, numeric, on)
        check_columns(target, rows, on)
    _check_unused(targets, keys, on)
    join_rows(targets, [rows] * len(targets), keys, on, on_missing=on_missing, overwrite=overwrite, told=told)


def join_rows(
    targets: Sequence[Target],
    rows: Sequence[pd.DataFrame],
    keys: pd.Series,
    on: str,
    *,
    on_missing: str,
    overwrite: bool,
    told: Told,
    said_to: str = "sfm.pp.add_clinical",
) -> None:
    """Columns to several tables, each with its own; nothing is written before all is checked.

    Names of columns are checked before, with `check_columns`.

    Raises
    ------
    ClinicalError, SurvivalError
        As `add_clinical`.
    """
    planned = [
        _plan(target, columns, keys, on, on_missing, overwrite) for target, columns in zip(targets, rows, strict=True)
    ]
    outcomes = [
        told_outcome(_after(target, kept, new), told, said_to)
        for target, (kept, new) in zip(targets, planned, strict=True)
    ]
    for target, (kept, new), outcome in zip(targets, planned, outcomes, strict=True):
        _write(target.adata, kept, new)
        if outcome is not None:
            remember_outcome(target.adata, outcome)


def _targets(adata: AnnData | SpatialData, on: str) -> list[Target]:
    if isinstance(adata, AnnData):
        return [_target(adata, on, "adata")]
    named = {f"sdata[{name!r}]": adata.tables[name] for name in (SAMPLES, TABLE) if name in adata.tables}
    targets = [
        _target(table, on, name, index_too=name == f"sdata[{SAMPLES!r}]" and on == SAMPLE_KEY)
        for name, table in named.items()
        if on in table.obs or on == table.obs.index.name or (on == SAMPLE_KEY and name == f"sdata[{SAMPLES!r}]")
    ]
    if not targets:
        raise ClinicalError(
            f"No table of sdata has a column {on!r} in obs (looked at {listed(named)}). Pass on=<column>, or "
            "the AnnData."
        )
    return targets


def _target(adata: AnnData, on: str, name: str, index_too: bool = False) -> Target:
    if on in adata.obs:
        keys = adata.obs[on]
    elif index_too or on == adata.obs.index.name:
        keys = adata.obs.index.to_series()
    else:
        raise ClinicalError(
            f"{name}.obs has no column {on!r}; it has {listed(adata.obs.columns, 12)}. Pass on=<column>, or name the "
            f"index: {name}.obs.index.name = {on!r}."
        )
    return Target(adata, *text_keys(keys, f"{on!r} of {name}.obs", ClinicalError), name)


def read_clinical(
    table: pd.DataFrame | str | PathLike,
    key: str,
    clinical_keys: str | Sequence[str] | None,
    identifiers: Sequence[str] = (),
    argument: str = "table_on",
) -> tuple[pd.DataFrame, pd.Series, bool]:
    """Columns to join, their key as text, and whether the key was a number; one row per key.

    `identifiers`: columns of a file that stay text, as the key does; `argument`: how the user names the key.
    """
    frame = table if isinstance(table, pd.DataFrame) else _read_file(Path(table), [key, *identifiers])
    if key in frame.columns:
        values = frame[key]
    elif key == frame.index.name:
        values = frame.index.to_series()
    else:
        raise ClinicalError(
            f"The clinical table has no column {key!r}; it has {listed(frame.columns, 12)}. Pass {argument}=<column>."
        )
    keys, numeric = text_keys(values, f"{key!r} of the clinical table", ClinicalError)
    if missing := int(keys.isna().sum()):
        raise ClinicalError(
            f"{counted(missing, 'row')} of the clinical table without {key!r}. Fill it there, or leave these rows out: "
            + (f"table.dropna(subset=[{key!r}])." if key in frame.columns else "table[table.index.notna()].")
        )
    if keys.duplicated().any():
        raise ClinicalError(_describe_repeats(frame, keys, key))
    wanted = (
        [c for c in frame if c != key and not str(c).startswith("Unnamed:")]  # an index that a csv left behind
        if clinical_keys is None
        else [clinical_keys]
        if isinstance(clinical_keys, str)
        else list(clinical_keys)
    )
    if absent := [name for name in wanted if name not in frame.columns]:
        raise ClinicalError(
            f"The clinical table has no column {absent[0]!r}; it has {listed(frame.columns, 12)}. "
            "Correct clinical_keys=."
        )
    return storable_frame(frame[wanted], "the clinical table", ClinicalError), keys, numeric


def _describe_repeats(frame: pd.DataFrame, keys: pd.Series, key: str) -> str:
    """Which keys have several rows, and in what these rows differ."""
    twice = keys[keys.duplicated()].unique()
    rows = frame[keys.isin(twice).to_numpy()].drop(columns=key, errors="ignore")
    spread = rows.astype(object).groupby(keys[keys.isin(twice)].to_numpy()).nunique(dropna=False).max()
    differing = list(spread.index[spread > 1])
    start = f"The clinical table has more than one row for {counted(len(twice), 'key')} of {key!r}: {listed(twice)}. "
    if not differing:
        return f"{start}They are identical: pass table.drop_duplicates({key!r})."
    return (
        f"{start}Their rows differ in {listed(differing)}: join on a finer column (on=, such as the sample), or write "
        "a table with one value for each."
    )


def _read_file(path: Path, identifiers: Sequence[str]) -> pd.DataFrame:
    path = path.expanduser()
    if not path.is_file():
        raise InputFileError(f"No file {str(path)!r}. Pass the path of a clinical table, or a pandas.DataFrame.")
    if path.suffix.lower() == ".parquet":
        return pd.read_parquet(path)
    if path.suffix.lower() not in TABLE_SUFFIXES + SPREADSHEET_SUFFIXES:
        raise InputFileError(
            f"File {str(path)!r} is not one of {', '.join(TABLE_SUFFIXES)}, .parquet. Save it as one, or pass a "
            "pandas.DataFrame."
        )
    # the key stays text: as numbers, "007" and "7" would become one patient
    return read_table(path, identifiers)


def _check_kinds(target: Target, keys: pd.Series, numeric: bool, on: str) -> None:
    if target.numeric == numeric:
        return
    text, where = (keys, "the clinical table") if target.numeric else (target.keys, f"{target.name}.obs")
    if odd := not_canonical(text):
        raise ClinicalError(
            f"Keys {on!r} are numbers in one table and text in the other, and {where} writes numbers in its own way "
            f"({listed(odd)}): whether they are the same cannot be known. Turn one column into the other's kind, with "
            ".astype(int) or .astype(str)."
        )
    logger.info(f"keys {on!r} are numbers in one table and text in the other; compared as text")


def check_columns(target: Target, rows: pd.DataFrame, on: str) -> None:
    """Refuse columns that would take the place of what identifies the rows of a table."""
    attrs = target.adata.uns.get(TableModel.ATTRS_KEY, {})
    reserved = {REGION_KEY, INSTANCE_KEY, on, attrs.get(TableModel.REGION_KEY_KEY), attrs.get(TableModel.INSTANCE_KEY)}
    if clash := [name for name in rows if name in reserved]:
        raise ClinicalError(
            f"Column {clash[0]!r} of the clinical table has a reserved name: it would replace what identifies cells "
            f"in {target.name}.obs. Rename it with table.rename(columns={{{clash[0]!r}: ...}}), or leave it out with "
            "clinical_keys=."
        )


def _check_unused(targets: list[Target], keys: pd.Series, on: str) -> None:
    known = {key for target in targets for key in target.keys.dropna()}
    unused = [key for key in keys if key not in known]
    where = " and ".join(target.name for target in targets)
    if len(unused) == len(keys):
        raise ClinicalError(
            f"No key of the clinical table is a {on!r} of {where}: {listed(keys, 3)} there, "
            f"{listed(sorted(known), 3)} here. Pass the column that both share: on=, table_on=."
        )
    if unused:
        warn(
            f"{counted(len(unused), 'row')} of the clinical table fit no {on!r} of {where} and are not used: "
            f"{listed(unused)}."
        )


def _plan(
    target: Target, rows: pd.DataFrame, keys: pd.Series, on: str, on_missing: str, overwrite: bool
) -> tuple[np.ndarray | None, pd.DataFrame]:
    """Rows of the target that stay (None: all), and their new columns."""
    position = pd.Series(np.arange(len(keys)), index=keys.to_numpy()).reindex(target.keys.to_numpy()).to_numpy()
    absent = np.isnan(position)
    kept = None
    if absent.any():
        message = _describe_absent(target, absent, on)
        if on_missing == "raise":
            raise ClinicalError(
                f'{message}. Add them to the table, or pass on_missing="keep" (they get missing values) or '
                'on_missing="drop" (they are removed from the AnnData).'
            )
        logger.warning(f"{message}: {'dropped' if on_missing == 'drop' else 'kept with missing values'}")
        kept = np.flatnonzero(~absent) if on_missing == "drop" else None
    index = target.adata.obs.index if kept is None else target.adata.obs.index[kept]
    position = position if kept is None else position[kept]
    new = pd.DataFrame({name: _spread(rows[name], position, index) for name in rows}, index=index)
    obs = target.adata.obs if kept is None else target.adata.obs.iloc[kept]
    if case := case_clash(obs, new):
        raise ClinicalError(
            f"Column {case[1]!r} of the clinical table differs from {case[0]!r} of {target.name}.obs in case only, "
            "which stores cannot keep apart. Rename it in the clinical table."
        )
    for name in new:
        if name not in obs or overwrite:
            continue
        old, both = obs[name], obs[name].notna() & new[name].notna()
        if same_values(old[both], new.loc[both, name]):  # values that only one of the two has are kept
            filled = new[name].astype(object).where(new[name].notna(), old.astype(object))
            new[name] = storable(filled.infer_objects(), repr(name), ClinicalError)
        else:
            raise ClinicalError(
                f"{target.name}.obs already has a column {name!r} with other values. To keep both, rename it in the "
                "clinical table; to leave the new one out, pass clinical_keys=; overwrite=True replaces what is there."
            )
    return kept, new


def _describe_absent(target: Target, absent: np.ndarray, on: str) -> str:
    lost = target.keys[absent]
    named = lost.dropna().unique()
    what = f"{counted(int(absent.sum()), 'row')} of {target.name}.obs have no match in the clinical table"
    parts = [f"{counted(len(named), 'value')} of {on!r}: {listed(named)}"] if len(named) else []
    parts += [f"{counted(int(lost.isna().sum()), 'row')} without {on!r}"] if lost.isna().any() else []
    return f"{what} ({'; '.join(parts)})"


def _spread(column: pd.Series, position: np.ndarray, index: pd.Index) -> pd.Series:
    """A column of the table at the rows of the target; missing where the position is NaN."""
    absent = np.isnan(position)
    if absent.any() and pd.api.types.is_bool_dtype(column.dtype):
        column = column.astype("boolean")  # plain True and False cannot be missing
    taken = column.iloc[np.where(absent, 0, position).astype(np.int64)].set_axis(index, axis=0)
    taken = taken.mask(absent) if absent.any() else taken
    return taken.cat.remove_unused_categories() if isinstance(taken.dtype, pd.CategoricalDtype) else taken


def _after(target: Target, rows: np.ndarray | None, new: pd.DataFrame) -> pd.DataFrame:
    """`obs` as it will be."""
    obs = target.adata.obs if rows is None else target.adata.obs.iloc[rows]
    return pd.concat([obs.drop(columns=[name for name in new if name in obs]), new], axis=1)


def told_outcome(obs: pd.DataFrame, told: Told, said_to: str) -> RememberedOutcome | None:
    """What is to be remembered, None for nothing; columns may be called as the clinical table called them."""
    keys = [key if key is None or key in obs else column_name(key) for key in told[:2]]
    return checked_outcome(obs, keys[0], keys[1], told[2], said_to)


def _write(adata: AnnData, rows: np.ndarray | None, new: pd.DataFrame) -> None:
    if rows is not None:
        adata._inplace_subset_obs(rows)  # as scanpy's filters do
        attrs = adata.uns.get(TableModel.ATTRS_KEY)
        if attrs and attrs.get(TableModel.REGION_KEY_KEY) in adata.obs:
            # a table may not name elements that it no longer annotates
            left = adata.obs[attrs[TableModel.REGION_KEY_KEY]].astype(str).unique().tolist()
            attrs[TableModel.REGION_KEY] = left
    for name in new:
        adata.obs[name] = new[name]
