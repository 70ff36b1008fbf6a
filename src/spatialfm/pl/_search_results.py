"""Results of a search as images: each query next to its hits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from .._coordinates import coordinates
from .._errors import ElementError, PanelError, TableError, listed
from .._keys import SAMPLE_KEY, SPATIAL, TABLE, TILE_KEY
from .._public import public
from ..pp.arrays import channel_names, image_array
from ..pp.drawn_cells import DrawnCells, cells_array, drawn_cells, numbers_of_rows
from ..pp.elements import SampleElements, image_to_system, labels_to_system, match_elements
from ..pp.joins import whole_numbers
from ..pp.units import kinds_of_pixels, length_unit
from ._cells import CHANNEL_COLORS
from ._figure import OKABE_ITO, check_once, digits, finish
from ._raster import BEYOND, Extent, SlideWindow, composite, draw_scale_bar, fine, read_raster

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from spatialdata import SpatialData

SAME, OTHER = OKABE_ITO[5], OKABE_ITO[4]  # light blue and orange: apart with colour blindness, and seen on black
CELL_SIDE = 40.0  # µm around a cell
THIN = 120  # pixels along a crop in which an outline of one is thin and yet seen
WHOLE = 2**31  # pixels: none is left out


@dataclass(frozen=True)
class Crop:
    """One panel: pixels ``(c, y, x)``, their place, and the text."""

    name: str
    sample: str
    label: str | None
    window: SlideWindow
    unit: str
    pixels: np.ndarray
    extent: Extent
    outline: tuple[np.ndarray, Extent] | None


@public
def search_results(
    hits: pd.DataFrame,
    sdata: SpatialData,
    *,
    channels: str | Sequence[str],
    query_sdata: SpatialData | None = None,
    queries: Sequence[str] | None = None,
    k: int = 5,
    label_key: str | None = None,
    size: float | None = None,
    outline: bool = True,
    percentiles: tuple[float, float] = (1.0, 99.7),
    channel_colors: Sequence[str] = CHANNEL_COLORS,
    table_name: str = TABLE,
    query_table_name: str | None = None,
    max_pixels: int = 300,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    show: bool | None = None,
    save: str | PathLike | None = None,
    return_fig: bool | None = None,
) -> np.ndarray | Figure | None:
    """Show queries and their hits from :func:`spatialfm.tl.search` as crops of the images.

    One row per query, the query at the left, the nearest hit next to it. Only the pixels of the crops are read. A
    channel is scaled alike in all crops of one SpatialData, so that brightness can be compared.

    Parameters
    ----------
    hits
        Columns ``query``, ``hit``, ``rank``, ``distance``.
    sdata
        With the images of the hits, and the table whose rows they are (cells or tiles).
    channels
        One to three channels, shown in `channel_colors`.
    query_sdata
        With the images and the table of the queries, where that is another cohort.
    queries
        Queries to show (default: the first five).
    k
        Hits of each.
    label_key
        Column of ``obs`` that is written at each; hits of the query's label have a blue frame, others a broken
        orange one.
    size
        Side of a crop in µm (default: the tile, or 40 µm around a cell).
    outline
        Whether the cell is outlined.
    percentiles
        Percentiles of a channel's shown pixels that become black and full colour.
    channel_colors
        Colours of the channels.
    table_name
        Table of the hits.
    query_table_name
        Table of the queries (default: the same name).
    max_pixels
        Most pixels that are drawn along a side.
    title
        Title.
    figsize
        Width and height in inches of the figure.
    show
        Whether to show the figure (default: if not saved, and there is a screen).
    save
        File to save to.
    return_fig
        Whether to return the figure.

    Returns
    -------
    The figure with `return_fig`, None when it was shown, otherwise the axes ``(queries, 1 + k)``.

    Raises
    ------
    TableError, ElementError, PanelError
        If columns, tables, rows, images or channels are missing, or the mask of a cell is not around its position;
        the message names them.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> sdata = sfm.datasets.simulate_cohort(n_patients=2, n_samples=1, image_size=96, difficulty="easy")
    >>> sfm.tl.embed_cells(sdata, "mean-intensity")
    >>> index = sfm.tl.build_index(sdata["table"], "X_mean_intensity")
    >>> hits = sfm.tl.search(index, sdata["table"][:2], k=4)
    >>> axes = sfm.pl.search_results(hits, sdata, channels=["DAPI", "CD3"], k=3, show=False)
    >>> axes.shape
    (2, 4)
    """
    channels = [channels] if isinstance(channels, str) else list(channels)
    _check(hits, channels, channel_colors)
    shown = list(dict.fromkeys(hits["query"].astype(str)))[:5] if queries is None else [str(name) for name in queries]
    if unknown := [name for name in shown if name not in set(hits["query"].astype(str))]:
        raise TableError(f"No query {unknown[0]!r} in hits (queries=); found {listed(hits['query'].unique(), 5)}.")
    best = hits[hits["rank"] <= k].sort_values("rank", kind="stable")
    hits_of = {name: part for name, part in best.groupby(best["query"].astype(str), sort=False)}
    reader = _Reader(sdata, table_name, channels, label_key, size, outline, max_pixels)
    other = reader
    if query_sdata is not None or query_table_name is not None:
        other = _Reader(
            sdata if query_sdata is None else query_sdata, query_table_name or table_name, channels, label_key, size,
            outline, max_pixels,
        )  # fmt: skip
    asked = [other.crop(name) for name in shown]
    answers = [[reader.crop(str(name)) for name in hits_of[query]["hit"]] for query in shown]
    n_columns = 1 + max(map(len, answers))
    figure, axes = plt.subplots(
        len(shown), n_columns, squeeze=False, layout="constrained",
        figsize=figsize or (1.75 * n_columns + 0.2, (2.0 + 0.13 * (label_key is not None)) * len(shown) + 0.5),
    )  # fmt: skip
    same_source = other.sdata is reader.sdata
    colored = _colored(asked, answers, channel_colors[: len(channels)], percentiles, together=same_source)
    for row, (query, crops) in enumerate(zip(asked, answers, strict=True)):
        _draw(axes[row, 0], query, colored[0][row], _caption(query, "query"), "black", "-", bar=True)
        for column, (crop, hit) in enumerate(zip(crops, hits_of[shown[row]].itertuples(), strict=True)):
            same = crop.label == query.label
            edge = "0.6" if label_key is None else SAME if same else OTHER
            text = _caption(crop, f"{hit.rank}: distance {digits(float(hit.distance))}")
            _draw(axes[row, column + 1], crop, colored[1][row][column], text, edge, "-" if same else (0, (3, 2)))
        for ax in axes[row, len(crops) + 1 :]:
            ax.set_axis_off()
    _legend(figure, dict(zip(channels, channel_colors, strict=False)), label_key)
    if title is not None:
        figure.suptitle(title, x=0.01, ha="left", fontsize="medium")
    result = finish(axes[0, 0], own=True, show=show, save=save, return_fig=return_fig)
    return axes if result is axes[0, 0] else result


class _Reader:
    """Crops around the rows of one table."""

    def __init__(
        self,
        sdata: SpatialData,
        table_name: str,
        channels: list[str],
        label_key: str | None,
        size: float | None,
        outline: bool,
        max_pixels: int,
    ) -> None:
        if table_name not in sdata.tables:
            raise ElementError(f"No table {table_name!r} in sdata (table_name=); found {listed(sdata.tables)}.")
        self.sdata, self.table, self.table_name = sdata, sdata.tables[table_name], table_name
        obs = self.table.obs
        for key, argument in ((SAMPLE_KEY, "the sample of each row"), (label_key, "label_key=")):
            if key is not None and key not in obs:
                raise TableError(f"No column {key!r} in table {table_name!r} ({argument}); found {listed(obs, 12)}.")
        if SPATIAL not in self.table.obsm:
            raise TableError(f"Table {table_name!r} has no obsm[{SPATIAL!r}]: the places of its rows are unknown.")
        self.places = coordinates(self.table, finite=False)[:, :2]
        self.channels, self.label_key, self.size = channels, label_key, size
        self.outline, self.max_pixels = outline, max_pixels
        self.pairs: dict[str, SampleElements] = {}
        self.drawn: dict[str, DrawnCells | None] = {}

    def crop(self, name: str) -> Crop:
        """Pixels around a row."""
        place = self._row(name)
        obs = self.table.obs.iloc[place]
        pair = self._pair(str(obs[SAMPLE_KEY]))
        window = self._window(place, pair)
        image = image_array(self.sdata, pair.image)
        available = channel_names(self.sdata, pair.image)
        if unknown := [channel for channel in self.channels if channel not in available]:
            raise PanelError(
                f"No channel {unknown[0]!r} in image {pair.image!r} (channels=); found {listed(available, 50)}."
            )
        image = image.isel(c=[available.index(channel) for channel in self.channels])
        pixels, extent = read_raster(image, image_to_system(self.sdata, pair), window, self.max_pixels)
        label = None if self.label_key is None else obs[self.label_key]
        label = "none" if self.label_key is not None and pd.isna(label) else label
        unit = length_unit(self.sdata, pair)
        outline = self._outline(place, pair, window)
        return Crop(name, pair.sample, None if label is None else str(label), window, unit, pixels, extent, outline)

    def _row(self, name: str) -> int:
        places = np.flatnonzero(self.table.obs_names == name)
        if len(places) > 1:
            raise TableError(f"{len(places)} rows of table {self.table_name!r} are named {name!r}. Make names unique.")
        if not len(places):
            raise TableError(
                f"No row {name!r} in table {self.table_name!r}; its rows are named {listed(self.table.obs_names, 2)}. "
                "Search with a table as query, and pass the SpatialData and table_name= that hits and queries are of."
            )
        return int(places[0])

    def _pair(self, sample: str) -> SampleElements:
        if sample not in self.pairs:
            self.pairs[sample] = match_elements(self.sdata, None, {}, samples=[sample], need_labels=False)[0]
        return self.pairs[sample]

    def _region(self, place: int) -> tuple[str, int] | None:
        """Element that the row annotates, and its instance there."""
        attrs = self.table.uns.get("spatialdata_attrs")
        if attrs is None:
            return None
        obs = self.table.obs.iloc[place]
        return str(obs[attrs["region_key"]]), obs[attrs["instance_key"]]

    def _window(self, place: int, pair: SampleElements) -> SlideWindow:
        x, y = map(float, self.places[place])
        side, region = self.size, self._region(place)
        if (drawn := self._drawn(region, pair)) is not None and (number := self._number(region)) > 0:
            # a table that another package made may have its positions in other units than the image
            y, x = (float(one) for one in image_to_system(self.sdata, pair)(*drawn.centers_of(np.array([number]))[0]))
        if side is None and region is not None and region[0] in self.sdata.shapes and self._is_of_tiles:
            bounds = self.sdata.shapes[region[0]].geometry.loc[region[1]].bounds
            side = max(bounds[2] - bounds[0], bounds[3] - bounds[1])
        half = (side or CELL_SIDE) / 2
        window = SlideWindow(x - half, y - half, x + half, y + half)
        if region is not None and region[0] in self.sdata.labels and not self._is_below(region, pair, window):
            raise TableError(
                f"The mask of {self.table.obs_names[place]!r} is not within {2 * half:g} "
                f"{length_unit(self.sdata, pair)} around its place in obsm[{SPATIAL!r}]: the picture "
                "would show another cell. Is it in another unit than the coordinate system of the sample? "
                "sfm.pp.cell_table(sdata, table_name=<new name>) makes a table whose positions fit."
            )
        return window

    def _is_below(self, region: tuple[str, int], pair: SampleElements, window: SlideWindow) -> bool:
        """Whether any pixel of a cell is in a window."""
        pair = replace(pair, labels=region[0])
        to_system = labels_to_system(self.sdata, pair)
        labels, _ = read_raster(cells_array(self.sdata, pair), to_system, window, WHOLE)
        return bool((labels == self._number(region)).any())

    def _outline(self, place: int, pair: SampleElements, window: SlideWindow) -> tuple[np.ndarray, Extent] | None:
        """Border of the cell itself ``(y, x)``, where the row is one of a labels element."""
        from skimage.segmentation import find_boundaries

        region = self._region(place)
        if not self.outline or region is None or not self._is_outlined(region[0]):
            return None
        pair, number = replace(pair, labels=region[0]), self._number(region)
        to_system = labels_to_system(self.sdata, pair)
        labels, extent = read_raster(cells_array(self.sdata, pair), to_system, window, self.max_pixels)
        own = fine(labels == number, THIN)
        return find_boundaries(np.pad(own, 1), mode="outer")[1:-1, 1:-1], extent

    def _drawn(self, region: tuple[str, int] | None, pair: SampleElements) -> DrawnCells | None:
        if region is None or region[0] not in self.sdata.shapes or self._is_of_tiles:
            return None
        if region[0] not in self.drawn:
            self.drawn[region[0]] = drawn_cells(self.sdata, replace(pair, labels=region[0]))
        return self.drawn[region[0]]

    def _number(self, region: tuple[str, int]) -> int:
        """Number in the label image of a cell, -1 where its element has none of this id."""
        if region[0] not in self.sdata.shapes:
            return int(whole_numbers(pd.Series([region[1]]), "of the table with the labels of cells")[0])
        return int(numbers_of_rows(self.sdata, region[0], pd.Series([region[1]]), "of the table")[0])

    @property
    def _is_of_tiles(self) -> bool:
        return (self.table.uns.get("spatialdata_attrs") or {}).get("instance_key") == TILE_KEY

    def _is_outlined(self, element: str) -> bool:
        return element in self.sdata.labels or (element in self.sdata.shapes and not self._is_of_tiles)


def _check(hits: pd.DataFrame, channels: list[str], colors: Sequence[str]) -> None:
    if missing := [name for name in ("query", "hit", "rank", "distance") if name not in hits]:
        raise TableError(
            f"hits has no column {missing[0]!r}; it has {listed(hits.columns)}. Pass what sfm.tl.search returned."
        )
    if hits.empty:
        raise TableError("There are no hits to show.")
    if not 1 <= len(channels) <= min(3, len(colors)):
        raise PanelError(
            f"{len(channels)} channels with {len(colors)} colours; one to three can be shown in one image. Pass as "
            "many channels=, and a colour for each in channel_colors=."
        )
    check_once(channels)


def _colored(
    asked: list[Crop],
    answers: list[list[Crop]],
    colors: Sequence[str],
    percentiles: tuple[float, float],
    together: bool,
) -> tuple[list[np.ndarray], list[list[np.ndarray]]]:
    """Images of queries and of hits; each channel between the same limits wherever the pixels have the same source."""
    flat = [crop for crops in answers for crop in crops]
    if together:
        images = _mix([*asked, *flat], colors, percentiles)
        first, rest = images[: len(asked)], iter(images[len(asked) :])
    else:
        first, rest = _mix(asked, colors, percentiles), iter(_mix(flat, colors, percentiles))
    return first, [[next(rest) for _ in crops] for crops in answers]


def _mix(crops: list[Crop], colors: Sequence[str], percentiles: tuple[float, float]) -> list[np.ndarray]:
    """Colours of each, between limits of all whose pixels are of one type: of another, they are in another unit."""
    images: dict[int, np.ndarray] = {}
    for places in kinds_of_pixels({str(i): crop.pixels.dtype for i, crop in enumerate(crops)}).values():
        of_one_kind = list(map(int, places))
        images |= zip(of_one_kind, _mix_alike([crops[i] for i in of_one_kind], colors, percentiles), strict=True)
    return [images[i] for i in range(len(crops))]


def _mix_alike(crops: list[Crop], colors: Sequence[str], percentiles: tuple[float, float]) -> list[np.ndarray]:
    flat = np.concatenate([crop.pixels.reshape(len(colors), 1, -1) for crop in crops], axis=2)
    mixed = composite(flat, colors, percentiles)[0]
    parts = np.split(mixed, np.cumsum([crop.pixels[0].size for crop in crops])[:-1])
    return [part.reshape(*crop.pixels.shape[1:], 3) for part, crop in zip(parts, crops, strict=True)]


def _caption(crop: Crop, first: str) -> str:
    return "\n".join([first, *([crop.label] if crop.label is not None else []), crop.sample])


def _draw(
    ax: Axes, crop: Crop, image: np.ndarray, caption: str, edge: str, style: object, *, bar: bool = False
) -> None:
    window = crop.window
    ax.imshow(image, extent=crop.extent, interpolation="nearest")
    if crop.outline is not None:
        border, extent = crop.outline
        ax.imshow(
            np.where(border[..., None], 1.0, 0.0).repeat(4, axis=2), extent=extent, interpolation="nearest", alpha=0.8
        )
    ax.set(
        xlim=(window.x0, window.x1), ylim=(window.y1, window.y0), aspect="equal", xticks=[], yticks=[],
        facecolor=BEYOND,
    )  # fmt: skip
    for spine in ax.spines.values():
        spine.set(edgecolor=edge, linewidth=2.2, linestyle=style)
    ax.set_title(caption, fontsize=7.5, linespacing=1.15, pad=3)
    if bar:
        draw_scale_bar(ax, window, crop.unit, dark=True)


def _legend(figure: Figure, channels: dict[str, str], label_key: str | None) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(facecolor=color, edgecolor="0.3", lw=0.5, label=name) for name, color in channels.items()]
    if label_key is not None:
        handles += [
            Patch(facecolor="white", edgecolor=SAME, lw=2, label=f"same {label_key}"),
            Patch(facecolor="white", edgecolor=OTHER, lw=2, ls=(0, (2, 1)), label="another"),
        ]
    figure.legend(handles=handles, loc="outside lower left", ncols=len(handles), frameon=False, fontsize="small")
