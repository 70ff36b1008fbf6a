"""Which markers an encoder looks at: types by markers, or one marker over a sample."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._coordinates import coordinates
from .._errors import PanelError, TableError, listed
from .._fingerprint import check_unchanged
from .._keys import SAMPLE_KEY, SPATIAL
from .._public import public
from .._storable import named_table
from ._figure import MISSING, finish, in_random_order, new_axes, place_labels, places_in
from ._heatmap import draw_heatmap, extended
from ._results import check_known, check_result

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CMAP = "RdBu_r"  # red to blue: apart with red-green blindness
LABEL = "Attention (z-score)"
MOST_NUMBERS = 120  # cells of a heatmap whose values can still be read


@public
def marker_attention(
    adata: AnnData,
    *,
    marker: str | None = None,
    sample: str | None = None,
    key: str = "marker_attention",
    sort: bool = True,
    limit: float | None = None,
    library_key: str = SAMPLE_KEY,
    spatial_key: str = SPATIAL,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | PathLike | None = None,
    return_fig: bool | None = None,
) -> Axes | Figure | None:
    """Attention to markers, as written by :func:`spatialfm.tl.marker_attention`.

    Without `marker`: mean z-scores, types by markers (KRONOS, Fig. S8, shows their distributions). With it: the cells
    of a sample at their places, coloured by their z-score.

    Parameters
    ----------
    adata
        Cells or tiles with ``uns[key]`` and ``obsm[key + "_z"]``.
    marker
        Marker whose map is drawn.
    sample
        Sample of the map; may be left out where there is one.
    key
        Key of ``uns``.
    sort
        Whether markers are in the order of the type that they are strongest in, or as in the panel.
    limit
        z-score of full colour (default: the largest of the heatmap; the 99th percentile of a map, 1 at least).
    library_key
        Column of ``obs`` with the sample of each cell.
    spatial_key
        Key of ``obsm`` with the place of each cell.
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
    TableError, PanelError
        If there is no attention under `key`, or no such marker or sample, or a sample without a marker.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=64, difficulty="easy")
    >>> sfm.tl.embed_cells(
    ...     sdata, "kronos", weights="random", markers=["DAPI", "CD3"], outputs="attention", key_added="X_attention"
    ... )
    >>> adata = sdata["table"]
    >>> adata.obs["size"] = (adata.obs["area"] > adata.obs["area"].median()).map({True: "large", False: "small"})
    >>> sfm.tl.marker_attention(adata, "X_attention", "size")
    >>> ax = sfm.pl.marker_attention(adata, show=False)
    >>> sorted(label.get_text() for label in ax.get_xticklabels())
    ['CD3', 'DAPI']
    """
    stored = adata.uns.get(key)
    if not isinstance(stored, dict) or "mean" not in stored or f"{key}_z" not in adata.obsm:
        raise TableError(
            f"No attention in uns[{key!r}]; uns has {listed(adata.uns)}. Make it with sfm.tl.marker_attention."
        )
    if marker is None and sample is not None:
        raise TableError(f"sample={sample!r} is drawn as a map of one marker. Pass marker= as well, or leave it out.")
    check_result(stored, f"uns[{key!r}]", "marker_attention")
    own = ax is None
    if marker is None:
        check_unchanged(adata, stored, key, "marker_attention")
        mean = named_table(adata, key, "mean")
        for one, other in (("mean", "n"), ("n", "mean")):
            check_known(stored[one].index, stored[other].index, f"uns[{key!r}][{one!r}]", "marker_attention")
        mean = mean.iloc[:, marker_order(mean.to_numpy()) if sort else slice(None)]
        ax = new_axes(ax, figsize or (2.6 + 0.34 * mean.shape[1], 1.7 + 0.28 * len(mean)))
        _heatmap(ax, mean, stored["n"]["n"].to_numpy(), limit)
        text = f"{stored['params']['model']}, attention to each marker"
    else:
        z, xy, sample = _cells_of(adata, key, marker, sample, library_key, spatial_key)
        ax = new_axes(ax, figsize or _map_size(xy))
        _map(ax, xy, z, marker, limit)
        ax.set(**place_labels(adata, spatial_key))
        text = sample
    ax.set_title(text if title is None else title, loc="left", fontsize="medium")
    return finish(ax, own=own, show=show, save=save, return_fig=return_fig)


def marker_order(mean: np.ndarray) -> np.ndarray:
    """Columns by the row that they are largest in, and there from the largest down: a staircase.

    Examples
    --------
    >>> import numpy as np
    >>> marker_order(np.array([[0.1, 2.0, 1.0], [3.0, 0.0, 0.5]])).tolist()
    [1, 2, 0]
    """
    return np.lexsort((-mean.max(axis=0), mean.argmax(axis=0)))


def _heatmap(ax: Axes, mean: pd.DataFrame, n: np.ndarray, limit: float | None) -> None:
    named = mean.set_axis([f"{name} ({count:,})" for name, count in zip(mean.index, n, strict=True)], axis=0)
    draw_heatmap(
        ax, named, label=f"{LABEL},\nmean of the type", limit=limit, cmap=CMAP, numbers=mean.size <= MOST_NUMBERS
    )
    ax.set_ylabel(str(mean.index.name or ""))


def _cells_of(
    adata: AnnData, key: str, marker: str, sample: str | None, library_key: str, spatial_key: str
) -> tuple[np.ndarray, np.ndarray, str]:
    """z-scores ``(n,)`` and places ``(n, 2)`` of the cells of a sample, and its name."""
    z = named_table(adata, f"{key}_z")
    if marker not in z.columns:
        raise PanelError(f"No marker {marker!r} in obsm['{key}_z'] (marker=); found {listed(z.columns, 50)}.")
    if spatial_key not in adata.obsm:
        raise TableError(f"No coordinates {spatial_key!r} in obsm (spatial_key=); found {listed(adata.obsm)}.")
    if library_key not in adata.obs:
        raise TableError(f"No column {library_key!r} in obs (library_key=); found {listed(adata.obs.columns, 12)}.")
    samples = adata.obs[library_key].astype(str).to_numpy()
    names = pd.unique(samples)
    if sample is None and len(names) == 1:
        sample = names[0]
    if sample not in names:
        raise TableError(f"sample={sample!r} is not one of {listed(names)}. Pass the sample to draw.")
    in_sample = samples == sample
    xy = places_in(coordinates(adata, spatial_key, finite=False)[in_sample], str(sample), spatial_key)
    return z[marker].to_numpy()[in_sample], xy, str(sample)


def _map_size(xy: np.ndarray) -> tuple[float, float]:
    width, height = np.maximum(np.ptp(xy, axis=0), 1)
    inch = 4.4 / max(width, height)
    return float(inch * width + 1.7), float(inch * height + 0.9)


def _map(ax: Axes, xy: np.ndarray, z: np.ndarray, marker: str, limit: float | None) -> None:
    limit = limit or max(float(np.percentile(np.abs(z), 99)), 1.0)
    order = in_random_order(np.arange(len(z)))
    size = float(np.clip(30_000 / len(z), 2, 60))
    drawn = ax.scatter(
        *xy[order].T, c=z[order], cmap=CMAP, vmin=-limit, vmax=limit, s=size, edgecolors="0.5", linewidths=0.15
    )
    ax.set(aspect="equal", facecolor=MISSING)
    ax.invert_yaxis()
    ax.spines[["top", "right"]].set_visible(False)
    extend = extended(z, -limit, limit)
    bar = ax.get_figure(root=True).colorbar(drawn, ax=ax, shrink=0.7, pad=0.02, extend=extend)
    bar.set_label(f"{marker}: {LABEL[0].lower()}{LABEL[1:]}")
