"""Scores of annotation against the number of labelled cells, with their floors."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from .._errors import TableError, listed
from .._fingerprint import check_unchanged
from .._public import public
from ._figure import OKABE_ITO, finish, new_axes
from ._results import check_result

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKS = "osD^vP*X<>"
WORDS = {
    "f1": "macro F1",
    "recall": "balanced accuracy",
    "average_precision": "average precision",
    "auroc": "AUROC, one against one",
    "calibration_error": "expected calibration error",
    "calibration_error_debiased": "expected calibration error, without chance",
}
FLOORS = {"16 random numbers": "16 random numbers", "none": "shares of the classes"}
APART = 0.07  # of the distance between two sizes, so that intervals do not hide each other
TOGETHER = 0.8  # at most, of all intervals of one size: they stay apart from those of the next


@public
def annotation_scores(
    adata: AnnData,
    *,
    key: str = "annotation",
    score: Literal[
        "f1", "recall", "average_precision", "auroc", "calibration_error", "calibration_error_debiased"
    ] = "f1",
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | PathLike | None = None,
    return_fig: bool | None = None,
) -> Axes | Figure | None:
    """Draw the scores of :func:`spatialfm.tl.evaluate_annotation`: each method and embedding by training cells.

    Bars are 95 % intervals for other patients. Grey lines are the floors: a probe on 16 random numbers per cell, and
    the shares of the classes. Hollow marks are circular: labels were made from the means that the embedding holds.

    Parameters
    ----------
    adata
        The cells.
    key
        Key of ``uns``.
    score
        Column of the scores.
    title
        Title.
    figsize
        Size in inches.
    ax
        Axes to draw into (default: a new figure).
    show
        Whether to show the figure (default: if it is new and there is a screen).
    save
        File to save it to.
    return_fig
        Whether to return the figure.

    Returns
    -------
    The axes, the figure with `return_fig`, or None when shown.

    Raises
    ------
    TableError
        If there is no such result.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=4, cells_per_patient=80, random_state=0)
    >>> _ = sfm.tl.evaluate_annotation(
    ...     cells, "type", use_rep="X_latent", heads=["lda", "nearest_mean"], n_train=[2, 5], n_folds=2
    ... )
    >>> ax = sfm.pl.annotation_scores(cells, show=False)
    >>> ax.get_ylabel()
    'macro F1'
    """
    result = adata.uns.get(key)
    if not isinstance(result, dict):
        raise TableError(
            f"No result {key!r} of sfm.tl.evaluate_annotation in uns; found {listed(adata.uns)}. Run it, or pass key=."
        )
    check_result(result, f"uns[{key!r}]", "evaluate_annotation")
    check_unchanged(adata, result, key, "evaluate_annotation")
    table = result["summary"]
    table = table[table["score"] == score]
    sizes = list(dict.fromkeys(table["n_train"].astype(str)))
    own, ax = ax is None, new_axes(ax, figsize or (5.4, 3.6))
    lines = list(table[["use_rep", "head"]].drop_duplicates().itertuples(index=False, name=None))
    scored = [one for one in lines if one[0] not in FLOORS]
    for number, one in enumerate(scored):
        part = table[(table["use_rep"] == one[0]) & (table["head"] == one[1])]
        _line(ax, part, sizes, number, len(scored), _name(one, scored))
    for name, style in zip(FLOORS, (":", "--"), strict=True):
        part = table[table["use_rep"] == name].set_index(table["n_train"].astype(str)[table["use_rep"] == name])
        if len(part):
            height = part["mean"].reindex(sizes).to_numpy(float)
            ax.plot(_ends(sizes), [height[0], *height, height[-1]], color="0.55", ls=style, lw=1.2, label=FLOORS[name])
    ax.set_xticks(range(len(sizes)), sizes)
    ax.set(xlim=(-0.5, len(sizes) - 0.5), xlabel="labelled cells per class", ylabel=WORDS[score])
    if score != "calibration_error_debiased":  # by chance below 0
        ax.set_ylim(0, None if score == "calibration_error" else 1.02)
    if title is not None:
        ax.set_title(title, fontsize="medium")
    handles, labels = ax.get_legend_handles_labels()  # lines come before bars: floors last
    order = sorted(range(len(labels)), key=lambda place: labels[place] in FLOORS.values())
    of_lines = [handles[place] for place in order], [labels[place] for place in order]
    ax.legend(
        *of_lines, frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1.01, 1), alignment="left",
        title="mean, 95 % interval\nfor other patients", title_fontsize="small",
    )  # fmt: skip
    ax.spines[["top", "right"]].set_visible(False)
    return finish(ax, own=own, show=show, save=save, return_fig=return_fig)


def _line(ax: Axes, part: pd.DataFrame, sizes: list[str], number: int, of: int, name: str) -> None:
    """Means with their intervals, beside those of the others."""
    shift = min(APART, TOGETHER / of) * (number - (of - 1) / 2)
    places = part["n_train"].astype(str).map(sizes.index).to_numpy(float) + shift
    mean, low, high = (part[column].to_numpy(float) for column in ("mean", "low", "high"))
    color, circular = OKABE_ITO[number % len(OKABE_ITO)], bool(part["circular"].iloc[0])
    ax.errorbar(
        places,
        mean,
        yerr=np.maximum([mean - low, high - mean], 0),
        color=color,
        marker=MARKS[number % len(MARKS)],
        ms=5,
        lw=1.4,
        elinewidth=1,
        capsize=2,
        mfc="white" if circular else color,
        label=f"{name} (circular)" if circular else name,
    )


def _name(one: tuple[str, str], scored: list[tuple[str, str]]) -> str:
    """What tells a line from the others: its embedding, its method, or both."""
    rep, head = one
    several_reps, several_heads = (len({line[place] for line in scored}) > 1 for place in (0, 1))
    rep = rep.replace("X_", "") if rep != "X" else rep
    return f"{rep}, {head}" if several_reps and several_heads else rep if several_reps else head


def _ends(sizes: list[str]) -> list[float]:
    return [-0.5, *range(len(sizes)), len(sizes) - 0.5]
