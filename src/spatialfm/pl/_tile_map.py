"""Tiles of a sample, coloured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.collections import PolyCollection
from matplotlib.patches import Patch

from .._errors import TableError, listed
from .._keys import SAMPLE_KEY, TABLE, TILES, UNS
from .._public import public
from ..pp.units import unit_of_sample
from ._figure import MISSING, Palette, axis_labels, category_colors, finish, new_axes

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from spatialdata import SpatialData


@public
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
    save: str | PathLike | None = None,
    return_fig: bool | None = None,
) -> Axes | Figure | None:
    """Map of the tiles of a sample, coloured by a column of their table.

    Where tiles overlap, the one whose centre is nearest is seen, as in :func:`spatialfm.tl.paint_tiles`.

    Parameters
    ----------
    sdata
        With tiles from :func:`spatialfm.tl.embed_tiles`.
    sample
        Sample to draw.
    color
        Column of the table's ``obs``: categories (a cluster, a label) or numbers (a share).
    palette
        Colours of categories, in their order or by name (default: ``uns["<color>_colors"]``, or colours that are
        distinguishable apart with colour blindness).
    cmap
        Colour map of numbers.
    table_name
        Table of the tiles.
    title
        Title (default: the sample).
    figsize
        Width and height in inches of a new figure.
    ax
        Axes to draw into.
    show
        Whether to show the figure (default: if it is new, not saved, and there is a screen).
    save
        File to save to.
    return_fig
        Whether to return the figure.

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
    >>> sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=128, difficulty="easy")
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
    in_sample = table.obs[table.obs[SAMPLE_KEY].astype(str) == sample]
    if in_sample.empty:
        raise TableError(f"No tile of sample {sample!r}; there are {listed(table.obs[SAMPLE_KEY].unique(), 8)}.")
    attrs = table.uns["spatialdata_attrs"]
    squares = sdata.shapes[str(in_sample[attrs["region_key"]].iloc[0])].loc[in_sample[attrs["instance_key"]]]
    corners, tile = in_layers(squares.bounds.to_numpy())
    x0, y0, x1, y1 = squares.total_bounds
    inch = 4.2 / max(x1 - x0, y1 - y0)
    own, ax = ax is None, new_axes(ax, figsize or (inch * (x1 - x0) + 1.9, inch * (y1 - y0) + 0.9))
    values = table.obs[color]
    tiles = PolyCollection(corners, edgecolors="face", linewidths=0.2)
    ax.add_collection(tiles)
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        tiles.set(array=in_sample[color].to_numpy(float)[tile], cmap=mpl.colormaps[cmap].with_extremes(bad=MISSING))
        tiles.set_clim(values.min(), values.max())
        ax.get_figure(root=True).colorbar(tiles, ax=ax, label=color, shrink=0.7)
    else:
        _categories(ax, tiles, table, in_sample[color].iloc[tile], color, palette)
    ax.set(xlim=(x0, x1), ylim=(y1, y0), aspect="equal", **axis_labels(_unit(table, sample)))
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_title(sample if title is None else title, loc="left", fontsize="medium")
    return finish(ax, own=own, show=show, save=save, return_fig=return_fig)


def _unit(table: AnnData, sample: str) -> str:
    """µm, or pixels where no pixel size was known; of tables of earlier versions as their embeddings say, or empty."""
    records = table.uns.get(UNS, {})
    if TABLE in records:
        return unit_of_sample(table.uns, sample)
    known = [
        json.loads(str(one["mpp_image"])).get(sample)
        for one in records.values()
        if isinstance(one, Mapping) and "mpp_image" in one
    ]
    return "" if not known else "pixel" if None in known else "µm"


def in_layers(bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squares to draw one over the other so that the tile of nearest centre is on top.

    Whole tiles are drawn below, what is left of them between two neighbours of a row or column above, and what is left
    between all neighbours on top.

    Parameters
    ----------
    bounds
        ``(n, 4)`` x0, y0, x1, y1 of tiles of one size, on a grid.

    Returns
    -------
    Corners ``(m, 4, 2)`` in the order of drawing, and the tile of each ``(m,)``.

    Examples
    --------
    >>> corners, tile = in_layers(np.array([[0, 0, 4, 4], [2, 0, 6, 4]]))  # half of one overlaps the other
    >>> tile
    array([0, 1, 0, 1])
    >>> corners[2].tolist()  # the middle of the first
    [[1.0, 0.0], [3.0, 0.0], [3.0, 4.0], [1.0, 4.0]]
    """
    low, high = bounds[:, :2], bounds[:, 2:]
    middle, side = (low + high) / 2, high - low
    width, height = (_between(starts, float(np.median(size))) for starts, size in zip(low.T, side.T, strict=True))
    overlap_x, overlap_y = width < 0.999 * np.median(side[:, 0]), height < 0.999 * np.median(side[:, 1])
    whole_x, whole_y = side.T
    layers = [(whole_x, whole_y)]
    layers += [(width, whole_y)] if overlap_x else []
    layers += [(whole_x, height)] if overlap_y else []
    layers += [(width, height)] if overlap_x and overlap_y else []
    corners = []
    for x, y in layers:
        half = np.stack(np.broadcast_arrays(x, y, whole_x)[:2], axis=-1) / 2
        (x0, y0), (x1, y1) = (middle - half).T, (middle + half).T
        corners.append(np.stack([np.stack(at, axis=1) for at in ((x0, y0), (x1, y0), (x1, y1), (x0, y1))], axis=1))
    return np.concatenate(corners), np.tile(np.arange(len(bounds)), len(layers))


def _between(starts: np.ndarray, side: float) -> float:
    """Distance of one tile to the next along an axis: the commonest, as the last may be closer to the one before."""
    gaps = np.diff(np.unique((starts / side).round(6)))
    gaps = gaps[gaps > 1e-4]
    if not gaps.size:
        return side
    values, counts = np.unique(gaps.round(4), return_counts=True)
    return min(float(values[counts.argmax()]), 1.0) * side


def _categories(
    ax: Axes, tiles: PolyCollection, table: AnnData, labels: pd.Series, color: str, palette: Palette
) -> None:
    column = table.obs[color].astype("category")
    names = [str(name) for name in column.cat.categories]
    colors = dict(zip(names, category_colors(names, palette, table.uns.get(f"{color}_colors")), strict=True))
    of_tiles = [None if pd.isna(value) else str(value) for value in labels]
    tiles.set_facecolor([MISSING if name is None else colors[name] for name in of_tiles])
    shown = [name for name in names if name in set(of_tiles)]
    handles = [Patch(color=colors[name], label=name) for name in shown]
    if None in of_tiles:
        handles.append(Patch(color=MISSING, label="none"))
    ax.legend(handles=handles, title=color, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize="small")
