"""Images for SpatialData without reading the types of dataclasses for each: that is most of their time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dask.array as da
import numpy as np
from xarray import DataArray

PLACES = {("c", "y", "x"), ("y", "x")}


def faster(library: Any) -> Any:
    """`to_spatial_image` of the library for what spatialdata asks of it; anything else goes to the library."""

    def image(array_like: Any, dims: Sequence[str] | None = None, c_coords: Any = None, **options: Any) -> DataArray:
        known = isinstance(array_like, np.ndarray | da.Array) and tuple(dims or ()) in PLACES and not options
        if not known or array_like.ndim != len(dims):
            return library(array_like=array_like, dims=dims, c_coords=c_coords, **options)
        coords = {}
        for dim, size in zip(dims, array_like.shape, strict=True):
            channels = np.arange(size) if c_coords is None else c_coords
            values = channels if dim == "c" else np.arange(size, dtype=np.float64)
            coords[dim] = (dim, values, {"long_name": dim, "units": ""})
        return DataArray(array_like, coords, tuple(dims), name="image")

    image.library = library  # type: ignore[attr-defined]
    return image


def instead_of_reading_types(modules: dict[str, Any]) -> None:
    """Let spatialdata take these, where it is loaded; `test_spatial_images.py` compares them with the library's."""
    models = modules.get("spatialdata.models.models")
    if models is not None and not hasattr(models.to_spatial_image, "library"):
        models.to_spatial_image = faster(models.to_spatial_image)
