"""Who lives around cells of one type, inside against outside, as a tree."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._errors import TableError, counted, listed
from .._fingerprint import check_unchanged
from .._public import public
from ._figure import OKABE_ITO, finish, new_axes
from ._results import NAMES, check_columns, check_result, corrected

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MORE, FEWER, EQUAL = OKABE_ITO[1], OKABE_ITO[0], "0.35"  # vermillion and blue, apart with every colour blindness
OUTSIDE = "0.72"
WIDEST = 11.0  # points of the line of the largest share


@public
def neighborhood_contrast(
    adata: AnnData,
    *,
    key: str = "neighborhood_contrast",
    n_types: int | None = 5,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | PathLike | None = None,
    return_fig: bool | None = None,
) -> Axes | Figure | None:
    """Tree of the neighbours of one cell type, as written by :func:`spatialfm.tl.neighborhood_contrast`.

    The root is the cell type; two lines lead to each type of neighbour, as wide as its share among the neighbours
    inside (coloured: orange where it is more frequent inside, blue where it is rarer) and outside (grey). Next to them
    both shares are written, the relative change, and an asterisk where it is significant (VirTues, Fig. 5g).

    Parameters
    ----------
    adata
        Cells with ``uns[key]``.
    key
        Key of ``uns``.
    n_types
        The most frequent neighbours that are shown (None: all).
    title
        Title.
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
        If there is no contrast under `key`, or nothing is left to show.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=6, cells_per_patient=200, random_state=0)
    >>> cells.obs["nest"] = cells.obs["niche"] == "tumor nest"
    >>> sfm.tl.neighborhood_contrast(cells, "type", cell_type="Tumor", within="nest")
    >>> ax = sfm.pl.neighborhood_contrast(cells, n_types=3, show=False)
    >>> ax.texts[0].get_text()
    'Tumor'
    """
    record = adata.uns.get(key)
    table = record.get("table") if isinstance(record, dict) else None
    if not isinstance(table, pd.DataFrame) or "relative_change" not in table:
        raise TableError(
            f"No contrast in uns[{key!r}]; uns has {listed(adata.uns)}. Make one with sfm.tl.neighborhood_contrast."
        )
    check_result(record, f"uns[{key!r}]", "neighborhood_contrast")
    check_unchanged(adata, record, key, "neighborhood_contrast")
    (table, level), params = corrected(record), record["params"]
    if params["tested"] == "nothing":
        table = table.assign(significant=False)
    shown = _most_frequent(table, n_types)
    # of types that occur on neither side there is no change
    check_columns(shown, {"relative_change": NAMES}, f"uns[{key!r}]['table']", "neighborhood_contrast")
    own, ax = ax is None, new_axes(ax, figsize or (6.6, 1.7 + 0.52 * len(shown)))
    middle, widest = (len(shown) - 1) / 2, float(shown[["inside", "outside"]].to_numpy().max())
    _root(ax, middle, params)
    for row, (name, values) in enumerate(shown.iterrows()):
        color = MORE if values["relative_change"] > 0 else FEWER if values["relative_change"] < 0 else EQUAL
        _branch(ax, middle, row + 0.15, values["outside"] / widest, OUTSIDE)
        _branch(ax, middle, row - 0.15, values["inside"] / widest, color)
        _leaf(ax, row, str(name), values, color)
    ax.set(xlim=(0, 1), ylim=(len(shown) - 0.4, -0.6), xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    _legend(ax, table, params, level)
    inside = f" = {params['inside']}" if params["inside"] else ""
    ax.set_title(title or f"Neighbours inside and outside of {params['within']}{inside}", loc="left", fontsize="medium")
    return finish(ax, own=own, show=show, save=save, return_fig=return_fig)


def change_text(change: float) -> str:
    """A relative change as it is read.

    Examples
    --------
    >>> change_text(0.9), change_text(-0.794), change_text(float("inf"))
    ('+90 %', '−79 %', 'only inside')
    """
    if np.isinf(change):
        return "only inside"
    return f"{100 * change:+.0f} %".replace("-", "−") if round(100 * change) else "±0 %"


def _most_frequent(table: pd.DataFrame, n_types: int | None) -> pd.DataFrame:
    """Neighbours in the order of their mean share; those that occur on neither side are left out."""
    mean = table[["inside", "outside"]].mean(axis=1)
    shown = table.loc[mean.sort_values(ascending=False, kind="stable").index]
    shown = shown[(shown["inside"] > 0) | (shown["outside"] > 0)].head(n_types or len(shown))
    if shown.empty:
        raise TableError("The contrast has no neighbours to show: every share is 0.")
    return shown


def _root(ax: Axes, middle: float, params: dict) -> None:
    place = {"xycoords": ax.get_yaxis_transform(), "textcoords": "offset points", "ha": "right"}
    counts = f"{int(params['n_inside']):,} cells inside\n{int(params['n_outside']):,} outside"
    ax.annotate(
        str(params["cell_type"]), (0, middle), (-9, 2), va="bottom", weight="bold", annotation_clip=False, **place
    )
    ax.annotate(counts, (0, middle), (-9, -3), va="top", fontsize="small", color="0.3", annotation_clip=False, **place)
    ax.plot([0], [middle], "o", ms=9, color="black", clip_on=False, zorder=3)


def _branch(ax: Axes, start: float, end: float, share: float, color: str) -> None:
    """A line from the root that arrives level at its leaf."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Curve

    if share <= 0:
        return
    corners = [(0, start), (0.5, start), (0.45, end), (1, end)]
    curve = Curve(corners, [Curve.MOVETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4])
    ax.add_patch(
        PathPatch(curve, fill=False, edgecolor=color, lw=max(WIDEST * share, 0.6), capstyle="butt", clip_on=False)
    )


def _leaf(ax: Axes, row: int, name: str, values: pd.Series, color: str) -> None:
    place = {"xycoords": ax.get_yaxis_transform(), "textcoords": "offset points", "va": "center"}
    star = " *" if bool(values["significant"]) else ""
    ax.annotate(name, (1, row), (8, 7), annotation_clip=False, **place)
    ax.annotate(
        f"{change_text(values['relative_change'])}{star}", (1, row), (8, -7), color=color, weight="bold",
        annotation_clip=False, **place,
    )  # fmt: skip
    ax.annotate(
        f"{100 * values['inside']:.1f} % inside, {100 * values['outside']:.1f} % outside", (1, row), (76, -7),
        fontsize="small", color="0.3", annotation_clip=False, **place,
    )  # fmt: skip


def _legend(ax: Axes, table: pd.DataFrame, params: dict, level: str) -> None:
    """What lines mean, and who was tested: patients, or cells that are far from independent."""
    from matplotlib.lines import Line2D

    lines = {"more frequent inside": MORE, "rarer inside": FEWER, "outside": OUTSIDE}
    handles = [Line2D([], [], color=color, lw=4, label=name) for name, color in lines.items()]
    ax.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(0, -0.02), ncols=3, frameon=False, borderaxespad=0,
        fontsize="small", handlelength=1.4, columnspacing=1.2,
    )  # fmt: skip
    n_cells = int(params["n_inside"]) + int(params["n_outside"])
    n_patients = int(table["n_patients"].iloc[0])
    if params["tested"] == "patients":
        covariates = [str(name) for name in np.atleast_1d(params.get("covariates", []))]
        equal = f" at equal {listed(covariates, quoted=False)}" if covariates else ""
        text = f"* {level}, tested over {n_patients} patients{equal}"
    elif params["tested"] == "cells":
        text = f"no stars: {n_cells:,} cells are not independent, and patients were not tested"
    elif params.get("circular"):
        text = "not tested: the groups were made from these neighbours"
    else:
        has = counted(n_patients, "patient has", "patients have")
        text = f"not tested: {has} cells inside and outside, 5 are the least"
    ax.annotate(
        f"{text}; {int(params['n_neighbors'])} nearest cells",
        (0, 0), (0, -30),
        xycoords="axes fraction", textcoords="offset points", va="top", fontsize="small", color="0.3",
        annotation_clip=False,
    )  # fmt: skip
