"""Small cuts of images around cells: what the gallery of cells and the report draw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.colors import to_rgb
from matplotlib.patheffects import withStroke

from .._dense import dense
from .._errors import warn
from .._keys import TABLE, UNS
from ..pp.arrays import channel_names, image_array
from ..pp.drawn_cells import cells_array
from ..pp.elements import SampleElements, image_to_system, labels_to_system
from ..pp.units import intensity_factors
from ._raster import Extent, SlideWindow, read_raster

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.colors import ColorType
    from spatialdata import SpatialData

MAX_PIXELS = 400  # along a side of a cut
COMPARED = 8  # cuts of a sample of which pixels are compared with the table
PERCENTILES = (1.0, 99.5)  # of the means of the cells of a sample: black and full colour


@dataclass(frozen=True)
class Cut:
    """One cell: its sample, the window around it, its mask with its place in the coordinate system, and its row."""

    pair: SampleElements
    window: SlideWindow
    mask: np.ndarray
    place: Extent
    row: int = -1  # of the table; -1: not said


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


def sample_limits(
    sdata: SpatialData,
    table: AnnData,
    rows: np.ndarray,
    cuts: Mapping[int, Cut],
    percentiles: tuple[float, float] = PERCENTILES,
) -> pd.DataFrame:
    """`cell_limits` of one sample in the unit of its image; of the pixels of its cuts, where ``X`` is something else.

    Parameters
    ----------
    rows
        Of the cells of the sample.
    cuts
        Cuts of the sample that are drawn, by the row of their cell.

    Warns
    -----
    SpatialfmWarning
        If ``X`` does not hold the means of the pixels, as after a logarithm.
    """
    pair = next(iter(cuts.values())).pair
    factor = _factor(table, pair.sample)
    limits = cell_limits(table, rows, percentiles) / factor
    names = channel_names(sdata, pair.image)
    there = [name for name in limits.index if name in names]
    array = image_array(sdata, pair.image).isel(c=[names.index(name) for name in there])
    to_system, places = image_to_system(sdata, pair), limits.index.get_indexer(there)
    spread = (limits["high"] - limits["low"]).loc[there].to_numpy()
    off, seen = [], []
    for row, cut in list(cuts.items())[:COMPARED]:
        pixels = read_raster(array, to_system, cut.window, MAX_PIXELS)[0].astype(np.float64)
        seen.append(pixels.reshape(len(there), -1))
        if pixels.shape[1:] == cut.mask.shape:
            means = np.asarray(dense(table.X[[row]]), dtype=np.float64).ravel()[places] / factor
            with np.errstate(divide="ignore", invalid="ignore"):
                off.append(np.abs(pixels[:, cut.mask].mean(axis=1) - means) / spread)
    apart = np.concatenate(off) if off else np.zeros(1)
    apart = apart[np.isfinite(apart)]
    if not apart.size or np.median(apart) <= 0.5:
        return limits
    warn(
        f"X of the table is not the mean of the pixels of {pair.sample!r}, as after a logarithm or z-scores: black and "
        "full colour are percentiles of the pixels that are shown. Pass the table as sfm.pp.cell_table made it."
    )
    low, high = np.nanpercentile(np.concatenate(seen, axis=1), percentiles, axis=1)
    return pd.DataFrame({"low": low, "high": high}, index=there)


def _factor(table: AnnData, sample: str) -> float:
    """What `spatialfm.pp.cell_table(intensity_max=)` multiplied the pixels of a sample by."""
    return intensity_factors(table.uns.get(UNS, {}).get(TABLE, {})).get(sample, 1.0)


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
    line = ax.contour(cut.mask, levels=[0.5], colors="white", linewidths=linewidth, extent=cut.place, origin="upper")
    line.set_path_effects([withStroke(linewidth=linewidth + 1.2, foreground="black")])  # seen where all is bright
    ax.set(xlim=(window.x0, window.x1), ylim=(window.y1, window.y0))
