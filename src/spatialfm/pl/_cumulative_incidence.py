"""Curves of cumulative incidence with numbers at risk."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._errors import TableError, listed
from .._fingerprint import check_unchanged
from .._public import public
from .._time_units import tell_other_unit
from ._figure import Palette, category_colors, finish, level, make_room, new_axes, stored_colors, with_band
from ._kaplan_meier import CURVES, WIDTH, draw_at_risk, fill_lines, format_p, legend_height, time_label, unadjusted
from ._results import check_known, check_result, comparison

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLES = ("-", "--", ":", "-.")  # of events, where several are drawn for groups in colours


@public
def cumulative_incidence(
    patients: AnnData,
    *,
    key: str = "cumulative_incidence",
    event_value: str | None = None,
    time_unit: str | None = None,
    interval: bool = True,
    at_risk: bool = True,
    palette: Palette = None,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | PathLike | None = None,
    return_fig: bool | None = None,
) -> Axes | Figure | None:
    """Probability of each event by each time, with confidence bands, numbers at risk and Gray's test.

    Draws what :func:`spatialfm.tl.cumulative_incidence` wrote: groups in colours, and several events in line styles;
    without groups, events in colours.

    Parameters
    ----------
    patients
        AnnData with ``uns[key]``.
    key
        Key of ``uns`` with the curves.
    event_value
        Event to draw alone (default: all).
    time_unit
        Unit that the times are in, for the axis: ``"months"``. Nothing is converted.
    interval
        Whether to draw the confidence bands.
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
        If there are no curves under `key`, or none of `event_value`.

    Examples
    --------
    >>> import anndata as ad, pandas as pd
    >>> import spatialfm as sfm
    >>> obs = {"time": [1, 2, 3, 4, 5, 6], "event": [1, 2, 1, 0, 2, 0]}
    >>> patients = ad.AnnData(obs=pd.DataFrame(obs, index=[f"P{i}" for i in range(6)]))
    >>> sfm.tl.cumulative_incidence(patients)
    >>> ax = sfm.pl.cumulative_incidence(patients, time_unit="months", show=False)
    >>> ax.get_ylabel()
    'Cumulative incidence'
    """
    record = _record(patients, key)
    check_result(record, f"uns[{key!r}]", "cumulative_incidence")
    _check_parts(record, f"uns[{key!r}]")
    check_unchanged(patients, record, key, "cumulative_incidence")
    table, group_key = record["table"], str(record["params"]["group_key"])
    events = _events(table, event_value, key)
    names = list(dict.fromkeys(table["group"].astype(str)))
    several = len(names) > 1
    stored = stored_colors(patients, group_key, names) if several else None
    colors = category_colors(names if several else events, palette, stored)

    own, ax = ax is None, new_axes(ax, figsize or (WIDTH, CURVES))
    sizes = record["groups"]
    for i, one in enumerate(events):
        for j, name in enumerate(names):
            selected = (sizes["event"].astype(str) == one) & (sizes["group"].astype(str) == name)
            curve = table[(table["event"].astype(str) == one) & (table["group"].astype(str) == name)]
            style = STYLES[i % len(STYLES)] if several else "-"
            label = _label(one, name, sizes[selected].iloc[0], len(events) > 1, several)
            _draw(ax, curve, colors[j if several else i], style, label, interval * (0.08 if several and i else 0.15))
    last = max(float(table["time"].max()), 1e-12)
    ax.set(xlim=(0, last * 1.02), ylim=(0, None), ylabel="Cumulative incidence")
    ax.set_ylim(0, min(1.02, ax.get_ylim()[1]))
    ax.set_xticks([tick for tick in ax.get_xticks() if 0 <= tick <= last])
    tell_other_unit(time_unit, str(record["params"]["time_key"]), last)
    ax.set_xlabel(time_label(str(record["params"]["time_key"]), time_unit))
    ax.spines[["top", "right"]].set_visible(False)
    bands = with_band(ax, f"{level(record['params'])} at each time") if interval else {}
    legend = ax.legend(
        **bands, loc="lower left", bbox_to_anchor=(0, 1.0), frameon=False, alignment="left", borderaxespad=0.2,
        title=_tests(record, events), handlelength=2.6,
    )  # fmt: skip
    if at_risk:
        first = table[table["event"].astype(str) == events[0]]
        first = first.assign(events=first["events"] + first["other_events"])
        curves = {name: first[first["group"].astype(str) == name] for name in names}
        draw_at_risk(ax, curves, colors if several else ["black"])
    if title is not None:
        ax.set_title(title, loc="left", y=1.0, fontsize="medium", pad=legend_height(ax, legend) + 6)
    if own and figsize is None:
        make_room(ax, height=CURVES)
    return finish(ax, own=own, show=show, save=save, return_fig=return_fig)


def _record(patients: AnnData, key: str) -> dict[str, Any]:
    record = patients.uns.get(key)
    table = record.get("table") if isinstance(record, dict) else None
    if not isinstance(table, pd.DataFrame) or "incidence" not in table:
        raise TableError(
            f"No curves of cumulative incidence in uns[{key!r}]; uns has {listed(patients.uns)}. Make them with "
            "sfm.tl.cumulative_incidence(patients, group_key)."
        )
    return record


def _check_parts(record: dict[str, Any], where: str) -> None:
    """Refuse sizes and tests that are not of the curves."""
    curves, sizes = (
        record[name][["event", "group"]].astype(str).agg(" of ".join, axis=1) for name in ("table", "groups")
    )
    check_known(curves, list(sizes), f"{where}['table']", "cumulative_incidence")
    if "tests" in record:
        tested = record["tests"]["event"].astype(str)
        check_known(record["table"]["event"].astype(str), list(tested), f"{where}['table']", "cumulative_incidence")


def _events(table: pd.DataFrame, event_value: str | None, key: str) -> list[str]:
    events = list(dict.fromkeys(table["event"].astype(str)))
    if event_value is None:
        return events
    if str(event_value) not in events:
        raise TableError(f"No curves of {event_value!r} (event_value=) in uns[{key!r}]; there are {listed(events)}.")
    return [str(event_value)]


def _label(event: str, group: str, sizes: pd.Series, name_event: bool, name_group: bool) -> str:
    counts = f"n = {int(sizes['n'])}, {int(sizes['events'])} event{'s' if sizes['events'] != 1 else ''}"
    parts = [group] * name_group + [event] * (name_event or not name_group)
    return fill_lines(f"{': '.join(parts)} ({counts})", 52)


def _draw(ax: Axes, curve: pd.DataFrame, color: str, style: str, label: str, opacity: float) -> None:
    time = curve["time"].to_numpy()
    ax.plot(time, curve["incidence"], drawstyle="steps-post", color=color, ls=style, lw=1.6, label=label)
    if opacity:
        band = curve[["ci_low", "ci_high"]].fillna({"ci_low": 0.0, "ci_high": 0.0})
        some = np.isfinite(curve["ci_high"].to_numpy())
        ax.fill_between(
            time, band["ci_low"], band["ci_high"], where=some, step="post", color=color, alpha=opacity, lw=0
        )


def _tests(record: dict, events: list[str]) -> str | None:
    doubt = "\n(optimistic: the outcome made the groups)" if record.get("optimistic") else ""
    if "tests" not in record:
        return doubt.strip() or None
    tests = record["tests"].assign(event=record["tests"]["event"].astype(str)).set_index("event")
    name = "Fine-Gray" if "p_value_unadjusted" in tests else "Gray"
    lines = []
    for event in events:
        test = tests.loc[event]
        text = f"{event}: " * (len(events) > 1) + name + " (permutation)" * bool(test.get("permuted", False))
        text += f"{comparison(record['params'])} {format_p(float(test['p_value']))}{unadjusted(test)}"
        lines.append(fill_lines(text, 60))
    return "\n".join(lines) + doubt
