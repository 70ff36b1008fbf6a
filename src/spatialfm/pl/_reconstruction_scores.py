"""Scores of reconstruction: markers by mode, floors as ticks."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from .._errors import PanelError, TableError, listed
from .._fingerprint import check_unchanged
from .._public import public
from ._figure import OKABE_ITO, finish, new_panels
from ._results import check_result

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FLOORS = {  # what is drawn for each, always in the same colour
    "mean": ("mean", "#808080"),
    "correlated": ("most correlated marker", OKABE_ITO[4]),
    "linear": ("linear regression", OKABE_ITO[2]),
    "knn": ("nearest cells", OKABE_ITO[3]),
}
MODES = {"independent": "independent masks", "marker": "marker-wise", "niche": "niche-wise"}
MODEL = "model"
COLOR = OKABE_ITO[0]
WORDS = {"r": "Pearson's r", "spearman": "Spearman's ρ", "mse": "mean squared error", "f1": "F1 of positive"}
ALL = "all"
TICK = 0.3  # half the height of a tick, in rows


@public
def reconstruction_scores(
    adata: AnnData,
    *,
    key: str = "reconstruction",
    score: Literal["r", "spearman", "mse", "f1"] = "r",
    markers: str | Sequence[str] | None = None,
    method: str | None = None,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | Sequence[Axes] | None = None,
    show: bool | None = None,
    save: str | PathLike | None = None,
    return_fig: bool | None = None,
) -> np.ndarray | Figure | None:
    """Draw the scores of `spatialfm.tl.evaluate_reconstruction`: a row per marker, a panel per mode, floors as ticks.

    The point is the model's mean over patients, with a 95 % interval for other patients; ticks are the floors. The
    first row is the mean over markers; the others are in the order of the first panel, the best on top.

    Parameters
    ----------
    adata
        Table with the scores.
    key
        Key of ``uns``.
    score
        Score to draw.
    markers
        Markers (default: all).
    method
        What the point is (default: the model, or linear regression where none was scored).
    title
        Title of the figure.
    figsize
        Width and height in inches of a new figure.
    ax
        Axes to draw into, one for each mode and unit.
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
    PanelError
        If a marker was not scored.
    TableError
        If there is no such result or method, or there are not as many axes as panels.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=6, cells_per_patient=60, random_state=0)
    >>> _ = sfm.tl.evaluate_reconstruction(cells, n_bootstrap=100)
    >>> axes = sfm.pl.reconstruction_scores(cells, show=False)
    >>> axes[0].get_xlabel()
    "Pearson's r"
    """
    table = _scores(adata, key, score)
    method = _method(table, method)
    panels = list(table[["mode", "unit"]].drop_duplicates().itertuples(index=False, name=None))
    names = _order(table, panels[0], method, markers, ascending=score == "mse")
    own, axes = ax is None, _axes(ax, len(panels), len(names), figsize)
    for number, (one, panel) in enumerate(zip(axes, panels, strict=True)):
        part = table[(table["mode"] == panel[0]) & (table["unit"] == panel[1])]
        _draw(one, part, names, method)
        one.set_title(f"{MODES.get(panel[0], panel[0])}, {panel[1]}s", loc="left", fontsize="medium")
        one.set_xlabel(WORDS[score])
        one.set_yticks(range(len(names)), [_said(name) for name in names] if number == 0 else [])
        one.set_ylim(len(names) - 0.4, -0.6)
        if score != "mse":  # the same scale in all panels, up to the best that there is
            one.set_xlim(min(-0.05, *table[["mean", "low"]].min().fillna(0)), 1.03)
            one.axvline(0, color="0.85", lw=0.8, zorder=0)
        one.spines[["top", "right"]].set_visible(False)
    _legend(axes[-1], table, method)
    if own and title is not None:
        axes[0].get_figure(root=True).suptitle(title, x=0.01, ha="left", fontsize="medium", parse_math=False)
    first = finish(axes[0], own=own, show=show, save=save, return_fig=return_fig)
    return axes if first is axes[0] else first


def _scores(adata: AnnData, key: str, score: str) -> pd.DataFrame:
    if key not in adata.uns:
        raise TableError(
            f"No scores in uns[{key!r}] (key=); found {listed(adata.uns)}. Make them with "
            "sfm.tl.evaluate_reconstruction."
        )
    result = check_result(adata.uns[key], f"uns[{key!r}]", "evaluate_reconstruction")
    check_unchanged(adata, result, key, "evaluate_reconstruction")
    table = result["summary"]
    table = table[table["score"] == score].copy()
    for column in ("marker", "mode", "unit", "method"):
        table[column] = table[column].astype(str)
    if not len(table):
        raise TableError(f"uns[{key!r}] has no score {score!r}. Call sfm.tl.evaluate_reconstruction again.")
    return table


def _method(table: pd.DataFrame, method: str | None) -> str:
    methods = list(dict.fromkeys(table["method"]))
    if method is None:
        return next((name for name in (MODEL, "linear") if name in methods), methods[0])
    if method not in methods:
        raise TableError(f"method={method!r} was not scored; found {listed(methods)}.")
    return method


def _order(
    table: pd.DataFrame, panel: tuple[str, str], method: str, markers: str | Sequence[str] | None, *, ascending: bool
) -> list[str]:
    """Markers, best first, behind the mean over them."""
    known = [name for name in dict.fromkeys(table["marker"]) if name != ALL]
    asked = known if markers is None else [markers] if isinstance(markers, str) else list(markers)
    if lacking := [name for name in asked if name not in known]:
        raise PanelError(f"Marker {lacking[0]!r} was not scored (markers=); found {listed(known, 60)}.")
    part = table[(table["mode"] == panel[0]) & (table["unit"] == panel[1]) & (table["method"] == method)]
    values = part.set_index("marker")["mean"].reindex(asked).astype(float)
    ordered = list(values.sort_values(ascending=ascending, kind="stable", na_position="last").index)
    return [ALL, *ordered] if len(known) > 1 and markers is None else ordered


def _axes(ax: Axes | Sequence[Axes] | None, n: int, n_rows: int, figsize: tuple[float, float] | None) -> np.ndarray:
    if ax is None:
        return new_panels(n, figsize, most=n, panel=(2.6, 0.24 * n_rows), margin=(2.4, 1.3))
    axes = np.atleast_1d(np.asarray(ax, dtype=object))
    if len(axes) != n:
        raise TableError(f"There are {n} modes and units, which need as many axes; ax= has {len(axes)}.")
    return axes


def _draw(ax: Axes, part: pd.DataFrame, names: list[str], method: str) -> None:
    for name, (_, color) in FLOORS.items():
        if name != method:
            values = part[part["method"] == name].set_index("marker")["mean"].reindex(names).to_numpy(float)
            rows = np.flatnonzero(np.isfinite(values))
            ax.vlines(values[rows], rows - TICK, rows + TICK, color=color, lw=1.8, zorder=2)
    own = part[part["method"] == method].set_index("marker").reindex(names)
    mean, low, high = (own[column].to_numpy(float) for column in ("mean", "low", "high"))
    rows = np.flatnonzero(np.isfinite(mean))
    color = _color(method)
    bars = rows[np.isfinite(low[rows])]
    ax.hlines(bars, low[bars], high[bars], color=color, lw=1.2, zorder=3)
    ax.plot(mean[rows], rows, "o", color=color, ms=4.5, zorder=4)
    if names[0] == ALL and len(names) > 1:
        ax.axhline(0.5, color="0.6", lw=0.6, ls=":", zorder=1)


def _color(method: str) -> str:
    return FLOORS[method][1] if method in FLOORS else COLOR


def _said(name: str) -> str:
    return "mean of markers" if name == ALL else name


def _legend(ax: Axes, table: pd.DataFrame, method: str) -> None:
    from matplotlib.lines import Line2D

    label = FLOORS[method][0] if method in FLOORS else method
    handles = [
        Line2D(
            [],
            [],
            color=_color(method),
            marker="o",
            ms=4.5,
            lw=1.2,
            label=f"{label},\n95 % interval\nfor other patients",
        )
    ]
    finite = table[table["mean"].notna()]
    for name, (words, color) in FLOORS.items():
        if name != method and (finite["method"] == name).any():
            handles.append(Line2D([], [], color=color, marker="|", ms=9, mew=1.8, ls="none", label=words))
    ax.legend(handles=handles, frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1.01, 1))
