"""Compositions of groups of patients, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from .._dense import dense
from .._errors import TableError, listed
from .._fingerprint import check_unchanged
from .._public import public
from ._composition import cluster_column
from ._figure import OKABE_ITO, Palette, category_colors, finish, new_axes, stored_colors
from ._results import by_outcome, check_columns, check_known, check_result, corrected

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
}
MODELS = {
    "groups": "ranks and means",
    "pairs": "ranks and means within patients",
    "changes": "ranks and means of changes",
    "mixed": "mixed model of ranks and means",
}
SHARE, FRAME = "share", "reference"


@public
def compare_composition(
    patients: AnnData,
    *,
    key: str = "compare_composition",
    kind: Literal["dots", "effect", "reference"] = "dots",
    types: Sequence[str] | None = None,
    sort: bool = True,
    palette: Palette = None,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | PathLike | None = None,
    return_fig: bool | None = None,
) -> Axes | Figure | None:
    """Draw the result of :func:`spatialfm.tl.compare_composition`.

    ``"dots"``: fractions of each patient as dots, one box per group (quartiles, whiskers to the last dot within 1.5
    times their distance), and two q-values of each type: of its share, and against the frame of types that change
    least, since shares add up to 1. Lines join the two fractions of a patient where groups are within patients. The
    axis is a square root, so that rare and frequent types can both be read and a fraction of 0 has its place.
    ``"effect"``: the rank-biserial correlation of each type with its 95 % interval; significant ones are coloured.
    ``"reference"``: the log2 fold change against the frame, whose types are marked by a ring.

    After :func:`spatialfm.tl.correct_together` q-values and marks are those of all tests together, and the figure
    states so.

    Parameters
    ----------
    patients
        Compositions with ``uns[key]``.
    key
        Key of ``uns``.
    kind
        ``"dots"``, ``"effect"`` or ``"reference"``.
    types
        Types that are shown, in this order (default: all).
    sort
        Whether types are sorted by their p-value (smallest first); otherwise they come as in the table.
    palette
        Colours of the groups of ``"dots"``, in their order or by name.
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
    record = _record(patients, key)
    check_result(record, f"uns[{key!r}]", "compare_composition")
    if kind == "reference" or "q_reference" in record["table"]:
        marks = dict.fromkeys(("q_reference", "significant_reference"), float)
        check_columns(record["table"], marks, f"uns[{key!r}]['table']", "compare_composition")
    if set(record["table"].index) <= set(patients.var_names):
        check_unchanged(patients, record, key, "compare_composition")
    whole, level = corrected(record)
    table, params = _shown(whole, types, sort), record["params"]
    own = ax is None
    if kind == "dots":
        groups = [str(name) for name in params["groups"]]
        if str(params["group_key"]) in patients.obs:
            there = patients.obs[str(params["group_key"])].dropna().map(str).unique()
            check_known(groups, there, f"uns[{key!r}]['params']['groups']", "compare_composition")
        colors = category_colors(groups, palette, stored_colors(patients, str(params["group_key"]), groups))
        compared = _compared(patients, params)
        parts = _fractions(compared, table, groups, params)
        ax = new_axes(ax, figsize or (1.6 + len(table) * (0.25 + 0.32 * len(groups)), 3.9))
        _draw_dots(ax, parts, table, dict(zip(groups, colors, strict=True)), params)
        ax.set_xlabel(cluster_column(patients))
        if params.get("model") == "pairs":
            _draw_pairs(ax, parts, table, groups)
        ax.annotate(
            _explained(params, level), (1, 0), (8, 0), xycoords="axes fraction", textcoords="offset points",
            fontsize="x-small", color="0.4", va="bottom", annotation_clip=False,
        )  # fmt: skip
    else:
        columns = _effect_columns(table, kind, params["groups"], f"uns[{key!r}]['table']")
        ax = new_axes(ax, figsize or (5.6, 1.5 + 0.34 * len(table)))
        _draw_effects(ax, table, columns, params)
        ax.set_ylabel(cluster_column(patients))
        if "together" in level:
            ax.annotate(
                f"coloured: {level}", (1, 0), (0, -38), xycoords="axes fraction", textcoords="offset points",
                fontsize="x-small", color="0.4", ha="right", va="top", annotation_clip=False,
            )  # fmt: skip
    if title is not None:
        ax.set_title(title, loc="left", fontsize="medium", pad=36 if kind == "dots" else None)
    return finish(ax, own=own, show=show, save=save, return_fig=return_fig)


def q_text(q: float) -> str:
    """A q-value as it is read.

    Examples
    --------
    >>> q_text(0.0312), q_text(0.00004), q_text(0.8), q_text(float("nan"))
    ('0.031', '< 0.001', '0.80', 'not tested')
    """
    return "not tested" if np.isnan(q) else "< 0.001" if q < 0.001 else f"{q:.2f}" if q >= 0.0995 else f"{q:.2g}"


def _record(patients: AnnData, key: str) -> dict[str, Any]:
    record = patients.uns.get(key)
    table = record.get("table") if isinstance(record, dict) else None
    if not isinstance(table, pd.DataFrame) or "effect" not in table or "params" not in record:
        raise TableError(
            f"No comparison in uns[{key!r}]; uns has {listed(patients.uns)}. Make one with sfm.tl.compare_composition."
        )
    return record


def _shown(table: pd.DataFrame, types: Sequence[str] | None, sort: bool) -> pd.DataFrame:
    if types is not None:
        if absent := [name for name in types if name not in table.index]:
            raise TableError(f"No type {absent[0]!r} in the comparison (types=); found {listed(table.index, 20)}.")
        return table.loc[list(types)]
    return table.sort_values("p_value", kind="stable") if sort else table


def _compared(patients: AnnData, params: dict[str, Any]) -> AnnData:
    """The rows that were compared, which the test names."""
    rows = [str(name) for name in params["rows"]]
    names = patients.obs_names.astype(str)
    check_known(rows, set(names), "params['rows']", "compare_composition")
    keep = names.isin(rows)
    return patients if keep.all() else patients[keep]


def _fractions(
    patients: AnnData, table: pd.DataFrame, groups: list[str], params: dict[str, Any]
) -> dict[tuple[str, str], np.ndarray]:
    """Fractions of the patients of each (type, group), or their changes; of pairs in the order of the patients."""
    group_key = str(params["group_key"])
    if group_key not in patients.obs or not set(table.index) <= set(patients.var_names):
        raise TableError(
            f"The samples no longer have obs[{group_key!r}] and the types that were compared. Compare again with "
            "sfm.tl.compare_composition."
        )
    values = pd.DataFrame(dense(patients.X), columns=patients.var_names)
    group_of = patients.obs[group_key].astype(object).map(str).to_numpy()
    if params.get("model") == "changes":
        values, group_of = _changes(patients, group_of, params)
    elif params.get("model") == "pairs":
        shares = _pooled(patients, str(params["pair_key"]), group_of, params)
        values, group_of = shares.reset_index(drop=True), shares.index.get_level_values(1).to_numpy()
    return {
        (name, group): values.loc[group_of == group, name].to_numpy(float) for name in table.index for group in groups
    }


def _pooled(patients: AnnData, unit_key: str, second: np.ndarray, params: dict[str, Any]) -> pd.DataFrame:
    """Shares of all cells of a patient's samples at one time point or in one group, as the test has them."""
    known = "counts" in patients.layers and bool(params.get("counts_known", True))
    values = dense(patients.layers["counts"] if known else patients.X)
    units = patients.obs[unit_key].astype(str).to_numpy()
    sums = pd.DataFrame(values, columns=patients.var_names).groupby([units, second]).sum()
    return sums.div(sums.sum(axis=1), axis=0)


def _changes(patients: AnnData, group_of: np.ndarray, params: dict[str, Any]) -> tuple[pd.DataFrame, np.ndarray]:
    """Later minus earlier fraction of each patient."""
    key = str(params["pair_key"] or params["patient_key"])
    time = patients.obs[str(params["time_key"])].astype(object).map(str)
    later = (time == str(params["time_points"][1])).to_numpy()
    shares = _pooled(patients, key, later, params).unstack().dropna()
    change = pd.DataFrame({name: shares[name][True] - shares[name][False] for name in patients.var_names})
    group = pd.Series(group_of, patients.obs[key].astype(str).to_numpy()).groupby(level=0).first()
    return change.reset_index(drop=True), group.loc[change.index].to_numpy()


def _draw_dots(
    ax: Axes,
    parts: dict[tuple[str, str], np.ndarray],
    table: pd.DataFrame,
    color_of: dict[str, str],
    params: dict[str, Any],
) -> None:
    changes, group_key = params.get("model") == "changes", str(params["group_key"])
    rng, n = np.random.default_rng(0), len(color_of)
    offsets = (np.arange(n) - (n - 1) / 2) * 0.8 / n
    width = 0.62 / n
    spread = 0.0 if params.get("model") == "pairs" else 0.32  # dots of pairs are where their lines end
    for x, name in enumerate(table.index):
        if x % 2:
            ax.axvspan(x - 0.5, x + 0.5, color="0.96", lw=0, zorder=0)
        for offset, (group, color) in zip(offsets, color_of.items(), strict=True):
            dots = parts[name, group]
            ax.boxplot(
                dots, positions=[x + offset], widths=width, showfliers=False, manage_ticks=False, patch_artist=True,
                boxprops={"facecolor": "none", "edgecolor": color, "lw": 1.2}, zorder=2,
                whiskerprops={"color": color, "lw": 1.0}, capprops={"color": color, "lw": 1.0},
                medianprops={"color": "black", "lw": 1.6},
            )  # fmt: skip
            at = x + offset + rng.uniform(-1, 1, len(dots)) * spread * width
            ax.scatter(at, dots, s=11, color=color, alpha=0.75, linewidths=0, zorder=3)
    _root_axis(ax, parts, signed=changes)
    label = "Fraction of cells"
    if changes:
        label = "Change of the fraction of cells, {} to {}".format(*params["time_points"])
    ax.set(xlim=(-0.5, len(table) - 0.5), ylabel=label)
    ax.set_xticks(
        range(len(table)), [str(name) for name in table.index], rotation=35, ha="right", rotation_mode="anchor"
    )
    ax.minorticks_off()
    ax.spines[["top", "right"]].set_visible(False)
    rows = [(SHARE, "q_value", "significant", 4)]
    if "q_reference" in table:
        rows = [(SHARE, "q_value", "significant", 16), (FRAME, "q_reference", "significant_reference", 4)]
    for label, column, mark, above in rows:
        for x, (q, strong) in enumerate(zip(table[column], table[mark].astype(bool), strict=True)):
            ax.annotate(
                q_text(q) if label == SHARE or np.isfinite(q) else "–", (x, 1), (0, above),
                xycoords=ax.get_xaxis_transform(), textcoords="offset points", ha="center", va="bottom",
                fontsize="small", weight="bold" if strong else "normal", color="black" if strong else "0.4",
                annotation_clip=False,
            )  # fmt: skip
        ax.annotate(
            f"q {label}", (0, 1), (-6, above), xycoords="axes fraction", textcoords="offset points", ha="right",
            va="bottom", fontsize="small", fontstyle="italic", annotation_clip=False,
        )  # fmt: skip
    what = " samples" if params.get("model") == "mixed" else ""  # of patients that may have several
    _group_legend(ax, {g: f"{len(parts[table.index[0], g])}{what}" for g in color_of}, color_of, group_key)


def _root_axis(ax: Axes, parts: dict[tuple[str, str], np.ndarray], signed: bool) -> None:
    """A square root of fractions, of both signs for changes, with ticks that are apart on it."""
    top = max(float(np.abs(part).max()) for part in parts.values() if len(part))
    top = min(1.0, 1.08 * top) or 1.0
    if signed:
        ax.set_yscale("function", functions=(lambda y: np.sign(y) * np.sqrt(np.abs(y)), lambda y: np.sign(y) * y**2))
        ax.axhline(0, color="0.6", lw=0.9, zorder=1)
    else:
        ax.set_yscale("function", functions=(lambda y: np.sqrt(np.clip(y, 0, None)), np.square))
    ticks, last = [], -np.inf
    for tick in TICKS[TICKS <= top]:
        if np.sqrt(tick) - last >= (0.15 if signed else 0.075) * np.sqrt(top):
            ticks.append(tick)
            last = np.sqrt(tick)
    if signed:
        ticks = sorted({sign * tick + 0.0 for tick in ticks for sign in (-1.0, 1.0)})
    ax.set_yticks(ticks, [f"{100 * tick:{'+' if signed and tick else ''}g} %" for tick in ticks])
    ax.set(ylim=(-top if signed else 0, top))


def _group_legend(ax: Axes, sizes: dict[str, str], color_of: dict[str, str], group_key: str) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(color=color, label=f"{group} (n = {sizes[group]})") for group, color in color_of.items()]
    ax.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, borderaxespad=0, title=group_key,
        alignment="left", handlelength=1, handleheight=1,
    )  # fmt: skip


def _explained(params: dict[str, Any], level: str) -> str:
    """What the q-values are of, for the margin of a figure."""
    test = TESTS.get(str(params["method"]), MODELS.get(str(params.get("model", "groups")), ""))
    adjusted = [str(name) for name in params.get("covariates", ())]
    lines = [f"q: {test},", f"bold: {level}" if "together" in level else "Benjamini-Hochberg"]
    if adjusted:
        lines.append(f"adjusted for {listed(adjusted, 3)}")
    if params.get("block_key"):
        lines.append(f"shuffled within {params['block_key']}")
    if params.get("circular"):
        lines.append("not tested: the groups were\nmade from these fractions")
    made = by_outcome(params)
    if made != "no":
        lines.append(
            "an outcome chose these fractions" if made == "yes" else "an outcome may have chosen\nthese fractions"
        )
    return "\n".join([*lines, "share: of all cells;", "reference: against the", "types that change least"])


def _draw_pairs(ax: Axes, parts: dict[tuple[str, str], np.ndarray], table: pd.DataFrame, groups: list[str]) -> None:
    """A line between the two fractions of each patient."""
    from matplotlib.collections import LineCollection

    offset = 0.4 / len(groups)
    segments = [
        [(x - offset, one), (x + offset, other)]
        for x, name in enumerate(table.index)
        for one, other in zip(parts[name, groups[0]], parts[name, groups[1]], strict=True)
    ]
    ax.add_collection(LineCollection(segments, colors="0.7", linewidths=0.6, zorder=1), autolim=False)


def _effect_columns(table: pd.DataFrame, kind: str, groups: Sequence[object], where: str) -> tuple[str, str, str]:
    columns = ("effect", "effect_low", "effect_high")
    if kind == "reference":
        columns = ("log2_fold_change", "log2_low", "log2_high")
    if set(columns) <= set(table) and len(groups) == 2:
        check_columns(table, dict.fromkeys(columns, float), where, "compare_composition")
        if kind == "reference":
            check_columns(table, {"in_reference": float}, where, "compare_composition")
        return columns
    raise TableError(
        'Effects of more than two groups, and fold changes of changes, have no interval. Pass kind="dots", or compare '
        "two groups with sfm.tl.compare_composition(..., groups=[...])."
    )


def _draw_effects(ax: Axes, table: pd.DataFrame, columns: tuple[str, str, str], params: dict[str, Any]) -> None:
    first, second = (str(name) for name in params["groups"])
    framed = columns[0] != "effect"
    q, mark = ("q_reference", "significant_reference") if framed else ("q_value", "significant")
    ends = table[list(columns)].to_numpy(dtype=float)
    ends = np.abs(ends[np.isfinite(ends)])
    reach = 1.05 if not framed else 1.08 * float(ends.max()) if ends.size and ends.max() > 0 else 1.0
    margin = ax.get_yaxis_transform()
    for y, (_, row) in enumerate(table.iterrows()):
        value, low, high = (float(row[column]) for column in columns)
        color = EQUAL if not row[mark] else MORE if value > 0 else FEWER
        if np.isfinite(value):
            if np.isfinite(low):
                ax.plot([low, high], [y, y], color=color, lw=1.8, solid_capstyle="butt", zorder=2)
            ax.plot(value, y, "o", ms=6, color=color, mec="white", mew=0.8, zorder=3)
            if framed and row["in_reference"]:
                ax.plot(value, y, "o", ms=10, mfc="none", mec="0.3", mew=0.8, zorder=3)
        elif not np.isnan(value):  # none in one of the groups
            ax.plot(np.sign(value) * reach, y, ">" if value > 0 else "<", ms=7, color=color, clip_on=False, zorder=3)
        ax.annotate(
            q_text(float(row[q])), (1, y), (8, 0), xycoords=margin, textcoords="offset points", va="center",
            fontsize="small", weight="bold" if row[mark] else "normal", annotation_clip=False,
        )  # fmt: skip
    ax.annotate(
        "q", (1, 1), (8, 3), xycoords="axes fraction", textcoords="offset points", fontsize="small", fontstyle="italic",
        annotation_clip=False,
    )  # fmt: skip
    ax.axvline(0, color="0.6", lw=0.9, zorder=1)
    ax.set_yticks(range(len(table)), [str(name) for name in table.index])
    ax.set(ylim=(len(table) - 0.5, -0.5), xlim=(-reach, reach))
    label = "log₂ fold change against the reference (ringed)" if framed else "Rank-biserial correlation of shares"
    if str(params.get("model")) == "changes":
        label = "Rank-biserial correlation of changes"
    ax.set_xlabel(f"{label}, 95 % interval\n← more in {first}      more in {second} →")
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
