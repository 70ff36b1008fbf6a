"""Rasters on an image, as elements that lie where it lies."""

from __future__ import annotations

from collections.abc import Sequence as Levels
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import dask.array as da
    from spatialdata import SpatialData
    from xarray import DataArray, DataTree

    from .elements import SampleElements


def labels_element(
    sdata: SpatialData, pair: SampleElements, raster: np.ndarray, step: float, largest: int
) -> DataArray:
    """Raster of values up to `largest`, whose pixels span `step` of the image's, in every coordinate system of that."""
    from spatialdata.models import Labels2DModel

    return Labels2DModel.parse(
        raster.astype(np.min_scalar_type(largest)),
        dims=("y", "x"),
        transformations=scaled_transformations(sdata, pair.image, step),
    )


def scaled_transformations(sdata: SpatialData, image: str, step: float) -> dict[str, Any]:
    """Transformations of a raster whose pixels span `step` of an image's, in every coordinate system of that."""
    from spatialdata.transformations import Identity, Scale, Sequence, get_transformation

    scale = Scale([step, step], axes=("x", "y"))
    transformations: dict[str, Any] = {}
    for system, of_image in get_transformation(sdata.images[image], get_all=True).items():
        if isinstance(of_image, Identity):
            transformations[system] = scale
        elif isinstance(of_image, Scale):
            x, y = np.diag(of_image.to_affine_matrix(("x", "y"), ("x", "y")))[:2]
            transformations[system] = Scale([step * x, step * y], axes=("x", "y"))
        else:
            transformations[system] = Sequence([scale, of_image])
    return transformations


def multiscale_image(levels: Levels[da.Array], names: list[str], transformations: dict[str, Any]) -> DataTree:
    """Image element of several scales, each with its own pixels, from large to small."""
    from spatialdata.models import Image2DModel
    from spatialdata.transformations import set_transformation
    from xarray import DataArray, Dataset, DataTree

    scales = {}
    for i, level in enumerate(levels):
        coords: dict[str, Any] = {"c": names}
        for axis, n, full in zip("yx", level.shape[1:], levels[0].shape[1:], strict=True):
            coords[axis] = (np.arange(n) + 0.5) * (full / n)  # pixel centres, in pixels of the largest level
        scales[f"scale{i}"] = Dataset({"image": DataArray(level, dims=("c", "y", "x"), coords=coords)})
    tree = DataTree.from_dict(scales)
    # on the other levels: their size relative to scale0, then this
    set_transformation(tree, transformations, set_all=True)
    Image2DModel().validate(tree)
    return tree
