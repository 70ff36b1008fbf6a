"""Which markers of which samples are not what is expected from everything else, and which cells."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._coordinates import coordinates
from .._dense import dense
from .._errors import PanelError, TableError, listed
from .._fingerprint import check_unchanged
from .._keys import SPATIAL
from .._public import public
from .._storable import named_table
from ._figure import finish, in_random_order, new_axes, place_labels, places_in
from ._heatmap import LETTERS, draw_heatmap, extended
from ._results import check_result

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CELL = 0.24  # inches of a sample or marker
BESIDE = 0.8  # inches of names left of the table
LOWEST = 2.2  # inches of the figure, for the label of its colour bar
ENDS = 6.0  # errors at which colours end


@public
def surprise(
    adata: AnnData,
    *,
    sample: str | None = None,
    marker: str | None = None,
    key: str = "surprise",
    spatial_key: str = SPATIAL,
    limit: float | None = None,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | PathLike | None = None,
    return_fig: bool | None = None,
) -> Axes | Figure | None:
    """Draw the result of :func:`spatialfm.tl.surprise`: markers of samples, or the cells of one sample in their places.

    Without `sample`, the median of each marker in each sample, in errors of the reference: a row of one colour is a
    sample that was stained or measured otherwise, two cells of opposite colours may be swapped channels. With `sample`,
    its cells, coloured by `marker`, or by ``obs[key]``, which is 1 where a cell is as far off as one in 20 of the
    reference.

    Parameters
    ----------
    adata
        Cells after `spatialfm.tl.surprise`.
    sample
        Sample whose cells are drawn.
    marker
        Marker that colours them.
    key
        Key of ``layers``, ``obs`` and ``uns``.
    spatial_key
        Key of ``obsm`` with the places of cells.
    limit
        Number of errors at which colours end (default: 6 for cells; the largest median for samples, at least 1, at most
        6, as one channel that failed in one sample would leave all others without a colour).
    title
        Title (default: what is drawn).
    figsize
        Width and height in inches of a new figure.
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
    TableError
        If there is no such result or sample.
    PanelError
        If the marker was not looked at.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=3, cells_per_patient=200, random_state=0)
    >>> sfm.tl.surprise(cells)
    >>> ax = sfm.pl.surprise(cells, sample="P001_1", marker="CD20", show=False)
    >>> ax.get_title(loc="left")
    'P001_1: CD20'
    """
    if not isinstance(adata.uns.get(key), Mapping):
        raise TableError(
            f"No surprise in uns[{key!r}]; uns has {listed(adata.uns)}. Find it with sfm.tl.surprise(adata)."
        )
    record = check_result(adata.uns[key], f"uns[{key!r}]", "surprise")
    check_unchanged(adata, record, key, "surprise", fewer=sample is not None)
    params = record["params"]
    table = named_table(adata, key, "samples")
    if marker is not None and marker not in table:
        raise PanelError(f"Marker {marker!r} was not looked at; found {listed(table.columns, 60)}.")
    if sample is None and marker is not None:
        raise TableError("marker= colours the cells of one sample. Pass sample= too.")
    own = ax is None
    if sample is None:
        height, width = table.shape
        ax = new_axes(ax, figsize or (2.6 + CELL * width, max(LOWEST, 1.6 + CELL * height)))
        ends = min(max(1.0, float(np.nanmax(np.abs(table.to_numpy(dtype=float)), initial=0.0))), ENDS)
        draw_heatmap(ax, table, label="median of cells (errors)", limit=ends if limit is None else limit)
        default = f"measured minus expected ({params['method']}; reference: {params['reference']})"
        default = fill(default, int(LETTERS * (ax.get_figure(root=True).get_figwidth() - BESIDE)))
    else:
        ax = new_axes(ax, figsize or (4.8, 4.2))
        _draw_cells(ax, adata, sample, marker, key, spatial_key, str(params["library_key"]), limit or ENDS)
        default = f"{sample}: {'all markers' if marker is None else marker}"
    ax.set_title(default if title is None else title, loc="left", fontsize="medium", parse_math=False)
    return finish(ax, own=own, show=show, save=save, return_fig=return_fig)


def _draw_cells(
    ax: Axes,
    adata: AnnData,
    sample: str,
    marker: str | None,
    key: str,
    spatial_key: str,
    library_key: str,
    limit: float,
) -> None:
    if library_key not in adata.obs or key not in adata.obs or key not in adata.layers:
        raise TableError(
            f"Cells are drawn with obs[{library_key!r}], obs[{key!r}] and layers[{key!r}], of which one is missing. "
            "Run sfm.tl.surprise again."
        )
    rows = np.flatnonzero(adata.obs[library_key].astype(str).to_numpy() == sample)
    if not len(rows):
        samples = pd.unique(adata.obs[library_key].astype(str))
        raise TableError(f"No sample {sample!r} in obs[{library_key!r}]; found {listed(samples, 12)}.")
    rows = in_random_order(rows)
    xy = places_in(coordinates(adata, spatial_key, finite=False)[rows], sample, spatial_key)
    if marker is None:
        values = adata.obs[key].to_numpy(float)[rows]
        colors, lowest, label = "magma_r", 0.0, "root mean square (errors)"
    else:
        values = dense(adata[rows, [marker]].layers[key]).astype(float).ravel()
        colors, lowest, label = "RdBu_r", -limit, "measured minus expected (errors)"
    size = float(np.clip(20_000 / len(rows), 2, 30))
    drawn = ax.scatter(*xy.T, c=values, cmap=colors, vmin=lowest, vmax=limit, s=size, linewidths=0.2, edgecolors="0.6")
    extend = extended(values, lowest, limit)
    ax.get_figure(root=True).colorbar(drawn, ax=ax, label=label, shrink=0.8, extend=extend)
    ax.set(aspect="equal", **place_labels(adata, spatial_key))
    ax.invert_yaxis()
    ax.spines[["top", "right"]].set_visible(False)
