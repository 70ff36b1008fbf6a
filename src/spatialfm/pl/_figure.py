"""What all plots share: a place to draw, colours, and scanpy's habits of showing, saving and returning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import is_color_like, to_hex, to_rgb

from .._errors import PanelError, TableError, listed, repeated_names
from .._keys import AREA, SPATIAL, TABLE, UNS
from ..pp.units import coordinate_unit

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito 2008: distinguishable with every common colour blindness; grey for their black, which cannot be seen on
# a dark image, and Tol's olive for their yellow, which cannot be seen on white paper
OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999933", "#808080")
# Paul Tol's "muted" scheme, without the cyan that is close to Okabe and Ito's and the sand that is too light for white
MUTED = ("#882255", "#332288", "#44AA99", "#661100", "#AA4499")
MISSING = "#DDDDDD"

Palette = Mapping[str, str] | Sequence[str] | None

_LENGTHS = ("perimeter", "axis_major_length", "axis_minor_length", "equivalent_diameter_area")
_FONTS = {"pdf.fonttype": 42, "ps.fonttype": 42, "svg.fonttype": "none"}  # text stays text in an editor
_NO_SCREEN = {"agg", "cairo", "pdf", "pgf", "ps", "svg", "template"}


def places_in(xy: np.ndarray, sample: str, spatial_key: str) -> np.ndarray:
    """Coordinates x and y ``(n, 2)`` of the cells of one sample, each of which must have both."""
    xy = xy[:, :2]
    if missing := int((~np.isfinite(xy).all(axis=1)).sum()):
        raise TableError(
            f"{missing} of {len(xy)} cells of sample {sample!r} have no finite coordinate in obsm[{spatial_key!r}] "
            "(spatial_key=). Leave them out, or correct the coordinates."
        )
    return xy


def new_axes(ax: Axes | None, figsize: tuple[float, float]) -> Axes:
    """The given axes, or those of a new figure in which nothing overlaps."""
    return plt.subplots(figsize=figsize, layout="constrained")[1] if ax is None else ax


def make_room(ax: Axes, width: float = 0.0, height: float = 0.0) -> None:
    """Enlarge a figure until its only axes have so many inches beside names, legend, table and title."""
    figure = ax.get_figure(root=True)
    whole, inner = ax.get_tightbbox(), ax.get_window_extent()
    figure.set_size_inches(
        max(figure.get_figwidth(), width + (whole.width - inner.width) / figure.dpi + 0.2),  # margins of the layout
        max(figure.get_figheight(), height + (whole.height - inner.height) / figure.dpi + 0.1),
    )


def new_panels(
    n: int,
    figsize: tuple[float, float] | None,
    *,
    most: int,
    panel: tuple[float, float],
    margin: tuple[float, float] = (0.0, 0.0),
    sharex: bool = False,
) -> np.ndarray:
    """Axes ``(n,)`` of a new figure, `most` in a row, by default of a size of so many inches by `panel` and around all.

    With one x axis for all, its numbers are below the last panel of each column, whether its row is full or not.
    """
    columns = min(n, most)
    rows = -(-n // columns)
    size = figsize or (panel[0] * columns + margin[0], panel[1] * rows + margin[1])
    figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False, sharex=sharex)
    for empty in axes.ravel()[n:]:
        figure.delaxes(empty)
    for last in axes.ravel()[n - columns : n]:
        last.tick_params(labelbottom=True)
    return axes.ravel()[:n]


def finish(
    ax: Axes, *, own: bool, show: bool | None, save: str | PathLike | None, return_fig: bool | None
) -> Axes | Figure | None:
    """Save, show and return as asked.

    Parameters
    ----------
    own
        Whether the figure is ours; another's is shown only on request.

    Returns
    -------
    The figure with `return_fig`; None when shown; the axes otherwise.
    """
    figure = ax.get_figure(root=True)
    if save is not None:
        with mpl.rc_context(_FONTS):
            figure.savefig(save, bbox_inches="tight", dpi=200)
    if return_fig:
        return figure
    if show is None:
        show = own and save is None and plt.get_backend().lower() not in _NO_SCREEN
    if show:
        plt.show()
        return None
    return ax


def with_band(ax: Axes, words: str) -> dict[str, list]:
    """Handles and labels of a legend, with one that says what the shaded bands are."""
    from matplotlib.patches import Patch

    handles, labels = ax.get_legend_handles_labels()
    return {"handles": [*handles, Patch(color="0.5", alpha=0.3, lw=0)], "labels": [*labels, words]}


def level(params: Mapping[str, Any]) -> str:
    """Of what level an interval is.

    Examples
    --------
    >>> level({"alpha": 0.1})
    '90 % interval'
    """
    return f"{100 * (1 - float(params.get('alpha', 0.05))):g} % interval"


def digits(value: float) -> str:
    """A number as it is read: three digits, all of them before the point from 1,000 on, and no exponent.

    Examples
    --------
    >>> digits(0.01234), digits(12.345), digits(2998.4), digits(-152.0)
    ('0.0123', '12.3', '2,998', '−152')
    """
    rounded = float(f"{value:.3g}")
    if abs(rounded) < 5e-7:  # what is left of 0 in single precision
        return "0"
    text = f"{value:,.0f}" if abs(rounded) >= 1000 else f"{rounded:.9f}".rstrip("0").rstrip(".")
    return text.replace("-", "−")


def in_random_order(rows: np.ndarray) -> np.ndarray:
    """Rows in an order in which neither the last category nor the highest number covers the other points."""
    return np.random.default_rng(0).permutation(rows)


def place_labels(table: AnnData, spatial_key: str) -> dict[str, str]:
    """Names of the axes of a map of cells, with the unit of their coordinates where the table says it.

    Examples
    --------
    >>> import anndata
    >>> uns = {"spatialfm": {"table": {"samples": '{"a": {"unit": "pixel"}}'}}}
    >>> place_labels(anndata.AnnData(uns=uns), "spatial")
    {'xlabel': 'x (pixel)', 'ylabel': 'y (pixel)'}
    """
    # of other coordinates nothing is recorded
    return axis_labels(coordinate_unit(table.uns) if spatial_key == SPATIAL else "")


def check_once(channels: Sequence[str]) -> None:
    """Refuse a channel that is named twice: it would be drawn in two colours, of which a legend has one."""
    if twice := repeated_names(channels):
        raise PanelError(f"channels= names {twice[0]!r} twice, which would be in two colours. Name it once.")


def axis_labels(unit: str) -> dict[str, str]:
    """Names of the axes of a map, with the unit, if there is one."""
    shown = f" ({unit})" if unit else ""
    return {"xlabel": f"x{shown}", "ylabel": f"y{shown}"}


def with_unit(table: AnnData, name: str) -> str:
    """Name of a number of cells with its unit, where it is a shape that `spatialfm.pp.cell_table` measured.

    Examples
    --------
    >>> import anndata
    >>> uns = {"spatialfm": {"table": {"samples": '{"a": {"unit": "µm"}}'}}}
    >>> with_unit(anndata.AnnData(uns=uns), "area"), with_unit(anndata.AnnData(uns=uns), "score")
    ('area (µm²)', 'score')
    """
    # of a table that came without images, places alone were brought to µm
    unit = coordinate_unit(table.uns) if "samples" in table.uns.get(UNS, {}).get(TABLE, {}) else ""
    power = {AREA: "²", **dict.fromkeys(_LENGTHS, "")}.get(name)
    return name if not unit or power is None else f"{name} ({unit}{power})"


def letter_panels(axes: Sequence[Axes]) -> None:
    """A bold letter at the upper left of each panel, in the order given: what a text refers to as panel a, b, c."""
    for letter, ax in zip(ascii_lowercase, axes, strict=False):
        points = 72 / ax.get_figure(root=True).dpi
        above = (ax.get_tightbbox().y1 - ax.get_window_extent().y1) * points  # with title and legend
        ax.annotate(
            letter, (0, 1), (-22, max(above, 4)), xycoords="axes fraction", textcoords="offset points", ha="right",
            va="top", fontweight="bold", fontsize="large", annotation_clip=False,
        )  # fmt: skip


def color_cycle(n: int) -> list[str]:
    """Colours for `n` categories: Okabe and Ito's, Tol's, then lighter and darker ones."""
    colors = [*OKABE_ITO, *MUTED]
    for light, share in ((1.0, 0.55), (0.0, 0.45)):
        colors += [to_hex(np.array(to_rgb(base)) * (1 - share) + light * share) for base in OKABE_ITO[:-1]]
    if n > len(colors):
        colors += [to_hex(color) for color in mpl.colormaps["hsv"](np.linspace(0, 0.95, n - len(colors)))]
    return colors[:n]


def stored_colors(adata: AnnData, key: str, names: Sequence[str]) -> list[str] | None:
    """Colours of ``uns["<key>_colors"]`` for some names: each its own, if ``obs[key]`` is there to assign them.

    Of groups that were drawn some may be missing, or categories may have changed: by number alone they would swap.
    """
    stored = adata.uns.get(f"{key}_colors")
    column = adata.obs.get(key)
    if stored is None or column is None or not isinstance(column.dtype, pd.CategoricalDtype):
        return stored
    known = [str(name) for name in column.cat.categories]
    if len(stored) != len(known) or not set(names) <= set(known):
        return None
    return [str(stored[known.index(name)]) for name in names]


def category_colors(names: Sequence[str], palette: Palette = None, stored: Sequence[str] | None = None) -> list[str]:
    """One colour per category: from `palette`, otherwise from scanpy's ``uns["<key>_colors"]``, otherwise our own.

    Raises
    ------
    TableError
        If `palette` lacks a category or holds something that is not a colour.
    """
    if isinstance(palette, Mapping):
        if absent := [name for name in names if name not in palette]:
            raise TableError(f"palette= has no colour for {listed(absent)}; it has {listed(palette)}.")
        colors = [palette[name] for name in names]
    elif palette is not None:
        colors = list(palette)
        if len(colors) < len(names):
            raise TableError(f"palette= has {len(colors)} colours for {len(names)} categories ({listed(names)}).")
    elif stored is not None and len(stored) == len(names) and all(is_color_like(color) for color in stored):
        colors = [str(color) for color in stored]
    else:
        colors = color_cycle(len(names))
    if wrong := [color for color in colors if not is_color_like(color)]:
        raise TableError(f"{wrong[0]!r} in palette= is not a colour. Write for example '#0072B2' or 'tab:blue'.")
    return [to_hex(color) for color in colors[: len(names)]]


def p_text(p: float) -> str:
    """A p-value as it is read.

    Examples
    --------
    >>> p_text(0.0312), p_text(0.00004), p_text(float("nan"))
    ('p = 0.031', 'p < 0.001', 'not tested')
    """
    return "not tested" if np.isnan(p) else "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
