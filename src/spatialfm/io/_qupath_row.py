"""A row of a cohort whose cells are QuPath's: an image, their polygons, and the table of a project or of one image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._errors import InputFileError, TableError, listed
from .._keys import TABLE, cell_name
from ._kinds import QUPATH

if TYPE_CHECKING:
    from spatialdata import SpatialData

    from ._cohort_table import Row
    from ._elements import ReadSample
    from ._qupath_table import QuPathTable


@dataclass
class QuPathTables:
    """Tables of all rows, each read once, and which row has which image of a table."""

    opened: dict[Path, tuple[QuPathTable, dict[str, str], list[np.ndarray]]] = field(default_factory=dict)
    taken: dict[tuple[Path, str], str] = field(default_factory=dict)

    def open(self, path: Path) -> tuple[QuPathTable, dict[str, str], list[np.ndarray]]:
        """A table, what it calls each sample, and the rows of each."""
        from ._qupath_table import read_qupath_table
        from .qupath import samples_of_table

        if path not in self.opened:
            table = read_qupath_table(path)
            self.opened[path] = (table, *samples_of_table(table, path))
        return self.opened[path]


def read_qupath_row(row: Row, tables: QuPathTables, channel_names: Any, mpp: float | None) -> ReadSample:
    """The sample of a row, with the polygons of those cells that the table has, and what it states of them.

    Raises
    ------
    InputFileError
        If a path is missing, or the table has no cells of this image or sample.
    TableError
        As `spatialfm.io.read_qupath` does.
    """
    from .qupath import open_sample

    if row.labels is None:
        raise InputFileError(
            f"'{row.image}' has no polygons: write the path of the GeoJSON that QuPath exports where masks are named."
        )
    if row.measurements is None:
        raise InputFileError(
            f"'{row.image}' has no table of measurements: name it in the column 'measurements', or call the kind "
            "'geojson' where there are polygons alone."
        )
    table, called, rows = tables.open(row.measurements)
    name = _name_in_table(row, table, called)
    if (other := tables.taken.setdefault((row.measurements, name), row.sample)) != row.sample:
        raise InputFileError(
            f"The cells of {called[name]!r} in '{row.measurements}' are those of row {other!r} already. Correct the "
            "image or the sample of one of the two rows."
        )
    part = rows[list(called).index(name)]
    read, frame = open_sample(row.sample, part, table, row.labels, row.image, mpp, channel_names, (None, "mean"))
    columns = frame.obs.set_axis(frame.ids, axis=0)
    record = {**read.record, "kind": QUPATH, "measurements": str(row.measurements)}
    return replace(read, record=record, columns=columns, found_names=read.channel_names)


def _name_in_table(row: Row, table: QuPathTable, called: dict[str, str]) -> str:
    """Which image of the table is meant: by the name of the image's file, or by that of the sample."""
    from ._named_files import bare
    from ._names import IMAGE_SUFFIXES

    if table.image is None:  # a table of one image, that does not say of which
        return next(iter(called))
    file = bare(row.image.name, IMAGE_SUFFIXES).casefold()
    by_file = [name for name, one in called.items() if bare(one, IMAGE_SUFFIXES).casefold() == file]
    own = {row.sample.casefold(), row.written.casefold()}
    by_sample = [name for name in called if name.casefold() in own]
    names = list(dict.fromkeys([*by_file, *by_sample]))
    if len(names) == 1:
        return names[0]
    if names:
        raise InputFileError(
            f"{table.source} has cells of {called[names[0]]!r}, as the image is called, and of {called[names[1]]!r}, "
            "as the sample is. Rename the sample, or correct the path of the image."
        )
    raise InputFileError(
        f"{table.source} has no cells of image {row.image.name!r} or sample {row.sample!r}; it has "
        f"{listed(called.values(), 12)}. Correct the path of the image, or call the sample as the table does."
    )


def check_stated_columns(clinical: pd.DataFrame, read: Sequence[ReadSample]) -> None:
    """Refuse, before cells are measured, columns that are in QuPath's table and in that of the cohort.

    Raises
    ------
    TableError
        With the first of them.
    """
    from ..pp.joins import column_name

    stated = {column_name(name) for sample in read if sample.columns is not None for name in sample.columns}
    if both := [name for name in clinical if str(name).lower() in {one.lower() for one in stated}]:
        raise TableError(
            f"Column {both[0]!r} is in the cohort table and in QuPath's. Rename it in one of them, or leave it out of "
            "the cohort with clinical_keys=[...]."
        )


def add_stated_columns(sdata: SpatialData, read: Sequence[ReadSample]) -> None:
    """Add to the measured cells what another program states of them; missing in samples of which it states nothing.

    Raises
    ------
    TableError
        If a column is there already, with other values.
    """
    from ..pp.joins import add_columns, storable_frame

    stated = [sample for sample in read if sample.columns is not None]
    if not stated:
        return
    columns = pd.concat(
        [one.columns.set_axis([cell_name(one.sample, label) for label in one.columns.index]) for one in stated]
    )
    table = sdata[TABLE]
    columns = storable_frame(columns.reindex(table.obs_names), "QuPath's table", TableError)
    table.obs = add_columns(table.obs, columns, "QuPath's table", "Rename it in the file.", TableError)
