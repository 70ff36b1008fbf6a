"""Kaplan-Meier curves with numbers at risk."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._errors import TableError, listed, warn
from .._fingerprint import check_unchanged
from .._public import public
from .._time_units import tell_other_unit
from ._figure import Palette, category_colors, digits, finish, level, make_room, new_axes, stored_colors, with_band
from ._results import check_known, check_result, comparison

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STICKS = re.compile(r"\b([npq]) ([<=]) (?=\d)")

WIDTH, CURVES = 5.0, 2.6  # inches of a figure by default, and the height of its axes
LONGEST_BESIDE = 14  # characters of a group's name next to its numbers at risk; a longer one goes above them


@public
def kaplan_meier(
    patients: AnnData,
    *,
    key: str = "kaplan_meier",
    logrank_key: str = "logrank",
    rmst_key: str = "rmst",
    time_unit: str | None = None,
    interval: bool = True,
    censor_marks: bool = True,
    at_risk: bool = True,
    palette: Palette = None,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | PathLike | None = None,
    return_fig: bool | None = None,
) -> Axes | Figure | None:
    """Survival curves with confidence bands, censoring marks, numbers at risk, log-rank p-value and restricted means.

    Draws what :func:`spatialfm.tl.kaplan_meier`, :func:`spatialfm.tl.logrank` and :func:`spatialfm.tl.rmst` wrote: the
    latter as a dotted line at the horizon and the means up to it. Both are shown where the
    test was run on the same groups and outcome; it is marked as optimistic if the outcome made the groups. Where
    :func:`spatialfm.tl.cut_point` or :func:`spatialfm.tl.stratify` made them at equal covariates, their own p-value is
    given with its covariates; curves are as they are.

    Parameters
    ----------
    patients
        AnnData with ``uns[key]``.
    key
        Key of ``uns`` with the curves.
    logrank_key
        Key of ``uns`` with the test.
    rmst_key
        Key of ``uns`` with the restricted means.
    time_unit
        Unit that the times are in, for the axis: ``"months"``. Nothing is converted.
    interval
        Whether to draw the confidence bands.
    censor_marks
        Whether to draw a tick at each censored patient.
    at_risk
        Whether to draw the table below the curves.
    palette
        Colours of the groups, in their order or by name (default: ``uns["<group_key>_colors"]``, or colours that are
        distinguishable with colour blindness).
    title
        Title.
    figsize
        Width and height in inches of a new figure (default: 5 wide, and so high that the curves have 2.6 inches).
    ax
        Axes to draw into; the table takes the room below them.
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
        If there are no curves under `key`.

    Examples
    --------
    >>> import anndata as ad, pandas as pd
    >>> import spatialfm as sfm
    >>> obs = {"time": [2, 4, 6, 8, 9, 9], "event": [1, 1, 0, 1, 0, 0], "arm": list("ababab")}
    >>> patients = ad.AnnData(obs=pd.DataFrame(obs, index=[f"P{i}" for i in range(6)]))
    >>> sfm.tl.kaplan_meier(patients, "arm")
    >>> ax = sfm.pl.kaplan_meier(patients, time_unit="months", show=False)
    >>> ax.get_xlabel()
    'Time (months)'
    """
    record = _curves(patients, key)
    check_result(record, f"uns[{key!r}]", "kaplan_meier")
    check_unchanged(patients, record, key, "kaplan_meier")
    table, groups = record["table"], record["groups"]
    names = [str(name) for name in groups.index]
    check_known(names, list(table["group"].astype(str)), f"uns[{key!r}]['groups']", "kaplan_meier")
    check_known(table["group"].astype(str), names, f"uns[{key!r}]['table']", "kaplan_meier")
    group_key = str(record["params"]["group_key"])
    colors = category_colors(names, palette, stored_colors(patients, group_key, names))

    own, ax = ax is None, new_axes(ax, figsize or (WIDTH, CURVES))
    curves = {name: table[table["group"].astype(str) == name] for name in names}
    last = max(float(table["time"].max()), 1e-12)
    for (name, curve), color in zip(curves.items(), colors, strict=True):
        _draw_curve(ax, curve, color, _label(name, groups.loc[name], bool(group_key)), interval, censor_marks)
    ax.set(xlim=(0, last * 1.02), ylim=(0, 1.02), ylabel="Survival probability")
    ax.set_xticks([tick for tick in ax.get_xticks() if 0 <= tick <= last])
    tell_other_unit(time_unit, str(record["params"]["time_key"]), last)
    ax.set_xlabel(time_label(str(record["params"]["time_key"]), time_unit))
    ax.spines[["top", "right"]].set_visible(False)
    means = _means(patients, rmst_key, record)
    if means is not None:
        ax.axvline(means["horizon"], color="0.4", ls=":", lw=1.2)
    bands = with_band(ax, f"{level(record['params'])} at each time") if interval else {}
    legend = ax.legend(
        **bands, loc="lower left", bbox_to_anchor=(0, 1.0), frameon=False, alignment="left", borderaxespad=0.2,
        title=_notes(group_key, _tests(patients, logrank_key, record), means, time_unit) or None,
    )  # fmt: skip
    if at_risk:
        draw_at_risk(ax, curves, colors)
    if title is not None:
        ax.set_title(title, loc="left", y=1.0, fontsize="medium", pad=legend_height(ax, legend) + 6)
    if own and figsize is None:
        make_room(ax, height=CURVES)
    return finish(ax, own=own, show=show, save=save, return_fig=return_fig)


def at_risk_at(curve: pd.DataFrame, times: np.ndarray) -> np.ndarray:
    """Number at risk just before each time, from the rows of a curve."""
    leaving = np.concatenate([[0], np.cumsum(curve["events"] + curve["censored"])])
    place = np.searchsorted(curve["time"], times, side="left")
    if "entered" not in curve:
        return int(curve["at_risk"].iloc[0]) - leaving[place]
    entered = np.concatenate([[0], np.cumsum(curve["entered"])])
    return entered[np.maximum(place, 1)] - leaving[place]  # who enters at 0 is shown there


def format_p(p_value: float, name: str = "p") -> str:
    """``p = 0.012`` or ``p < 0.001``; `name` is q where it was corrected."""
    return f"{name} < 0.001" if p_value < 0.001 else f"{name} = {p_value:.{3 if p_value < 0.1 else 2}f}"


def fill_lines(text: str, width: int) -> str:
    r"""Lines of at most `width` letters; ``p < 0.001`` and ``n = 12`` stay on one.

    Examples
    --------
    >>> fill_lines("log-rank p < 0.001", 12)
    'log-rank\np < 0.001'
    """
    joined = _STICKS.sub("\\1\xa0\\2\xa0", text)  # spaces at which textwrap does not break
    return textwrap.fill(joined, width).replace("\xa0", " ")


def legend_height(ax: Axes, legend) -> float:
    """Height of a legend in points."""
    return legend.get_window_extent().height * 72 / ax.get_figure(root=True).dpi


def _curves(patients: AnnData, key: str) -> dict[str, Any]:
    record = patients.uns.get(key)
    if not isinstance(record, dict) or not {"table", "groups", "params"} <= set(record):
        raise TableError(
            f"No Kaplan-Meier curves in uns[{key!r}]; uns has {listed(patients.uns)}. Make them with "
            "sfm.tl.kaplan_meier(patients, group_key)."
        )
    return record


def _label(name: str, group: pd.Series, has_groups: bool) -> str:
    counts = f"n = {int(group['n'])}, {int(group['events'])} event{'s' if group['events'] != 1 else ''}"
    return fill_lines(f"{name} ({counts})", 52) if has_groups else counts


def time_label(time_key: str, unit: str | None) -> str:
    name = "Time" if unit is not None or time_key == "time" else time_key
    return name if unit is None else f"{name} ({unit})"


def _test_label(patients: AnnData, logrank_key: str, record: dict) -> str | None:
    doubt = "\n(optimistic: the outcome made the groups)" if record.get("optimistic") else ""
    test = patients.uns.get(logrank_key)
    if not isinstance(test, dict) or "p_value" not in test:
        return doubt.strip() or None
    check_result(test, f"uns[{logrank_key!r}]", "logrank")
    same = ("group_key", "time_key", "event_key", "entry_key")
    if any(test["params"].get(name, "") != record["params"].get(name, "") for name in same):
        return doubt.strip() or None  # of other groups
    if not test["params"].get("digest") or test["params"]["digest"] != record["params"].get("digest"):
        key = record["params"]["group_key"]
        warn(
            f"uns[{logrank_key!r}] is a test of other patients, groups or outcomes than the curves, as obs has changed "
            f'in between: its p-value is not shown. Run sfm.tl.logrank(patients, "{key}") again.'
        )
        return doubt.strip() or None
    if _out_of_date(patients, test, logrank_key, "logrank"):
        return doubt.strip() or None
    note = doubt or ("\n(optimistic: the outcome made the groups)" if test.get("optimistic") else "")
    text = f"{_test_name(test)}{comparison(test['params'])} {format_p(float(test['p_value']))}"
    return fill_lines(text + unadjusted(test), 60) + note


def _tests(patients: AnnData, logrank_key: str, record: dict) -> str:
    """The test of the groups, and that of those who made them at equal covariates, a line each."""
    group_key = str(record["params"]["group_key"])
    lines = [_test_label(patients, logrank_key, record), _maker_label(patients, group_key)]
    return "\n".join(line for line in lines if line)


def _maker_label(patients: AnnData, group_key: str) -> str | None:
    """The p-value at equal covariates that a cut or groups of these patients came with."""
    maker = patients.uns.get(group_key)
    params = maker.get("params") if isinstance(maker, Mapping) else None
    if not isinstance(params, Mapping) or not np.size(params.get("covariates", [])):
        return None
    if "naive_p_value" in maker:
        function, test, what = "cut_point", maker, "best of all cuts"
    elif isinstance(maker.get("test"), Mapping):
        function, test, what = "stratify", maker["test"], "trend of these groups"
    else:
        return None
    check_result(maker, f"uns[{group_key!r}]", function)
    if _out_of_date(patients, maker, group_key, function):
        return None
    text = f"{what}{comparison(params)}: {format_p(float(test['p_value']))}"
    return fill_lines(text + unadjusted(test), 60)


def unadjusted(test: Mapping[str, Any]) -> str:
    """The p-value as it is without covariates, of which the curves are."""
    p_value = test.get("p_value_unadjusted")
    return "" if p_value is None else f" (unadjusted {format_p(float(p_value))})"


def _means(patients: AnnData, rmst_key: str, record: dict) -> dict | None:
    """Restricted means of the same patients, groups and outcome."""
    means = patients.uns.get(rmst_key)
    if not isinstance(means, dict) or "horizon" not in means or not record["params"].get("digest"):
        return None
    check_result(means, f"uns[{rmst_key!r}]", "rmst")
    if means["params"].get("digest") != record["params"]["digest"]:
        return None
    return None if _out_of_date(patients, means, rmst_key, "rmst") else means


def _out_of_date(patients: AnnData, record: Mapping[str, Any], key: str, function: str) -> bool:
    """Whether something else has changed since, as a covariate: curves hold, and this does not; that is said."""
    try:
        check_unchanged(patients, record, key, function)
    except TableError as error:
        warn(f"Not shown beside the curves: {error}")
        return True
    return False


def _notes(group_key: str, test: str, means: dict | None, time_unit: str | None) -> str:
    """Lines above the names of the groups: test, restricted means, and the column that the groups are of."""
    column = textwrap.wrap(group_key, 60)
    return "\n".join([*([test] if test else []), *_mean_lines(means, time_unit), *column])


def _mean_lines(means: dict | None, time_unit: str | None) -> list[str]:
    if means is None:
        return []
    groups, unit = means["groups"], f" {time_unit}" if time_unit else ""
    each = ", ".join(
        f"{digits(row.rmst)} ({name})" for name, row in zip(groups.index, groups.itertuples(), strict=True)
    )
    lines = [f"mean up to {digits(float(means['horizon']))}{unit}: {each}"]
    if "differences" in means and len(means["differences"]) == 1:
        row = means["differences"].iloc[0]
        limits = f"{level(means['params'])} {digits(row['ci_low'])} to {digits(row['ci_high'])}"
        difference = f"{row['group_b']} less {row['group_a']}{comparison(means['params'])}: {digits(row['difference'])}"
        lines.append(f"{difference} ({limits}), {format_p(float(row['p_value']))}")
    return [fill_lines(line, 60) for line in lines]


def _test_name(test: dict) -> str:
    weights = str(test["params"].get("weights", "logrank"))
    names = {"logrank": "log-rank", "gehan": "Gehan", "tarone-ware": "Tarone-Ware", "peto": "Peto-Peto"}
    name = names.get(weights, weights.replace("fleming-harrington", "Fleming-Harrington"))
    return name + " (permutation)" * bool(test.get("permuted", False))


def _draw_curve(ax: Axes, curve: pd.DataFrame, color: str, label: str, interval: bool, censor_marks: bool) -> None:
    time, survival = curve["time"].to_numpy(), curve["survival"].to_numpy()
    ax.plot(np.append(0, time), np.append(1, survival), drawstyle="steps-post", color=color, lw=1.6, label=label)
    if interval:
        band = curve[["ci_low", "ci_high"]].ffill()  # undefined from survival 0 on, where the band ends anyway
        ax.fill_between(time, band["ci_low"], band["ci_high"], step="post", color=color, alpha=0.15, lw=0)
    if censor_marks:
        marks = curve[curve["censored"] > 0]
        ax.plot(marks["time"], marks["survival"], ls="none", marker="|", ms=6, mew=1.2, color=color, clip_on=False)


def draw_at_risk(ax: Axes, curves: dict[str, pd.DataFrame], colors: list[str]) -> None:
    """Table below the axes; distances are in points, so that it fits at every size of figure."""
    size = float(ax.xaxis.label.get_size())
    line, below = 1.35 * size, -(3.6 * size)
    below_axes = {"xycoords": ax.get_xaxis_transform(), "textcoords": "offset points", "annotation_clip": False}
    ax.annotate(
        "Number at risk", (0, 0), (0, below), ha="left", va="top", fontsize=0.9 * size, fontweight="bold", **below_axes
    )
    widest = max(len(str(int(curve["at_risk"].iloc[0]))) for curve in curves.values())
    left = -(0.32 * widest + 0.8) * size  # clear of the counts, which are centred on time 0
    long = max(map(len, curves)) > LONGEST_BESIDE
    times, y = np.asarray(ax.get_xticks()), below
    for (name, curve), color in zip(curves.items(), colors, strict=True):
        y -= line
        if len(curves) > 1:
            place = {"ha": "left", "xytext": (0, y)} if long else {"ha": "right", "xytext": (left, y)}
            ax.annotate(name, (0, 0), va="top", color=color, fontsize=0.9 * size, **place, **below_axes)
            y -= line if long else 0
        for tick, count in zip(times, at_risk_at(curve, times), strict=True):
            ax.annotate(str(count), (tick, 0), (0, y), ha="center", va="top", fontsize=0.9 * size, **below_axes)
