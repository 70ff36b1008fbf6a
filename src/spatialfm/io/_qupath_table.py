"""The measurement table that QuPath exports: one row per object, of one image or many."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._errors import InputFileError, TableError, counted, listed
from .._logging import logger
from ..pp.tables import TABLE_SUFFIXES, read_table
from ._cell_columns import number_columns
from ._cell_frame import CellFrame
from ._names import natural_key
from ._qupath_columns import chosen_intensities, plain

if TYPE_CHECKING:
    from ._geojson import CellPolygons

_OTHER_OBJECTS = ("annotation", "tma core", "tmacore", "tile", "root", "pathannotationobject", "pathrootobject")
_SAME_PLACE = 2.0  # pixels between a centroid in the table and that of its polygon
_ROUNDED = 0.002  # of a coordinate, by which pixel sizes of image and table may differ
_SHARE = 0.05  # of the cells that may be elsewhere
_SAME_RATIO = 0.02


@dataclass(frozen=True)
class QuPathTable:
    """Cells of a measurement table.

    Attributes
    ----------
    cells
        One row per cell; names of columns have one kind of µ.
    image, object_id, classification
        Columns of these; None where there are none.
    unit
        Of the centroids, ``"µm"`` or ``"px"``.
    source
        For messages.
    """

    cells: pd.DataFrame
    image: str | None
    object_id: str | None
    classification: str | None
    unit: str
    source: str


def read_qupath_table(path: Path) -> QuPathTable:
    """A file, or all of a folder, of which each is of one image or of several.

    Raises
    ------
    InputFileError
        If there is no table, or it has no centroids.
    """
    files = [path]
    if path.is_dir():
        files = sorted(
            (one for one in path.iterdir() if one.suffix.lower() in TABLE_SUFFIXES and not one.name.startswith(".")),
            key=lambda one: natural_key(one.name),
        )
        if not files:
            raise InputFileError(f"Folder '{path}' has no table ({', '.join(TABLE_SUFFIXES)}). Pass that of QuPath.")
    frames = []
    for file in files:
        frame = read_table(file, ["Image", "Object ID", "Classification", "Class", "Name", "Parent"])
        frame.columns = [plain(str(name)) for name in frame.columns]
        frames.append(frame if "Image" in frame else frame.assign(Image=file.stem) if path.is_dir() else frame)
    frame = pd.concat(frames, ignore_index=True)
    source = f"'{path}'"
    frame = _only_cells(frame, source)
    unit = next((u for u in ("µm", "px") if {f"Centroid X {u}", f"Centroid Y {u}"} <= set(frame)), None)
    if unit is None:
        raise InputFileError(
            f"{source} has no columns 'Centroid X µm' and 'Centroid Y µm' (or px); it has {listed(frame.columns, 12)}. "
            "Export the measurements of cells from QuPath with their centroids."
        )
    if not len(frame):
        raise TableError(f"{source} has no cell. Export the measurements of detections from QuPath.")
    there = [name if name in frame else None for name in ("Image", "Object ID")]
    classes = next((name for name in ("Classification", "Class") if name in frame and frame[name].notna().any()), None)
    return QuPathTable(frame, *there, classes, unit, source)


def _only_cells(frame: pd.DataFrame, source: str) -> pd.DataFrame:
    """Without annotations and other objects, which one export may hold as well."""
    kind = frame.get("Object type", frame.get("Name"))
    if kind is None:
        return frame
    other = kind.astype(str).str.lower().isin(_OTHER_OBJECTS).to_numpy()
    if other.any():
        logger.info(f"{source}: {counted(int(other.sum()), 'row')} of annotations and other objects are left out")
    return frame[~other].reset_index(drop=True)


def frame_of_table(
    sample: str,
    part: pd.DataFrame,
    table: QuPathTable,
    mpp: float | None,
    outlines: CellPolygons | None,
    compartment: str | None,
    statistic: str,
) -> CellFrame:
    """Cells of one sample.

    Parameters
    ----------
    part
        Its rows of the table, as `cells_of_image` gives them.
    mpp
        µm per pixel, for centroids in pixels.
    outlines
        Polygon of each row, whose ids cells take; the row and the outline of a cell have one place.

    Raises
    ------
    TableError
        If columns are not numbers, there are no such intensities, or outlines are elsewhere.
    """
    chosen = chosen_intensities(part.columns, compartment, statistic, table.source)
    xy = _centroids(part, table)
    xy = xy * (mpp or 1.0) if table.unit == "px" else xy
    ids = np.arange(1, len(part) + 1)
    if outlines is not None:
        ids = outlines.cells.index.to_numpy()
        _check_places(xy, outlines, mpp or 1.0)
    used = [name for name in ("Image", table.classification, table.object_id, "Object type") if name in part]
    obs = part.drop(columns=[*used, *chosen.values(), f"Centroid X {table.unit}", f"Centroid Y {table.unit}"])
    obs = obs.drop(columns=[name for name in obs if obs[name].isna().all()])
    if table.object_id is not None:
        obs.insert(0, "object_id", part[table.object_id])
    if table.classification is not None:
        obs.insert(0, "phenotype", part[table.classification])
    values = pd.DataFrame(number_columns(part, list(chosen.values()), table.source), columns=list(chosen))
    return CellFrame(sample, ids, xy, values, obs)


def cells_of_image(table: QuPathTable, rows: np.ndarray) -> pd.DataFrame:
    """Cells of one image.

    Raises
    ------
    TableError
        If some are there twice, as of two exports of one image in a folder.
    """
    part = table.cells.iloc[rows].reset_index(drop=True)
    has_ids = table.object_id is not None and bool(part[table.object_id].notna().all())
    again = part.duplicated([table.object_id] if has_ids else None)
    if not again.any():
        return part
    n = int(again.sum())
    what = f"{counted(n, 'row')} of {table.source} {'is' if n == 1 else 'are'} there twice"
    if has_ids:
        ids = part[table.object_id][again].unique()
        what = f"{counted(len(ids), 'id occurs', 'ids occur')} more than once in {table.source}: {listed(ids, 3)}"
    raise TableError(f"{what}. Are there two exports of one image? Keep one, with each object once.")


def outlines_of(part: pd.DataFrame, table: QuPathTable, polygons: CellPolygons) -> CellPolygons:
    """The polygon of each row, in the order of the rows.

    Raises
    ------
    TableError
        If the table has no ids, or one has no polygon.
    """
    if table.object_id is None or part[table.object_id].isna().any():
        raise TableError(
            f"{table.source} has no 'Object ID' by which rows and polygons find each other. Export "
            "it with QuPath 0.4 or later, or read the polygons alone with sfm.io.read_geojson."
        )
    own = part[table.object_id].astype(str)
    cells = polygons.cells
    texts = cells["object_id"] if "object_id" in cells else cells.index.astype(str)
    index = pd.Series(cells.index.to_numpy(), index=pd.Index(texts))
    if len(absent := own[~own.isin(index.index)]):
        raise TableError(
            f"{counted(len(absent), 'cell')} of {len(own):,} of {table.source} have no polygon in "
            f"{polygons.source}: {listed(absent, 3)}. Export both again from the same objects."
        )
    ids = index[own].to_numpy()
    return replace(polygons, cells=cells.loc[ids], measurements=polygons.measurements.loc[ids])


def stated_size(part: pd.DataFrame, table: QuPathTable, outlines: CellPolygons) -> float | None:
    """µm per pixel as centroids in µm and outlines in pixels have it; None where they do not tell."""
    ratio = ratio_of(_centroids(part, table), outlines.centres) if table.unit == "µm" else None
    return None if ratio is None else float(f"{ratio:.4g}")


def _centroids(part: pd.DataFrame, table: QuPathTable) -> np.ndarray:
    """In the table's unit."""
    return number_columns(part, [f"Centroid {axis} {table.unit}" for axis in "XY"], table.source)


def _check_places(xy: np.ndarray, outlines: CellPolygons, mpp: float) -> None:
    there = outlines.centres
    away = np.abs(xy / mpp - there).max(axis=1)
    far = away > _SAME_PLACE + _ROUNDED * np.abs(there).max(axis=1)
    if far.mean() <= _SHARE:
        return
    ratio = ratio_of(xy, there)
    hint = f" By them a pixel is {ratio:.4g} µm; here it is {mpp:g} µm." if ratio is not None else ""
    raise TableError(
        f"{counted(int(far.sum()), 'cell')} of {len(xy):,} have their centroid "
        f"elsewhere than their polygon in {outlines.source} (median {np.median(away):.1f} pixels away).{hint} Are "
        "they of another image, or centroids in pixels said to be µm? Correct mpp=, or export both again."
    )


def ratio_of(xy: np.ndarray, pixels: np.ndarray) -> float | None:
    """µm per pixel by the positions of the same cells in both; None where they have no one ratio."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = (xy / pixels)[(np.abs(pixels) > 10).all(axis=1)]
    if not ratios.size or not np.isfinite(ratios).all():
        return None
    median = float(np.median(ratios))
    return median if median > 0 and (np.abs(ratios / median - 1) < _SAME_RATIO).mean() > 0.95 else None
