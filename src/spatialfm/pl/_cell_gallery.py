"""Cells in cuts of their images: what an expert labels from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._coordinates import coordinates
from .._errors import ElementError, PanelError, TableError, counted, listed
from .._keys import TABLE
from .._public import public
from ..pp.annotated import annotated_cells, rows_of_cells
from ..pp.arrays import channel_names
from ..pp.elements import SampleElements, match_elements
from ..pp.units import length_unit
from ._cells import CHANNEL_COLORS, table_of_cells
from ._crops import PERCENTILES, Cut, cut_around, draw_cut, sample_limits
from ._figure import check_once, finish
from ._raster import BEYOND, draw_scale_bar

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.figure import Figure
    from spatialdata import SpatialData

MOST = 400  # cuts of one figure
SIDE, GAP, CAPTION, LINE = 1.15, 0.05, 0.15, 0.22  # inches: a cut, between cuts, a line of text, a line of the legend
WIDE, WIDE_NAME = 20, 16  # letters of a line above a cut, and left of its row; longer ones go on below
NAMES, MARGIN, LEAST = 1.15, 0.08, 3.2  # inches: for the name of a type left of its row; around all; least width


@dataclass(frozen=True)
class _Item:
    """A cell (row of the table), its place in the grid, and what is written above it and left of its row."""

    cell: int
    row: int
    column: float
    caption: str
    left: str = ""


@public
def cell_gallery(
    sdata: SpatialData,
    cells: Sequence[str] | None = None,
    *,
    channels: str | Sequence[str] | Sequence[Sequence[str]],
    annotation_key: str | None = None,
    types: Sequence[str] | None = None,
    n: int = 4,
    n_columns: int = 8,
    size: float = 30.0,
    percentiles: tuple[float, float] = PERCENTILES,
    channel_colors: Sequence[str] = CHANNEL_COLORS,
    table_name: str = TABLE,
    scale_bar: bool = True,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    show: bool | None = None,
    save: str | PathLike | None = None,
    return_fig: bool | None = None,
) -> np.ndarray | Figure | None:
    """Show cells as cuts of their images, each with the outline of its mask: the picture an expert labels from.

    Either the cells asked for, such as those of `spatialfm.tl.suggest_labels`, numbered in their order; or, of each
    type of an annotation, the cells that it is most and least certain of. Only the pixels of the cuts are read. A
    channel is scaled alike in all cuts of a sample, and to the cells of each sample on its own.

    Parameters
    ----------
    sdata
        SpatialData with images, masks and the table of cells.
    cells
        Names of cells (``obs_names``). Default: the most and least certain ones of `annotation_key`.
    channels
        One to three channels, shown in `channel_colors`; or several lists of them: each cell is then shown once for
        each list, one below the other.
    annotation_key
        Key that `spatialfm.tl.annotate` wrote. With `cells`, predicted type and confidence are written above them;
        leave it out where an expert is not to see them.
    types
        Types to show, where `cells` are not given (default: all that were predicted).
    n
        Most certain cells of each type, and as many least certain ones.
    n_columns
        Cells in a row, where `cells` are given.
    size
        Side of a cut in µm.
    percentiles
        Percentiles of the mean intensities of the cells of a sample that become black and full colour; of the pixels
        that are shown, with a warning, where ``X`` does not hold the means of pixels.
    channel_colors
        Colours of the channels of each list.
    table_name
        Name of the table of cells.
    scale_bar
        Whether to draw a scale bar in the first cut.
    title
        Title.
    figsize
        Width and height in inches of the figure (default: from the number of cells).
    show
        Whether to show the figure (default: if not saved, and there is a screen).
    save
        File to save to.
    return_fig
        Whether to return the figure.

    Returns
    -------
    The figure with `return_fig`, None when it was shown, otherwise the axes ``(cells, lists of channels)``.

    Raises
    ------
    TableError
        If a cell is not in the table or its mask is not around its position, nothing was annotated under the key, or
        there are more than 400 cuts.
    ElementError, PanelError
        If images, masks or channels are missing; the message names them.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=96, difficulty="easy")
    >>> sfm.pp.cell_table(sdata)
    >>> names = sdata["table"].obs_names[:3]
    >>> axes = sfm.pl.cell_gallery(sdata, names, channels=["DAPI", "CD3"], show=False)
    >>> axes.shape
    (3, 1)
    """
    composites = _composites(channels, channel_colors)
    table = table_of_cells(sdata, table_name)
    if cells is None:
        items = _most_and_least(table, annotation_key, types, n)
    else:
        items = _asked(table, list(cells), annotation_key, n_columns)
    if len(items) * len(composites) > MOST:
        raise TableError(f"{len(items) * len(composites)} cuts in one figure; {MOST} is the most. Pass fewer cells.")
    drawn = _Cuts(sdata, table, table_name, size, percentiles)
    cuts = [drawn.cut(item.cell) for item in items]
    drawn.check_channels(cuts, [name for one in composites for name in one])

    figure, axes = _layout(items, len(composites), figsize, title)
    for cut, column in zip(cuts, axes, strict=True):
        for ax, colors in zip(column, composites, strict=True):
            draw_cut(ax, sdata, cut, colors, drawn.limits(cut.pair), linewidth=0.9)
    if scale_bar:
        unit = length_unit(sdata, cuts[0].pair)
        draw_scale_bar(axes[0, 0], cuts[0].window, unit, dark=True)
    _legend(figure, composites)
    result = finish(axes[0, 0], own=True, show=show, save=save, return_fig=return_fig)
    return axes if result is axes[0, 0] else result


def _composites(channels: str | Sequence[str] | Sequence[Sequence[str]], colors: Sequence[str]) -> list[dict[str, str]]:
    """Colour of each channel, for each picture of a cell."""
    several = not isinstance(channels, str) and len(channels) > 0 and not any(isinstance(one, str) for one in channels)
    lists = (
        [list(one) for one in channels] if several else [[channels] if isinstance(channels, str) else list(channels)]
    )
    for names in lists:
        if not 1 <= len(names) <= min(3, len(colors)) or not all(isinstance(name, str) for name in names):
            raise PanelError(
                f"channels={channels!r}: one to three channels with {len(colors)} colours (channel_colors=) can be "
                'told apart in one picture. Pass several lists for more: channels=[["DAPI", "CD3"], ["DAPI", "CD20"]].'
            )
        check_once(names)
    return [dict(zip(names, colors, strict=False)) for names in lists]


def _asked(table: AnnData, names: list[str], annotation_key: str | None, n_columns: int) -> list[_Item]:
    rows = rows_of_cells(table, names)
    captions = [fill(f"{place + 1}  {name}", WIDE) for place, name in enumerate(names)]
    if annotation_key is not None:
        label, confidence = _annotation(table, annotation_key)
        told = [fill(f"{one} {sure:.2f}", WIDE) for one, sure in zip(label.iloc[rows], confidence[rows], strict=True)]
        captions = [f"{caption}\n{one}" for caption, one in zip(captions, told, strict=True)]
    return [_Item(int(row), i // n_columns, i % n_columns, captions[i]) for i, row in enumerate(rows)]


def _annotation(table: AnnData, key: str | None) -> tuple[pd.Series, np.ndarray]:
    """Predicted types and how sure they are."""
    if key is None or key not in table.obs or f"{key}_confidence" not in table.obs:
        annotations = [str(name).removesuffix("_confidence") for name in table.obs if str(name).endswith("_confidence")]
        raise TableError(
            f"No annotation {key!r} in obs of the table (annotation_key=); found {listed(annotations)}. Pass cells= "
            "(names of cells), or make one with sfm.tl.annotate(adata, label_key, use_rep=...)."
        )
    return table.obs[key], table.obs[f"{key}_confidence"].to_numpy(dtype=float)


def _most_and_least(table: AnnData, annotation_key: str | None, types: Sequence[str] | None, n: int) -> list[_Item]:
    """One row per type: the most certain cells, then the least certain ones."""
    label, confidence = _annotation(table, annotation_key)
    text = label.astype(object).where(label.notna(), None).map(str, na_action="ignore").to_numpy(dtype=object)
    present = [str(one) for one in pd.Categorical(label).categories if (text == str(one)).any()]
    shown = present if types is None else [str(one) for one in types]
    if unknown := [name for name in shown if name not in present] or ([] if shown else ["any"]):
        raise TableError(f"No cell is annotated as {unknown[0]!r} (types=); there are {listed(present, 30)}.")
    items = []
    for row, name in enumerate(shown):
        rows = np.flatnonzero((text == name) & np.isfinite(confidence))
        rows = rows[np.lexsort((table.obs_names[rows].to_numpy(dtype=str), -confidence[rows]))]
        most, least = rows[: min(n, -(-len(rows) // 2))], rows[::-1][: min(n, len(rows) // 2)]
        for shift, heading, part in ((0.0, "most certain", most), (n + 0.25, "least certain", least)):
            for place, cell in enumerate(part):
                above = f"{heading}\n" if row == place == 0 else ""
                left = f"{fill(name, WIDE_NAME)}\n{counted(len(rows), 'cell')}" if shift == place == 0 else ""
                caption = f"{above}{confidence[cell]:.2f}"
                items.append(_Item(int(cell), row, shift + place, caption, left))
    return items


class _Cuts:
    """Cuts around cells of one table, and the limits of the colours of each sample."""

    def __init__(
        self, sdata: SpatialData, table: AnnData, table_name: str, size: float, percentiles: tuple[float, float]
    ) -> None:
        self._sdata, self._table, self._size, self._percentiles = sdata, table, size, percentiles
        self._regions, self._numbers = annotated_cells(table, table_name, sdata)
        self._places = coordinates(table, finite=False)[:, :2]
        self._pairs = {
            pair.labels: pair for pair in match_elements(sdata, need_labels=False) if pair.labels is not None
        }
        self._cuts: dict[str, dict[int, Cut]] = {}
        self._limits: dict[str, pd.DataFrame] = {}

    def cut(self, row: int) -> Cut:
        """The surroundings of the cell in a row of the table."""
        name, region = str(self._table.obs_names[row]), self._regions[row]
        if region not in self._pairs:
            raise ElementError(
                f"Cell {name!r} is of element {region!r}, which belongs to no image; found {listed(self._pairs)}."
            )
        place = self._places[row]
        picture = None
        if np.isfinite(place).all():
            picture = cut_around(self._sdata, self._pairs[region], place, int(self._numbers[row]), self._size)
        if picture is None:
            raise TableError(
                f"The mask of cell {name!r} is not within {self._size:g} µm around its place in obsm['spatial'], or "
                "fills the whole cut: the picture would show another cell. Pass size= that is larger than a cell, or "
                "correct the table: sfm.pp.cell_table(sdata, table_name=<new name>)."
            )
        self._cuts.setdefault(picture.pair.sample, {})[row] = picture
        return picture

    def check_channels(self, cuts: list[Cut], channels: list[str]) -> None:
        """Refuse a channel that an image or the table lacks."""
        for pair in {cut.pair.image: cut.pair for cut in cuts}.values():
            names = channel_names(self._sdata, pair.image)
            if unknown := [name for name in channels if name not in names]:
                raise PanelError(
                    f"No channel {unknown[0]!r} in image {pair.image!r} (channels=); found {listed(names, 50)}."
                )
        if lacking := [name for name in channels if name not in self._table.var_names]:
            raise PanelError(
                f"No marker {lacking[0]!r} in the table, whose mean intensities say what is dark and bright "
                f"(channels=); found {listed(self._table.var_names, 50)}."
            )

    def limits(self, pair: SampleElements) -> pd.DataFrame:
        """Of a sample, made once."""
        if pair.sample not in self._limits:
            rows = np.flatnonzero(self._regions == pair.labels)
            cuts = self._cuts[pair.sample]
            self._limits[pair.sample] = sample_limits(self._sdata, self._table, rows, cuts, self._percentiles)
        return self._limits[pair.sample]


def _layout(
    items: list[_Item], n_composites: int, figsize: tuple[float, float] | None, title: str | None
) -> tuple[Figure, np.ndarray]:
    """A figure with an axes for each picture, measured in inches, and with the names of rows."""
    import matplotlib.pyplot as plt

    lines = [max(1 + i.caption.count("\n") for i in items if i.row == row) for row in range(1 + items[-1].row)]
    heights = n_composites * (SIDE + GAP) + CAPTION * np.array(lines) + GAP
    starts = np.concatenate([[0.0], np.cumsum(heights)])
    left = NAMES if any(item.left for item in items) else MARGIN
    top, bottom = MARGIN + 2 * CAPTION * (title is not None), LINE * n_composites + MARGIN
    width = max(left + (1 + max(item.column for item in items)) * (SIDE + GAP) + MARGIN, LEAST)
    tall = top + starts[-1] + bottom
    figure = plt.figure(figsize=figsize or (width, tall), facecolor="white")
    axes = np.empty((len(items), n_composites), dtype=object)
    for place, item in enumerate(items):
        x, upper = left + item.column * (SIDE + GAP), tall - top - starts[item.row] - lines[item.row] * CAPTION
        for below in range(n_composites):
            y = upper - SIDE - below * (SIDE + GAP)
            ax = figure.add_axes((x / width, y / tall, SIDE / width, SIDE / tall))
            ax.set(xticks=[], yticks=[], facecolor=BEYOND)
            ax.spines[:].set_visible(False)
            axes[place, below] = ax
        axes[place, 0].set_title(item.caption, fontsize=6.5, pad=2, loc="left", parse_math=False)
        axes[place, 0].text(
            -0.06, 0.5, item.left, transform=axes[place, 0].transAxes, ha="right", va="center", fontsize=8,
            parse_math=False,
        )  # fmt: skip
    if title is not None:
        figure.text(left / width, 1 - MARGIN / tall, title, ha="left", va="top", fontsize="medium", parse_math=False)
    return figure, axes


def _legend(figure: Figure, composites: list[dict[str, str]]) -> None:
    """One line per picture of a cell, the upper one first."""
    from matplotlib.patches import Patch

    tall, width = figure.get_figheight(), figure.get_figwidth()
    names = ("upper:", "lower:") if len(composites) == 2 else [f"{i + 1}:" for i in range(len(composites))]
    shift = 0.0 if len(composites) == 1 else 0.5
    for place, colors in enumerate(composites):
        handles = [Patch(facecolor=color, edgecolor="0.3", lw=0.5, label=name) for name, color in colors.items()]
        y = LINE * (len(composites) - place) / tall
        if shift:
            figure.text(MARGIN / width, y, names[place], ha="left", va="top", fontsize="small")
        figure.legend(
            handles=handles, loc="upper left", bbox_to_anchor=((MARGIN + shift) / width, y), ncols=len(handles),
            frameon=False, fontsize="small", handlelength=1, columnspacing=1.2, borderaxespad=0, borderpad=0,
        )  # fmt: skip
