"""Positions of a table that are not where the cells' own labels or shapes are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._coordinates import coordinates
from .._errors import SpatialfmError, counted, listed, warn
from .._keys import SPATIAL
from .annotated import annotated_cells
from .arrays import labels_array, labels_at
from .drawn_cells import checked_ids, numbers_of
from .elements import axis_affine

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

    from .elements import SampleElements

FEWEST = 20  # cells from which on their places say something
LOOKED_UP = 200  # cells of a sample, spread evenly over its rows
ON_THEMSELVES = 0.5  # share; a ring of cytoplasm has its centre in a hole


def say_off_labels(
    sdata: SpatialData, pairs: Sequence[SampleElements], table: AnnData, table_name: str, of_samples: np.ndarray
) -> None:
    """Warn of positions that are not on the cells' own labels, for functions that ask the table alone where cells are.

    A table in µm beside an image in pixels has the right shape and the wrong size. Some cells of each sample are looked
    up in the label image or the shapes that the table annotates; where there is neither, nothing is said.

    Parameters
    ----------
    of_samples
        ``(n,)`` sample of each row.

    Raises
    ------
    TableError
        If positions are not numbers, or columns of `obs` say that y is before x.

    Warns
    -----
    SpatialfmWarning
        If most of the cells that were looked up are elsewhere.
    """
    xy = coordinates(table, finite=False)
    try:
        regions, instances = annotated_cells(table, table_name, sdata)
    except SpatialfmError:  # annotates no element: nothing to look up
        return
    known = np.isfinite(xy).all(axis=1) & np.isin(regions, [*sdata.labels, *sdata.shapes])
    off = []
    for pair in pairs:
        rows = np.flatnonzero(known & (of_samples == pair.sample))
        rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), LOOKED_UP)).astype(int)] if len(rows) else rows
        own = np.zeros(len(rows), bool)
        for region in np.unique(regions[rows]):
            mine = np.flatnonzero(regions[rows] == region)
            look_up = _on_shapes if region in sdata.shapes else _on_labels
            at = look_up(sdata, str(region), pair.coordinate_system, xy[rows[mine]], instances[rows[mine]])
            if at is None:  # an element of another system: its places are not those of these positions
                return
            own[mine] = at
        if len(rows) >= FEWEST and own.mean() < ON_THEMSELVES:
            off.append(f"{pair.sample!r} ({int(own.sum())} of {len(rows)})")
    if off:
        warn(
            f"By obsm[{SPATIAL!r}] of table {table_name!r}, most cells of {counted(len(off), 'sample')} are not where "
            f"their labels or shapes are, of those that were looked up: {listed(off, 5, quoted=False)}. Is it in "
            "another unit than the coordinate system of the sample, such as µm beside pixels? sfm.pp.cell_table makes "
            "a table whose positions fit."
        )


def _on_labels(sdata: SpatialData, region: str, system: str, xy: np.ndarray, numbers: np.ndarray) -> np.ndarray | None:
    """Whether the label at each position is that of the cell, ``(n,)``; None where labels are of another system."""
    try:
        to_labels = axis_affine(sdata.labels[region], region, system).inverse()
    except SpatialfmError:
        return None
    y, x = (np.floor(at).astype(int) for at in to_labels(xy[:, 1], xy[:, 0]))
    return labels_at(labels_array(sdata, region).data, y, x) == numbers


def _on_shapes(sdata: SpatialData, region: str, system: str, xy: np.ndarray, numbers: np.ndarray) -> np.ndarray | None:
    """The same for polygons and circles."""
    import shapely
    from spatialdata.transformations import get_transformation

    frame = sdata.shapes[region]
    transformations = get_transformation(frame, get_all=True)
    if system not in transformations:
        return None
    matrix = transformations[system].to_affine_matrix(("x", "y"), ("x", "y"))
    own = np.linalg.solve(matrix[:2, :2], (xy[:, :2] - matrix[:2, 2]).T).T
    place = pd.Index(numbers_of(checked_ids(frame.index, region))).get_indexer(numbers)
    reach = frame["radius"].to_numpy(float)[place] if "radius" in frame else 0.0
    return (place >= 0) & (shapely.distance(frame.geometry.to_numpy()[place], shapely.points(own)) <= reach)
