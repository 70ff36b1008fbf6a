"""The cell table of what a function was given: an AnnData, or a SpatialData that holds one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .._errors import PanelError, TableError, counted, warn
from .checks import as_names, check_anndata, listed
from .representation import check_measured, marker_values

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData


def given_table(data: AnnData | SpatialData, table_name: str, what: str, key_added: str | None = None) -> AnnData:
    """The table itself; of a SpatialData the one of that name, which has rows and can hold the key.

    Raises
    ------
    TableError
        If there is none, or it has no rows.
    """
    if hasattr(data, "tables"):
        if table_name not in data.tables:
            raise TableError(
                f"No table {table_name!r} in sdata (table_name=); found {listed(data.tables)}. Make it with "
                "sfm.pp.cell_table(sdata)."
            )
        data = data.tables[table_name]
    check_anndata(data, what, key_added)
    return data


def measured_markers(
    adata: AnnData, markers: str | Sequence[str] | None, layer: str | None, *, least: int = 1
) -> tuple[list[str], np.ndarray]:
    """Names and values ``(n, M)`` of markers that were measured in all cells.

    Of all markers (`markers` None) those that some sample was not stained for are left out, and named in a warning.

    Raises
    ------
    PanelError
        If a marker is missing or twice in the table, was asked for and not measured everywhere, or too few are left.
    TableError
        If a value is infinite.
    """
    if not adata.var_names.is_unique:
        raise PanelError("Two variables of the table have one name. Make them unique: adata.var_names_make_unique().")
    names = list(map(str, adata.var_names)) if markers is None else as_names(markers)
    check_measured(adata, names)
    values = marker_values(adata, names, layer)
    if np.isinf(values).any():
        marker = names[int(np.flatnonzero(np.isinf(values).any(axis=0))[0])]
        raise TableError(f"Values of {marker!r} are infinite in some cells. Correct them, or leave the marker out.")
    partly = np.flatnonzero(np.isnan(values).any(axis=0))
    if len(partly):
        lost = [names[place] for place in partly]
        if markers is not None:
            raise PanelError(
                f"{lost[0]!r} was not measured in {counted(int(np.isnan(values[:, partly[0]]).sum()), 'cell')} (NaN). "
                "Leave it out of markers=, or leave these cells out."
            )
        warn(
            f"{counted(len(lost), 'marker was', 'markers were')} not measured in all cells and left out: "
            f"{listed(lost, 12)}."
        )
        complete = np.setdiff1d(np.arange(len(names)), partly)
        names, values = [names[place] for place in complete], values[:, complete]
    if len(names) < least:
        raise PanelError(
            f"{counted(len(names), 'marker is', 'markers are')} left (markers=); at least {least} are needed."
        )
    return names, values


def varying_markers(
    names: list[str], values: np.ndarray, among: np.ndarray | None = None, *, asked: bool, where: str = ""
) -> tuple[list[str], np.ndarray]:
    """Markers ``(n, M)`` that are not the same in all cells `among`: of the others there is nothing to predict.

    Parameters
    ----------
    asked
        Whether the markers were named, so that none may be left out.
    where
        Which cells these are, for messages.

    Raises
    ------
    PanelError
        If one was asked for, or fewer than two are left.
    """
    varying = np.flatnonzero(np.ptp(values if among is None else values[among], axis=0) > 0)
    if lost := [name for place, name in enumerate(names) if place not in varying]:
        cells = f"all cells {where}".strip()
        what = f"{counted(len(lost), 'marker is', 'markers are')} the same in {cells}"
        if asked or len(varying) < 2:
            raise PanelError(f"{what}, first {lost[0]!r}. Leave it out of markers=.")
        warn(f"{what} and left out: {listed(lost, 12)}.")
    return [names[place] for place in varying], values[:, varying]
