"""Cells of a sample as points, where there is no image and no outline of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import to_rgb

from .._coordinates import coordinates
from .._errors import TableError, listed
from .._keys import SAMPLE_KEY, SPATIAL, TABLE, UNS
from ..pp.units import coordinate_unit
from ._cells import CellColors, _decorate, _figsize, _legends
from ._figure import MISSING, category_colors, in_random_order, new_axes, places_in
from ._raster import SlideWindow

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.figure import Figure

MARGIN = 0.02  # of the longer side, between the outermost cells and the frame
AREA = 16000.0  # of all points together, in square points: many cells are small ones


def points(
    table: AnnData, sample: str, color: str, *, library_key: str = SAMPLE_KEY, title: str | None = None
) -> Figure:
    """Positions of the cells of one sample, coloured by a column of categories; y points down, as in images.

    Raises
    ------
    TableError
        If the table has no positions, or none of the sample.
    """
    rows = np.flatnonzero((table.obs[library_key].astype(str) == sample).to_numpy())
    if SPATIAL not in table.obsm or not len(rows):
        raise TableError(
            f"The table has no obsm[{SPATIAL!r}], or no cell of sample {sample!r}; samples are "
            f"{listed(table.obs[library_key].astype(str).unique())}."
        )
    rows = in_random_order(rows)
    xy = places_in(coordinates(table, finite=False)[rows], sample, SPATIAL)
    colors = _colors(table, rows, color)
    window = _around(xy)
    ax = new_axes(None, _figsize(window, colors))
    ax.scatter(*xy.T, s=float(np.clip(AREA / len(rows), 0.5, 30)), c=colors.rgb, linewidths=0, rasterized=True)
    ax.set(xlim=(window.x0, window.x1), ylim=(window.y1, window.y0), aspect="equal")
    _decorate(ax, window, _unit(table), scale_bar=True, dark=False)
    _legends(ax, colors, color, {})
    ax.set_title(sample if title is None else title, loc="left", fontsize="medium")
    return ax.get_figure(root=True)


def _unit(table: AnnData) -> str:
    """µm, where the record says so; of `spatialfm.io.read_cells`, also whether nobody had said it."""
    record = table.uns.get(UNS, {}).get(TABLE, {})
    return coordinate_unit(table.uns) or ("µm (assumed)" if "mpp" in record else f"units of obsm[{SPATIAL!r}]")


def _colors(table: AnnData, rows: np.ndarray, color: str) -> CellColors:
    """Of categories of the whole table, so that a colour means the same in every sample."""
    column = table.obs[color].astype("category")
    names = [str(name) for name in column.cat.categories]
    shades = category_colors(names, None, table.uns.get(f"{color}_colors"))
    codes = column.cat.codes.to_numpy()[rows]
    legend = {names[code]: shades[code] for code in np.unique(codes[codes >= 0])}
    if (codes < 0).any():
        legend["missing"] = MISSING
    return CellColors(rows, np.array([to_rgb(shade) for shade in [*shades, MISSING]])[codes], legend)


def _around(xy: np.ndarray) -> SlideWindow:
    (x0, y0), (x1, y1) = xy.min(axis=0), xy.max(axis=0)
    margin = MARGIN * max(x1 - x0, y1 - y0) or 1.0  # of a single cell there is no side
    return SlideWindow(float(x0 - margin), float(y0 - margin), float(x1 + margin), float(y1 + margin))
