"""``sfm.pp.add_cell_labels``: types that an expert wrote into a file, joined to the cells."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from anndata import AnnData
from spatialdata.models import TableModel

from .._coordinates import coordinates
from .._errors import TableError, counted
from .._errors import listed as _listed
from .._keys import INSTANCE_KEY, REGION_KEY, SPATIAL
from .._logging import logger
from .._public import public
from .._spelling import faulty_label
from .._storable import check_key
from .joins import text_keys
from .tables import read_table

CELL, LABEL = "cell", "label"  # columns of a file of labels
MOVED = 1.0  # µm: a cell that is farther from where the file has it is another one, as no two are that close


@public
def add_cell_labels(
    adata: AnnData,
    table: pd.DataFrame | AnnData | str | PathLike,
    label_key: str,
    *,
    cell_key: str = CELL,
    column: str = LABEL,
    categories: Sequence[str] | None = None,
    on_conflict: Literal["raise", "keep", "replace"] = "raise",
    check_positions: bool = True,
) -> None:
    """Add labels of cells from a table with one row per cell.

    Everything is checked before anything is written: a file that does not fit leaves the table as it was.

    Parameters
    ----------
    adata
        Table of cells.
    table
        One row per labelled cell, as a frame or a file (``.csv``, ``.tsv``, ``.tab``, ``.txt``), such as
        `spatialfm.io.write_cell_labels` writes for an expert to fill in. Rows without a label change nothing. Or the
        table of cells of a SpatialData that was annotated elsewhere: its rows are found by element and id, as
        napari-spatialdata numbers the rows of a table anew.
    label_key
        Column of ``obs`` that the labels are joined to; it is made where it is not there.
    cell_key
        Column of `table`, or the name of its index, with the names of cells (``obs_names``).
    column
        Column of `table`, or of its ``obs``, with the labels; numbers count as names of classes. A column of truth
        values, as napari-spatialdata writes for a selection of cells, gives those that are True its own name as label.
    categories
        All labels that may occur, in their order; others are refused. Default: those of ``obs[label_key]`` keep their
        order, new ones follow as the table has them.
    on_conflict
        Which label a cell has that has another one already: an error, the earlier, or the new one.
    check_positions
        Whether columns ``x`` and ``y`` of the table, if there are such, are compared with where the cells are: cells
        that were segmented again have the names of others.

    Returns
    -------
    None. Writes ``obs[label_key]``, a categorical that is missing (NaN) in cells without label.

    Raises
    ------
    TableError
        If a cell of the table is not in `adata`, has two rows, lies elsewhere, or (by `on_conflict`) has another label
        already; if labels differ in case or spaces alone, are missing ones as text (``"nan"``), or are not among
        `categories`.
    InputFileError
        If the file is missing or cannot be read.

    Examples
    --------
    >>> import pandas as pd, spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=1, cells_per_patient=50, random_state=0)
    >>> first, second = cells.obs_names[:2]
    >>> sfm.pp.add_cell_labels(cells, pd.DataFrame({"cell": [first, second], "label": ["B", "T"]}), "known")
    >>> sfm.pp.add_cell_labels(cells, pd.DataFrame({"cell": [second], "label": ["NK"]}), "known", on_conflict="replace")
    >>> cells.obs["known"].tolist()[:3], cells.obs["known"].cat.categories.tolist()
    (['B', 'NK', nan], ['B', 'T', 'NK'])
    """
    _check_target(adata, label_key)
    frame = _annotated(adata, table, cell_key, column) if isinstance(table, AnnData) else table
    frame = _frame(frame, cell_key, column)
    rows, labels = _labelled(adata, frame, cell_key, column)
    if check_positions:
        _check_positions(adata, frame.loc[labels.index], rows)
    before, order = _before(adata, label_key)
    levels = _levels(order, labels, label_key, None if categories is None else list(categories))
    merged = _merged(before, rows, labels, label_key, on_conflict)
    adata.obs[label_key] = pd.Categorical(merged, levels)
    logger.info("%d of %d cells have a label in obs[%r]", int(pd.notna(merged).sum()), adata.n_obs, label_key)


def _check_target(adata: AnnData, label_key: str) -> None:
    check_key(adata, label_key, "label_key")
    attrs = adata.uns.get(TableModel.ATTRS_KEY, {})
    reserved = {REGION_KEY, INSTANCE_KEY, attrs.get(TableModel.REGION_KEY_KEY), attrs.get(TableModel.INSTANCE_KEY)}
    if label_key in reserved:
        raise TableError(f"obs[{label_key!r}] identifies the cells (label_key=). Pass another name for the labels.")
    if not adata.obs_names.is_unique:
        twice = adata.obs_names[adata.obs_names.duplicated()].unique()
        raise TableError(
            f"{counted(len(twice), 'name')} of several cells, first {_listed(twice, 3)}: labels would be those of any "
            "of them. Name cells apart with adata.obs_names_make_unique()."
        )


def _annotated(adata: AnnData, table: AnnData, cell_key: str, column: str) -> pd.DataFrame:
    """Labels of a table of cells beside the names that the cells have here."""
    if column not in table.obs:
        raise TableError(f"No column {column!r} in obs of the table of labels (column=); it has {_listed(table.obs)}.")
    names = pd.Index(table.obs_names.astype(str))
    ours, theirs = _elements(adata), _elements(table)
    if ours is not None and theirs is not None:
        place = ours.get_indexer(theirs) if ours.is_unique else np.full(table.n_obs, -1)
        names_here = np.where(place >= 0, adata.obs_names.to_numpy(dtype=object)[place], None)
        told = [f"{region}: {number}" for region, number in theirs]
        names = pd.Index([own if own is not None else other for own, other in zip(names_here, told, strict=True)])
    return pd.DataFrame({cell_key: names.to_numpy(dtype=object), column: table.obs[column].to_numpy(dtype=object)})


def _elements(table: AnnData) -> pd.MultiIndex | None:
    """Element and id of each row, where the table says which columns hold them."""
    attrs = table.uns.get(TableModel.ATTRS_KEY) or {}
    keys = [attrs.get(TableModel.REGION_KEY_KEY), attrs.get(TableModel.INSTANCE_KEY)]
    if not set(keys) <= set(table.obs.columns):
        return None
    return pd.MultiIndex.from_arrays([table.obs[key].astype(str).to_numpy() for key in keys])


def _frame(table: pd.DataFrame | str | PathLike, cell_key: str, column: str) -> pd.DataFrame:
    """The table with both columns; names and labels of a file stay text."""
    frame = table if isinstance(table, pd.DataFrame) else read_table(Path(table), [cell_key, column])
    if cell_key not in frame and frame.index.name == cell_key:
        frame = frame.reset_index()
    for argument, key in {"cell_key": cell_key, "column": column}.items():
        if key not in frame:
            raise TableError(
                f"The table of labels has no column {key!r} ({argument}=); it has {_listed(frame.columns, 12)}."
            )
    return frame.reset_index(drop=True)


def _labelled(adata: AnnData, frame: pd.DataFrame, cell_key: str, column: str) -> tuple[np.ndarray, pd.Series]:
    """Rows of `adata` and labels of the rows of the table that have one."""
    cells, _ = text_keys(frame[cell_key], f"{cell_key!r} of the table of labels", TableError)
    labels, _ = text_keys(_named(frame[column]), f"{column!r} of the table of labels", TableError)
    labels = labels.map(str.strip, na_action="ignore").replace("", None)
    if nameless := int((cells.isna() & labels.notna()).sum()):
        raise TableError(
            f"{counted(nameless, 'row')} of the table of labels with a label and without {cell_key!r}. Fill it."
        )
    cells = cells[cells.notna()]
    rows = adata.obs_names.astype(str).get_indexer(cells)
    if (rows < 0).any():
        unknown = cells[rows < 0]
        raise TableError(
            f"{len(unknown)} of {counted(len(cells), 'cell')} of the table of labels are not in obs_names, first "
            f"{_listed(unknown, 3)}; there are such as {_listed(adata.obs_names[:2], 2, quoted=True)}. "
            + (
                _other_numbering(adata, cells)
                or "Pass the table of these cells, or leave the rows out: "
                f"table[table[{cell_key!r}].isin(adata.obs_names)]."
            )
        )
    if cells.duplicated().any():
        raise TableError(_repeats(cells, labels, cell_key))
    has_label = labels[cells.index].notna().to_numpy()
    if not has_label.any():
        raise TableError(f"No row of the table of labels has a label in column {column!r} (column=).")
    return rows[has_label], labels[cells.index][has_label]


def _other_numbering(adata: AnnData, cells: pd.Series) -> str:
    """That all names are there once one is added to, or taken from, the number at their end; empty if they are not."""
    parts = cells.str.extract(r"^(.*?)(\d+)$")
    if parts.isna().any(axis=None):
        return ""
    numbers = parts[1].astype(int)
    for step, said in ((1, "one lower"), (-1, "one higher")):
        if (parts[0] + (numbers + step).astype(str)).isin(adata.obs_names).all():
            return f"The table numbers cells {said} than they are here, so that every row has another cell's name."
    return ""


def _named(column: pd.Series) -> pd.Series:
    """Labels; of a column of truth values its own name where it is true."""
    present = column.dropna()
    if len(present) and all(isinstance(value, bool | np.bool_) for value in present):
        return pd.Series([str(column.name) if pd.notna(value) and bool(value) else None for value in column])
    return column.astype(object)


def _repeats(cells: pd.Series, labels: pd.Series, cell_key: str) -> str:
    twice = cells[cells.duplicated()].unique()
    start = f"{counted(len(twice), 'cell')} of the table of labels with several rows, first "
    of = {cell: pd.unique(labels[cells.index[cells == cell]].dropna()) for cell in twice}
    if differ := [f"{cell!r} ({_listed(names, 3)})" for cell, names in of.items() if len(names) > 1]:
        return f"{start}{_listed(differ, 3, quoted=False)}: their labels differ. Keep one row for each."
    return f"{start}{_listed(twice, 3)}, each with one label. Pass table.drop_duplicates({cell_key!r})."


def _check_positions(adata: AnnData, frame: pd.DataFrame, rows: np.ndarray) -> None:
    if not {"x", "y"} <= set(frame.columns) or SPATIAL not in adata.obsm:
        return
    there = coordinates(adata, finite=False)[rows, :2]
    told = frame[["x", "y"]].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=float)
    away = np.abs(there - told).max(axis=1) > MOVED  # NaN: not told, not compared
    if away.any():
        names = adata.obs_names[rows[away]]
        raise TableError(
            f"{int(away.sum())} of {counted(len(rows), 'labelled cell')} lie elsewhere than x and y of the table, "
            f"first {_listed(names, 3)}: cells that were segmented again have the names of others. Pass "
            "check_positions=False if these columns mean something else."
        )


def _before(adata: AnnData, label_key: str) -> tuple[np.ndarray, list[str]]:
    """Labels there are as text, None where there is none, and their order."""
    if label_key not in adata.obs:
        return np.full(adata.n_obs, None, dtype=object), []
    column = adata.obs[label_key]
    text, _ = text_keys(column, f"{label_key!r} of obs", TableError)
    levels = (
        column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else sorted(pd.unique(text.dropna()))
    )
    return text.to_numpy(dtype=object), [str(level) for level in levels]


def _levels(order: list[str], labels: pd.Series, label_key: str, categories: list[str] | None) -> list[str]:
    """All labels in their order; those that read alike, or are missing ones as text, are refused."""
    levels = list(dict.fromkeys([*order, *labels]))
    if categories is not None:
        if others := [name for name in levels if name not in categories]:
            raise TableError(
                f"{counted(len(others), 'label')} of the table or of obs[{label_key!r}] not in categories=, first "
                f"{_listed(others, 3)}; these are {_listed(categories, 20)}."
            )
        levels = list(dict.fromkeys(categories))
    name, first = faulty_label(levels)
    if first is not None:
        raise TableError(
            f"Labels {first!r} and {name!r} read alike and would be two types. Write them alike: "
            f"table.replace({{{name!r}: {first!r}}}), or rename one."
        )
    if name is not None:
        raise TableError(
            f"The label {name!r} of the table or of obs[{label_key!r}] would be a type. If these cells have none: "
            f"table.replace({{{name!r}: None}}); if it is a type, rename it."
        )
    return levels


def _merged(before: np.ndarray, rows: np.ndarray, labels: pd.Series, label_key: str, on_conflict: str) -> np.ndarray:
    new, old = labels.to_numpy(dtype=object), before[rows]
    clash = pd.notna(old) & (old != new)
    if clash.any() and on_conflict == "raise":
        told = [f"{name!r} ({a!r}, now {b!r})" for name, a, b in zip(labels.index, old, new, strict=True)]
        told = [one for one, other in zip(told, clash, strict=True) if other]
        raise TableError(
            f"{counted(int(clash.sum()), 'cell has', 'cells have')} another label in obs[{label_key!r}], rows "
            f'{_listed(told, 3, quoted=False)} of the table. Pass on_conflict="replace" to take the new ones, or '
            'on_conflict="keep".'
        )
    out = before.copy()
    taken = ~clash if on_conflict == "keep" else np.ones(len(rows), bool)
    out[rows[taken]] = new[taken]
    if clash.any():
        logger.info("%d cells had another label: %s", clash.sum(), "kept" if on_conflict == "keep" else "replaced")
    return out
