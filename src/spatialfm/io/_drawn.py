"""Cells that are polygons or positions as elements of a SpatialData, in the sample's coordinate system."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from spatialdata.models import PointsModel, ShapesModel
from spatialdata.transformations import Identity, Scale

from ..pp.joins import counted, listed

if TYPE_CHECKING:
    import dask.dataframe as dd
    import geopandas as gpd

_SLACK = 1.0  # pixels by which an outline may leave the image


def shapes_element(cells: gpd.GeoDataFrame, sample: str, mpp: float) -> gpd.GeoDataFrame:
    """Polygons in pixels, with their ids as the index."""
    return ShapesModel.parse(cells, transformations={sample: Scale([mpp, mpp], axes=("x", "y"))})


def points_element(ids: np.ndarray, xy: np.ndarray, sample: str) -> dd.DataFrame:
    """Positions in µm, with their ids as the index."""
    frame = pd.DataFrame(xy, columns=["x", "y"], index=pd.Index(ids)).sort_index()
    return PointsModel.parse(frame, transformations={sample: Identity()})


def outside_of_image(cells: gpd.GeoDataFrame, shape: tuple[int, int], what: str) -> str:
    """How many polygons leave an image, as a sentence; empty where none does.

    Parameters
    ----------
    cells
        Polygons in pixels.
    shape
        Height and width of the image.
    what
        Polygons and image, for the message.
    """
    bounds = cells.bounds.to_numpy()
    height, width = shape
    far = (bounds[:, :2] < -_SLACK).any(axis=1) | (bounds[:, 2] > width + _SLACK) | (bounds[:, 3] > height + _SLACK)
    if not far.any():
        return ""
    reach = f"{bounds[:, 0].min():.0f} to {bounds[:, 2].max():.0f} in x and {bounds[:, 1].min():.0f} to "
    return (
        f"{counted(int(far.sum()), 'polygon')} of {len(cells):,} of {what} reach out of it: they span {reach}"
        f"{bounds[:, 3].max():.0f} in y, and the image has {width} x {height} pixels (first: "
        f"{listed(cells.index[far], 3)}). Are they of another image, or in µm instead of pixels?"
    )


def beyond_image(xy: np.ndarray, shape: tuple[int, int], mpp: float) -> str:
    """How many positions in µm are outside of an image, as a sentence; empty where all are inside."""
    height, width = shape
    limit = np.array([width, height]) * mpp
    far = ((xy < -_SLACK * mpp) | (xy > limit + _SLACK * mpp)).any(axis=1)
    if not far.any():
        return ""
    unit = ""
    if ((xy * mpp >= -_SLACK * mpp) & (xy * mpp <= limit + _SLACK * mpp)).all():
        unit = " All would be inside if they were pixels."
    return (
        f"{counted(int(far.sum()), 'cell')} of {len(xy):,} outside of the image, which is {limit[0]:.1f} x "
        f"{limit[1]:.1f} µm ({width} x {height} pixels of {mpp:g} µm); cells reach to {xy[:, 0].max():.1f} and "
        f"{xy[:, 1].max():.1f} µm.{unit}"
    )
