"""Small cuts of images around cells: what the gallery of cells and the report draw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.colors import to_rgb

from .._dense import dense
from ..pp.arrays import channel_names, image_array
from ..pp.drawn_cells import cells_array
from ..pp.elements import SampleElements, image_to_system, labels_to_system
from ._raster import Extent, SlideWindow, read_raster

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.colors import ColorType
    from spatialdata import SpatialData

MAX_PIXELS = 400  # along a side of a cut
PERCENTILES = (1.0, 99.5)  # of the means of the cells of a sample: black and full colour


@dataclass(frozen=True)
class Cut:
    """One cell: its sample, the window around it, and its mask with its place in the coordinate system."""

    pair: SampleElements
    window: SlideWindow
    mask: np.ndarray
    place: Extent


def cut_around(sdata: SpatialData, pair: SampleElements, center: np.ndarray, label: int, side: float) -> Cut | None:
    """The square of `side` around a cell; None if its mask is not there, as the cut would show another one."""
    (x, y), half = center, side / 2
    window = SlideWindow(x - half, y - half, x + half, y + half)
    ids, place = read_raster(cells_array(sdata, pair), labels_to_system(sdata, pair), window, MAX_PIXELS)
    mask = ids == label
    if not mask.any() or mask.all() or min(mask.shape) < 2:
        return None
    return Cut(pair, window, mask, place)


def cell_limits(table: AnnData, rows: np.ndarray, percentiles: tuple[float, float] = PERCENTILES) -> pd.DataFrame:
    """Intensities of each marker that become black (``low``) and full colour (``high``), from the means of some cells.

    Those of a sample, so that slides which were stained differently look alike.
    """
    values = np.asarray(dense(table.X[rows]), dtype=np.float64)
    low, high = np.full((2, values.shape[1]), np.nan)
    for place, column in enumerate(values.T):
        if np.isfinite(column).any():
            low[place], high[place] = np.percentile(column[np.isfinite(column)], percentiles)
    return pd.DataFrame({"low": low, "high": high}, index=table.var_names.astype(str))


def draw_cut(
    ax: Axes,
    sdata: SpatialData,
    cut: Cut,
    colors: Mapping[str, ColorType],
    limits: pd.DataFrame,
    linewidth: float = 1.1,
) -> None:
    """Coloured channels of a cut, the cell's own mask outlined in white.

    Parameters
    ----------
    colors
        Colour of each channel; one that the image or `limits` lack is not drawn.
    limits
        As from `cell_limits`.
    """
    pair, window = cut.pair, cut.window
    names = channel_names(sdata, pair.image)
    there = [name for name in colors if name in names and name in limits.index]
    array = image_array(sdata, pair.image).isel(c=[names.index(name) for name in there])
    pixels, extent = read_raster(array, image_to_system(sdata, pair), window, MAX_PIXELS)
    mixed = np.zeros((*pixels.shape[1:], 3))
    for name, channel in zip(there, pixels.astype(np.float64), strict=True):
        low, high = limits.loc[name, "low"], limits.loc[name, "high"]
        if high > low:
            share = np.nan_to_num(np.clip((channel - low) / (high - low), 0, 1))
            mixed += share[..., None] * np.array(to_rgb(colors[name]))
    ax.imshow(np.clip(mixed, 0, 1), extent=extent, interpolation="nearest")
    ax.contour(cut.mask, levels=[0.5], colors="white", linewidths=linewidth, extent=cut.place, origin="upper")
    ax.set(xlim=(window.x0, window.x1), ylim=(window.y1, window.y0))
