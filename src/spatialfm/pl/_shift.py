"""How far patients' cells move between time points: trajectories on a map, and distances by group."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import to_hex

from .._errors import TableError, listed
from .._fingerprint import check_unchanged
from .._public import public
from ._figure import Palette, category_colors, finish, letter_panels, p_text, stored_colors
from ._results import check_known, check_result

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NULL = "0.62"
ALL = "all patients"
LABELS = {"distance": "2-Wasserstein distance", "shift": "Shift beyond the null distance"}


@public
def shift(
    adata: AnnData,
    *,
    key: str = "distribution_shift",
    use_rep: str = "X_umap",
    measure: Literal["distance", "shift"] = "distance",
    palette: Palette = None,
    max_cells: int = 30_000,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Sequence[Axes] | None = None,
    show: bool | None = None,
    save: str | PathLike | None = None,
    return_fig: bool | None = None,
) -> np.ndarray | Figure | None:
    """Draw the result of :func:`spatialfm.tl.distribution_shift`, and the path of the patients on a map.

    Left, all cells on the map in grey (later time points darker). In the middle, the part of it where the barycentres
    of the patients are, with arrows from time point to time point: thin ones for each patient, thick ones for the mean
    of a group's patients, numbered where there are more than two time points. A barycentre here is the mean position of
    a patient's cells on the map. The mean over a group is also the mean of the Wasserstein barycentre of its patients
    (each weighing alike), whose median VirTues draws. Only patients that have all time points take part. A map bends
    distances: what is tested is on the right.

    Right, one dot per patient: the distance, with the error of the draws, above the distance of two halves of one time
    point (grey: what is measured without any shift); the median of each group, the p-value (ranks and means) and
    the effect size (rank-biserial correlation) of the comparison.

    Parameters
    ----------
    adata
        Cells with ``uns[key]`` and ``obsm[use_rep]``.
    key
        Key of ``uns``.
    use_rep
        Key of ``obsm`` with two columns.
    measure
        ``"distance"``, or ``"shift"``: what is left of it beyond the null distance.
    palette
        Colours of the groups, in their order or by name.
    max_cells
        Cells drawn at most, a random part of more.
    title
        Title.
    figsize
        Width and height in inches of a new figure.
    ax
        Three axes to draw into.
    show
        Whether to show the figure (default: if it is new, not saved, and there is a screen).
    save
        File to save to.
    return_fig
        Whether to return the figure.

    Returns
    -------
    The figure with `return_fig`, None when it was shown, otherwise the three axes.

    Raises
    ------
    TableError
        If there are no shifts under `key`, or no map of two columns under `use_rep`.

    Examples
    --------
    >>> import anndata as ad
    >>> import spatialfm as sfm
    >>> parts = [sfm.datasets.simulate_cells(6, cells_per_patient=120, random_state=i) for i in (1, 2)]
    >>> cells = ad.concat(parts, label="time_point", keys=["before", "after"], index_unique="-")
    >>> cells.obsm["X_map"] = cells.obsm["X_latent"][:, :2]
    >>> points = ["before", "after"]
    >>> sfm.tl.distribution_shift(
    ...     cells, use_rep="X_latent", time_key="time_point", time_points=points, library_key=None, n_repeats=2
    ... )
    >>> axes = sfm.pl.shift(cells, use_rep="X_map", show=False)
    >>> axes[2].get_ylabel()
    '2-Wasserstein distance'
    """
    record = _record(adata, key)
    check_result(record, f"uns[{key!r}]", "distribution_shift")
    if {record["params"]["time_key"], record["params"]["patient_key"]} <= set(adata.obs):
        check_unchanged(adata, record, key, "distribution_shift", fewer=True)
        _check_patients(adata, record, key)
    params, table = record["params"], record["table"]
    points = _points(adata, use_rep)
    cells = _cells(adata, params, points)
    groups = [str(name) for name in np.atleast_1d(params["groups"])] or [ALL]
    times = [str(name) for name in params["time_points"]]
    for column, known in {"group": groups, "time_1": times, "time_2": times}.items():
        names, where = table.get(column, pd.Series([ALL])), f"uns[{key!r}]['table'][{column!r}]"
        check_known(names.astype(str), known, where, "distribution_shift")
    colors = category_colors(groups, palette, stored_colors(adata, str(params["group_key"]), groups))
    own = ax is None
    if own:
        n_dots = len(groups) * len(table[["time_1", "time_2"]].drop_duplicates())
        width = 0.7 + (1.05 if n_dots <= 4 else 0.6) * n_dots
        figure, axes = plt.subplots(
            1, 3, figsize=figsize or (7.2 + width, 4.0), layout="constrained", width_ratios=[3.4, 3.4, width]
        )
    else:
        axes = np.asarray(ax, dtype=object).ravel()
        if len(axes) != 3:
            raise TableError(f"ax= holds {len(axes)} axes; the figure needs three.")
    color_of = dict(zip(groups, colors, strict=True))
    _draw_maps(axes[0], axes[1], cells, table, params, color_of, use_rep, max_cells)
    _draw_dots(axes[2], table, record.get("comparison"), measure, color_of)
    covariates = [*map(str, np.atleast_1d(params.get("covariates", []))), str(params.get("block_key", ""))]
    if record.get("comparison") is not None and len(groups) == 2:
        equal = f"p and r at equal {listed(filter(None, covariates), quoted=False)}\n" if any(covariates) else ""
        axes[2].set_xlabel(f"{equal}r > 0: more in {groups[1]}", fontsize="small")
    if title is not None:
        axes[0].set_title(title, loc="left", fontsize="medium")
    if own:
        letter_panels(axes)
    result = finish(axes[0], own=own, show=show, save=save, return_fig=return_fig)
    return axes if result is axes[0] else result


def barycentres(cells: pd.DataFrame, times: Sequence[str]) -> pd.DataFrame:
    """Mean position of each patient's cells at each time point; patients that lack one are left out.

    Parameters
    ----------
    cells
        Columns ``x``, ``y``, ``patient``, ``time``.

    Examples
    --------
    >>> cells = pd.DataFrame({"x": [0.0, 2, 4], "y": [0.0, 0, 1], "patient": "A", "time": ["a", "a", "b"]})
    >>> barycentres(cells, ["a", "b"])["x"].to_dict()
    {('A', 'a'): 1.0, ('A', 'b'): 4.0}
    """
    means = cells.groupby(["patient", "time"], observed=True)[["x", "y"]].mean()
    whole = [name for name, part in means.groupby(level=0) if set(times) <= set(part.index.get_level_values(1))]
    index = pd.MultiIndex.from_product([whole, times], names=["patient", "time"])
    return means.reindex(index)


def _record(adata: AnnData, key: str) -> dict[str, Any]:
    record = adata.uns.get(key)
    table = record.get("table") if isinstance(record, dict) else None
    if not isinstance(table, pd.DataFrame) or "null_distance" not in table:
        raise TableError(
            f"No shifts in uns[{key!r}]; uns has {listed(adata.uns)}. Measure them with sfm.tl.distribution_shift."
        )
    return record


def _check_patients(adata: AnnData, record: dict[str, Any], key: str) -> None:
    in_table = set(adata.obs[record["params"]["patient_key"]].astype(str))
    if gone := [name for name in dict.fromkeys(record["table"]["patient"].astype(str)) if name not in in_table]:
        raise TableError(
            f"uns[{key!r}] includes {listed(gone, 5)}, of whom this table has no cell. Draw from cells of all "
            "patients, or run sfm.tl.distribution_shift on the intended ones."
        )


def _points(adata: AnnData, use_rep: str) -> np.ndarray:
    if use_rep not in adata.obsm:
        raise TableError(
            f"No {use_rep!r} in obsm (use_rep=); found {listed(adata.obsm, 12)}. Make a UMAP with "
            'sc.pp.neighbors(adata, use_rep="...") and sc.tl.umap(adata).'
        )
    try:
        points = np.asarray(adata.obsm[use_rep], dtype=np.float64)
    except (TypeError, ValueError):
        points = np.empty(0)
    if points.ndim != 2 or points.shape[1] != 2:
        raise TableError(f"obsm[{use_rep!r}] (use_rep=) does not hold two columns of numbers. Pass for example a UMAP.")
    if missing := int((~np.isfinite(points).all(axis=1)).sum()):
        raise TableError(
            f"{missing} of {len(points)} cells have no finite place in obsm[{use_rep!r}] (use_rep=). Leave them out, "
            "or make the map again."
        )
    return points


def _cells(adata: AnnData, params: dict[str, Any], points: np.ndarray) -> pd.DataFrame:
    for key in (params["time_key"], params["patient_key"]):
        if key not in adata.obs:
            raise TableError(
                f"No column {key!r} in obs, which the shifts were measured by; found {listed(adata.obs, 12)}."
            )
    obs = adata.obs
    return pd.DataFrame(
        {
            "x": points[:, 0],
            "y": points[:, 1],
            "patient": obs[params["patient_key"]].astype(str).to_numpy(),
            "time": obs[params["time_key"]].astype(str).to_numpy(),
        }
    )


def _draw_maps(
    ax: Axes,
    near: Axes,
    cells: pd.DataFrame,
    table: pd.DataFrame,
    params: dict[str, Any],
    color_of: dict[str, str],
    use_rep: str,
    max_cells: int,
) -> None:
    times = [str(name) for name in params["time_points"]]
    cells = cells[cells["time"].isin(times) & cells["patient"].isin(table["patient"])]
    drawn = cells.sample(min(max_cells, len(cells)), random_state=0)  # in random order: no time point covers another
    shades = dict(zip(times, (to_hex(str(shade)) for shade in np.linspace(0.86, 0.58, len(times))), strict=True))
    size = float(np.clip(12_000 / len(drawn), 0.8, 6.0))
    for each, factor, alpha in ((ax, 1.0, 1.0), (near, 4.0, 0.45)):
        each.scatter(
            drawn["x"], drawn["y"], s=factor * size, c=drawn["time"].map(shades), alpha=alpha, linewidths=0,
            rasterized=True, zorder=1,
        )  # fmt: skip
        each.set(xticks=[], yticks=[])
        each.set_box_aspect(1)
    centres = barycentres(cells, times)
    group_of = table.drop_duplicates("patient").set_index("patient")
    group_of = group_of["group"] if "group" in group_of else pd.Series(ALL, index=group_of.index)
    whole = _window(drawn[["x", "y"]], 0.52)
    ax.set(xlim=(whole[0][0], whole[1][0]), ylim=(whole[0][1], whole[1][1]))
    low, high = _window(centres, 0.58)
    near.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    ax.add_patch(plt.Rectangle(low, *(high - low), fill=False, ec="black", lw=1, zorder=4))
    for patient, part in centres.groupby(level=0, sort=False):
        _arrows(near, part.to_numpy(), color_of[group_of[patient]], thin=True)
    of_group = centres.index.get_level_values(0).map(group_of)
    for group, color in color_of.items():
        group_centres = centres[of_group == group]
        if len(group_centres):
            _arrows(near, group_centres.groupby(level=1).mean().loc[times].to_numpy(), color, thin=False)
    name = {"X_umap": "UMAP", "X_pca": "PC", "X_tsne": "t-SNE "}.get(use_rep, use_rep.removeprefix("X_") + " ")
    ax.set_xlabel(f"{name}1", loc="left")
    ax.set_ylabel(f"{name}2", loc="bottom")
    ax.spines[["top", "right"]].set_visible(False)
    _legend(ax, [("o", shade, time) for time, shade in shades.items()], "Cells", 20)
    n = centres.index.get_level_values(0).nunique()
    _legend(near, [("-", color, group) for group, color in color_of.items()], f"Mean positions of {n} patients", 20)


def _window(points: pd.DataFrame, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Corners of a square around all points, that reaches `share` of their extent from its middle."""
    if not len(points):
        raise TableError("No patient has cells at all time points: there is no path to draw.")
    middle = ((points.min() + points.max()) / 2).to_numpy()
    half = share * float(np.ptp(points.to_numpy(), axis=0).max()) or 1.0
    return middle - half, middle + half


def _arrows(ax: Axes, path: np.ndarray, color: str, *, thin: bool) -> None:
    """Arrows along the points ``(time points, 2)``."""
    from matplotlib.patheffects import withStroke

    style = {"lw": 0.9, "alpha": 0.55, "mutation_scale": 7} if thin else {"lw": 2.6, "mutation_scale": 15}
    effects = [] if thin else [withStroke(linewidth=4.4, foreground="white")]
    for step, (start, end) in enumerate(zip(path[:-1], path[1:], strict=True), start=1):
        ax.annotate(
            "", end, start, zorder=3 if thin else 5,
            arrowprops={"arrowstyle": "-|>", "color": color, "shrinkA": 0, "shrinkB": 0, "path_effects": effects}
            | style,
        )  # fmt: skip
        if not thin and len(path) > 2:
            ax.annotate(
                str(step), (start + end) / 2, (0, 6), textcoords="offset points", color=color, weight="bold",
                ha="center", fontsize="small", path_effects=[withStroke(linewidth=2.5, foreground="white")], zorder=6,
            )  # fmt: skip
    if thin:
        ax.plot(*path[0], "o", ms=2.6, color=color, alpha=0.7, mew=0, zorder=3)
    else:
        ax.plot(*path[0], "o", ms=7, color=color, mec="white", mew=1.2, zorder=5)


def _legend(ax: Axes, entries: list[tuple[str, str, str]], title: str | None, below: float) -> None:
    """So many points below the axes; an entry is a line or a marker, its colour and its name."""
    from matplotlib.lines import Line2D
    from matplotlib.transforms import ScaledTranslation

    handles = [
        Line2D([], [], color=color, lw=2.4, label=name)
        if kind == "-"
        else Line2D([], [], ls="", marker=kind, ms=5, color=color, mfc="white" if color == NULL else color, label=name)
        for kind, color, name in entries
    ]
    ax.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(0, 0), frameon=False, fontsize="small",
        bbox_transform=ax.transAxes + ScaledTranslation(0, -below / 72, ax.figure.dpi_scale_trans), borderaxespad=0,
        handlelength=1.3, title=title, title_fontsize="small", alignment="left",
    )  # fmt: skip


def _draw_dots(
    ax: Axes, table: pd.DataFrame, comparison: pd.DataFrame | None, measure: str, color_of: dict[str, str]
) -> None:
    pairs = list(table[["time_1", "time_2"]].drop_duplicates().itertuples(index=False, name=None))
    groups, rng = list(color_of), np.random.default_rng(0)
    step = len(groups) + 0.7
    error = 1.96 * table[f"{measure}_se"].fillna(0)  # of one draw there is none
    top = float((table[measure] + error).max())
    low = float((table[measure] - error).min())
    low = min(low, float(table["null_distance"].min()) if measure == "distance" else 0.0)
    span = top - low or 1.0
    for p, (time_1, time_2) in enumerate(pairs):
        part = table[(table["time_1"] == time_1) & (table["time_2"] == time_2)]
        for g, group in enumerate(groups):
            group_part = part if "group" not in part else part[part["group"] == group]
            x = p * step + g
            if measure == "distance":  # next to the dots, which would hide them
                nulls = group_part["null_distance"].to_numpy()
                at = x - 0.3 + 0.4 * _spread(nulls, span, rng)
                ax.scatter(at, nulls, s=16, facecolors="white", edgecolors=NULL, linewidths=1, zorder=2)
            middle = x + (0.14 if measure == "distance" else 0.0)
            at = middle + (0.8 if measure == "distance" else 1.0) * _spread(group_part[measure].to_numpy(), span, rng)
            ax.errorbar(
                at, group_part[measure], 1.96 * group_part[f"{measure}_se"], fmt="o", ms=4.6, color=color_of[group],
                mec="white", mew=0.5, elinewidth=0.8, alpha=0.9, zorder=3,
            )  # fmt: skip
            if len(group_part):
                ax.plot(
                    [middle - 0.26, middle + 0.26], [group_part[measure].median()] * 2, color="black", lw=1.6, zorder=4
                )
        _p_above(ax, comparison, measure, (time_1, time_2), groups, p * step, top, span)
    if measure == "shift":
        ax.axhline(0, color=NULL, lw=1.2, ls=(0, (4, 3)), zorder=1)
    ticks = [p * step + g for p in range(len(pairs)) for g in range(len(groups))]
    sizes = [len(_of(table, pair, group)) for pair in pairs for group in groups]
    # names without room are in the legend
    brief = max(map(len, groups)) > (14 if len(ticks) <= 4 else 7)
    names = [
        f"n = {n}" if brief else f"{group}\n(n = {n})" for n, group in zip(sizes, groups * len(pairs), strict=True)
    ]
    ax.set_xticks(ticks, names, fontsize="small")
    ax.set(xlim=(-0.7, ticks[-1] + 0.7), ylim=(low - 0.08 * span, top + 0.22 * span), ylabel=LABELS[measure])
    ax.spines[["top", "right"]].set_visible(False)
    for p, (time_1, time_2) in enumerate(pairs):
        middle = p * step + (len(groups) - 1) / 2
        ax.annotate(
            f"{time_1} → {time_2}", (middle, 1), (0, 4), xycoords=ax.get_xaxis_transform(), textcoords="offset points",
            ha="center", va="bottom", fontsize="small", annotation_clip=False,
        )  # fmt: skip
    entries = [("-", "black", "median"), ("|", "0.4", "95 % interval of the draws")]
    if measure == "distance":
        entries.append(("o", NULL, "halves of one time point"))
    if brief:
        entries = [("o", color, group) for group, color in color_of.items()] + entries
    _legend(ax, entries, None, 26 if brief else 40)


def _of(table: pd.DataFrame, pair: tuple[str, str], group: str) -> pd.DataFrame:
    part = table[(table["time_1"] == pair[0]) & (table["time_2"] == pair[1])]
    return part[part["group"] == group] if "group" in part else part


def _spread(values: np.ndarray, span: float, rng: np.random.Generator) -> np.ndarray:
    """Sideways places of dots, so that none hides another of about its height."""
    places = np.zeros(len(values))
    order = np.argsort(values, kind="stable")
    for i, row in enumerate(order):
        near = [places[other] for other in order[:i] if values[row] - values[other] < 0.035 * span]
        free = [x for x in (0, 0.13, -0.13, 0.26, -0.26) if all(abs(x - taken) > 0.1 for taken in near)]
        places[row] = free[0] if free else rng.uniform(-0.3, 0.3)
    return places


def _p_above(
    ax: Axes,
    comparison: pd.DataFrame | None,
    measure: str,
    pair: tuple[str, str],
    groups: list[str],
    start: float,
    top: float,
    span: float,
) -> None:
    """Bracket over two groups; of more than two, the table has the comparisons."""
    if comparison is None or len(groups) != 2:
        return
    rows = comparison[
        (comparison["measure"] == measure) & (comparison["time_1"] == pair[0]) & (comparison["time_2"] == pair[1])
    ]
    for row in rows.itertuples():
        y = top + 0.07 * span
        ax.plot([start, start, start + 1, start + 1], [y - 0.02 * span, y, y, y - 0.02 * span], color="0.3", lw=1)
        effect = "" if np.isnan(row.effect) else f"\nr = {row.effect:.2f}".replace("-", "−")
        ax.annotate(
            p_text(row.p_value) + effect, (start + 0.5, y), (0, 2), textcoords="offset points", ha="center",
            va="bottom", fontsize="small",
        )  # fmt: skip
