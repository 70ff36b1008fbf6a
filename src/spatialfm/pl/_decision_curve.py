"""Net benefit of acting on predicted risks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np

from .._errors import TableError
from .._public import public
from .._time_units import tell_other_unit
from ._calibration import _time, validated, who
from ._figure import Palette, category_colors, finish, level, new_axes, with_band
from ._kaplan_meier import legend_height

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLES = ("-", "--", "-.", ":")


@public
def decision_curve(
    patients: AnnData,
    keys: str | Sequence[str] | Mapping[str, str] = "cox_predicted",
    *,
    interval: bool = True,
    time_unit: str | None = None,
    palette: Palette = None,
    title: str | None = None,
    figsize: tuple[float, float] = (5.2, 4.2),
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | PathLike | None = None,
    return_fig: bool | None = None,
) -> Axes | Figure | None:
    """Net benefit of treating patients above a threshold of predicted risk, for one or several models.

    Draws what :func:`spatialfm.tl.predict_survival` wrote. A model is of use at a threshold where its curve is above
    both treating all (grey) and treating none (0). The threshold states what a needless treatment costs: at 20 % one
    would treat four patients in vain for one who has the event (Vickers and Elkin, Medical Decision Making 2006).

    Parameters
    ----------
    patients
        The target, with ``uns[key]``.
    keys
        Keys of ``uns``, or the names to show mapped to them; all of one horizon and the same patients.
    interval
        Whether to draw bootstrap bands.
    time_unit
        Unit that the times are in, for the axis: ``"months"``. Nothing is converted.
    palette
        Colours of the models (default: distinguishable with colour blindness).
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
        If there is no decision curve under a key, or the curves are of different patients or horizons.

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
    >>> ax = sfm.pl.decision_curve(there, {"tumor": "cox_predicted"}, show=False)
    >>> ax.get_ylabel()
    'Net benefit'
    """
    keys = [keys] if isinstance(keys, str) else keys
    named = dict(keys) if isinstance(keys, Mapping) else {key: key for key in keys}
    if not named:
        raise TableError("keys= is empty. Pass a key of uns that sfm.tl.predict_survival wrote.")
    records = {name: validated(patients, key, "decision_curve") for name, key in named.items()}
    _check_alike(records)
    colors = category_colors(list(records), palette)
    own, ax = ax is None, new_axes(ax, figsize)
    first = next(iter(records.values()))
    highest, last = 0.0, 0.0
    for i, ((name, record), color) in enumerate(zip(records.items(), colors, strict=True)):
        curve = record["decision_curve"]
        doubt = " (optimistic)" if record.get("optimistic") else ""
        style = STYLES[i % len(STYLES)]
        ax.plot(curve["threshold"], curve["net_benefit"], color=color, lw=1.8, ls=style, label=f"{name}{doubt}")
        if interval:
            ax.fill_between(curve["threshold"], curve["ci_low"], curve["ci_high"], color=color, alpha=0.13, lw=0)
        highest = max(highest, float(np.nanmax(curve[["net_benefit", "ci_high"]].to_numpy())))
        last = max(last, float(curve.loc[curve["n_above"] > 0, "threshold"].max(skipna=True)))
    everyone = first["decision_curve"]
    ax.plot(everyone["threshold"], everyone["treat_all"], color="0.55", lw=1.4, label="treat all")
    ax.axhline(0, color="black", lw=1, label="treat none")
    last = float(everyone["threshold"].max()) if not np.isfinite(last) or last <= 0 else min(1.0, last * 1.05)
    highest = max(highest, float(everyone["treat_all"].max()), 1e-3)
    ax.set(xlim=(0, last), ylim=(-0.25 * highest, 1.05 * highest), ylabel="Net benefit")
    horizon = float(first["params"]["horizon"])
    tell_other_unit(time_unit, str(first["params"].get("time_key", "")), horizon)
    ax.set_xlabel(f"Threshold of risk by {_time(horizon, time_unit)}")
    ax.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    ax.spines[["top", "right"]].set_visible(False)
    params = first["params"]
    bands = with_band(ax, f"{level(params)} over patients") if interval else {}
    legend = ax.legend(
        **bands, loc="lower left", bbox_to_anchor=(0, 1.0), frameon=False, alignment="left", borderaxespad=0.2, ncols=2,
        title=who(first, horizon, time_unit), fontsize="small", title_fontsize="small",
    )  # fmt: skip
    if title is not None:
        ax.set_title(title, loc="left", y=1.0, fontsize="medium", pad=legend_height(ax, legend) + 6)
    return finish(ax, own=own, show=show, save=save, return_fig=return_fig)


def _check_alike(records: Mapping[str, Mapping]) -> None:
    (name, first), *others = records.items()
    for other, record in others:
        one, two = first["params"], record["params"]
        if float(one["horizon"]) != float(two["horizon"]):
            raise TableError(
                f"{name!r} is of the risk by {float(one['horizon']):.3g}, {other!r} of that by "
                f"{float(two['horizon']):.3g}. Run both by the same time: sfm.tl.predict_survival(source, target, "
                f"horizon={float(one['horizon']):.3g})."
            )
        if (one["n_scored"], one["events"]) != (two["n_scored"], two["events"]):
            raise TableError(
                f"{name!r} is of {one['n_scored']} patients with {one['events']} events, {other!r} of "
                f"{two['n_scored']} with {two['events']}: net benefits are compared on the same patients."
            )
