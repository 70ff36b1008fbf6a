"""Concordances of scores or models on the same patients, and how they differ."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from .._errors import TableError, listed
from .._fingerprint import check_unchanged
from .._public import public
from ._figure import OKABE_ITO, finish, letter_panels
from ._kaplan_meier import format_p
from ._results import check_result

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

VALUE, CHANGE = OKABE_ITO[0], OKABE_ITO[1]


@public
def concordance(
    patients: AnnData,
    *,
    key: str = "compare_concordance",
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Sequence[Axes] | None = None,
    show: bool | None = None,
    save: str | PathLike | None = None,
    return_fig: bool | None = None,
) -> np.ndarray | Figure | None:
    """Concordances with their intervals, and their differences on the same patients.

    Draws what :func:`spatialfm.tl.compare_concordance` wrote, or with ``key="added_value"`` what
    :func:`spatialfm.tl.added_value` did. Left, one row per score (or model); the dashed line is chance. Right, one row
    a difference, with the p-value of scores that are compared; of models the likelihood ratio's is in the title,
    squares are corrected for optimism, and rings are what these patients gave.

    Parameters
    ----------
    patients
        Patients with ``uns[key]``.
    key
        Key of ``uns``.
    title
        Title.
    figsize
        Width and height in inches of a new figure.
    ax
        Two axes to draw into.
    show
        Whether to show the figure (default: if it is new, not saved, and there is a screen).
    save
        File to save to.
    return_fig
        Whether to return the figure.

    Returns
    -------
    The figure with `return_fig`, None when it was shown, otherwise the two axes.

    Raises
    ------
    TableError
        If there is no such result under `key`, or `ax` are not two axes.

    Examples
    --------
    >>> import anndata as ad, numpy as np, pandas as pd
    >>> import spatialfm as sfm
    >>> rng = np.random.default_rng(0)
    >>> risk = rng.normal(size=80)
    >>> obs = pd.DataFrame({"time": rng.exponential(np.exp(-risk)), "event": 1})
    >>> obs["good"], obs["poor"] = risk + 0.2 * rng.normal(size=80), risk + 3 * rng.normal(size=80)
    >>> patients = ad.AnnData(obs=obs.set_axis([f"P{i}" for i in range(80)]))
    >>> sfm.tl.compare_concordance(patients, ["poor", "good"])
    >>> axes = sfm.pl.concordance(patients, show=False)
    >>> [text.get_text() for text in axes[0].get_yticklabels()]
    ['poor', 'good']
    """
    record = patients.uns.get(key)
    models = isinstance(record, dict) and "lr_statistic" in record
    if not models and not (isinstance(record, dict) and "scores" in record):
        raise TableError(
            f"No comparison of concordances in uns[{key!r}]; uns has {listed(patients.uns)}. Make one with "
            "sfm.tl.compare_concordance or sfm.tl.added_value."
        )
    function = "added_value" if models else "compare_concordance"
    check_result(record, f"uns[{key!r}]", function)
    check_unchanged(patients, record, key, function)
    values, changes = _of_models(record) if models else _of_scores(record)
    own, axes = ax is None, _axes(ax, figsize, len(values), len(changes))
    level = f"{100 * (1 - record['params']['alpha']):g} % interval"
    _draw(axes[0], values, VALUE, 0.5, f"Concordance ({level})")
    _draw(axes[1], changes, CHANGE, 0.0, f"Difference ({level})")
    for row, one in enumerate(changes.itertuples()):
        axes[1].annotate(
            one.text, (1, row), (6, 0), xycoords=axes[1].get_yaxis_transform(), textcoords="offset points",
            va="center", fontsize="small", annotation_clip=False,
        )  # fmt: skip
    who = f"{record['n']} patients, {record['events']} events"
    if models:
        who += f"\nlikelihood ratio of what is added: {format_p(float(record['p_value']))}"
    if values["ring"].notna().any():
        axes[1].set_title("squares: corrected for optimism\nrings: as on these patients", loc="right", fontsize="small")
    if record["optimistic"]:
        who += "\noptimistic: the outcome influenced what is scored"
    axes[0].set_title(title or who, loc="left", fontsize="medium")
    if own:
        letter_panels(axes)
    result = finish(axes[0], own=own, show=show, save=save, return_fig=return_fig)
    return axes if result is axes[0] else result


def _axes(ax: Sequence[Axes] | None, figsize: tuple[float, float] | None, n: int, m: int) -> np.ndarray:
    if ax is None:
        size = figsize or (9.4, 1.4 + 0.36 * max(n, m))
        return plt.subplots(1, 2, figsize=size, layout="constrained")[1]
    axes = np.asarray(ax, dtype=object).ravel()
    if len(axes) != 2:
        raise TableError(f"ax= holds {len(axes)} axes; the figure needs two.")
    return axes


def _of_scores(record: dict) -> tuple[pd.DataFrame, pd.DataFrame]:
    scores, pairs = record["scores"], record["table"]
    limits = {"low": scores["ci_low"], "high": scores["ci_high"]}
    values = pd.DataFrame({"name": scores.index.astype(str), "value": scores["c_index"]} | limits)
    several = len(pairs) > 1
    text = [
        ("p unknown" if np.isnan(p) else format_p(float(p)))
        + (f" ({format_p(float(q), 'q')})" if several and np.isfinite(q) else "")
        for p, q in zip(pairs["p_value"], pairs["q_value"], strict=True)
    ]
    names = [f"{two} − {one}" for one, two in zip(pairs["score_1"], pairs["score_2"], strict=True)]
    changes = {"name": names, "value": pairs["difference"], "low": pairs["ci_low"], "high": pairs["ci_high"]}
    return values.assign(ring=np.nan), pd.DataFrame(changes | {"text": text, "ring": np.nan})


def _of_models(record: dict) -> tuple[pd.DataFrame, pd.DataFrame]:
    table = record["table"]
    corrected = table["c_corrected"].where(table["c_corrected"].notna(), table["c_index"])
    old, new = (
        listed(map(str, np.atleast_1d(record["params"][one])), 3, quoted=False) for one in ("covariates", "features")
    )
    intervals = pd.DataFrame(
        {"name": [old, f"{old}\n+ {new}", ""], "value": corrected, "low": table["ci_low"], "high": table["ci_high"]}
    ).assign(ring=table["c_index"].where(table["c_corrected"].notna()))
    changes = intervals.iloc[2:].assign(name=f"{new} added", text=f"{corrected.iloc[2]:+.3f}".replace("-", "−"))
    return intervals.iloc[:2], changes


def _draw(ax: Axes, rows: pd.DataFrame, color: str, none: float, label: str) -> None:
    places = np.arange(len(rows))
    ax.axvline(none, color="0.6", lw=0.8, ls="--", zorder=0)
    ax.hlines(places, rows["low"], rows["high"], color=color, lw=1.6)
    ax.plot(rows["value"], places, "s", color=color, ms=5)
    ax.plot(rows["ring"], places, "o", mfc="none", mec="0.35", ms=7)
    ax.set_yticks(places, list(rows["name"]))
    ax.set(ylim=(len(rows) - 0.4, -0.6), xlabel=label)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
