"""What a search for signatures found, and what its scores are worth."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._errors import TableError, listed
from .._fingerprint import check_unchanged
from .._public import public
from ._figure import OKABE_ITO, finish, new_axes
from ._results import check_columns, check_known, check_result

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLORS = {
    "response": OKABE_ITO[0],
    "favorable": OKABE_ITO[0],
    "non-response": OKABE_ITO[1],
    "adverse": OKABE_ITO[1],
}


@public
def signatures(
    adata: AnnData,
    *,
    key: str = "signatures",
    alpha: float = 0.05,
    title: str | None = None,
    figsize: tuple[float, float] = (5.2, 3.8),
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | PathLike | None = None,
    return_fig: bool | None = None,
) -> Axes | Figure | None:
    """All candidate clusters of :func:`spatialfm.tl.discover_signatures`: direction across, score upwards.

    Filled dots have a Benjamini-Hochberg ``q_value`` below `alpha`; those that were chosen carry their name.

    Parameters
    ----------
    adata
        Cells with ``uns[key]``.
    key
        Key of ``uns``.
    alpha
        Level of significance.
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
        If there is no search under `key`.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=24, cells_per_patient=50, random_state=0)
    >>> sfm.tl.discover_signatures(
    ...     cells,
    ...     use_rep="X_latent",
    ...     outcome="response",
    ...     positive="responder",
    ...     resolutions=[1.0],
    ...     nested=False,
    ...     n_permutations=0,
    ... )
    >>> ax = sfm.pl.signatures(cells, show=False)
    >>> ax.get_ylabel()
    'AUROC of the cluster alone, cross-validated'
    """
    record = _record(adata, key)
    table, kind = record["clusters"], str(record["params"]["score"])
    own, ax = ax is None, new_axes(ax, figsize)
    across = np.log2(table["ratio"].to_numpy(float))
    chosen = (table["signature"] != "").to_numpy()
    for side in pd.unique(table["side"]):
        on_side = (table["side"] == side).to_numpy()
        for sure, filled in ((True, True), (False, False)):
            rows = on_side & ((table["q_value"] < alpha).to_numpy() == sure)
            color = _COLORS[side]
            ax.scatter(
                across[rows],
                table["score"][rows],
                s=np.where(chosen[rows], 60, 18),
                facecolors=color if filled else "none",
                edgecolors=color,
                linewidths=np.where(chosen[rows], 1.6, 0.8),
                label=f"{side}, {'q' if sure else 'q ≥'}{' < ' if sure else ' '}{alpha:g} ({rows.sum()})",
                zorder=3 if filled else 2,
            )
    gap, last = 0.06 * (np.nanmax(table["score"]) - np.nanmin(table["score"])), {True: -np.inf, False: -np.inf}
    reach = np.nanmax(np.abs(across[np.isfinite(across)]), initial=0.5)
    for i in np.flatnonzero(chosen)[np.argsort(table["score"].to_numpy()[chosen])]:
        right = bool(across[i] > 0)  # weaker candidates are towards the middle: names are outside, with a line
        last[right] = max(table["score"].iloc[i], last[right] + gap)  # and above each other for dots of like score
        ax.annotate(
            table["signature"].iloc[i],
            (across[i], table["score"].iloc[i]),
            ((1 if right else -1) * 1.22 * reach, last[right]),
            ha="left" if right else "right",
            va="center",
            fontsize="small",
            arrowprops={"arrowstyle": "-", "color": "0.6", "lw": 0.7, "shrinkA": 1, "shrinkB": 4},
            zorder=2,
        )
    ax.set_xlim(-1.75 * reach, 1.75 * reach)
    ax.axhline(0.5, color="0.6", lw=0.8, ls="--", zorder=1)
    ax.axvline(0, color="0.6", lw=0.8, zorder=1)
    what = "Risk ratio of response" if kind == "AUROC" else "Observed / expected events, ratio"
    ax.set(xlabel=f"{what} (log₂; rank > 1 over the rest)", ylabel=f"{kind} of the cluster alone, cross-validated")
    ax.margins(y=0.12)
    legend = ax.legend(
        frameon=False, fontsize="x-small", loc="upper left", bbox_to_anchor=(1.0, 1.0), alignment="left",
        title=_response(record["params"]), title_fontsize="x-small",
    )  # fmt: skip
    for handle in legend.legend_handles:
        handle.set_sizes([18])
        handle.set_linewidths([0.8])
    ax.spines[["top", "right"]].set_visible(False)
    n = int(record["params"]["n_patients"])
    ax.set_title(title or f"{len(table)} candidate clusters, {n} patients", loc="left", fontsize="medium")
    return finish(ax, own=own, show=show, save=save, return_fig=return_fig)


@public
def signature_scores(
    adata: AnnData,
    *,
    key: str = "signatures",
    title: str | None = None,
    figsize: tuple[float, float] = (5.2, 2.8),
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | PathLike | None = None,
    return_fig: bool | None = None,
) -> Axes | Figure | None:
    """Score of the signatures together, as published and nested, compared with shuffled outcomes.

    At the scores of the shuffles of the published procedure, there is nothing to find: their distance from one half is
    the optimism of choosing clusters on the patients that the score is computed on.

    Parameters
    ----------
    adata
        Cells with ``uns[key]``.
    key
        Key of ``uns``.
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
        If there is no search under `key`.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=24, cells_per_patient=50, random_state=0)
    >>> sfm.tl.discover_signatures(
    ...     cells, use_rep="X_latent", outcome="response", positive="responder", resolutions=[1.0], n_permutations=4
    ... )
    >>> ax = sfm.pl.signature_scores(cells, show=False)
    >>> ax.get_xlabel()
    'AUROC'
    """
    record = _record(adata, key)
    scores, null, kind = record["scores"], record["null"], str(record["params"]["score"])
    if len(null):
        check_columns(null, dict.fromkeys(scores.index, float), f"uns[{key!r}]['null']", "discover_signatures")
    own, ax = ax is None, new_axes(ax, figsize)
    rng = np.random.default_rng(0)
    for row, (name, values) in enumerate(scores.iterrows()):
        color = OKABE_ITO[1] if row == 0 else OKABE_ITO[0]
        if len(null):
            shuffled = null[name].dropna().to_numpy()
            ax.scatter(
                shuffled, row + 0.22 + 0.16 * rng.random(len(shuffled)), s=6, color="0.65", lw=0, zorder=1,
                label=f"{len(null)} shuffles of the outcome" if row == 0 else None,
            )  # fmt: skip
            ax.plot(
                [shuffled.mean()] * 2, [row + 0.18, row + 0.42], color="0.3", lw=1.5, zorder=2,
                label="their mean" if row == 0 else None,
            )  # fmt: skip
        if np.isfinite(values["ci_low"]):
            ax.plot(
                [values["ci_low"], values["ci_high"]],
                [row, row],
                color=color,
                lw=2,
                zorder=2,
                label="95 % interval over patients",
            )
        ax.scatter(values["score"], row, s=60, color=color, zorder=3)
        note = f"{values['score']:.2f}"
        note += f", p = {values['p_value']:.2g}" if np.isfinite(values["p_value"]) else ""
        ax.annotate(note, (values["score"], row), (0, 8), textcoords="offset points", ha="center", fontsize="small")
    ax.axvline(0.5, color="0.6", lw=0.8, ls="--", zorder=0)
    ax.set_yticks(range(len(scores)), [str(name).replace(" (", "\n(") for name in scores.index])
    ax.set(xlabel=kind, ylim=(len(scores) - 0.4, -0.5))
    ax.margins(x=0.08)
    ax.spines[["top", "right"]].set_visible(False)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False, fontsize="x-small", loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=3)
    ax.set_title(
        title or f"Signatures together, {int(record['params']['n_patients'])} patients", loc="left", fontsize="medium"
    )
    return finish(ax, own=own, show=show, save=save, return_fig=return_fig)


def _response(params: Mapping[str, Any]) -> str | None:
    """Which value of which column is called response; None of survival, and of a record that does not say."""
    positive = str(params.get("positive", ""))
    return fill(f"response: {params.get('outcome', '')} = {positive}", 34) if positive else None


def _record(adata: AnnData, key: str) -> dict:
    record = adata.uns.get(key)
    if not isinstance(record, dict) or "clusters" not in record:
        raise TableError(
            f"No search for signatures in uns[{key!r}]; uns has {listed(adata.uns)}. Make one with "
            "sfm.tl.discover_signatures."
        )
    check_result(record, f"uns[{key!r}]", "discover_signatures")
    check_known(record["clusters"]["side"], _COLORS, f"uns[{key!r}]['clusters']['side']", "discover_signatures")
    check_unchanged(adata, record, key, "discover_signatures")
    return record
