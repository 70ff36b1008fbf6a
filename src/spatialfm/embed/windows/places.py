"""Positions that a table says its cells have, against the places where their labels are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..._coordinates import coordinates, exchange_code, given_coordinates
from ..._errors import SpatialfmError, TableError, counted, listed, warn
from ..._keys import SAMPLE_KEY, SPATIAL
from ...pp.arrays import labels_array, labels_at
from ...pp.elements import axis_affine

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

    from ...pp.elements import SampleElements

CLEAR = 0.9  # correlation, over the cells of a sample, of a position with the axis that it is along
UNRELATED = 0.5
FEWEST = 5  # cells from which on a correlation says something
FEWEST_UNRELATED = 20
LOOKED_UP = 200  # cells of a sample, spread evenly over its rows
ON_THEMSELVES = 0.5  # share; a ring of cytoplasm has its centre in a hole

Reading = Literal["", "exchanged", "mirrored", "elsewhere"]
_SAYS = {
    "exchanged": "holds y before x",
    "mirrored": "counts y from the bottom of the image",
    "elsewhere": "has nothing to do with where the labels of the cells are",
}


def reading_of(xy: np.ndarray, centers: np.ndarray) -> Reading:
    """How positions ``(n, 2)`` read beside the centres (y, x) of the same cells, whatever their unit and origin.

    Empty where they are x and y of these cells, or cells are too few, or too much on one line, to tell.

    Examples
    --------
    >>> import numpy as np
    >>> centers = np.random.default_rng(0).random((50, 2))
    >>> reading_of(2 * centers[:, ::-1] + 7, centers), reading_of(centers, centers)
    ('', 'exchanged')
    """
    known = np.isfinite(xy).all(axis=1) & np.isfinite(centers).all(axis=1)
    both = np.concatenate([xy[known, :2], centers[known, ::-1]], axis=1)
    if known.sum() < FEWEST or not np.ptp(both, axis=0).all():
        return ""
    like = np.corrcoef(both.T)[:2, 2:]  # rows: first and second position; columns: x and y
    if like[0, 0] >= CLEAR and like[1, 1] >= CLEAR:
        return ""
    if like[0, 1] >= CLEAR and like[1, 0] >= CLEAR:
        return "exchanged"
    if like[0, 0] >= CLEAR and like[1, 1] <= -CLEAR:
        return "mirrored"
    return "elsewhere" if known.sum() >= FEWEST_UNRELATED and np.abs(like).max() < UNRELATED else ""


def say_places(
    table: AnnData, table_name: str, samples: Sequence[str], rows: Sequence[np.ndarray], centers: Sequence[np.ndarray]
) -> None:
    """Warn of positions that are not those of the labels, which functions that take the table alone cannot see.

    Parameters
    ----------
    rows, centers
        Rows of the cells of each sample, and their centres (y, x) in pixels.

    Warns
    -----
    SpatialfmWarning
        If ``obsm["spatial"]`` holds y before x, is mirrored, or is of other cells.
    """
    if SPATIAL not in table.obsm:
        return
    try:
        xy = given_coordinates(table)
    except TableError:  # who needs positions says what is wrong with these
        return
    names_of_reading: dict[Reading, list[str]] = {}
    for name, mine, where in zip(samples, rows, centers, strict=True):
        if reading := reading_of(xy[mine], where):
            names_of_reading.setdefault(reading, []).append(name)
    for reading, names in names_of_reading.items():
        of = "" if len(names) == len(samples) else f" in {counted(len(names), 'sample')} ({listed(names, 5)})"
        fix = "Correct them"
        if reading == "exchanged":
            code = exchange_code(f"sdata[{table_name!r}]")
            fix = f"Exchange them: {code}" if not of else "Exchange them in these rows"
        warn(
            f"obsm[{SPATIAL!r}] of table {table_name!r} {_SAYS[reading]}{of}. The cells are embedded where their "
            f"labels are; neighbours, regions and figures would follow the table. {fix}."
        )


def say_off_labels(sdata: SpatialData, pairs: Sequence[SampleElements], table: AnnData, table_name: str) -> None:
    """Warn of positions that are not on the cells' own labels, for functions that ask the table alone where cells are.

    A table in µm beside an image in pixels has the right shape and the wrong size. Some cells of each sample are looked
    up in the label image that the table annotates; where there is none, nothing is said.

    Warns
    -----
    SpatialfmWarning
        If most of the cells that were looked up are elsewhere.
    """
    from ...pp.annotated import annotated_cells

    try:
        regions, instances = annotated_cells(table, table_name, sdata)
    except SpatialfmError:  # annotates no element: nothing to look up
        return
    xy, of_samples = coordinates(table, finite=False), table.obs[SAMPLE_KEY].astype(str).to_numpy()
    known = np.isfinite(xy).all(axis=1) & np.isin(regions, list(sdata.labels))
    off = []
    for pair in pairs:
        rows = np.flatnonzero(known & (of_samples == pair.sample))
        rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), LOOKED_UP)).astype(int)] if len(rows) else rows
        own = np.zeros(len(rows), bool)
        for region in np.unique(regions[rows]):
            mine = np.flatnonzero(regions[rows] == region)
            try:
                to_labels = axis_affine(sdata.labels[region], region, pair.coordinate_system).inverse()
            except SpatialfmError:  # labels of another system: their pixels are not those of these positions
                return
            y, x = (np.floor(at).astype(int) for at in to_labels(xy[rows[mine], 1], xy[rows[mine], 0]))
            own[mine] = labels_at(labels_array(sdata, region).data, y, x) == instances[rows[mine]]
        if len(rows) >= FEWEST_UNRELATED and own.mean() < ON_THEMSELVES:
            off.append(f"{pair.sample!r} ({int(own.sum())} of {len(rows)})")
    if off:
        warn(
            f"By obsm[{SPATIAL!r}] of table {table_name!r}, most cells of {counted(len(off), 'sample')} are not where "
            f"their labels are, of those that were looked up: {listed(off, 5, quoted=False)}. Is it in another unit "
            "than the coordinate system of the sample, such as µm beside pixels? sfm.pp.cell_table makes a table whose "
            "positions fit."
        )
