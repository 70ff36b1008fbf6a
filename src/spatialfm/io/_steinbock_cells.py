"""Cells as steinbock measured them: intensities, properties of regions, and the graph of neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from .._errors import InputFileError, TableError, counted, listed, warn
from .._keys import INSTANCE_KEY, SAMPLE_KEY
from ..pp.joins import whole_numbers
from ..pp.tables import read_table
from ._cell_frame import CellFrame, missing_ids
from ._cohort_table import refuse_all

if TYPE_CHECKING:
    import dask.array as da

    from ._steinbock_folder import SteinbockSample

# as skimage.measure.regionprops calls them, in pixels
_LENGTHS = frozenset(
    ["perimeter", "perimeter_crofton", "axis_major_length", "axis_minor_length", "major_axis_length"]
    + ["minor_axis_length", "equivalent_diameter", "equivalent_diameter_area", "feret_diameter_max"]
)
_AREAS = frozenset(["area", "area_bbox", "area_convex", "area_filled", "bbox_area", "convex_area", "filled_area"])
_CENTROID = ["centroid-0", "centroid-1"]  # y, x: index of the pixel, whose centre is half a pixel further
_SAME_PLACE = 0.5  # pixels


def read_cell_frame(
    sample: SteinbockSample,
    names: dict[str, str],
    labels: da.Array | None,
    mpp: float,
    intensities: Path,
    regionprops: Path | None,
) -> tuple[CellFrame, np.ndarray]:
    """Cells of one sample, and the ids of those in the mask that were not measured.

    Parameters
    ----------
    names
        Name of each channel by its name in the panel, which heads its column.
    labels
        The mask, which is read once for ids and positions; without it, positions are those of `regionprops`.
    mpp
        µm per pixel, which brings positions, lengths and areas to µm and µm².
    intensities, regionprops
        Folders.

    Raises
    ------
    TableError
        If tables and mask are not of the same cells.
    """
    ids, values = _read_objects(intensities / sample.table_name)
    if foreign := [column for column in values if column not in names]:
        raise TableError(
            f"'{intensities / sample.table_name}' has columns that are not in the panel: {listed(foreign)}. It was "
            "measured with another one; measure again."
        )
    props = pd.DataFrame(index=range(len(ids)))
    if regionprops is not None:
        props = _matching_props(regionprops / sample.table_name, ids)
    places = props[_CENTROID].to_numpy(dtype=float) if set(_CENTROID) <= set(props) else None
    unmeasured = np.empty(0, np.int64)
    if labels is not None:
        places, unmeasured = _places_in_mask(sample, ids, places, np.asarray(labels.compute()))
    if places is None:
        raise TableError(
            f"The cells of sample {sample.sample!r} have no position: there is no mask, and no column {_CENTROID[0]!r} "
            "of region properties. Pass regionprops=True, or put the masks there."
        )
    obs = props.drop(columns=[column for column in _CENTROID if column in props])
    scale = {name: mpp if name in _LENGTHS else mpp**2 for name in obs if name in _LENGTHS | _AREAS}
    obs = obs.assign(**{name: obs[name] * factor for name, factor in scale.items()})
    frame = CellFrame(sample.sample, ids, (places[:, ::-1] + 0.5) * mpp, values.rename(columns=names), obs)
    return frame, unmeasured


def _read_objects(path: Path) -> tuple[np.ndarray, pd.DataFrame]:
    """Ids and columns of a table of objects."""
    if not path.is_file():
        raise InputFileError(f"No table '{path}' of the cells of this image. Measure it, or remove the image.")
    frame = read_table(path)
    if "Object" not in frame:
        raise InputFileError(f"'{path}' has no column 'Object'; it has {listed(frame.columns)}.")
    if not len(frame):
        return np.empty(0, np.int64), frame.drop(columns="Object").astype(float)
    ids = whole_numbers(frame["Object"], f"'Object' of '{path}'", "Correct them.")
    values, repeats = np.unique(ids, return_counts=True)
    if (twice := values[repeats > 1]).size:
        raise TableError(
            f"'{path}' has {counted(twice.size, 'id', 'ids')} more than once: {listed(twice, quoted=False)}. "
            "Ids of cells are unique in an image; measure again."
        )
    frame = frame.drop(columns="Object")
    if text := [name for name in frame if not pd.api.types.is_numeric_dtype(frame[name])]:
        raise TableError(f"'{path}' has columns that are not numbers: {listed(text)}. Correct or remove them.")
    return ids, frame


def _matching_props(path: Path, ids: np.ndarray) -> pd.DataFrame:
    """Region properties in the order of `ids`."""
    own, props = _read_objects(path)
    if set(own) != set(ids):
        apart = np.setxor1d(own, ids)
        raise TableError(
            f"'{path}' and the intensities are not of the same cells: {counted(apart.size, 'id')} in one of them "
            f"only ({listed(apart, 5, quoted=False)}). Measure both with the same masks."
        )
    return props.set_axis(own, axis=0).loc[ids].reset_index(drop=True)


def _places_in_mask(
    sample: SteinbockSample, ids: np.ndarray, places: np.ndarray | None, mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Centroids ``(n, 2)`` of cells in the mask, y and x as indices of pixels, and ids that the table lacks.

    Refused where the table has other centroids.
    """
    in_mask, codes = np.unique(mask, return_inverse=True)
    codes = codes.reshape(mask.shape)
    area = np.bincount(codes.ravel(), minlength=in_mask.size)
    y = np.bincount(codes.ravel(), np.repeat(np.arange(mask.shape[0]), mask.shape[1]), minlength=in_mask.size) / area
    x = np.bincount(codes.ravel(), np.tile(np.arange(mask.shape[1]), mask.shape[0]), minlength=in_mask.size) / area
    frame = CellFrame(sample.sample, ids, np.empty((0, 2)), pd.DataFrame(), pd.DataFrame())
    if text := missing_ids(frame, in_mask):
        raise TableError(f"{text}. The tables were measured with other masks than '{sample.mask}'; measure again.")
    centroids = np.stack([y, x], axis=1)[np.searchsorted(in_mask, ids)]
    if places is not None and (moved := np.abs(centroids - places).max(axis=1) > _SAME_PLACE).any():
        i = int(np.argmax(moved))
        raise TableError(
            f"sample {sample.sample!r}: {counted(int(moved.sum()), 'cell')} of {ids.size:,} have another centroid in "
            f"the region properties than in '{sample.mask}' (cell {ids[i]}: {places[i, 1]:.1f}, {places[i, 0]:.1f} and "
            f"{centroids[i, 1]:.1f}, {centroids[i, 0]:.1f}, x and y). They were measured with other masks; measure "
            "again."
        )
    return centroids, np.setdiff1d(in_mask[in_mask > 0], ids)


def warn_of_unmeasured(unmeasured: dict[str, np.ndarray]) -> None:
    """One warning for the cells of all samples that masks have and tables lack."""
    lacking = {sample: ids for sample, ids in unmeasured.items() if ids.size}
    if lacking:
        n = sum(ids.size for ids in lacking.values())
        shown = [f"{sample}: {listed(ids, 5, quoted=False)}" for sample, ids in lacking.items()]
        warn(
            f"{counted(n, 'cell has', 'cells have')} pixels in a mask and no row in the intensities, and so none in "
            f"the table of cells: {'; '.join(shown[:3])}{' ...' if len(shown) > 3 else ''}."
        )


def graph_of(samples: Sequence[SteinbockSample], folder: Path, cells: pd.DataFrame, mpp: dict[str, float]) -> dict:
    """Neighbours of all samples: matrices ``(n, n)`` by their keys in `obsp`, in the order of `cells`.

    A row of the files is an edge from ``Object`` to ``Neighbor``. Distances are in µm; there are none where steinbock
    wrote none, as for neighbours by expansion of pixels.

    Raises
    ------
    TableError
        With all that is wrong: cells that are not in the table, edges that occur twice, distances that are negative,
        infinite or text.
    """
    rows = {
        str(sample): pd.Series(np.flatnonzero(mine), cells[INSTANCE_KEY].to_numpy()[mine])
        for sample in pd.unique(cells[SAMPLE_KEY])
        for mine in [(cells[SAMPLE_KEY] == sample).to_numpy()]
    }
    parts, problems = [], []
    for sample in samples:
        if sample.sample not in rows:
            continue
        row_of = rows[sample.sample]
        path = folder / sample.table_name
        if row_of.size < 2 and not path.is_file():  # steinbock writes none where there are no two cells
            continue
        frame = _read_edges(path)
        unknown = np.setdiff1d(frame[["Object", "Neighbor"]].to_numpy(), row_of.index)
        if unknown.size:
            problems.append(
                f"sample {sample.sample!r}: neighbours name {counted(unknown.size, 'cell')} that the table lacks: "
                f"{listed(unknown, 5, quoted=False)}"
            )
            continue
        if frame.duplicated(["Object", "Neighbor"]).any():
            problems.append(f"sample {sample.sample!r}: an edge occurs twice in its table of neighbours")
        if (frame["Object"] == frame["Neighbor"]).any():
            problems.append(f"sample {sample.sample!r}: a cell is its own neighbour")
        from_to = [row_of.loc[frame[column]].to_numpy() for column in ("Object", "Neighbor")]
        parts.append((*from_to, frame["Distance"].to_numpy(dtype=float) * mpp[sample.sample]))
    refuse_all(problems, TableError)
    start, end, distance = (np.concatenate(one) for one in zip(*parts, strict=True)) if parts else [np.empty(0)] * 3
    shape = (len(cells), len(cells))
    matrices = {"spatial_connectivities": sparse.csr_matrix((np.ones(start.size), (start, end)), shape=shape)}
    if np.isfinite(distance).all():
        matrices["spatial_distances"] = sparse.csr_matrix((distance, (start, end)), shape=shape)
    elif not np.isnan(distance).all():
        raise TableError(f"Some distances in '{folder}' are missing and others are not. Measure neighbours again.")
    return matrices


def _read_edges(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise InputFileError(f"No table '{path}' of the neighbours in this image. Measure them again.")
    frame = read_table(path)
    if lacking := [name for name in ("Object", "Neighbor", "Distance") if name not in frame]:
        raise InputFileError(f"'{path}' has no column {lacking[0]!r}; it has {listed(frame.columns)}.")
    if len(frame):
        for name in ("Object", "Neighbor"):
            frame[name] = whole_numbers(frame[name], f"{name!r} of '{path}'", "Correct them.")
    distance = pd.to_numeric(frame["Distance"], errors="coerce")
    wrong = (distance.isna() & frame["Distance"].notna()) | (distance < 0) | np.isinf(distance)
    if wrong.any():
        raise TableError(
            f"'{path}' has distances that are negative, infinite or text: {listed(frame['Distance'][wrong], 3)}. "
            "Measure neighbours again."
        )
    return frame.assign(Distance=distance)


def add_graph(adata: AnnData, matrices: dict[str, sparse.csr_matrix], folder: str) -> None:
    """The graph where squidpy looks for one."""
    for key, matrix in matrices.items():
        adata.obsp[key] = matrix
    keys = {f"{key.removeprefix('spatial_')}_key": key for key in matrices}
    adata.uns["spatial_neighbors"] = {**keys, "params": {"source": f"steinbock: {folder}"}}
