"""Compositions of groups of patients, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from .._errors import TableError, listed
from .._fingerprint import check_unchanged
from .._public import public
from ._figure import OKABE_ITO, Palette, category_colors, finish, new_axes, stored_colors

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MORE, FEWER, EQUAL = OKABE_ITO[1], OKABE_ITO[0], "0.55"
TICKS = np.array([0, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0])

TESTS = {
    "mannwhitney": "Mann-Whitney test",
    "kruskal": "Kruskal-Wallis test",
    "clr-t": "t-test of log-ratios",
    "ancombc": "ANCOM-BC",
    "dirmult_ttest": "Dirichlet-multinomial t-test",
}


@public
def compare_composition(
    samples: AnnData,
    *,
    key: str = "compare_composition",
    kind: Literal["dots", "effect"] = "dots",
    types: Sequence[str] | None = None,
    sort: bool = True,
    palette: Palette = None,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool | None = None,
) -> Axes | Figure | None:
    """Draw what :func:`spatialfm.tl.compare_composition` compared.

    ``"dots"``: fractions of each patient as dots, a box a group (quartiles, whiskers to the last dot within 1.5 times
    their distance), and the q-value of each type. The axis is a square root, so that rare and frequent types can both
    be read and a fraction of 0 has its place. ``"effect"``: the effect of each type with its 95 % interval: the
    log2 fold change where the method has one, otherwise the rank-biserial correlation; significant ones are coloured.

    Parameters
    ----------
    samples
        Compositions with ``uns[key]``.
    key
        Key of ``uns``.
    kind
        ``"dots"`` or ``"effect"``.
    types
        Types that are shown, in this order (default: all).
    sort
        Whether types are sorted by their p-value (smallest first); otherwise they come as in the table.
    palette
        Colours of the groups of ``"dots"``, in their order or by name.
    title, figsize, ax
        Title; inches of a new figure; axes to draw into.
    show, save, return_fig
        Whether to show the figure (default: if it is new, not saved, and there is a screen); file to save to;
        whether to return the figure.

    Returns
    -------
    The figure with `return_fig`, None when it was shown, the axes otherwise.

    Raises
    ------
    TableError
        If there is no comparison under `key`, or it has no effects with intervals where these are asked for.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(12, cells_per_patient=200, random_state=0)
    >>> patients = sfm.tl.composition(cells, "niche", patient_key="patient")
    >>> sfm.tl.compare_composition(patients, "response")
    >>> ax = sfm.pl.compare_composition(patients, show=False)
    >>> ax.get_ylabel()
    'Fraction of cells'
    """
    record = _record(samples, key)
    if set(record["table"].index) <= set(samples.var_names):
        check_unchanged(samples, record, key, "compare_composition")
    if kind not in ("dots", "effect"):
        raise TableError(f'kind={kind!r} is not known. Pass "dots" or "effect".')
    table, params = _shown(record["table"], types, sort), record["params"]
    own, doubt = ax is None, "" if params.get("trusted", True) else ";\nunreliable on few types"
    if kind == "dots":
        groups = [str(name) for name in params["groups"]]
        colors = category_colors(groups, palette, stored_colors(samples, str(params["group_key"]), groups))
        parts = _fractions(samples, table, groups, str(params["group_key"]))
        ax = new_axes(ax, figsize or (1.6 + len(table) * (0.25 + 0.32 * len(groups)), 3.9))
        _draw_dots(ax, parts, table, dict(zip(groups, colors, strict=True)), str(params["group_key"]))
        ax.annotate(
            f"q: {TESTS.get(str(params['method']), params['method'])},\nBenjamini-Hochberg{doubt}", (1, 0), (8, 0),
            xycoords="axes fraction", textcoords="offset points", fontsize="x-small", color="0.4", va="bottom",
            annotation_clip=False,
        )  # fmt: skip
    else:
        column = _effect_column(table)
        ax = new_axes(ax, figsize or (5.6, 1.5 + 0.34 * len(table)))
        _draw_effects(ax, table, column, params)
    if title is not None:
        ax.set_title(title, loc="left", fontsize="medium", pad=24 if kind == "dots" else None)
    return finish(ax, own=own, show=show, save=save, return_fig=return_fig)


def q_text(q: float) -> str:
    """A q-value as it is read.

    Examples
    --------
    >>> q_text(0.0312), q_text(0.00004), q_text(0.8), q_text(float("nan"))
    ('0.031', '< 0.001', '0.80', 'not tested')
    """
    return "not tested" if np.isnan(q) else "< 0.001" if q < 0.001 else f"{q:.2f}" if q >= 0.0995 else f"{q:.2g}"


def _record(samples: AnnData, key: str) -> dict[str, Any]:
    record = samples.uns.get(key)
    if not isinstance(record, dict) or "effect" not in record.get("table", ()) or "params" not in record:
        raise TableError(
            f"No comparison in uns[{key!r}]; uns has {listed(samples.uns)}. Make one with sfm.tl.compare_composition."
        )
    return record


def _shown(table: pd.DataFrame, types: Sequence[str] | None, sort: bool) -> pd.DataFrame:
    if types is not None:
        if absent := [name for name in types if name not in table.index]:
            raise TableError(f"No type {absent[0]!r} in the comparison (types=); found {listed(table.index, 20)}.")
        return table.loc[list(types)]
    return table.sort_values("p_value", kind="stable") if sort else table


def _fractions(
    samples: AnnData, table: pd.DataFrame, groups: list[str], group_key: str
) -> dict[tuple[str, str], np.ndarray]:
    """Fractions of the patients of each (type, group)."""
    if group_key not in samples.obs or not set(table.index) <= set(samples.var_names):
        raise TableError(
            f"The samples no longer have obs[{group_key!r}] and the types that were compared. Compare again with "
            "sfm.tl.compare_composition."
        )
    values = samples.X.toarray() if hasattr(samples.X, "toarray") else np.asarray(samples.X)
    values = pd.DataFrame(values, columns=samples.var_names)
    of = samples.obs[group_key].astype(object).map(str).to_numpy()
    return {(name, group): values.loc[of == group, name].to_numpy(float) for name in table.index for group in groups}


def _draw_dots(
    ax: Axes,
    parts: dict[tuple[str, str], np.ndarray],
    table: pd.DataFrame,
    color_of: dict[str, str],
    group_key: str,
) -> None:
    rng, n = np.random.default_rng(0), len(color_of)
    offsets = (np.arange(n) - (n - 1) / 2) * 0.8 / n
    width = 0.62 / n
    for x, name in enumerate(table.index):
        if x % 2:
            ax.axvspan(x - 0.5, x + 0.5, color="0.96", lw=0, zorder=0)
        for offset, (group, color) in zip(offsets, color_of.items(), strict=True):
            mine = parts[name, group]
            ax.boxplot(
                mine, positions=[x + offset], widths=width, showfliers=False, manage_ticks=False, patch_artist=True,
                boxprops={"facecolor": "none", "edgecolor": color, "lw": 1.2}, zorder=2,
                whiskerprops={"color": color, "lw": 1.0}, capprops={"color": color, "lw": 1.0},
                medianprops={"color": "black", "lw": 1.6},
            )  # fmt: skip
            at = x + offset + rng.uniform(-0.32, 0.32, len(mine)) * width
            ax.scatter(at, mine, s=11, color=color, alpha=0.75, linewidths=0, zorder=3)
    ax.set_yscale("function", functions=(lambda y: np.sqrt(np.clip(y, 0, None)), np.square))
    top = max(float(mine.max()) for mine in parts.values() if len(mine))
    top = min(1.0, 1.08 * top) or 1.0
    # ticks that are apart on the root
    ticks, last = [], -np.inf
    for tick in TICKS[TICKS <= top]:
        if np.sqrt(tick) - last >= 0.075 * np.sqrt(top):
            ticks.append(tick)
            last = np.sqrt(tick)
    ax.set_yticks(ticks, [f"{100 * tick:g} %" for tick in ticks])
    ax.set(xlim=(-0.5, len(table) - 0.5), ylim=(0, top), ylabel="Fraction of cells")
    ax.set_xticks(
        range(len(table)), [str(name) for name in table.index], rotation=35, ha="right", rotation_mode="anchor"
    )
    ax.minorticks_off()
    ax.spines[["top", "right"]].set_visible(False)
    for x, row in enumerate(table.itertuples()):
        strong = bool(row.significant)
        ax.annotate(
            q_text(row.q_value), (x, 1), (0, 4), xycoords=ax.get_xaxis_transform(), textcoords="offset points",
            ha="center", va="bottom", fontsize="small", weight="bold" if strong else "normal",
            color="black" if strong else "0.4", annotation_clip=False,
        )  # fmt: skip
    ax.annotate(
        "q", (0, 1), (-6, 4), xycoords="axes fraction", textcoords="offset points", ha="right", va="bottom",
        fontsize="small", fontstyle="italic", annotation_clip=False,
    )  # fmt: skip
    _group_legend(ax, {g: len(parts[table.index[0], g]) for g in color_of}, color_of, group_key)


def _group_legend(ax: Axes, sizes: dict[str, int], color_of: dict[str, str], group_key: str) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(color=color, label=f"{group} (n = {sizes[group]})") for group, color in color_of.items()]
    ax.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, borderaxespad=0, title=group_key,
        alignment="left", handlelength=1, handleheight=1,
    )  # fmt: skip


def _effect_column(table: pd.DataFrame) -> tuple[str, str, str]:
    for columns in (("log2_fold_change", "log2_low", "log2_high"), ("effect", "effect_low", "effect_high")):
        if set(columns) <= set(table):
            return columns
    raise TableError(
        'Effects of more than two groups have no interval. Pass kind="dots", or compare two groups with '
        "sfm.tl.compare_composition(..., groups=[...])."
    )


def _draw_effects(ax: Axes, table: pd.DataFrame, columns: tuple[str, str, str], params: dict[str, Any]) -> None:
    one, two = (str(name) for name in params["groups"])
    beside = ax.get_yaxis_transform()
    for y, (_, row) in enumerate(table.iterrows()):
        value, low, high = (float(row[column]) for column in columns)
        color = EQUAL if not row["significant"] else MORE if value > 0 else FEWER
        if np.isfinite(value):
            if np.isfinite(low):
                ax.plot([low, high], [y, y], color=color, lw=1.8, solid_capstyle="butt", zorder=2)
            ax.plot(value, y, "o", ms=6, color=color, mec="white", mew=0.8, zorder=3)
        ax.annotate(
            q_text(float(row["q_value"])), (1, y), (8, 0), xycoords=beside, textcoords="offset points", va="center",
            fontsize="small", weight="bold" if row["significant"] else "normal", annotation_clip=False,
        )  # fmt: skip
    ax.annotate(
        "q", (1, 1), (8, 3), xycoords="axes fraction", textcoords="offset points", fontsize="small", fontstyle="italic",
        annotation_clip=False,
    )  # fmt: skip
    ax.axvline(0, color="0.6", lw=0.9, zorder=1)
    ax.set_yticks(range(len(table)), [str(name) for name in table.index])
    ax.set(ylim=(len(table) - 0.5, -0.5))
    if columns[0] == "effect":
        ax.set(xlim=(-1.05, 1.05))
        label = "Rank-biserial correlation"
    else:
        reach = (
            float(np.nanmax(np.abs(table[list(columns)].to_numpy(float)))) if table["p_value"].notna().any() else 1.0
        )
        ax.set(xlim=(-1.08 * reach, 1.08 * reach))
        label = "log₂ fold change"
    method = {"clr-t": ", CLR", "ancombc": ", ANCOM-BC", "dirmult_ttest": ", Dirichlet-multinomial"}
    ax.set_xlabel(f"{label}{method.get(str(params['method']), '')}\n← more in {one}      more in {two} →")
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
