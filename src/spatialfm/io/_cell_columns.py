"""Columns of a table of cells that some other program wrote: keys, positions, numbers."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np
import pandas as pd

from .._errors import InputFileError, TableError, counted, listed, warn
from ..pp.joins import text_keys, whole_numbers
from ..pp.tables import SPREADSHEET_SUFFIXES, TABLE_SUFFIXES, read_header, read_table
from ..pp.units import NEAREST, nearest_distance
from ._paths import find_path

_FRAMES = (".parquet", ".feather")


def cells_frame(table: pd.DataFrame | str | PathLike, identifiers: Sequence[str]) -> tuple[pd.DataFrame, str]:
    """Cells of a frame or a file (text, Parquet, Feather), and what messages call it.

    Parameters
    ----------
    identifiers
        Columns that stay text where the file is text.

    Raises
    ------
    InputFileError
        If there is no such file, it is of another kind, or has no rows.
    """
    if isinstance(table, pd.DataFrame):
        frame, source = table, "the table of cells"
        if not frame.columns.is_unique:
            twice = frame.columns[frame.columns.duplicated()][0]
            raise TableError(f"The table of cells has several columns called {twice!r}. Rename all but one.")
    else:
        path = find_path(str(Path(table)))
        source = f"'{path}'"
        if not path.is_file():
            raise InputFileError(f"No file {source}. Pass the path of a table of cells, or a pandas.DataFrame.")
        if path.suffix.lower() in _FRAMES:
            frame = pd.read_parquet(path) if path.suffix.lower() == ".parquet" else pd.read_feather(path)
        elif path.suffix.lower() in TABLE_SUFFIXES + SPREADSHEET_SUFFIXES:
            frame = read_table(path, identifiers)
        else:
            raise InputFileError(
                f"{source} is not one of {', '.join(TABLE_SUFFIXES + _FRAMES)}. Save the table as one, or pass a "
                "pandas.DataFrame."
            )
    if not len(frame):
        raise TableError(f"{source[0].upper()}{source[1:]} has no rows, and so no cell.")
    return frame.reset_index(drop=True), source


def names_of_columns(path: Path) -> list[str]:
    """Columns of a file of cells; of a text file, only the first lines are looked at."""
    if path.suffix.lower() in _FRAMES:
        return [str(name) for name in cells_frame(path, [])[0]]
    return read_header(path)


def need_columns(frame: pd.DataFrame, wanted: dict[str, str], source: str) -> None:
    """Refuse a table that lacks columns.

    Parameters
    ----------
    wanted
        Column: the argument that names it.

    Raises
    ------
    TableError
        With all that are absent.
    """
    if absent := {name: argument for name, argument in wanted.items() if name not in frame}:
        arguments = ", ".join(f"{argument}=" for argument in dict.fromkeys(absent.values()))
        columns = "column" if len(absent) == 1 else "columns"
        raise TableError(
            f"{source[0].upper()}{source[1:]} has no {columns} {listed(absent)}; it has "
            f"{listed(frame.columns, 12)}. Correct {arguments}."
        )


def key_column(frame: pd.DataFrame, key: str | Sequence[str], source: str) -> pd.Series:
    """Names by one column, or by several joined with ``_``; 7 and 7.0 are the same.

    Raises
    ------
    TableError
        If one is missing.
    """
    columns = [key] if isinstance(key, str) else list(key)
    parts = []
    for name in columns:
        texts, _ = text_keys(frame[name], f"{name!r} of {source}", TableError)
        empty = texts.isna() | (texts == "")
        if empty.any():
            raise TableError(
                f"Column {name!r} of {source} is empty in {counted(int(empty.sum()), 'row')}: to which sample or "
                "patient these cells belong is not known. Fill it in, or leave the rows out."
            )
        parts.append(texts)
    joined = parts[0]
    for part in parts[1:]:
        joined = joined + "_" + part
    each = pd.concat(parts, axis=1, keys=range(len(parts))).assign(joined=joined).drop_duplicates()
    if (twice := each[each["joined"].duplicated(keep=False)].sort_values("joined")).size:
        shown = [tuple(row[:-1]) for row in twice.to_numpy()[:2]]
        raise TableError(
            f"{shown[0]} and {shown[1]} in columns {listed(columns)} of {source} would both be "
            f"{twice['joined'].iloc[0]!r}. Rename one."
        )
    return joined


def number_columns(frame: pd.DataFrame, columns: Sequence[str], source: str) -> np.ndarray:
    """Columns ``(n, columns)`` as float64; what is missing is NaN.

    Raises
    ------
    TableError
        If one holds text.
    """
    if text := [
        name
        for name in columns
        if not pd.api.types.is_numeric_dtype(frame[name]) or pd.api.types.is_bool_dtype(frame[name])
    ]:
        raise TableError(
            f"{counted(len(text), 'column')} of {source} should be numbers, but hold other things: {listed(text)}. "
            "Correct them, or leave them out."
        )
    return frame[list(columns)].to_numpy(dtype=np.float64, na_value=np.nan)


def instance_column(frame: pd.DataFrame, key: str, source: str) -> np.ndarray:
    """Ids of cells as whole numbers."""
    return whole_numbers(frame[key], f"{key!r} of {source}")


def check_distances(frames: Sequence[tuple[str, np.ndarray]], remedy: str) -> None:
    """Warn of positions whose neighbouring cells are closer or farther apart than cells are: of another unit.

    Parameters
    ----------
    frames
        Samples and positions ``(n, 2)`` in µm.
    remedy
        What to correct, a sentence.
    """
    medians = {}
    for sample, xy in frames:
        if (median := nearest_distance(xy)) is not None:
            medians[sample] = median
    odd = {sample: median for sample, median in medians.items() if not NEAREST[0] <= median <= NEAREST[1]}
    if odd:
        sample, median = next(iter(odd.items()))
        more = f", as in {len(odd) - 1} more" if len(odd) > 1 else ""
        warn(
            f"Cells of sample {sample!r} are {median:.3g} µm apart (median to the nearest){more}, which cells of a "
            f"tissue are not: are these positions in another unit? {remedy}"
        )
