"""Cells that are drawn instead of painted: polygons, circles and points as a lazy label image on an image's pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from .._coordinates import coordinates
from .._errors import CoordinateError, ElementError, TableError, counted, listed
from .._keys import SAMPLE_KEY
from .arrays import drawn_kind, image_array
from .joins import text_keys

if TYPE_CHECKING:
    import dask.array as da
    import xarray as xr
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from .elements import SampleElements

Kind = Literal["polygons", "circles", "points"]
BLOCK = 1024  # pixels on a side that are filled together


@dataclass(frozen=True, eq=False)
class DrawnCells:
    """Cells of one sample, in pixels of its image: pixel ``i`` covers ``[i, i + 1)``.

    Attributes
    ----------
    name, kind
        Element, and what it holds.
    ids
        ``(n,)`` how the element names its cells: numbers or text.
    numbers
        ``(n,)`` the same as label numbers: the ids where these are whole numbers above 0, otherwise 1, 2, ... in the
        order of the element.
    shape
        Height and width of the image.
    centers
        ``(n, 2)`` y and x of the centroid; NaN where there is nothing.
    boxes
        ``(n, 4)`` y0, y1, x0, x1 of the pixels whose centres may be inside; they may leave the image.
    parts
        What `fill_kernels` takes of this kind.
    """

    name: str
    kind: Kind
    ids: NDArray[Any]
    numbers: NDArray[np.int64]
    shape: tuple[int, int]
    centers: NDArray[np.float64]
    boxes: NDArray[np.int64]
    parts: dict[str, NDArray[Any]] = field(repr=False)

    @property
    def empty(self) -> NDArray[np.bool_]:
        """Cells without outline, ``(n,)``."""
        return ~np.isfinite(self.centers).all(axis=1)

    @property
    def outside(self) -> NDArray[np.bool_]:
        """Cells of which nothing is in the image, ``(n,)``."""
        y0, y1, x0, x1 = self.boxes.T
        height, width = self.shape
        return ~self.empty & ((y0 >= height) | (x0 >= width) | (y1 <= 0) | (x1 <= 0))

    @property
    def renamed(self) -> bool:
        """Whether numbers are others than the ids."""
        return self.ids.dtype.kind not in "iu" or not np.array_equal(self.ids, self.numbers)

    @property
    def numbering(self) -> str:
        """How numbers follow from ids, for records."""
        return "1, 2, ... in the order of the element" if self.renamed else "its index"

    def ids_of(self, numbers: NDArray[np.int64]) -> NDArray[Any]:
        """Ids of the cells of these numbers."""
        return self.ids[self._places(numbers)]

    def centers_of(self, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        """Centroids y, x of the cells of these numbers."""
        return self.centers[self._places(numbers)]

    def _places(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        order = np.argsort(self.numbers, kind="stable")
        return order[np.searchsorted(self.numbers[order], numbers)]

    def block(self, y0: int, y1: int, x0: int, x1: int) -> NDArray[np.int64]:
        """Numbers of the cells below a window of the image's pixels."""
        out, _ = self._filled(y0, y1, x0, x1)
        return out

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Pixels of the image in each cell, those that an earlier cell keeps among them, ``(n,)``."""
        height, width = self.shape
        total = np.zeros(len(self.numbers), np.int64)
        for y0 in range(0, height, BLOCK):
            for x0 in range(0, width, BLOCK):
                _, (cells, counts) = self._filled(y0, min(y0 + BLOCK, height), x0, min(x0 + BLOCK, width))
                total[cells] += counts
        return total

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that decides the pixels."""
        digest = hashlib.sha256(f"{self.kind} {self.shape}".encode())
        for values in (self.numbers, self.boxes, *(self.parts[name] for name in sorted(self.parts))):
            digest.update(np.ascontiguousarray(values).data.cast("B") if values.size else b"")
        return digest.hexdigest()

    def lazy(self) -> da.Array:
        """Label image ``(y, x)``; each block is filled when it is asked for."""
        import dask.array as da

        height, width = self.shape
        chunks = da.core.normalize_chunks((min(BLOCK, height), min(BLOCK, width)), shape=self.shape)
        dtype = np.dtype(np.int32 if self.numbers.max(initial=0) < 2**31 else np.int64)
        return da.map_blocks(
            _fill, drawn=self, chunks=chunks, dtype=dtype, meta=np.empty((0, 0), dtype), name=f"drawn-{self.digest}"
        )

    def _filled(
        self, y0: int, y1: int, x0: int, x1: int
    ) -> tuple[NDArray[np.int64], tuple[NDArray[np.int64], NDArray[np.int64]]]:
        from . import fill_kernels

        top, bottom, left, right = self.boxes.T
        cells = np.flatnonzero((top < y1) & (bottom > y0) & (left < x1) & (right > x0) & ~self.empty)
        out = np.zeros((y1 - y0, x1 - x0), np.int64)
        fill = {"polygons": "fill_outlines", "circles": "fill_discs", "points": "fill_points"}[self.kind]
        names = {"polygons": ("ring_of", "ring_start", "xy"), "circles": ("xy", "to_disc", "radii"), "points": ()}
        arrays = [self.parts[name] for name in names[self.kind]]
        return out, (cells, getattr(fill_kernels, fill)(out, y0, x0, cells, self.numbers, self.boxes, *arrays))


def _fill(drawn: DrawnCells, block_info: Any = None) -> NDArray[Any]:
    """One block of a dask array."""
    if not block_info:  # dask asks what a block is like
        return np.zeros((0, 0), np.int64)
    (y0, y1), (x0, x1) = block_info[None]["array-location"]
    return drawn.block(y0, y1, x0, x1).astype(block_info[None]["dtype"], copy=False)


def drawn_cells(sdata: SpatialData, pair: SampleElements) -> DrawnCells | None:
    """Cells of a sample on the pixels of its image; None where they are a label image.

    Raises
    ------
    ElementError, CoordinateError
        If ids come twice, or geometries are lines.
    """
    name = pair.labels
    if name is None or (kind := drawn_kind(sdata, name)) is None:
        return None
    if kind == "table":
        ids, xy = _rows_of_table(sdata, pair)
        return _of_points(name, ids, xy, _to_pixels(sdata, pair, None), _shape(sdata, pair))
    if kind == "points":
        frame = sdata.points[name][["x", "y"]].compute()
        matrix = _to_pixels(sdata, pair, sdata.points[name])
        return _of_points(name, checked_ids(frame.index, name), frame.to_numpy(np.float64), matrix, _shape(sdata, pair))
    frame = sdata.shapes[name]
    ids, matrix, shape = checked_ids(frame.index, name), _to_pixels(sdata, pair, frame), _shape(sdata, pair)
    if "radius" in frame:
        return _of_circles(name, ids, frame, matrix, shape)
    return _of_polygons(name, ids, frame.geometry.to_numpy(), matrix, shape)


def numbers_of(ids: NDArray[Any]) -> NDArray[np.int64]:
    """Numbers in the label image of ids, see `DrawnCells`.

    Examples
    --------
    >>> numbers_of(np.array([7, 3])), numbers_of(np.array(["aaab-1", "aaac-1"])), numbers_of(np.array([0, 1]))
    (array([7, 3]), array([1, 2]), array([1, 2]))
    """
    if ids.dtype.kind in "iu" and ids.size and int(ids.min()) > 0 and int(ids.max()) < 2**63:
        return ids.astype(np.int64)
    return np.arange(1, len(ids) + 1)


def numbers_of_rows(sdata: SpatialData, name: str, values: pd.Series, what: str) -> NDArray[np.int64]:
    """Number of the cell that each value of a column names, -1 where the element has none; 7, 7.0 and "7" are one id.

    Raises
    ------
    TableError
        If the column holds neither text nor whole numbers.
    """
    index = sdata.points[name].index.compute() if name in sdata.points else sdata.shapes[name].index
    return numbers_of_ids(checked_ids(index, name), name, values, what)


def numbers_of_ids(ids: NDArray[Any], name: str, values: pd.Series, what: str) -> NDArray[np.int64]:
    """The same of ids that are known."""
    known, _ = text_keys(pd.Series(ids), f"index of {name!r}", TableError)
    asked, _ = text_keys(values.reset_index(drop=True), what, TableError)
    numbers = pd.Series(numbers_of(ids), index=known.to_numpy()).reindex(asked.to_numpy())
    return numbers.fillna(-1).to_numpy(np.int64)


def checked_ids(index: pd.Index, name: str) -> NDArray[Any]:
    """Ids of an element's cells, each once.

    Raises
    ------
    ElementError
        If an id comes twice.
    """
    if index.has_duplicates:
        twice = index[index.duplicated()].unique()
        raise ElementError(
            f"Element {name!r} names {counted(len(twice), 'cell')} twice in its index: {listed(twice, 5)}. Give each "
            f"its own: sdata[{name!r}].index = [...], in the table that annotates it too."
        )
    values = index.to_numpy()
    return values if values.dtype.kind in "iu" else values.astype(str).astype(object)


def cells_data(sdata: SpatialData, pair: SampleElements) -> Any:
    """Label image ``(y, x)`` of a sample's cells, lazily: labels as they are, drawn cells on the image's pixels."""
    from .arrays import labels_array

    drawn = drawn_cells(sdata, pair)
    return labels_array(sdata, str(pair.labels)).data if drawn is None else drawn.lazy()


def cells_array(sdata: SpatialData, pair: SampleElements) -> xr.DataArray:
    """The same with its axes."""
    import xarray as xr

    return xr.DataArray(cells_data(sdata, pair), dims=("y", "x"))


def _shape(sdata: SpatialData, pair: SampleElements) -> tuple[int, int]:
    height, width = image_array(sdata, pair.image).shape[1:]
    return int(height), int(width)


def _to_pixels(sdata: SpatialData, pair: SampleElements, element: Any) -> NDArray[np.float64]:
    """``(3, 3)`` from x, y of an element (None: of the coordinate system) to x, y in pixels of the image."""
    from spatialdata.transformations import get_transformation

    from .elements import image_to_system

    affine = image_to_system(sdata, pair)
    of_image = np.array([[affine.scale_x, 0, affine.offset_x], [0, affine.scale_y, affine.offset_y], [0, 0, 1.0]])
    if element is None:
        return np.linalg.inv(of_image)
    transformations = get_transformation(element, get_all=True)
    matrix = transformations[pair.coordinate_system].to_affine_matrix(("x", "y"), ("x", "y"))
    if abs(np.linalg.det(matrix[:2, :2])) < 1e-12:
        raise CoordinateError(
            f"Element {pair.labels!r} is flattened by its transformation to {pair.coordinate_system!r}. Correct it "
            "with spatialdata.transformations.set_transformation(...)."
        )
    return np.linalg.inv(of_image) @ matrix


def _moved(xy: NDArray[np.float64], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.ascontiguousarray(xy @ matrix[:2, :2].T + matrix[:2, 2])


def _boxes(low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.int64]:
    """Pixels whose centres are between two corners x, y; none for NaN."""
    low, high = (np.nan_to_num(np.clip(part, -(2**40), 2**40)) for part in (low, high))
    first, last = np.ceil(low - 0.5).astype(np.int64), np.floor(high - 0.5).astype(np.int64) + 1
    return np.ascontiguousarray(np.stack([first[:, 1], last[:, 1], first[:, 0], last[:, 0]], axis=1))


def _of_points(
    name: str, ids: NDArray[Any], xy: NDArray[np.float64], matrix: NDArray[np.float64], shape: tuple[int, int]
) -> DrawnCells:
    xy = _moved(xy[:, :2], matrix)
    pixel = np.nan_to_num(np.floor(np.clip(xy + 1e-6, -(2**40), 2**40))).astype(np.int64)
    boxes = np.ascontiguousarray(np.stack([pixel[:, 1], pixel[:, 1] + 1, pixel[:, 0], pixel[:, 0] + 1], axis=1))
    return DrawnCells(name, "points", ids, numbers_of(ids), shape, xy[:, ::-1].copy(), boxes, {"xy": xy})


def _of_circles(
    name: str, ids: NDArray[Any], frame: Any, matrix: NDArray[np.float64], shape: tuple[int, int]
) -> DrawnCells:
    import shapely

    geometry, radii = frame.geometry.to_numpy(), frame["radius"].to_numpy(np.float64)
    known = ~(shapely.is_missing(geometry) | shapely.is_empty(geometry)) & np.isfinite(radii) & (radii > 0)
    own = np.full((len(ids), 2), np.nan)
    own[known] = shapely.get_coordinates(geometry[known])
    xy = _moved(own, matrix)
    reach = radii[:, None] * np.hypot(matrix[:2, 0], matrix[:2, 1])  # of the ellipse along x and y
    parts = {"xy": xy, "to_disc": np.linalg.inv(matrix[:2, :2]), "radii": np.nan_to_num(radii)}
    return DrawnCells(
        name, "circles", ids, numbers_of(ids), shape, xy[:, ::-1].copy(), _boxes(xy - reach, xy + reach), parts
    )


def _of_polygons(
    name: str, ids: NDArray[Any], geometry: NDArray[Any], matrix: NDArray[np.float64], shape: tuple[int, int]
) -> DrawnCells:
    import shapely

    areas = np.isin(shapely.get_type_id(geometry), (-1, 3, 6))  # none, polygons, several polygons
    if not areas.all():
        kinds = sorted({one.geom_type for one in geometry[~areas]})
        raise ElementError(
            f"Shapes {name!r} hold {counted(int((~areas).sum()), 'geometry', 'geometries')} that enclose no area "
            f"({', '.join(kinds)}): {listed(ids[~areas], 5)}. Cells are polygons, or points with a radius."
        )
    polygons, cell_of = shapely.get_parts(geometry, return_index=True)
    rings, polygon_of = shapely.get_rings(polygons, return_index=True)
    xy, ring_of_point = shapely.get_coordinates(rings, return_index=True)
    cell_of_ring = cell_of[polygon_of] if len(polygon_of) else np.empty(0, np.int64)
    places = np.arange(len(ids) + 1)
    ring_of = np.searchsorted(cell_of_ring, places).astype(np.int64)
    ring_start = np.searchsorted(ring_of_point, np.arange(len(rings) + 1)).astype(np.int64)
    xy = _moved(xy, matrix)
    first_point = ring_start[ring_of]
    low, high = np.full((len(ids), 2), np.nan), np.full((len(ids), 2), np.nan)
    filled = np.flatnonzero(np.diff(first_point))
    if filled.size:
        starts = first_point[:-1][filled]
        low[filled], high[filled] = np.minimum.reduceat(xy, starts), np.maximum.reduceat(xy, starts)
    centers = _moved(shapely.get_coordinates(_centroids(geometry)), matrix)[:, ::-1].copy()
    centers[np.isnan(low[:, 0])] = np.nan
    parts = {"ring_of": ring_of, "ring_start": ring_start, "xy": xy}
    return DrawnCells(name, "polygons", ids, numbers_of(ids), shape, centers, _boxes(low, high), parts)


def _centroids(geometry: NDArray[Any]) -> NDArray[Any]:
    import shapely

    points = shapely.centroid(geometry)
    nowhere = shapely.is_missing(points) | shapely.is_empty(points)
    return np.where(nowhere, shapely.Point(np.nan, np.nan), points)


def _rows_of_table(sdata: SpatialData, pair: SampleElements) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Place from 1 on and position of the rows of a table that annotates no element."""
    table = sdata.tables[pair.labels]
    xy = coordinates(table, finite=False)[:, :2]
    ids = np.arange(1, table.n_obs + 1)
    mine = rows_of_sample(table.obs, pair.sample)
    return ids[mine], xy[mine]


def rows_of_sample(obs: pd.DataFrame, sample: str) -> NDArray[np.int64]:
    """Rows of a sample; all where no column names samples."""
    if SAMPLE_KEY not in obs:
        return np.arange(len(obs))
    return np.flatnonzero(obs[SAMPLE_KEY].astype(str).to_numpy() == sample)


def ids_text(drawn: DrawnCells, numbers: Sequence[int] | NDArray[np.int64], limit: int = 5) -> str:
    """Ids of numbers, for a message."""
    return listed(drawn.ids_of(np.asarray(numbers, np.int64)), limit, quoted=drawn.ids.dtype == object)
