"""How clusters split as the resolution grows."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._errors import TableError, listed
from .._fingerprint import check_unchanged
from .._public import public
from ._figure import OKABE_ITO, finish, new_axes
from ._results import check_known, check_result

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@public
def cluster_tree(
    adata: AnnData,
    *,
    key: str = "leiden_sweep",
    min_share: float = 0.1,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | PathLike | None = None,
    return_fig: bool | None = None,
) -> Axes | Figure | None:
    """Tree of the clusters of all resolutions, as written by :func:`spatialfm.tl.leiden_sweep`.

    One row per resolution, one dot per cluster (its area is its number of cells), lines from a cluster to those that
    its cells go to; the number at the right is the stability. After Zappia and Oshlack 2018 (clustree).

    Parameters
    ----------
    adata
        Cells with ``uns[key]``.
    key
        Key of ``uns``.
    min_share
        Lines that carry a smaller share of the finer cluster are left out.
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
        If there is no sweep under `key`.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=2, cells_per_patient=150, random_state=0)
    >>> sfm.tl.leiden_sweep(cells, use_rep="X_latent", resolutions=[0.2, 1.0], n_subsamples=2)
    >>> ax = sfm.pl.cluster_tree(cells, show=False)
    >>> ax.get_ylabel()
    'Resolution'
    """
    record = adata.uns.get(key)
    if not isinstance(record, dict) or "edges" not in record:
        raise TableError(f"No sweep in uns[{key!r}]; uns has {listed(adata.uns)}. Make one with sfm.tl.leiden_sweep.")
    check_result(record, f"uns[{key!r}]", "leiden_sweep")
    check_unchanged(adata, record, key, "leiden_sweep")
    table, edges, codes = record["table"], record["edges"], _codes(adata, key, record["table"])
    check_known([*edges["resolution"], *edges["next"]], codes.columns, f"uns[{key!r}]['edges']", "leiden_sweep")
    places = _places(codes, edges)
    own, ax = ax is None, new_axes(ax, figsize or (6.5, 0.9 + 0.6 * len(table)))
    rows = {name: row for row, name in enumerate(codes.columns)}
    for edge in edges[edges["share"] >= min_share].itertuples():
        ax.plot(
            [places[edge.resolution][edge[3]], places[edge.next][edge.to]],
            [rows[edge.resolution], rows[edge.next]],
            color="0.6",
            lw=0.4 + 2.6 * edge.share,
            alpha=0.25 + 0.75 * edge.share,
            solid_capstyle="round",
            zorder=1,
        )
    for (name, column), resolution, stability in zip(codes.items(), table.index, table["stability"], strict=True):
        sizes = np.bincount(column) / len(column)
        color = OKABE_ITO[1] if np.isclose(resolution, record["suggested"]) else OKABE_ITO[0]
        ax.scatter(places[name], np.full(len(sizes), rows[name]), s=12 + 500 * sizes, color=color, zorder=2, lw=0)
        note = f"{len(sizes)} cluster{'s' * (len(sizes) > 1)}"
        note += "" if np.isnan(stability) else f", stability {stability:.2f}"
        ax.annotate(note, (1.02, rows[name]), xycoords=ax.get_yaxis_transform(), va="center", fontsize="small")
    ax.set_yticks(range(len(rows)), [f"{float(name):g}" for name in rows])
    ax.set(ylabel="Resolution", xticks=[], xlim=(-0.06, 1.06), ylim=(len(rows) - 0.5, -0.5))
    ax.spines[["top", "right", "bottom", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    text = f"{len(codes):,} cells; suggested resolution {record['suggested']:g} (orange)"
    ax.set_title(title or text, loc="left", fontsize="medium")
    return finish(ax, own=own, show=show, save=save, return_fig=return_fig)


def _codes(adata: AnnData, key: str, table: pd.DataFrame) -> pd.DataFrame:
    """Cluster of each cell, one column per resolution of the table."""
    codes = adata.obsm.get(key)
    # resolutions are numbers in the one and text in the other, of another form after a store
    if isinstance(codes, pd.DataFrame) and [str(name) for name in codes] == [
        f"{float(name):g}" for name in table.index
    ]:
        return codes
    raise TableError(
        f"obsm[{key!r}] does not hold the clusters that uns[{key!r}] lists, one column per resolution. Run "
        "sfm.tl.leiden_sweep again."
    )


def _places(codes: pd.DataFrame, edges: pd.DataFrame) -> dict[str, np.ndarray]:
    """Horizontal place of every cluster: below the clusters that its cells come from, evenly spread."""
    places: dict[str, np.ndarray] = {}
    for name, column in codes.items():
        n = int(column.max()) + 1
        wish = np.arange(n, dtype=float)
        parents = edges[edges["next"] == name]
        if len(parents):
            before = places[parents["resolution"].iloc[0]]
            wish = np.zeros(n)
            np.add.at(wish, parents["to"].to_numpy(), before[parents["from"].to_numpy()] * parents["share"].to_numpy())
        order = np.argsort(wish, kind="stable")
        places[name] = np.empty(n)
        places[name][order] = (np.arange(n) + 0.5) / n
    return places
