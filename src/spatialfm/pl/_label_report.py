"""Labels as an expert checks them: how many there are of each type and patient, and which to look at again."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._errors import TableError, listed
from .._fingerprint import check_unchanged
from .._public import public
from .._storable import named_table
from ._figure import OKABE_ITO, finish, letter_panels, new_panels
from ._results import check_result

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COUNTS, DOUBTS = "Blues", "Oranges"
WRONG, CONFLICTS = OKABE_ITO[1], OKABE_ITO[0]
MOST_NUMBERS = 240  # squares of a panel whose numbers can still be read
HEIGHT = 0.36  # of a bar, in rows
NO_PATIENTS = "all"  # name of the only row of counts where labels have no patient


@public
def label_report(
    adata: AnnData,
    *,
    key: str = "label_report",
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Sequence[Axes] | None = None,
    show: bool | None = None,
    save: str | PathLike | None = None,
    return_fig: bool | None = None,
) -> np.ndarray | Figure | None:
    """Draw the result of `spatialfm.tl.label_report`: labels by type and patient, and those to look at again.

    Types are rows in all three panels, the most often labelled on top. The first panel counts labels by patient; an
    empty square is a patient without a label of that type. The second counts the labels that are likely wrong, and
    conflicts: pairs of near-identical cells with different labels. The third says which other type the likely
    wrong ones look like.

    Parameters
    ----------
    adata
        Cells with ``uns[key]``.
    key
        Key of ``uns``.
    title
        Title of the figure.
    figsize
        Width and height in inches of a new figure.
    ax
        Three axes to draw into.
    show
        Whether to show the figure (default: if it is new, not saved, and there is a screen).
    save
        File to save to; text in PDF and SVG stays text.
    return_fig
        Whether to return the figure.

    Returns
    -------
    The figure with `return_fig`, None when it was shown, the three axes otherwise.

    Raises
    ------
    TableError
        If there is no such result, or there are not three axes.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=2, cells_per_patient=100, random_state=0)
    >>> _ = sfm.tl.label_report(cells, "type", use_rep="X_latent", C=1.0)
    >>> axes = sfm.pl.label_report(cells, show=False)
    >>> axes[0].get_xlabel()
    'Patient'
    """
    if key not in adata.uns:
        raise TableError(
            f"No report in uns[{key!r}] (key=); found {listed(adata.uns)}. Make one with sfm.tl.label_report."
        )
    result = check_result(adata.uns[key], f"uns[{key!r}]", "label_report")
    check_unchanged(adata, result, key, "label_report")
    types = result["types"].sort_values("n_labelled", ascending=False, kind="stable")
    names = [str(name) for name in types.index]
    counts = _counts(named_table(adata, key, "counts"), names, key)
    doubts = _doubts(result["cells"], names)
    own, axes = ax is None, _axes(ax, (len(names), counts.shape[1], doubts.shape[1]), figsize)
    no_patients = list(counts.columns) == [NO_PATIENTS]
    _squares(axes[0], counts, COUNTS)
    axes[0].set_title("Labels" if no_patients else "Labels of each patient", loc="left", fontsize="medium")
    axes[0].set_xlabel("Labelled cells" if no_patients else "Patient")
    _bars(axes[1], types)
    axes[1].set_title("To look at again", loc="left", fontsize="medium")
    _squares(axes[2], doubts, DOUBTS)
    axes[2].set_title("Likely wrong, and what they look like", loc="left", fontsize="medium")
    axes[2].set_xlabel("Type that the cell looks like")
    labels = [f"{name} ({n:,})" for name, n in zip(names, types["n_labelled"].astype(int), strict=True)]
    for number, one in enumerate(axes):
        one.set_yticks(np.arange(len(names)), labels if number == 0 else [], parse_math=False)
        one.set_ylim(len(names) - 0.5, -0.5)
    if own and title is not None:
        axes[0].get_figure(root=True).suptitle(title, x=0.01, ha="left", fontsize="medium", parse_math=False)
    if own:
        letter_panels(axes)
    first = finish(axes[0], own=own, show=show, save=save, return_fig=return_fig)
    return axes if first is axes[0] else first


def _counts(counts: pd.DataFrame, names: list[str], key: str) -> pd.DataFrame:
    """Types by patients."""
    table = counts.T
    table.index, table.columns = table.index.astype(str), table.columns.astype(str)
    if lacking := [name for name in names if name not in table.index]:
        raise TableError(f"uns[{key!r}]['counts'] has no type {listed(lacking)}. Run sfm.tl.label_report again.")
    return table.loc[names]


def _doubts(cells: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Given types by the types that likely wrong labels look like; types that none looks like are left out."""
    wrong = cells[cells["likelier"].notna()]
    table = pd.crosstab(wrong["label"].astype(str), wrong["likelier"].astype(str))
    columns = [name for name in names if name in table.columns]
    return table.reindex(index=names, columns=columns, fill_value=0)


def _axes(ax: Sequence[Axes] | None, size: tuple[int, int, int], figsize: tuple[float, float] | None) -> np.ndarray:
    n_types, n_patients, n_doubted = size
    if ax is None:
        widths = [max(0.34 * n_patients, 1.7), 1.9, max(0.34 * n_doubted, 2.4)]
        size_of = figsize or (sum(widths) + 3.0, 0.27 * n_types + 2.3)
        axes = new_panels(3, size_of, most=3, panel=(2.0, 2.0))
        axes[0].get_gridspec().set_width_ratios(widths)
        return axes
    axes = np.atleast_1d(np.asarray(ax, dtype=object))
    if len(axes) != 3:
        raise TableError(f"A report of labels has 3 panels, which need as many axes; ax= has {len(axes)}.")
    return axes


def _squares(ax: Axes, table: pd.DataFrame, cmap: str) -> None:
    """Counts as colours, on a square-root scale, with their numbers where these can be read; 0 stays white."""
    values = table.to_numpy(dtype=float)
    if not values.size or not values.any():
        ax.text(0.5, 0.5, "none", transform=ax.transAxes, ha="center", va="center", color="0.4")
        ax.set_xticks([])
        ax.spines[:].set_visible(False)
        return
    shade = np.ma.masked_equal(np.sqrt(values), 0)
    most = float(shade.max())
    # from a quarter of the scale on, so that a single label is seen
    edges = [np.arange(n + 1) - 0.5 for n in values.shape[::-1]]
    ax.pcolormesh(*edges, shade, cmap=cmap, vmin=-most / 3, vmax=most, edgecolors="white", linewidth=0.6)
    if values.size <= MOST_NUMBERS:
        for (row, column), value in np.ndenumerate(values):
            if value:
                ink = "white" if np.sqrt(value) > 0.6 * most else "black"
                ax.text(column, row, f"{int(value)}", ha="center", va="center", fontsize="x-small", color=ink)
    ax.set_xticks(np.arange(table.shape[1]), list(table.columns), rotation=90, parse_math=False)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def _bars(ax: Axes, types: pd.DataFrame) -> None:
    rows = np.arange(len(types))
    parts = {"likely wrong": ("n_likely_wrong", WRONG, -0.5), "conflicts (pairs)": ("n_conflicts", CONFLICTS, 0.5)}
    for name, (column, color, side) in parts.items():
        bars = ax.barh(rows + side * HEIGHT, types[column], height=HEIGHT, color=color, label=name)
        ax.bar_label(bars, [f"{int(n)}" if n else "" for n in types[column]], padding=2, fontsize="x-small")
    most = max(1.0, float(types[["n_likely_wrong", "n_conflicts"]].to_numpy(float).max()))
    ax.set_xlim(0, 1.18 * most)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_xlabel("Labels, or pairs")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), frameon=False, fontsize="small", ncols=1)
    ax.spines[["top", "right"]].set_visible(False)
