"""Predicted against observed risk of a model on another cohort."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._errors import TableError, listed
from .._fingerprint import check_unchanged
from .._public import public
from .._time_units import tell_other_unit
from ._figure import Palette, category_colors, digits, finish, level, new_axes
from ._kaplan_meier import legend_height
from ._results import check_result

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = "osD^vPX*"
BINS = 40
LINES = {"calibration_slope": "calibration slope", "observed_expected": "events observed / expected"}
STRIP = 0.1  # of the height, for how many patients have which prediction


@public
def calibration(
    patients: AnnData,
    *,
    key: str = "cox_predicted",
    times: float | Sequence[float] | None = None,
    smooth: bool = True,
    time_unit: str | None = None,
    palette: Palette = None,
    title: str | None = None,
    figsize: tuple[float, float] = (4.6, 5.0),
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | PathLike | None = None,
    return_fig: bool | None = None,
) -> Axes | Figure | None:
    """Risk that a model of another cohort predicted by a time, against what was observed.

    Draws what :func:`spatialfm.tl.predict_survival` wrote: groups of rising prediction with confidence intervals of the
    observed risk, the smooth curve, and below how many patients have which prediction. On the dashed line predictions
    are right; points above it had more events than predicted.

    Parameters
    ----------
    patients
        The target, with ``uns[key]``.
    key
        Key of ``uns``.
    times
        Times to draw, of those that were computed; the nearest is taken (default: the horizon of the decision curve).
    smooth
        Whether to draw the smooth curve, where there are events enough for one.
    time_unit
        Unit that the times are in, for the axes: ``"months"``. Nothing is converted.
    palette
        Colours of the times (default: distinguishable with colour blindness).
    title
        Title.
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
        If there is no calibration under `key`, or the table changed since.

    Examples
    --------
    >>> import anndata as ad, numpy as np, pandas as pd
    >>> import spatialfm as sfm
    >>> def cohort(name, seed):
    ...     rng = np.random.default_rng(seed)
    ...     tumor = rng.normal(size=60)
    ...     obs = {"time": rng.exponential(np.exp(-tumor)), "event": 1, "tumor": tumor}
    ...     return ad.AnnData(obs=pd.DataFrame(obs, index=[f"{name}{i}" for i in range(60)]))
    >>> here, there = cohort("A", 0), cohort("B", 1)
    >>> sfm.tl.cox(here, "tumor")
    >>> sfm.tl.predict_survival(here, there, n_bootstrap=100)
    >>> ax = sfm.pl.calibration(there, time_unit="months", show=False)
    >>> ax.get_ylabel()
    'Observed risk by 0.564 months'
    """
    record = validated(patients, key, "calibration")
    table, chosen = record["calibration"], _times(record, times, key)
    tell_other_unit(time_unit, str(record["params"].get("time_key", "")), max(chosen))
    colors = category_colors([f"{at:g}" for at in chosen], palette)
    own, ax = ax is None, new_axes(ax, figsize)
    highest = 0.0
    for i, (at, color) in enumerate(zip(chosen, colors, strict=True)):
        groups = table[np.isclose(table["time"], at)]
        low, high = groups["observed"] - groups["ci_low"], groups["ci_high"] - groups["observed"]
        label = _time(at, time_unit) if len(chosen) > 1 else f"groups of about {int(groups['n'].median())} patients"
        ax.errorbar(
            groups["predicted"], groups["observed"], [low.clip(lower=0), high.clip(lower=0)], fmt=MARKERS[i % 8],
            color=color, ms=5.5, lw=1.2, capsize=2, label=label, zorder=3,
        )  # fmt: skip
        curve = record["calibration_smooth"]
        curve = curve[np.isclose(curve["time"], at)] if len(curve) else curve
        if smooth and len(curve):
            only = "smooth curve" if len(chosen) == 1 else None
            ax.plot(curve["predicted"], curve["observed"], color=color, lw=1.6, alpha=0.8, label=only)
        highest = max(highest, float(np.nanmax(groups[["predicted", "ci_high"]].to_numpy())))
        if smooth and len(curve):
            highest = max(highest, float(curve[["predicted", "observed"]].to_numpy().max()))
    top = min(1.0, highest * 1.05)
    ax.plot([0, 1], [0, 1], color="0.5", lw=1, ls="--", zorder=0, label="as predicted")
    _draw_strip(ax, patients, key, chosen, colors, top)
    ax.set(xlim=(0, 1.02 * top), ylim=(-STRIP * top, 1.02 * top), aspect="equal")
    ax.set_yticks([tick for tick in ax.get_xticks() if 0 <= tick <= top])
    when = f" by {_time(chosen[0], time_unit)}" if len(chosen) == 1 else ""
    ax.set(xlabel=f"Predicted risk{when}", ylabel=f"Observed risk{when}")
    ax.spines[["top", "right"]].set_visible(False)
    legend = ax.legend(
        loc="lower left", bbox_to_anchor=(0, 1.0), frameon=False, alignment="left", borderaxespad=0.2,
        title=_scores(record, chosen, time_unit), fontsize="small", title_fontsize="small",
    )  # fmt: skip
    if title is not None:
        ax.set_title(title, loc="left", y=1.0, fontsize="medium", pad=legend_height(ax, legend) + 6)
    return finish(ax, own=own, show=show, save=save, return_fig=return_fig)


def validated(patients: AnnData, key: str, part: str) -> Mapping:
    """``uns[key]`` with the scores of a model on this cohort."""
    record = patients.uns.get(key) if hasattr(patients, "uns") else None
    if not isinstance(record, Mapping) or not isinstance(record.get(part), pd.DataFrame):
        raise TableError(
            f"No {part} of a model in uns[{key!r}]; uns has {listed(getattr(patients, 'uns', ()))}. Make it with "
            "sfm.tl.predict_survival(source, target), of a target with an outcome."
        )
    check_result(record, f"uns[{key!r}]", "predict_survival")
    check_unchanged(patients, record, key, "predict_survival")
    return record


def _times(record: Mapping, times: float | Sequence[float] | None, key: str) -> list[float]:
    available = np.unique(record["calibration"]["time"].to_numpy(dtype=np.float64))
    wanted = np.atleast_1d(float(record["params"]["horizon"]) if times is None else np.asarray(times, float))
    nearest = list(dict.fromkeys(float(available[np.argmin(np.abs(available - at))]) for at in wanted))
    far = [at for at in wanted if times is not None and not (0.8 * available.min() <= at <= 1.2 * available.max())]
    if far or not nearest:
        raise TableError(
            f"times= {far[0] if far else 'is empty'}: uns[{key!r}] has calibration at "
            f"{listed([f'{at:.3g}' for at in available], quoted=False)}. Pass one of these, or run "
            "sfm.tl.predict_survival with times= of your own."
        )
    return nearest


def _time(at: float, unit: str | None) -> str:
    return f"{digits(at)} {unit}" if unit is not None else f"time {digits(at)}"


def who(record: Mapping, at: float | None, unit: str | None) -> str:
    """Patients and events; of risks by one time, also the events until then, which are what is seen of these risks."""
    params = record["params"]
    large, until = record.get("calibration_large"), ""
    if at is not None and isinstance(large, pd.DataFrame) and {"time", "events"} <= set(large):
        events = large.loc[np.isclose(large["time"], at), "events"]
        until = f" ({int(events.iloc[0])} by {_time(at, unit)})" if len(events) else ""
    return f"{params['n_scored']} patients, {params['events']} events{until}"


def _scores(record: Mapping, times: Sequence[float], unit: str | None) -> str:
    scores, params = record["scores"], record["params"]
    lines = [who(record, times[0] if len(times) == 1 else None, unit), "over all of the follow-up:"]
    for name, text in LINES.items():
        value, low, high = scores.loc[name, ["value", "ci_low", "ci_high"]]
        lines.append(f"{text} {value:.2f} ({low:.2f} to {high:.2f})")
    doubts = [str(doubt) for doubt in record.get("doubts", [])]
    return "\n".join([*lines, *doubts[:2], f"bars and brackets: {level(params)}s"])


def _draw_strip(ax: Axes, patients: AnnData, key: str, times: list[float], colors: list[str], top: float) -> None:
    """Numbers of patients by prediction, below the axis of 0."""
    frame = patients.obsm.get(f"{key}_survival")
    if not isinstance(frame, pd.DataFrame):
        return
    columns = {float(name): name for name in frame}
    ax.axhline(0, color="0.8", lw=0.8, zorder=0)
    for i, (at, color) in enumerate(zip(times, colors, strict=True)):
        name = columns.get(min(columns, key=lambda one: abs(one - at))) if columns else None
        values = 1 - frame[name].dropna().to_numpy() if name is not None else np.array([])
        counts, edges = np.histogram(values, bins=BINS, range=(0, top))
        height = counts / max(counts.max(), 1) * STRIP * 0.9 * top
        middle = (edges[1:] + edges[:-1]) / 2 + (i - (len(times) - 1) / 2) * top / BINS / (len(times) + 1)
        ax.vlines(middle, -height, 0, color=color, lw=1.6, alpha=0.7)
