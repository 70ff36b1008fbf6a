"""Cells measured at the end of reading, where there are masks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from .._errors import ElementError, TableError
from .._keys import CELLS_PREFIX

if TYPE_CHECKING:
    from spatialdata import SpatialData


def measure_cells(sdata: SpatialData, on_pieces: Literal["raise", "split", "keep"]) -> None:
    """Table of the cells of all samples that have a mask; a field without cells is a valid result, with no rows."""
    from ..pp import cell_table

    masked = [name.removeprefix(CELLS_PREFIX) for name in sdata.labels]
    try:
        cell_table(sdata, samples=masked, on_pieces=on_pieces, on_missing="drop")
    except (ElementError, TableError) as error:
        raise type(error)(f"{error} To read images and labels without a table, pass cell_table=False.") from error
