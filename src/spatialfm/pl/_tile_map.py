"""Tiles of a sample, coloured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.collections import PolyCollection
from matplotlib.patches import Patch

from .._errors import TableError, listed
from .._keys import SAMPLE_KEY, TILES
from ._figure import MISSING, Palette, category_colors, finish, new_axes

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from spatialdata import SpatialData


def tile_map(
    sdata: SpatialData,
    sample: str,
    color: str,
    *,
    palette: Palette = None,
    cmap: str = "viridis",
    table_name: str = TILES,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool | None = None,
) -> Axes | Figure | None:
    """Map of the tiles of a sample, coloured by a column of their table.

    Parameters
    ----------
    sdata
        With tiles from :func:`spatialfm.tl.embed_tiles`.
    sample
        Sample to draw.
    color
        Column of the table's ``obs``: categories (a cluster, a label) or numbers (a share).
    palette
        Colours of categories, in their order or by name (default: ``uns["<color>_colors"]``, or colours that are told
        apart with colour blindness).
    cmap
        Colour map of numbers.
    table_name
        Table of the tiles.
    title, figsize, ax
        Title (default: the sample); inches of a new figure; axes to draw into.
    show, save, return_fig
        Whether to show the figure (default: if it is new, not saved, and there is a screen); file to save to; whether
        to return the figure.

    Returns
    -------
    The figure with `return_fig`, None when it was shown, the axes otherwise.

    Raises
    ------
    TableError
        If table, sample or column are missing.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=128, random_state=0)
    >>> sfm.tl.embed_tiles(sdata, "mean-intensity", size=32)
    >>> ax = sfm.pl.tile_map(sdata, sdata["samples"].obs_names[0], "tissue", show=False)
    >>> ax.get_xlabel()
    'x (µm)'
    """
    if table_name not in sdata.tables:
        raise TableError(f"No table {table_name!r}; found {listed(sdata.tables)}. Make it with sfm.tl.embed_tiles.")
    table = sdata.tables[table_name]
    if color not in table.obs:
        raise TableError(f"No column {color!r} in table {table_name!r} (color=); found {listed(table.obs, 12)}.")
    mine = table.obs[table.obs[SAMPLE_KEY].astype(str) == sample]
    if mine.empty:
        raise TableError(f"No tile of sample {sample!r}; there are {listed(table.obs[SAMPLE_KEY].unique(), 8)}.")
    attrs = table.uns["spatialdata_attrs"]
    squares = sdata.shapes[str(mine[attrs["region_key"]].iloc[0])].loc[mine[attrs["instance_key"]]]
    corners = [np.asarray(square.exterior.coords) for square in squares.geometry]
    x0, y0, x1, y1 = squares.total_bounds
    inch = 4.2 / max(x1 - x0, y1 - y0)
    own, ax = ax is None, new_axes(ax, figsize or (inch * (x1 - x0) + 1.9, inch * (y1 - y0) + 0.9))
    values = table.obs[color]
    tiles = PolyCollection(corners, edgecolors="face", linewidths=0.2)
    ax.add_collection(tiles)
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        tiles.set(array=mine[color].to_numpy(float), cmap=mpl.colormaps[cmap].with_extremes(bad=MISSING))
        tiles.set_clim(values.min(), values.max())
        ax.get_figure(root=True).colorbar(tiles, ax=ax, label=color, shrink=0.7)
    else:
        _categories(ax, tiles, table, mine[color], color, palette)
    ax.set(xlim=(x0, x1), ylim=(y1, y0), aspect="equal", xlabel="x (µm)", ylabel="y (µm)")
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_title(sample if title is None else title, loc="left", fontsize="medium")
    return finish(ax, own=own, show=show, save=save, return_fig=return_fig)


def _categories(ax: Axes, tiles: PolyCollection, table: AnnData, mine: pd.Series, color: str, palette: Palette) -> None:
    column = table.obs[color].astype("category")
    names = [str(name) for name in column.cat.categories]
    colors = dict(zip(names, category_colors(names, palette, table.uns.get(f"{color}_colors")), strict=True))
    of_tiles = [None if pd.isna(value) else str(value) for value in mine]
    tiles.set_facecolor([MISSING if name is None else colors[name] for name in of_tiles])
    shown = [name for name in names if name in set(of_tiles)]
    handles = [Patch(color=colors[name], label=name) for name in shown]
    if None in of_tiles:
        handles.append(Patch(color=MISSING, label="none"))
    ax.legend(handles=handles, title=color, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize="small")
