"""Hazard ratios of a Cox regression, and risk ratios of structures."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._errors import TableError, listed
from .._fingerprint import check_unchanged
from .._public import public
from ._figure import OKABE_ITO, finish, make_room, new_axes
from ._kaplan_meier import format_p
from ._results import check_result, comparison, optimistic

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NARROW = 24  # letters of a line of a structure's name
AXIS = 2.4  # inches of the axis at least
WIDE = 56  # letters of a line below the axis, which has the names of terms on its left and ratios on its right


@public
def forest(
    patients: AnnData,
    *,
    key: str = "cox",
    xlim: tuple[float, float] | None = None,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | PathLike | None = None,
    return_fig: bool | None = None,
) -> Axes | Figure | None:
    """Hazard ratios with their intervals, on a logarithmic axis, as written by :func:`spatialfm.tl.cox`.

    With ``key="fine_gray"`` those of the subdistribution, as written by :func:`spatialfm.tl.fine_gray`; with
    ``key="risk_ratio"`` the ratios of :func:`spatialfm.tl.risk_ratio`, one line a structure, with the patients that
    have it in the group and among the others.

    Parameters
    ----------
    patients
        AnnData with ``uns[key]``.
    key
        Key of ``uns`` with the regression, or the risk ratios.
    xlim
        Lowest and highest ratio of the axis, for several figures on one scale (default: what the intervals need).
    title
        Title (default: numbers of patients and events, or the groups).
    figsize
        Width and height in inches of a new figure (default: from the number of terms and the length of their names).
    ax
        Axes to draw into; the numbers are to their right.
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
        If there is no regression under `key`, and no risk ratios.

    Examples
    --------
    >>> import anndata as ad, pandas as pd
    >>> import spatialfm as sfm
    >>> obs = pd.DataFrame({"time": range(1, 25), "event": 1, "age": [50, 61, 47, 66] * 6})
    >>> obs.index = obs.index.astype(str)
    >>> patients = ad.AnnData(obs=obs)
    >>> sfm.tl.cox(patients, "age")
    >>> ax = sfm.pl.forest(patients, show=False)
    >>> ax.get_xlabel()
    'Hazard ratio (95 % interval)'
    """
    record = patients.uns.get(key)
    table = record.get("table") if isinstance(record, dict) else None
    if xlim is not None and not 0 < xlim[0] < 1 < xlim[1] < np.inf:
        raise TableError(f"xlim={xlim!r} are not ratios on either side of 1. Pass for example xlim=(0.1, 10).")
    if isinstance(table, pd.DataFrame) and "risk_ratio" in table:
        own, ax = _risk_ratios(patients, record, key, xlim, title, figsize, ax)
        return finish(ax, own=own, show=show, save=save, return_fig=return_fig)
    if not isinstance(table, pd.DataFrame) or "hazard_ratio" not in table:
        raise TableError(
            f"No Cox regression in uns[{key!r}]; uns has {listed(patients.uns)}. Make one with "
            "sfm.tl.cox(patients, covariates)."
        )
    subdistribution = "other_events" in record
    check_result(record, f"uns[{key!r}]", "fine_gray" if subdistribution else "cox")
    check_unchanged(patients, record, key, "fine_gray" if subdistribution else "cox")
    if not np.isfinite(table[["ci_low", "ci_high"]].to_numpy(dtype=float)).all(axis=1).any():
        raise TableError(f"No term in uns[{key!r}] has a finite interval: there is nothing to draw.")
    own, ax = ax is None, new_axes(ax, figsize or (6.2, 1.3 + 0.34 * len(table)))
    names = [_name(term, bool(record["params"]["standardize"])) for term in table.itertuples()]
    draw_ratios(ax, table, names, [format_p(p) for p in table["p_value"]], xlim)
    doubts = "".join(f"\n{fill(text, WIDE)}" for text in record.get("doubts", ()))  # what the regression has warned of
    ratio = "Subdistribution hazard ratio" if subdistribution else "Hazard ratio"
    ax.set_xlabel(f"{ratio} ({100 * (1 - record['params']['alpha']):g} % interval){doubts}")
    who = (
        f"{record['n']} rows in {record['n_clusters']} clusters"
        if "n_clusters" in record
        else f"{record['n']} patients"
    )
    others = f", {record['other_events']} competing" if subdistribution else ""
    ax.set_title(title or f"{who}, {record['events']} events{others}", loc="left", fontsize="medium")
    if own and figsize is None:
        make_room(ax, width=AXIS)  # of less, labels of ticks would meet
    return finish(ax, own=own, show=show, save=save, return_fig=return_fig)


def _risk_ratios(
    patients: AnnData,
    record: dict[str, Any],
    key: str,
    xlim: tuple[float, float] | None,
    title: str | None,
    figsize: tuple[float, float] | None,
    ax: Axes | None,
) -> tuple[bool, Axes]:
    """Whether the axes are new, and the axes with the ratios of each structure."""
    check_result(record, f"uns[{key!r}]", "risk_ratio")
    check_unchanged(patients, record, key, "risk_ratio")
    params, table = record["params"], record["table"].rename(columns={"risk_ratio": "hazard_ratio"})
    limits = table[["ci_low", "ci_high"]].replace([np.inf, 0], np.nan)
    if not limits.notna().any(axis=None):
        raise TableError(f"No structure in uns[{key!r}] has an interval with an end: there is nothing to draw.")
    of_group = params["given"] == "group"
    columns = (
        ["with_group", "n_group", "with_others", "n_others"]
        if of_group
        else ["in_group_with", "n_with", "in_group_without", "n_without"]
    )
    counts = [f"{a} of {b} against {c} of {d}" for a, b, c, d in table[columns].astype(int).to_numpy()]
    notes = [f"{'' if np.isnan(p) else f'{format_p(p)}; '}{n}" for n, p in zip(counts, table["p_value"], strict=True)]
    names = [fill(str(name), NARROW) for name in table.index]
    own, ax = ax is None, new_axes(ax, figsize or (9.0, 1.4 + 0.17 * sum(1 + len(n.split("\n")) for n in names)))
    draw_ratios(ax, table, names, notes, xlim)
    adjusted = comparison({"covariates": params["covariates"], "strata": params["block_key"] or []})
    doubts = [optimistic(params), "circular: no p-values" if params["circular"] else ""]
    lines = [f"Risk ratio{adjusted} ({100 * (1 - params['alpha']):g} % interval)", *filter(None, doubts)]
    ax.set_xlabel("\n".join(fill(line, WIDE) for line in lines))
    of = f"{params['group_key']}: {params['group']}"
    ax.set_title(
        title or (f"{of} against all others" if of_group else f"{of}, with a structure against without"),
        loc="left", fontsize="medium",
    )  # fmt: skip
    if own and figsize is None:
        make_room(ax, width=AXIS)  # of less, labels of ticks would meet
    return own, ax


def draw_ratios(
    ax: Axes, table: pd.DataFrame, names: Sequence[str], notes: Sequence[str], xlim: tuple[float, float] | None
) -> None:
    """Ratios with their intervals on a logarithmic axis, named on the left and written out on the right.

    Parameters
    ----------
    table
        Columns ``hazard_ratio``, ``ci_low`` and ``ci_high``, one row per line.
    names, notes
        Of each line; what follows its numbers, empty for nothing.
    xlim
        Ends of the axis (default: what the intervals need).
    """
    rows = np.arange(len(table))
    ax.axvline(1, color="0.6", lw=0.8, ls="--", zorder=0)
    ax.plot(table["hazard_ratio"], rows, "s", color=OKABE_ITO[0], ms=5)
    ax.set_xscale("log")
    _ticks(ax, table, xlim)
    ends = ax.get_xlim()
    low, high = (table[name].clip(*ends) for name in ("ci_low", "ci_high"))
    ax.hlines(rows, low, high, color=OKABE_ITO[0], lw=1.6)
    beyond = (("<", ends[0], table["ci_low"] < ends[0]), (">", ends[1], table["ci_high"] > ends[1]))
    for marker, end, there in beyond:  # an interval that goes on, as one without an end does
        ax.plot(np.full(there.sum(), end), rows[there], marker, color=OKABE_ITO[0], ms=6, clip_on=False)
    ax.set_yticks(rows, names)
    ax.set(ylim=(len(table) - 0.4, -0.6))
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0, pad=8)  # clear of arrows
    for row, term, note in zip(rows, table.itertuples(), notes, strict=True):
        numbers = written_out(term.hazard_ratio, term.ci_low, term.ci_high)
        ax.annotate(
            f"{numbers}, {note}" if note else numbers, (1, row), (8, 0), xycoords=ax.get_yaxis_transform(),
            textcoords="offset points", va="center", fontsize="small", annotation_clip=False,
        )  # fmt: skip


def written_out(ratio: float, low: float, high: float) -> str:
    """A ratio with its interval: two decimals, more where an end would read as 1 or as the other end.

    Examples
    --------
    >>> written_out(0.254, 0.1, np.inf), written_out(1.0021, 1.0004, 1.0039), written_out(np.nan, np.nan, np.nan)
    ('0.25 (0.10 to ∞)', '1.0021 (1.0004 to 1.0039)', 'not estimable')
    """
    if np.isnan(ratio):
        return "not estimable"
    for places in (2, 3, 4):
        one, *ends = (f"{value:.{places}f}".replace("inf", "∞") for value in (ratio, low, high))
        if ends[0] != ends[1] and f"{1:.{places}f}" not in ends:
            break
    return f"{one} ({ends[0]} to {ends[1]})"


def _name(term, standardized: bool) -> str:
    if term.level:
        return f"{term.covariate}: {term.level} (vs. {term.reference})"
    return f"{term.covariate} (per SD)" if standardized else str(term.covariate)


def _ticks(ax: Axes, table: pd.DataFrame, xlim: tuple[float, float] | None) -> None:
    """Round numbers, among them 1, whose labels do not run into each other."""
    from matplotlib.ticker import NullLocator

    finite = table[["ci_low", "ci_high"]].replace([np.inf, 0], np.nan)
    low, high = min(float(finite["ci_low"].min()), 0.9), max(float(finite["ci_high"].max()), 1.1)
    low, high = xlim or (low / 1.1, high * 1.1)
    exponents = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    steps = [(1, 1.1, 1.25, 1.5, 2, 3, 5, 7.5), (1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1,)]
    candidates = [np.outer(10.0**exponents, step).ravel() for step in steps]
    candidates += [10.0 ** exponents[exponents % every == 0] for every in range(2, 8)]
    for candidate in candidates:
        ticks = [tick for tick in candidate if low <= tick <= high]
        letters = np.array([len(f"{tick:g}") for tick in ticks])
        if (np.diff(np.log(ticks)) > 0.022 * (letters[1:] + letters[:-1]) * np.log(high / low)).all():
            break
    ax.set_xlim(low, high)
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
