"""Cells of a sample on their image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._dense import column_of_x
from .._errors import CoordinateError, ElementError, PanelError, TableError, listed
from .._keys import TABLE
from .._logging import logger
from .._public import public
from ..cohort.representation import check_measured, imputed_only
from ..pp.annotated import annotated_cells
from ..pp.arrays import AxisAffine, channel_names, image_array
from ..pp.drawn_cells import cells_array
from ..pp.elements import SampleElements, image_to_system, labels_to_system, match_elements
from ..pp.units import length_unit
from ._figure import MISSING, Palette, category_colors, check_once, finish, new_axes, with_unit
from ._raster import SlideWindow, composite, draw_scale_bar, fine, paint, read_raster

if TYPE_CHECKING:
    import xarray as xr
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from spatialdata import SpatialData

CHANNEL_COLORS = ("#00C8FF", "#FF30FF", "#FFE000")  # cyan, magenta, yellow: red and green look alike to many readers


@dataclass(frozen=True)
class CellColors:
    """Colour of each label, and the content of the legend or colour bar."""

    labels: np.ndarray  # (n,) labels with a row in the table
    rgb: np.ndarray  # (n, 3)
    legend: dict[str, str]  # name: colour; empty for numbers
    cmap: str = ""
    limits: tuple[float, float] = (0.0, 1.0)
    label: str = ""  # of the colour bar


@public
def cells(
    sdata: SpatialData,
    sample: str,
    *,
    color: str | None = None,
    channels: str | Sequence[str] | None = None,
    fill: bool | None = None,
    crop: tuple[float, float, float, float] | None = None,
    percentiles: tuple[float, float] = (1.0, 99.7),
    channel_colors: Sequence[str] = CHANNEL_COLORS,
    palette: Palette = None,
    cmap: str = "viridis",
    image: str | None = None,
    labels: str | None = None,
    table_name: str = TABLE,
    scale_bar: bool = True,
    max_pixels: int = 1500,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | PathLike | None = None,
    return_fig: bool | None = None,
) -> Axes | Figure | None:
    """Cells of a sample, coloured by a column, over up to three markers of its image.

    Image and labels are drawn where their transformations put them, in µm; only the pixels inside `crop` are read,
    and from a large image a thinned-out copy.

    Parameters
    ----------
    sdata
        SpatialData with an image, labels and a table of cells.
    sample
        Sample to draw.
    color
        Column of ``obs`` of the table, or a marker (its mean intensity in ``X``), that colours the cells.
    channels
        One to three channels of the image, shown in `channel_colors`.
    fill
        Whether cells are filled or outlined (default: outlined where `channels` are shown).
    crop
        ``(x0, y0, x1, y1)`` in µm (default: the whole image).
    percentiles
        Percentiles of a channel's shown pixels that become black and full colour.
    channel_colors
        Colours of the channels.
    palette
        Colours of categories, in their order or by name (default: ``uns["<color>_colors"]``, or colours that are
        distinguishable apart with colour blindness).
    cmap
        Colour map of numbers.
    image
        Image element, where its name does not follow from the sample.
    labels
        Labels element, where its name does not follow from the sample.
    table_name
        Name of the table of cells.
    scale_bar
        Whether to draw a scale bar; without one, the axes have ticks in µm.
    max_pixels
        Most pixels that are drawn along a side.
    title
        Title (default: the sample).
    figsize
        Width and height in inches of a new figure (default: from the shape of the image and its legend).
    ax
        Axes to draw into.
    show
        Whether to show the figure (default: if it is new, not saved, and there is a screen).
    save
        File to save to; text in PDF and SVG stays text.
    return_fig
        Whether to return the figure.

    Returns
    -------
    The figure with `return_fig`, None when it was shown, the axes otherwise.

    Raises
    ------
    ElementError, PanelError, TableError
        If the sample, a channel, the column or the table is missing.
    CoordinateError
        If `crop` misses the image, or elements share no coordinate system.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=96, difficulty="easy")
    >>> sample = sdata["samples"].obs_names[0]
    >>> sfm.pp.cell_table(sdata)
    >>> ax = sfm.pl.cells(sdata, sample, color="area", channels=["DAPI"], crop=(0, 0, 30, 30), show=False)
    >>> [float(edge) for edge in ax.get_xlim()]
    [0.0, 30.0]
    """
    channels = [channels] if isinstance(channels, str) else list(channels or ())
    if color is None and not channels:
        raise TableError("Nothing to draw. Pass color= (a column of obs) or channels= (markers), or both.")
    pair = _pair(sdata, sample, image, labels, need_labels=color is not None, table_name=table_name)
    _check_channels(sdata, pair, channels, channel_colors)
    to_um = image_to_system(sdata, pair)
    window = _window(image_array(sdata, pair.image), to_um, crop, pair.image)
    colors = None if color is None else _cell_colors(sdata, pair, color, table_name, palette, cmap)

    own, ax = ax is None, new_axes(ax, figsize or _figsize(window, colors))
    if channels:
        pixels, extent = read_raster(
            image_array(sdata, pair.image).sel(c=_indexer(sdata, pair, channels)), to_um, window, max_pixels
        )
        ax.imshow(
            composite(pixels, channel_colors[: len(channels)], percentiles), extent=extent, interpolation="nearest"
        )
    if colors is not None:
        _draw_cells(ax, sdata, pair, colors, window, max_pixels, (not channels) if fill is None else fill)
    ax.set(xlim=(window.x0, window.x1), ylim=(window.y1, window.y0), aspect="equal")
    unit = length_unit(sdata, pair)
    _decorate(ax, window, unit, scale_bar, dark=bool(channels))
    _legends(ax, colors, color, dict(zip(channels, channel_colors, strict=False)))
    ax.set_title(sample if title is None else title, loc="left", fontsize="medium")
    return finish(ax, own=own, show=show, save=save, return_fig=return_fig)


def _pair(
    sdata: SpatialData, sample: str, image: str | None, labels: str | None, need_labels: bool, table_name: str
) -> SampleElements:
    images = None if image is None else {sample: image}
    labels_of = None if labels is None else {sample: labels}
    return match_elements(sdata, images, labels_of, samples=[sample], need_labels=need_labels, table_name=table_name)[0]


def _check_channels(sdata: SpatialData, pair: SampleElements, channels: list[str], colors: Sequence[str]) -> None:
    if len(channels) > min(3, len(colors)):
        raise PanelError(
            f"{len(channels)} channels with {len(colors)} colours; at most three can be distinguished in one image. "
            "Pass fewer channels=, or a colour for each in channel_colors=."
        )
    check_once(channels)
    available = channel_names(sdata, pair.image)
    if unknown := [channel for channel in channels if channel not in available]:
        raise PanelError(
            f"No channel {unknown[0]!r} in image {pair.image!r} (channels=); found {listed(available, 50)}."
        )


def _indexer(sdata: SpatialData, pair: SampleElements, channels: list[str]) -> list[object]:
    """The channels as the image names them, which may not be strings."""
    return [
        image_array(sdata, pair.image).coords["c"].values[channel_names(sdata, pair.image).index(c)] for c in channels
    ]


def _window(
    image: xr.DataArray, to_um: AxisAffine, crop: tuple[float, float, float, float] | None, name: str
) -> SlideWindow:
    y0, x0 = map(float, to_um(0, 0))
    y1, x1 = map(float, to_um(image.sizes["y"], image.sizes["x"]))
    if crop is None:
        return SlideWindow(x0, y0, x1, y1)
    crop = tuple(map(float, crop))
    inside = SlideWindow(max(crop[0], x0), max(crop[1], y0), min(crop[2], x1), min(crop[3], y1))
    if inside.x0 >= inside.x1 or inside.y0 >= inside.y1:
        raise CoordinateError(
            f"crop={crop} does not meet image {name!r}, which reaches from ({x0:g}, {y0:g}) to ({x1:g}, {y1:g}) µm. "
            "Pass (x0, y0, x1, y1) in µm."
        )
    return inside


def _cell_colors(
    sdata: SpatialData, pair: SampleElements, color: str, table_name: str, palette: Palette, cmap: str
) -> CellColors:
    table, instance = _rows_of(sdata, pair, table_name)
    if color in table.obs:
        values = table.obs[color]
    elif color in table.var_names:
        values = pd.Series(np.asarray(column_of_x(table, color), dtype=float), index=table.obs_names)
    else:
        if color in imputed_only(table):
            check_measured(table, [color], "color")
        raise TableError(
            f"No column {color!r} in obs of table {table_name!r} and no such marker (color=); obs has "
            f"{listed(table.obs.columns, 12)}, markers are {listed(table.var_names, 12)}."
        )
    numeric = pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_bool_dtype(values.dtype)
    if numeric:
        return replace(_number_colors(instance, values.to_numpy(dtype=float), cmap), label=with_unit(table, color))
    # categories of the whole table, so that a colour means the same in every sample
    everywhere = sdata.tables[table_name].obs[color].astype("category").cat.categories
    names = [str(name) for name in everywhere]
    codes = pd.Categorical(values.astype(object), categories=everywhere).codes
    colors = category_colors(names, palette, sdata.tables[table_name].uns.get(f"{color}_colors"))
    return _category_colors(instance, codes, names, colors)


def _number_colors(instance: np.ndarray, values: np.ndarray, cmap: str) -> CellColors:
    import matplotlib as mpl

    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    scaled = np.clip((values - low) / ((high - low) or 1.0), 0, 1)
    rgb = mpl.colormaps[cmap](np.nan_to_num(scaled))[:, :3]
    rgb[~np.isfinite(values)] = mpl.colors.to_rgb(MISSING)
    return CellColors(instance, rgb, {}, cmap, (low, high))


def _category_colors(instance: np.ndarray, codes: np.ndarray, names: list[str], colors: list[str]) -> CellColors:
    from matplotlib.colors import to_rgb

    rgb = np.array([to_rgb(color) for color in [*colors, MISSING]])[codes]  # code -1: missing
    present = set(codes.tolist())
    legend = {name: color for code, (name, color) in enumerate(zip(names, colors, strict=True)) if code in present}
    if -1 in present:
        legend["missing"] = MISSING
    return CellColors(instance, rgb, legend)


def table_of_cells(sdata: SpatialData, table_name: str) -> AnnData:
    """The table of this name.

    Raises
    ------
    ElementError
        If there is none.
    """
    if table_name not in sdata.tables:
        raise ElementError(
            f"No table {table_name!r} in sdata (table_name=); found {listed(sdata.tables)}. Make one with "
            "sfm.pp.cell_table(sdata)."
        )
    return sdata.tables[table_name]


def _rows_of(sdata: SpatialData, pair: SampleElements, table_name: str) -> tuple[AnnData, np.ndarray]:
    """Rows of the table that belong to the labels, and their label ids."""
    table = table_of_cells(sdata, table_name)
    attrs = table.uns.get("spatialdata_attrs")
    if attrs is None:
        raise TableError(
            f"Table {table_name!r} does not name the labels that its rows belong to. Make one that does with "
            "sfm.pp.cell_table(sdata, table_name=<new name>)."
        )
    rows = (table.obs[attrs["region_key"]].astype(str) == pair.labels).to_numpy()
    if not rows.any():
        raise TableError(
            f"No row of table {table_name!r} belongs to labels {pair.labels!r}; its regions are "
            f"{listed(table.obs[attrs['region_key']].astype(str).unique())}. Pass labels= or table_name=."
        )
    _, ids = annotated_cells(table, table_name, sdata)
    return table[rows], ids[rows]


def _draw_cells(
    ax: Axes,
    sdata: SpatialData,
    pair: SampleElements,
    colors: CellColors,
    window: SlideWindow,
    max_pixels: int,
    fill: bool,
) -> None:
    to_um = labels_to_system(sdata, pair)
    pixels, extent = read_raster(cells_array(sdata, pair), to_um, window, max_pixels)
    rgba, without_row = paint(fine(pixels), colors.labels, colors.rgb, fill)
    if without_row:
        logger.info("%d labels in view have no row in the table; they are grey.", without_row)
    ax.imshow(rgba, extent=extent, interpolation="nearest")


def _legend_columns(n: int) -> int:
    return 1 + (n - 1) // 24


def _figsize(window: SlideWindow, colors: CellColors | None) -> tuple[float, float]:
    height = 5.0
    width = float(np.clip(height * (window.x1 - window.x0) / (window.y1 - window.y0), 2.5, 10))
    if colors is not None:
        width += 1.8 * _legend_columns(len(colors.legend)) if colors.legend else 0.9
    return width, height


def _decorate(ax: Axes, window: SlideWindow, unit: str, scale_bar: bool, dark: bool) -> None:
    if not scale_bar:
        ax.set(xlabel=f"x ({unit})", ylabel=f"y ({unit})")
        return
    ax.set(xticks=[], yticks=[])
    draw_scale_bar(ax, window, unit, dark)


def _legends(ax: Axes, colors: CellColors | None, color: str | None, channels: dict[str, str]) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.patches import Patch

    if channels:
        handles = [Patch(facecolor=shade, edgecolor="0.3", lw=0.5, label=name) for name, shade in channels.items()]
        below = ax.legend(
            handles=handles, loc="upper left", bbox_to_anchor=(0, -0.01), ncols=3, frameon=False, borderaxespad=0,
            handlelength=1, columnspacing=1.2,
        )  # fmt: skip
        ax.add_artist(below)  # a second legend would otherwise replace it
        below.set(clip_on=False, clip_path=None)
    if colors is None:
        return
    if not colors.legend:
        mappable = ScalarMappable(Normalize(*colors.limits), colors.cmap)
        ax.get_figure(root=True).colorbar(mappable, ax=ax, label=colors.label or color, shrink=0.7, pad=0.02)
        return
    handles = [Patch(facecolor=shade, edgecolor="0.3", lw=0.5, label=name) for name, shade in colors.legend.items()]
    ax.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, borderaxespad=0, title=color,
        alignment="left", handlelength=1, ncols=_legend_columns(len(handles)),
        fontsize="small" if len(handles) > 14 else None,
    )  # fmt: skip
