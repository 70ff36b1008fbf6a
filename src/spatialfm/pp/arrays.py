"""Raster elements of a SpatialData as lazy arrays, and the map between two pixel grids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from .._errors import CoordinateError, ElementError, listed
from .._keys import SPATIAL, TABLE

if TYPE_CHECKING:
    import dask.array as da
    import xarray as xr
    from spatialdata import SpatialData


@dataclass(frozen=True)
class AxisAffine:
    """``target = scale * source + offset`` on each axis: the only relation between two pixel grids of one slide."""

    scale_y: float = 1.0
    scale_x: float = 1.0
    offset_y: float = 0.0
    offset_x: float = 0.0

    def __call__(self, y, x):
        """Map source coordinates to target coordinates."""
        return self.scale_y * y + self.offset_y, self.scale_x * x + self.offset_x

    def inverse(self) -> AxisAffine:
        """The map from target to source."""
        return AxisAffine(
            1 / self.scale_y, 1 / self.scale_x, -self.offset_y / self.scale_y, -self.offset_x / self.scale_x
        )

    def then(self, other: AxisAffine) -> AxisAffine:
        """First this map, then `other`."""
        offset_y, offset_x = other(self.offset_y, self.offset_x)
        return AxisAffine(other.scale_y * self.scale_y, other.scale_x * self.scale_x, offset_y, offset_x)

    @property
    def is_identity(self) -> bool:
        """Whether the two grids coincide (to a thousandth of a pixel over 10,000 pixels)."""
        return bool(
            np.allclose([self.scale_y, self.scale_x], 1, rtol=0, atol=1e-7)
            and np.allclose([self.offset_y, self.offset_x], 0, atol=1e-3)
        )


def full_resolution(element) -> xr.DataArray:
    """The largest level of a raster element, lazily."""
    from xarray import DataArray

    if isinstance(element, DataArray):
        return element
    scale = element["scale0"]  # a multiscale element is a DataTree with one image a level
    return next(iter(scale.ds.values())).rename(None)


def image_array(sdata: SpatialData, name: str) -> xr.DataArray:
    """Full-resolution image ``(c, y, x)``, lazily."""
    if name not in sdata.images:
        raise ElementError(
            f"No image element {name!r} in sdata{_elsewhere(sdata, name)}; found {listed(sdata.images)}. "
            "Pass image=<name>."
        )
    return _flat(_uncut(full_resolution(sdata.images[name]), name), name, "image").transpose("c", "y", "x")


def labels_array(sdata: SpatialData, name: str) -> xr.DataArray:
    """Full-resolution label image ``(y, x)``, lazily."""
    if name not in sdata.labels:
        raise ElementError(
            f"No labels element {name!r} in sdata{_elsewhere(sdata, name)}; found {listed(sdata.labels)}. "
            "Pass labels=<name>."
        )
    return _flat(_uncut(full_resolution(sdata.labels[name]), name), name, "labels").transpose("y", "x")


def labels_at(labels: da.Array, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Label of each pixel ``(y, x)`` in whole numbers, int64; -1 outside of the label image."""
    inside = (y >= 0) & (x >= 0) & (y < labels.shape[0]) & (x < labels.shape[1])
    there = np.full(len(y), -1, dtype=np.int64)
    if inside.any():
        there[inside] = np.asarray(labels.vindex[y[inside], x[inside]].compute())
    return there


def drawn_kind(sdata: SpatialData, name: str) -> Literal["shapes", "points", "table"] | None:
    """What draws the cells of this name, where no label image does: shapes, points, or the positions in a table."""
    if name in sdata.shapes:
        return "shapes"
    if name in sdata.points:
        return "points"
    return "table" if name in sdata.tables else None


def cells_element(sdata: SpatialData, name: str) -> object | None:
    """The element that holds the cells of this name; None for a table, whose positions are in no element.

    Raises
    ------
    ElementError
        If there is none.
    """
    for elements in (sdata.labels, sdata.shapes, sdata.points):
        if name in elements:
            return elements[name]
    if name not in sdata.tables:
        drawn = (
            f", and shapes and points {listed([*sdata.shapes, *sdata.points])}" if sdata.shapes or sdata.points else ""
        )
        raise ElementError(
            f"No labels element {name!r} in sdata{_elsewhere(sdata, name)}; found {listed(sdata.labels)}{drawn}. "
            "Pass labels=<name>."
        )
    if SPATIAL not in sdata.tables[name].obsm:
        raise ElementError(f"Table {name!r} has no positions in obsm[{SPATIAL!r}], so that its cells are nowhere.")
    return None


def table_call(sdata: SpatialData, *options: str) -> str:
    """A call of `spatialfm.pp.cell_table` that writes a table without replacing one."""
    name, number = TABLE, 2
    while name in sdata.tables:
        name, number = f"{TABLE}_{number}", number + 1
    options = options if name == TABLE else (*options, f"table_name={name!r}")
    return f"sfm.pp.cell_table({', '.join(['sdata', *options])})"


def nan_code(sdata: SpatialData, name: str) -> str:
    """Code that replaces pixels of an image that are NaN or infinite by 0, in all levels, under the same name."""
    image = f"sdata.images[{name!r}]"
    if hasattr(sdata.images[name], "children"):
        return f"{image} = {image}.map_over_datasets(lambda level: level.where(numpy.isfinite(level), 0))"
    return f"{image} = {image}.where(numpy.isfinite({image}), 0)"


def holds_cells(sdata: SpatialData, name: str) -> bool:
    """Whether any pixel of a labels element is not background, or any cell is drawn; fields of glass hold none."""
    if drawn_kind(sdata, name) is not None:
        element = cells_element(sdata, name)
        return element is None or len(element) > 0
    return bool((labels_array(sdata, name).data != 0).any().compute())


def _uncut(array: xr.DataArray, name: str) -> xr.DataArray:
    """A raster whose pixels are those that its transformation refers to.

    xarray's own indexing keeps the transformation of the whole, to which only the coordinates still bear witness.
    """
    for axis in ("y", "x"):
        centres = array.coords[axis].values if axis in array.coords else np.empty(0)
        if centres.size and centres.dtype.kind in "iuf":
            steps = centres - centres[0]
            if centres[0] not in (0, 0.5) or not np.allclose(steps, np.arange(centres.size), rtol=0, atol=1e-3):
                last = f" in steps of {centres[1] - centres[0]:g}" if centres.size > 1 else ""
                raise CoordinateError(
                    f"Element {name!r} was cut or turned by indexing: its {axis} runs from {centres[0]:g}{last}, but "
                    "its transformation is that of the whole, so that its cells would be elsewhere. Cut with "
                    "spatialdata.bounding_box_query(element, axes=('y', 'x'), min_coordinate=[...], "
                    "max_coordinate=[...], target_coordinate_system=...), which moves the transformation along. If "
                    "the transformation is right for the pixels as they are, drop the coordinates: "
                    f"sdata[{name!r}] = sdata[{name!r}].drop_vars(['y', 'x'])."
                )
    return array


def _flat(array: xr.DataArray, name: str, kind: str) -> xr.DataArray:
    """A raster without its Z axis, where that is one plane."""
    if "z" not in array.dims:
        return array
    n = array.sizes["z"]
    if n == 1:
        return array.isel(z=0, drop=True)
    options = ["isel(z=<plane>)"] + (["max('z')", "mean('z')"] if kind == "image" else [])  # labels do not add up
    model, dims, more = "Labels2DModel", "('y', 'x')", ""
    if kind == "image":
        model, dims, more = (
            "Image2DModel",
            "('c', 'y', 'x')",
            f"c_coords={[str(c) for c in array.coords['c'].values]}, ",
        )
    raise ElementError(
        f"{kind.capitalize()} element {name!r} is a volume of {n} Z planes, but cells are measured in 2-D. Make a 2-D "
        f"element of it, with {' or '.join('.' + option for option in options)}, whichever is right for it: "
        f"sdata['{name}_2d'] = spatialdata.models.{model}.parse(spatialfm.pp.arrays.full_resolution(sdata[{name!r}])"
        f".{options[0]}.data, dims={dims}, {more}transformations=spatialdata.transformations.get_transformation("
        f"sdata[{name!r}], get_all=True)). Then pass {kind}='{name}_2d'."
    )


def _elsewhere(sdata: SpatialData, name: str) -> str:
    """What an element of this name is, if it is of another kind."""
    kinds = {"image": sdata.images, "labels": sdata.labels, "shapes": sdata.shapes, "points": sdata.points}
    kind = next((kind for kind, elements in kinds.items() if name in elements), None)
    if kind == "shapes":
        return " (it is a shapes element, and a label image is wanted)"
    return f" (it is {'an' if kind == 'image' else 'a'} {kind} element)" if kind else ""


def channel_names(sdata: SpatialData, name: str) -> list[str]:
    """Channel names of an image element, as strings."""
    return [str(channel) for channel in image_array(sdata, name).coords["c"].values]
