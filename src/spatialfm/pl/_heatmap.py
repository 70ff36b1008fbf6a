"""A table as colours: names on both sides, and a colour bar that shows where colours end before the numbers do."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colorbar import Colorbar

LETTERS = 11  # of a title or label in an inch
SHORTEST = 15  # line of a label, in letters
BAR = 0.35  # width of the coloured bar beside a name, in cells of the table


def draw_heatmap(
    ax: Axes,
    table: pd.DataFrame,
    *,
    label: str,
    limit: float | None = None,
    cmap: str = "RdBu_r",
    numbers: bool = False,
    colors: Mapping[str, str] | None = None,
    size: float = 0.9,
) -> Colorbar:
    """Draw a table of numbers around 0.

    Parameters
    ----------
    table
        Rows by columns, named; NaN stays white.
    label
        Of the colour bar, with the unit.
    limit
        Number at which colours end (default: the largest). The bar gets an arrow on each side with numbers beyond it.
    numbers
        Whether to write them into the cells.
    colors
        Colours of rows, and of columns that have the same names, drawn beside the names.
    size
        Height of the colour bar as a share of that of the axes.
    """
    values = table.to_numpy(dtype=float)
    largest = float(np.nanmax(np.abs(values), initial=0.0))
    limit = limit or max(largest, 1e-6)
    drawn = ax.pcolormesh(
        np.ma.masked_invalid(values), cmap=cmap, vmin=-limit, vmax=limit, edgecolors="white", linewidth=0.6
    )
    text = {"parse_math": False}  # a name with two dollar signs is not a formula
    ax.set_xticks(np.arange(table.shape[1]) + 0.5, [str(name) for name in table.columns], rotation=90, **text)
    ax.set_yticks(np.arange(table.shape[0]) + 0.5, [str(name) for name in table.index], **text)
    ax.invert_yaxis()
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    if colors is not None:
        _name_bars(ax, table, colors)
    if numbers:
        for (row, column), value in np.ndenumerate(values):
            ink = "white" if abs(value) > 0.65 * limit else "black"
            text = f"{value:.1f}".replace("-0.0", "0.0").replace("-", "−")
            ax.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize="x-small", color=ink)
    figure = ax.get_figure(root=True)
    room = int(LETTERS * size * ax.get_window_extent().height / figure.dpi)
    label = fill(label, max(room, SHORTEST))  # beside few rows there is little room
    return figure.colorbar(drawn, ax=ax, label=label, shrink=size, pad=0.02, extend=extended(values, -limit, limit))


def extended(values: np.ndarray, low: float, high: float) -> str:
    """On which sides numbers lie beyond the ends of a colour bar, in matplotlib's words.

    Examples
    --------
    >>> import numpy as np
    >>> extended(np.array([-3.0, 0.0, 2.0, np.nan]), -2, 2)
    'min'
    """
    with np.errstate(invalid="ignore"):
        below, above = bool((values < low).any()), bool((values > high).any())
    return {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[below, above]


def _name_bars(ax: Axes, table: pd.DataFrame, colors: Mapping[str, str]) -> None:
    """Bars of the rows' colours on the left, and of the columns' below where they have the same names."""
    from matplotlib.patches import Rectangle

    n_rows, n_columns = table.shape
    for row, name in enumerate(map(str, table.index)):
        ax.add_patch(Rectangle((-BAR - 0.1, row), BAR, 1, color=colors[name], lw=0, clip_on=False))
    ax.set_xlim(-BAR - 0.1, n_columns)
    if list(map(str, table.columns)) == list(map(str, table.index)):
        for column, name in enumerate(map(str, table.columns)):
            ax.add_patch(Rectangle((column, n_rows + 0.1), 1, BAR, color=colors[name], lw=0, clip_on=False))
        ax.set_ylim(n_rows + 0.1 + BAR, 0)
