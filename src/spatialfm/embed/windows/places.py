"""Positions that a table says its cells have, against the places where their labels are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..._coordinates import exchange_code, given_coordinates
from ..._errors import TableError, counted, listed, warn
from ..._keys import SPATIAL

if TYPE_CHECKING:
    from anndata import AnnData

CLEAR = 0.9  # correlation, over the cells of a sample, of a position with the axis that it is along
UNRELATED = 0.5
FEWEST = 5  # cells from which on a correlation says something
FEWEST_UNRELATED = 20

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
