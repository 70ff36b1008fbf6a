"""Numbers of cells painted below their labels, as an image that is made when it is read."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .arrays import labels_array
from .joins import whole_numbers

if TYPE_CHECKING:
    from spatialdata import SpatialData
    from xarray import DataArray


def painted_cells(
    sdata: SpatialData, labels: str, instances: np.ndarray, values: np.ndarray, channels: Sequence[str]
) -> DataArray:
    """Image element ``(c, y, x)``, float32, that lies where a labels element does; NaN where there is no cell.

    Parameters
    ----------
    instances, values
        Labels ``(n,)`` of the cells, each once, and their numbers ``(n, channels)``. Labels without are NaN.
    """
    import dask.array as da
    from spatialdata.models import Image2DModel
    from spatialdata.transformations import get_transformation

    ids = whole_numbers(pd.Series(instances), "with the labels of cells")  # tables may hold them as text
    order = np.argsort(ids, kind="stable")
    known, numbers = ids[order], np.ascontiguousarray(values[order].T, dtype=np.float32)
    below = da.asarray(labels_array(sdata, labels).data)
    painted = da.map_blocks(
        partial(_paint, known=known, numbers=numbers), below, dtype=np.float32, new_axis=0,
        chunks=((len(channels),), *below.chunks),
    )  # fmt: skip
    transformations = get_transformation(sdata.labels[labels], get_all=True)
    return Image2DModel.parse(
        painted, dims=("c", "y", "x"), c_coords=list(channels), transformations=dict(transformations)
    )


def _paint(block: np.ndarray, *, known: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    place = np.minimum(np.searchsorted(known, block), len(known) - 1)
    out = numbers[:, place.ravel()].reshape(-1, *block.shape)
    out[:, known[place] != block] = np.nan
    return out
