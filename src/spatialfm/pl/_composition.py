"""Compositions of samples or patients."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from .._dense import dense
from .._errors import TableError, listed
from .._keys import layer_names
from .._public import public
from ._figure import Palette, category_colors, finish, new_axes

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GAP = 0.8  # between groups, in widths of a bar
MOST_NAMES = 40  # more rows are not named below the axis
UNKNOWN = "unknown"


@public
def composition(
    patients: AnnData,
    *,
    group_key: str | None = None,
    kind: Literal["bar", "heatmap"] = "bar",
    layer: str | None = None,
    sort_by: str | None = None,
    palette: Palette = None,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | PathLike | None = None,
    return_fig: bool | None = None,
) -> Axes | Figure | None:
    """Composition of each sample or patient, as stacked bars or as a heatmap.

    Draws what :func:`spatialfm.tl.composition` made, one column of the figure a row of `patients`.

    Parameters
    ----------
    patients
        AnnData of samples or patients by phenotypes.
    group_key
        Column of ``obs``; its groups are side by side, in their order.
    kind
        ``"bar"`` or ``"heatmap"``.
    layer
        Layer of a heatmap (``"clr"``: centred at 0); default: ``X``, the fractions.
    sort_by
        Phenotype by which rows are sorted within a group, most first (default: the one that is most frequent over
        all).
    palette
        Colours of the phenotypes, in their order or by name (default: those of the cell table, or colours that are
        distinguishable with colour blindness).
    title
        Title.
    figsize
        Width and height in inches of a new figure (default: from the number of rows and phenotypes).
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
        If a column, layer or phenotype is missing, or rows do not add up to 1 where they must.

    Examples
    --------
    >>> import anndata as ad, pandas as pd
    >>> import spatialfm as sfm
    >>> obs = {"sample": ["s1", "s1", "s2", "s3"], "type": ["T", "B", "T", "B"]}
    >>> samples = sfm.tl.composition(ad.AnnData(obs=pd.DataFrame(obs, index=list("1234"))), "type", patient_key=None)
    >>> ax = sfm.pl.composition(samples, show=False)
    >>> [label.get_text() for label in ax.get_xticklabels()]
    ['s3', 's1', 's2']
    """
    if not patients.n_obs or not patients.n_vars:
        raise TableError(
            f"composition was given a table of {patients.n_obs} rows by {patients.n_vars} types: nothing to draw."
        )
    values = _values(patients, kind, layer)
    groups = _groups(patients, group_key)
    order = row_order(values, groups, _sort_column(patients, values, sort_by))
    positions = row_positions(groups.iloc[order])

    own, ax = ax is None, new_axes(ax, figsize or _figsize(patients.shape, kind))
    if kind == "bar":
        _draw_bars(ax, patients, values[order], positions, palette)
    else:
        _draw_heatmap(ax, patients, values[order], positions, layer)
    _name_rows(ax, patients, order, positions)
    above = 6.0 if group_key is None else 6.0 + _name_groups(ax, groups.iloc[order], positions, group_key)
    if title is not None:
        ax.set_title(title, loc="left", fontsize="medium", pad=above)
    return finish(ax, own=own, show=show, save=save, return_fig=return_fig)


def row_order(values: np.ndarray, groups: pd.Series, by: int) -> np.ndarray:
    """Rows by group, and within one by descending values of column `by`."""
    return np.lexsort((-values[:, by], groups.cat.codes.to_numpy()))


def row_positions(groups: pd.Series) -> np.ndarray:
    """Centres of the bars: one apart, with a gap between groups."""
    changes = np.concatenate([[0], np.cumsum(np.diff(groups.cat.codes.to_numpy()) != 0)])
    return np.arange(len(groups)) + GAP * changes


def _values(patients: AnnData, kind: str, layer: str | None) -> np.ndarray:
    if layer is not None and layer not in patients.layers:
        raise TableError(f"No layer {layer!r} (layer=); found {listed(layer_names(patients))}.")
    if kind == "bar" and layer is not None:
        raise TableError(f'Bars show fractions, not layer {layer!r}. Leave out layer=, or pass kind="heatmap".')
    values = patients.X if layer is None else patients.layers[layer]
    values = None if values is None else dense(values).astype(np.float64)
    if values is None or not np.isfinite(values).all() or (layer is None and not np.allclose(values.sum(axis=1), 1)):
        raise TableError(
            "The rows of X do not add up to 1: these are not compositions. Make them with sfm.tl.composition(cells, "
            "cluster_key)."
        )
    return values


def _groups(patients: AnnData, group_key: str | None) -> pd.Series:
    if group_key is None:
        return pd.Series(pd.Categorical(["all"] * patients.n_obs), index=patients.obs_names)
    if group_key not in patients.obs:
        raise TableError(f"No column {group_key!r} in obs (group_key=); found {listed(patients.obs.columns)}.")
    column = patients.obs[group_key]
    if pd.api.types.is_float_dtype(column.dtype) and column.nunique() > 10:
        raise TableError(
            f"obs[{group_key!r}] has {column.nunique()} different numbers, which are not groups. Cut it at values of "
            "your own with pandas.cut."
        )
    column = column.astype("category").cat.remove_unused_categories()
    column = column.cat.rename_categories([str(name) for name in column.cat.categories])
    if column.isna().any():
        column = column.cat.add_categories([UNKNOWN]).fillna(UNKNOWN)
    return column


def _sort_column(patients: AnnData, values: np.ndarray, sort_by: str | None) -> int:
    if sort_by is None:
        return int(values.mean(axis=0).argmax())
    if sort_by not in patients.var_names:
        raise TableError(f"No phenotype {sort_by!r} (sort_by=); found {listed(patients.var_names)}.")
    return int(patients.var_names.get_loc(sort_by))


def _figsize(shape: tuple[int, int], kind: str) -> tuple[float, float]:
    width = 2.6 + (0.17 if shape[0] <= MOST_NAMES else 0.08) * shape[0]
    if kind == "heatmap":
        return float(np.clip(width, 4.5, 12)), float(np.clip(2.2 + 0.2 * shape[1], 3.4, 10))
    columns = legend_columns(shape[1])
    return float(np.clip(width + 1.6 * (columns - 1), 4.5, 12)), 3.8 if columns == 1 else 4.6


def legend_columns(n: int) -> int:
    """Columns of a legend of `n` entries that stays at the side of its axes."""
    return 1 + (n - 1) // 14


def _draw_bars(ax: Axes, patients: AnnData, values: np.ndarray, positions: np.ndarray, palette: Palette) -> None:
    names = [str(name) for name in patients.var_names]
    cluster_key = cluster_column(patients)
    colors = category_colors(names, palette, _stored_colors(patients, cluster_key, names))
    bottom = np.zeros(len(values))
    for column, (name, color) in enumerate(zip(names, colors, strict=True)):
        ax.bar(positions, values[:, column], 0.92, bottom=bottom, color=color, label=name, linewidth=0)
        bottom += values[:, column]
    ax.set(ylim=(0, 1), ylabel="Fraction of cells")
    ax.spines[["top", "right"]].set_visible(False)
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(  # in the order of the stack
        handles[::-1], labels[::-1], loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, borderaxespad=0,
        title=cluster_key or None, alignment="left", ncols=legend_columns(len(names)),
    )  # fmt: skip


def _stored_colors(patients: AnnData, cluster_key: str, names: list[str]) -> list[str] | None:
    """Colours of the types that came with the table: each its own, also where columns were selected or sorted anew."""
    stored = patients.uns.get(f"{cluster_key}_colors")
    record = patients.uns.get("composition")
    known = [str(name) for name in record.get("categories", ())] if isinstance(record, Mapping) else []
    if stored is None or len(stored) != len(known) or not set(names) <= set(known):
        return stored
    return [str(stored[known.index(name)]) for name in names]


def _draw_heatmap(ax: Axes, patients: AnnData, values: np.ndarray, positions: np.ndarray, layer: str | None) -> None:
    limit = float(np.abs(values).max())
    colors = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit} if layer == "clr" else {"cmap": "viridis"}
    edges = np.arange(patients.n_vars + 1) - 0.5
    low, high = colors.get("vmin", float(values.min())), colors.get("vmax", float(values.max()))
    for start, stop in _runs(positions):
        drawn = ax.pcolormesh(
            np.append(positions[start:stop] - 0.5, positions[stop - 1] + 0.5), edges, values[start:stop].T,
            cmap=colors["cmap"], vmin=low, vmax=high, rasterized=True,
        )  # fmt: skip
    ax.set_yticks(range(patients.n_vars), [str(name) for name in patients.var_names])
    ax.set_ylabel(cluster_column(patients))
    ax.invert_yaxis()
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    label = {None: "Fraction of cells", "clr": "Centred log-ratio", "counts": "Cells"}.get(layer, layer)
    ax.get_figure(root=True).colorbar(drawn, ax=ax, label=label, shrink=0.7, pad=0.02)


def cluster_column(patients: AnnData) -> str:
    """What the types or niches of the table were called in the table of cells; empty where that is not recorded."""
    return str(_params(patients).get("cluster_key") or "")


def _params(patients: AnnData) -> Mapping[str, Any]:
    """How the table was made, if it is recorded."""
    record = patients.uns.get("composition")
    params = record.get("params") if isinstance(record, Mapping) else None
    return params if isinstance(params, Mapping) else {}


def _runs(positions: np.ndarray) -> list[tuple[int, int]]:
    """Start and stop of rows without a gap."""
    breaks = np.flatnonzero(np.diff(positions) > 1.01) + 1
    return list(zip([0, *breaks], [*breaks, len(positions)], strict=True))


def _name_rows(ax: Axes, patients: AnnData, order: np.ndarray, positions: np.ndarray) -> None:
    ax.set_xlim(positions[0] - 0.5, positions[-1] + 0.5)
    params = _params(patients)
    rows = params.get("patient_key") or params.get("library_key") or "sample"
    if len(order) <= MOST_NAMES:
        ax.set_xticks(positions, patients.obs_names[order], rotation=90)
        ax.set_xlabel(rows)
    else:
        ax.set_xticks([])
        ax.set_xlabel(f"{len(order)} {rows}s")


def _name_groups(ax: Axes, groups: pd.Series, positions: np.ndarray, group_key: str) -> float:
    """Names of the groups above them; returns the height that they take in points."""
    above = ax.get_xaxis_transform()
    counts, runs = groups.value_counts(), _runs(positions)
    names = [(str(groups.iloc[start]), f"n = {counts[groups.iloc[start]]}") for start, _ in runs]
    # where a name is wider than its bars, all are turned
    width = ax.get_figure(root=True).get_figwidth() * 0.62 / (positions[-1] + 1)
    turned = any(
        max(map(len, lines)) * 0.072 > (stop - start) * width for lines, (start, stop) in zip(names, runs, strict=True)
    )
    for lines, (start, stop) in zip(names, runs, strict=True):
        left, right = positions[start] - 0.46, positions[stop - 1] + 0.46
        ax.plot([left, right], [1.02, 1.02], transform=above, color="0.3", lw=1.2, clip_on=False)
        ax.annotate(
            ", ".join(lines) if turned else "\n".join(lines), ((left + right) / 2, 1.02), (0, 4), xycoords=above,
            textcoords="offset points", ha="center", va="bottom", rotation=90 if turned else 0, fontsize="small",
            annotation_clip=False,
        )  # fmt: skip
    ax.annotate(
        group_key, (0, 1.02), (-6, 4), xycoords="axes fraction", textcoords="offset points", ha="right", va="bottom",
        fontsize="small", fontstyle="italic", annotation_clip=False,
    )  # fmt: skip
    return max(len(", ".join(lines)) for lines in names) * 5.2 + 8 if turned else 30.0
