"""Squares of tiles: their places in a sample, and the pixels of each label below them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._errors import ElementError
from .._keys import SAMPLE_KEY
from .elements import axis_affine
from .measure import loaded, rows_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spatialdata import SpatialData

    from .elements import SampleElements


def tile_bounds(sdata: SpatialData, tiles, pairs: Sequence[SampleElements]) -> np.ndarray:
    """``(n, 4)`` x0, y0, x1, y1 of each row's square in its sample's coordinate system; NaN for other samples."""
    attrs = tiles.uns["spatialdata_attrs"]
    regions = tiles.obs[attrs["region_key"]].astype(str).to_numpy()
    of_tiles = tiles.obs[SAMPLE_KEY].astype(str).to_numpy()
    out = np.full((tiles.n_obs, 4), np.nan)
    for pair in pairs:
        for region in np.unique(regions[of_tiles == pair.sample]):
            if region not in sdata.shapes:
                raise ElementError(f"No shapes element {region!r} of the tiles. Make them with sfm.tl.embed_tiles.")
            in_region = (of_tiles == pair.sample) & (regions == region)
            own = sdata.shapes[region].bounds.loc[tiles.obs[attrs["instance_key"]][in_region]].to_numpy()
            # they may have been moved together with the image since they were made
            to_system = axis_affine(sdata.shapes[region], region, pair.coordinate_system)
            (y0, x0), (y1, x1) = to_system(own[:, 1], own[:, 0]), to_system(own[:, 3], own[:, 2])
            out[in_region] = np.stack([x0, y0, x1, y1], axis=1)
    return out


def pixels_of_labels(labels, bounds: np.ndarray, to_labels, ids: np.ndarray, codes: np.ndarray, n_names: int):
    """Annotated pixels of each label in each tile, and all its pixels; the label image is read in strips of tiles."""
    (y0, x0), (y1, x1) = to_labels(bounds[:, 1], bounds[:, 0]), to_labels(bounds[:, 3], bounds[:, 2])
    limits = np.array([labels.shape[0], labels.shape[0], labels.shape[1], labels.shape[1]])
    boxes = np.clip(np.rint(np.stack([y0, y1, x0, x1], axis=1)).astype(int), 0, limits)
    counts, area = np.zeros((len(bounds), n_names), np.int64), np.zeros(len(bounds), np.int64)
    for top, bottom in np.unique(boxes[:, :2], axis=0):
        strip = loaded(labels[top:bottom])
        place = rows_of(ids, strip.ravel()).reshape(strip.shape)
        of_pixels = np.where(place >= 0, codes[place], -1)
        for tile in np.flatnonzero((boxes[:, 0] == top) & (boxes[:, 1] == bottom)):
            part = of_pixels[:, boxes[tile, 2] : boxes[tile, 3]]
            area[tile] = part.size
            counts[tile] = np.bincount(part[part >= 0], minlength=n_names)
    return counts, area


def square_grid(bounds: np.ndarray, to_image) -> tuple[np.ndarray, float, float]:
    """First row and column ``(n, 2)``, side, and distance of one to the next of tiles, in pixels of the image.

    Parameters
    ----------
    bounds
        ``(n, 4)`` x0, y0, x1, y1 in a coordinate system.
    to_image
        Map from there to pixels.
    """
    (y0, x0), (y1, _) = to_image(bounds[:, 1], bounds[:, 0]), to_image(bounds[:, 3], bounds[:, 2])
    corners, side = np.stack([y0, x0], axis=1), float(np.median(y1 - y0))
    gaps = np.concatenate([np.diff(np.unique(axis.round(6))) for axis in corners.T])
    gaps = gaps[gaps > 1e-3]
    if not gaps.size:
        return corners, side, side
    # the last row and column may be closer to the one before; the others are all as far apart
    values, counts = np.unique(gaps.round(3), return_counts=True)
    return corners, side, min(float(values[counts.argmax()]), side)
