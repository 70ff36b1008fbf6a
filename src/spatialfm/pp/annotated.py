"""Which cell each row of a table is: its element, and its number in the label image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from spatialdata.models import TableModel

from .._errors import TableError, counted
from .._errors import listed as _listed
from .._keys import SPATIAL
from .arrays import drawn_kind
from .drawn_cells import numbers_of_rows
from .joins import listed, whole_numbers

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData


def annotated_cells(table: AnnData, table_name: str, sdata: SpatialData | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The element (text) and the label (int64) of every row of a table that annotates cells.

    Ids of shapes and points, which may be text, become numbers of the label image that these are drawn as, -1 where the
    element has no such id. Rows of a table with positions alone, which annotates no element of `sdata`, have the
    table's name and are 1, 2, ...

    Raises
    ------
    TableError
        If the table does not name what it annotates, labels are not whole numbers, or a cell has two rows.
    """
    if sdata is not None and is_of_points(sdata, table):
        return np.full(table.n_obs, table_name, dtype=object), np.arange(1, table.n_obs + 1)
    attrs = table.uns.get(TableModel.ATTRS_KEY)
    if attrs is None:
        raise TableError(
            f"Table {table_name!r} annotates no element. Make one that does with sfm.pp.cell_table(sdata, "
            "table_name=<new name>)."
        )
    keys = [attrs.get(TableModel.REGION_KEY_KEY), attrs.get(TableModel.INSTANCE_KEY)]
    if missing := [key for key in keys if key not in table.obs]:
        raise TableError(
            f"Table {table_name!r} states in uns['{TableModel.ATTRS_KEY}'] that column {missing[0]!r} names its cells, "
            f"but obs has {listed(table.obs, 12)}."
        )
    regions = table.obs[keys[0]].astype(str).to_numpy()
    try:
        ids = _label_numbers(table.obs[keys[1]], f"{keys[1]!r} of table {table_name!r}", regions, sdata)
    except TableError as error:
        if shapes := _shapes_of(table.obs[keys[1]], regions, sdata):
            raise TableError(
                f"{error} The ids are those of shapes {shapes!r}: to let the table annotate these, "
                f"sdata[{table_name!r}].obs[{keys[0]!r}] = {shapes!r}; "
                f"sdata.set_table_annotates_spatialelement({table_name!r}, {shapes!r})."
            ) from None
        raise
    repeated = (
        pd.DataFrame({"region": regions, "id": table.obs[keys[1]].astype(str).to_numpy()}).duplicated().to_numpy()
    )
    repeated |= pd.DataFrame({"region": regions, "id": ids}).duplicated().to_numpy() & (ids >= 0)
    if repeated.any():
        names = [f"{regions[i]}: {table.obs[keys[1]].iloc[i]}" for i in np.flatnonzero(repeated)]
        raise TableError(
            f"Table {table_name!r} has {counted(len(names), 'row')} more than one for the same cell: "
            f"{_listed(names, 5, quoted=False)}. Keep one row per cell."
        )
    return regions, ids


def rows_of_cells(table: AnnData, cells: Sequence[str]) -> np.ndarray:
    """Rows of the cells that an argument ``cells=`` names, in its order.

    Raises
    ------
    TableError
        If it names none, or one that is not in ``obs_names`` or is there several times.
    """
    names = pd.Index(list(cells))
    rows = table.obs_names.get_indexer(names) if table.obs_names.is_unique else np.full(len(names), -1)
    if not len(names) or (rows < 0).any():
        lacking = names[rows < 0]
        raise TableError(
            f"{len(lacking)} of {counted(len(names), 'cell')} (cells=) are not in obs_names, or there several times: "
            f"{_listed(lacking, 3)}; there are such as {_listed(table.obs_names, 2)}."
        )
    return rows


def is_of_points(sdata: SpatialData, table: AnnData) -> bool:
    """Whether the rows of a table are cells by their positions alone: no element of `sdata` is annotated."""
    attrs = table.uns.get(TableModel.ATTRS_KEY) or {}
    column = attrs.get(TableModel.REGION_KEY_KEY)
    if SPATIAL not in table.obsm:
        return False
    return column not in table.obs or not any(str(region) in sdata for region in pd.unique(table.obs[column]))


def _shapes_of(values: pd.Series, regions: np.ndarray, sdata: SpatialData | None) -> str:
    """Shapes with all ids of a table of one region that is labels, as boundaries have them beside a mask; or none."""
    if sdata is None or len(set(regions)) != 1:
        return ""
    ids = set(values.astype(str))
    return next((name for name, shapes in sdata.shapes.items() if ids <= set(shapes.index.astype(str))), "")


def _label_numbers(values: pd.Series, what: str, regions: np.ndarray, sdata: SpatialData | None) -> np.ndarray:
    drawn = [] if sdata is None else [name for name in pd.unique(regions) if drawn_kind(sdata, name) is not None]
    painted = ~np.isin(regions, drawn)
    numbers = np.full(len(values), -1, np.int64)
    if painted.any():
        numbers[painted] = whole_numbers(values[painted], what, "Correct or drop these rows.")
    for name in drawn:
        rows = regions == name
        numbers[rows] = numbers_of_rows(sdata, name, values[rows], what)
    return numbers
