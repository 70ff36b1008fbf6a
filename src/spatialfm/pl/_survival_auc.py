"""Time-dependent AUC of risk scores."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._errors import TableError, listed
from .._fingerprint import check_unchanged
from .._public import public
from .._time_units import tell_other_unit
from ._figure import Palette, category_colors, finish, level, new_axes, with_band
from ._results import check_result, optimistic

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = "osD^vPX*"
_FUNCTIONS = {"coxnet": "coxnet", "survival_forest": "survival_forest"}
COLUMNS = ("time", "at_risk", "events", "auc", "auc_ci_low", "auc_ci_high")


@public
def survival_auc(
    scores: AnnData | Mapping[str, Any],
    keys: str | Sequence[str] | Mapping[str, str] = "coxnet",
    *,
    interval: bool = True,
    at_risk: bool = True,
    time_unit: str | None = None,
    palette: Palette = None,
    title: str | None = None,
    figsize: tuple[float, float] = (5.0, 4.4),
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | PathLike | None = None,
    return_fig: bool | None = None,
) -> Axes | Figure | None:
    """AUC over time of one or several risk scores, with bootstrap bands and the patients that it rests on.

    Draws what :func:`spatialfm.tl.coxnet` and :func:`spatialfm.tl.survival_forest` wrote, or results of
    :func:`spatialfm.metrics.survival`. The dashed line is chance. Below are the patients at risk and the events up to
    each time; where scores rest on different patients, those of each. The legend gives the mean AUC and its interval.

    Parameters
    ----------
    scores
        AnnData with ``uns[key]``, or results of :func:`spatialfm.metrics.survival` by the names to show.
    keys
        Of an AnnData, the keys of ``uns``, or the names to show mapped to them.
    interval
        Whether to draw the bands.
    at_risk
        Whether to draw the numbers below.
    time_unit
        Unit that the times are in, for the axis: ``"months"``. Nothing is converted.
    palette
        Colours of the scores, in their order or by name (default: distinguishable with colour blindness).
    title
        Title.
    figsize
        Width and height in inches of a new figure.
    ax
        Axes to draw into; the numbers take the room below them.
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
        If there are no such scores.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> time, event = [2, 3, 5, 6, 8, 9], [1, 1, 0, 1, 1, 0]
    >>> scores = {
    ...     "stage": sfm.metrics.survival(time, event, [3, 3, 1, 2, 2, 1], n_bootstrap=100),
    ...     "tumor": sfm.metrics.survival(time, event, [0.9, 0.8, 0.3, 0.2, 0.4, 0.1], n_bootstrap=100),
    ... }
    >>> ax = sfm.pl.survival_auc(scores, time_unit="months", show=False)
    >>> ax.get_ylabel()
    'Time-dependent AUC'
    """
    records = _records(scores, keys)
    names = list(records)
    colors = category_colors(names, palette)

    own, ax = ax is None, new_axes(ax, figsize)
    last = max(float(result["curves"]["time"].max()) for result in records.values())
    lowest = 0.5
    for i, ((name, result), color) in enumerate(zip(records.items(), colors, strict=True)):
        curve = result["curves"]
        marker = MARKERS[i % len(MARKERS)]
        ax.plot(curve["time"], curve["auc"], color=color, marker=marker, ms=4.5, lw=1.6, label=_label(name, result))
        lowest = min(lowest, float(curve["auc"].min()))
        if interval and curve["auc_ci_low"].notna().any():
            ax.fill_between(curve["time"], curve["auc_ci_low"], curve["auc_ci_high"], color=color, alpha=0.15, lw=0)
            lowest = min(lowest, float(curve["auc_ci_low"].min()))
    ax.axhline(0.5, color="0.5", lw=1, ls="--", zorder=0)
    ax.annotate(
        "chance", (0, 0.5), (3, 2), xycoords=ax.get_yaxis_transform(), textcoords="offset points", color="0.4",
        fontsize="small",
    )  # fmt: skip
    ax.set(xlim=(0, last * 1.04), ylim=(max(0, np.floor(lowest * 10) / 10 - 0.02), 1.02), ylabel="Time-dependent AUC")
    for time_key in dict.fromkeys(str(one.get("params", {}).get("time_key", "")) for one in records.values()):
        tell_other_unit(time_unit, time_key, last)
    ax.set_xlabel("Time" if time_unit is None else f"Time ({time_unit})")
    ax.spines[["top", "right"]].set_visible(False)
    shaded = interval and any(result["curves"]["auc_ci_low"].notna().any() for result in records.values())
    levels = list(dict.fromkeys(level(result) for result in records.values()))
    bands = with_band(ax, f"{', '.join(levels)} over patients, as in brackets") if shaded else {}
    legend = ax.legend(
        **bands, loc="lower left", bbox_to_anchor=(0, 1.0), frameon=False, alignment="left", borderaxespad=0.2
    )
    if at_risk:
        _draw_numbers(ax, {name: result["curves"] for name, result in records.items()}, colors, last)
    if title is not None:
        height = legend.get_window_extent().height * 72 / ax.get_figure(root=True).dpi
        ax.set_title(title, loc="left", y=1.0, fontsize="medium", pad=height + 6)
    return finish(ax, own=own, show=show, save=save, return_fig=return_fig)


def _records(scores: AnnData | Mapping, keys: str | Sequence[str] | Mapping[str, str]) -> dict[str, dict]:
    if isinstance(scores, Mapping):
        records = {"": scores} if "curves" in scores else dict(scores)
    elif hasattr(scores, "uns"):
        keys = [keys] if isinstance(keys, str) else keys
        names = dict(keys) if isinstance(keys, Mapping) else {key: key for key in keys}
        if absent := [key for key in names.values() if key not in scores.uns]:
            raise TableError(
                f"No scores in uns[{absent[0]!r}] (keys=); uns has {listed(scores.uns)}. Make them with "
                "sfm.tl.coxnet(patients) or sfm.tl.survival_forest(patients)."
            )
        records = {name: scores.uns[key] for name, key in names.items()}
        for name, key in names.items():
            if isinstance(records[name], Mapping) and hasattr(scores, "obs"):
                check_result(records[name], f"uns[{key!r}]", _FUNCTIONS.get(key, "coxnet"))
                check_unchanged(scores, records[name], key, _FUNCTIONS.get(key, "coxnet, or what made it,"))
    else:
        raise TableError(f"survival_auc takes an AnnData or results by name, not {type(scores).__name__}.")
    if not records:
        raise TableError("There are no scores to draw. Pass keys= of uns, or results of sfm.metrics.survival by name.")
    for name, result in records.items():
        curves = result.get("curves") if isinstance(result, Mapping) else None
        if not isinstance(curves, pd.DataFrame) or not set(COLUMNS) <= set(curves.columns):
            raise TableError(
                f"{name!r} is not a result of sfm.metrics.survival, sfm.tl.coxnet or sfm.tl.survival_forest: it has no "
                "table 'curves' with the AUC over time."
            )
    return {str(name): result for name, result in records.items()}


def _label(name: str, result: Mapping) -> str:
    row = result["scores"].loc["mean_auc"]
    limits = f" ({row['ci_low']:.2f} to {row['ci_high']:.2f})" if np.isfinite(row["ci_low"]) else ""
    text, doubt = f"mean AUC {row['value']:.2f}{limits}", _doubt(result)
    if not name:
        return text + doubt
    return (f"{name}: {text}" if len(name) + len(text) <= 44 else f"{textwrap.fill(name, 44)}:\n{text}") + doubt


def _doubt(result: Mapping) -> str:
    """What the record knows of features that an outcome of the same patients made."""
    doubt = optimistic(result.get("params"))
    return doubt and f"\n{doubt}"


def _draw_numbers(ax: Axes, curves: dict[str, pd.DataFrame], colors: list[str], last: float) -> None:
    """Patients at risk and events below the axes, in points; once if all scores rest on the same patients."""
    tables = [curve[["time", "at_risk", "events"]].reset_index(drop=True) for curve in curves.values()]
    alike = all(table.equals(tables[0]) for table in tables)
    size = 0.9 * float(ax.xaxis.label.get_size())
    below_axes = {"xycoords": ax.get_xaxis_transform(), "textcoords": "offset points", "annotation_clip": False}
    style = {"va": "top", "fontsize": size, **below_axes}
    y = -4.0 * size
    ax.annotate("Patients at risk (events so far)", (0, 0), (0, y), ha="left", fontweight="bold", **style)
    for name, color, table in list(zip(curves, colors, tables, strict=True))[: 1 if alike else None]:
        ink = "black" if alike else color
        y -= 1.5 * size
        if not alike:
            ax.annotate(name, (0, 0), (0, y), ha="left", color=ink, **style)
            y -= 1.4 * size
        texts = [f"{int(row.at_risk)} ({int(row.events)})" for row in table.itertuples()]
        width = 0.58 * size * max(map(len, texts)) * ax.get_figure(root=True).dpi / 72 / ax.get_window_extent().width
        for i in _apart(table["time"].to_numpy(), width * last):
            ax.annotate(texts[i], (table["time"].iloc[i], 0), (0, y), ha="center", color=ink, **style)


def _apart(times: np.ndarray, least: float) -> list[int]:
    """Times so far apart that their numbers do not run into each other; the last one is always among them."""
    places: list[int] = []
    for i in range(times.size - 1, -1, -1):
        if not places or times[places[-1]] - times[i] >= least:
            places.append(i)
    return places[::-1]
