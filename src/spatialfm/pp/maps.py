"""Rasters on an image, as labels elements."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from spatialdata import SpatialData
    from xarray import DataArray

    from .elements import SampleElements


def labels_element(
    sdata: SpatialData, pair: SampleElements, raster: np.ndarray, step: float, largest: int
) -> DataArray:
    """Raster of values up to `largest`, whose pixels span `step` of the image's, in every coordinate system of that."""
    from spatialdata.models import Labels2DModel
    from spatialdata.transformations import Identity, Scale, Sequence, get_transformation

    scale = Scale([step, step], axes=("x", "y"))
    transformations = {}
    for system, of_image in get_transformation(sdata.images[pair.image], get_all=True).items():
        if isinstance(of_image, Identity):
            transformations[system] = scale
        elif isinstance(of_image, Scale):
            x, y = np.diag(of_image.to_affine_matrix(("x", "y"), ("x", "y")))[:2]
            transformations[system] = Scale([step * x, step * y], axes=("x", "y"))
        else:
            transformations[system] = Sequence([scale, of_image])
    return Labels2DModel.parse(
        raster.astype(np.min_scalar_type(largest)), dims=("y", "x"), transformations=transformations
    )
