"""A file of cells for an expert to write their types into."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._coordinates import coordinates
from .._disk import write_bytes
from .._errors import InputFileError, RunError, TableError, listed
from .._keys import PATIENT_KEY, SAMPLE_KEY, SPATIAL
from .._public import public
from ..pp.annotated import rows_of_cells
from ..pp.cell_labels import CELL, LABEL

if TYPE_CHECKING:
    from anndata import AnnData

DECIMALS = 3  # of positions in µm


@public
def write_cell_labels(
    adata: AnnData,
    path: str | PathLike,
    label_key: str | None = None,
    *,
    cells: Sequence[str] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write labels of cells, or cells that are to be labelled, into a CSV file.

    Types that a classifier predicted are left out on purpose: who sees them agrees with them too often.

    Parameters
    ----------
    adata
        Table of cells.
    path
        File, usually ``labels.csv``.
    label_key
        Column of ``obs`` with the labels there are; default: none yet.
    cells
        Names of cells to write, such as the index of what `spatialfm.tl.suggest_labels` gives, in their order; default:
        all that have a label.
    overwrite
        Whether a file that is there is replaced.

    Returns
    -------
    Path of the file: one row per cell with ``cell`` (its name), ``label`` (empty where there is none), and where the
    table has them, ``sample``, ``patient``, ``x`` and ``y``. UTF-8 with a mark, by which spreadsheets know it.
    `spatialfm.pp.add_cell_labels` reads it back.

    Raises
    ------
    TableError
        If the column or a cell is not there, or there is nothing to write.
    InputFileError
        If the file is there and is not to be replaced.

    Examples
    --------
    >>> import tempfile, spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=2, cells_per_patient=100, random_state=0)
    >>> table = sfm.tl.suggest_labels(cells, use_rep="X_latent", n=4)
    >>> path = sfm.io.write_cell_labels(cells, tempfile.mkdtemp() + "/labels.csv", cells=table.index)
    >>> path.read_text(encoding="utf-8-sig").split()[0]
    'cell,label,sample,patient,x,y'
    """
    target = Path(path).expanduser()
    if target.exists() and not overwrite:
        raise InputFileError(
            f"'{target}' is there, perhaps with labels of somebody. Pass overwrite=True to replace it, or another path."
        )
    if label_key is not None and label_key not in adata.obs:
        raise TableError(f"No column {label_key!r} in obs (label_key=); found {listed(adata.obs.columns, 12)}.")
    rows = _rows(adata, label_key, cells)
    content = _table(adata, label_key, rows).to_csv(index=False).encode("utf-8-sig")
    try:
        write_bytes(target, content)
    except OSError as error:
        raise RunError(
            f"Cannot write '{target}': {error.strerror or error}. Make room, or pass another path."
        ) from error
    return target


def _rows(adata: AnnData, label_key: str | None, cells: Sequence[str] | None) -> np.ndarray:
    if cells is None:
        if label_key is None:
            raise TableError("Nothing to write: pass label_key= (a column of obs), cells= (names of cells), or both.")
        rows = np.flatnonzero(adata.obs[label_key].notna())
        if not len(rows):
            raise TableError(f"No cell has a label in obs[{label_key!r}] (label_key=). Pass cells= to be labelled.")
        return rows
    return rows_of_cells(adata, cells)


def _table(adata: AnnData, label_key: str | None, rows: np.ndarray) -> pd.DataFrame:
    obs = adata.obs.iloc[rows]
    table = pd.DataFrame({CELL: adata.obs_names[rows]})
    table[LABEL] = None if label_key is None else obs[label_key].astype(object).to_numpy()
    for name in (SAMPLE_KEY, PATIENT_KEY):
        if name in obs:
            table[name] = obs[name].astype(object).to_numpy()
    if SPATIAL in adata.obsm:
        table[["x", "y"]] = np.round(coordinates(adata, finite=False)[rows, :2], DECIMALS)
    return table
