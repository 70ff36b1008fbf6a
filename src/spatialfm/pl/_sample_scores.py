"""Scores of classifiers of patients, with the interval that holds for other patients."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from .._errors import TableError, listed
from .._fingerprint import check_unchanged
from .._public import public
from ._figure import OKABE_ITO, finish, new_axes, p_text
from ._results import by_outcome, check_columns, check_result, optimistic

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WORDS = {
    "auroc": "AUROC",
    "average_precision": "average precision",
    "f1": "F1",
    "f1_macro": "macro F1",
    "balanced_accuracy": "balanced accuracy",
}
NAMED = {"use_rep": "n_components", "representation": "n_clusters"}  # columns of classify_samples, few_shot_samples
SIZES = {"n_components": "components", "n_clusters": "clusters"}


@public
def sample_scores(
    adata: AnnData,
    *,
    key: str = "classify_samples",
    score: Literal["auroc", "average_precision", "f1", "f1_macro", "balanced_accuracy"] = "auroc",
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | PathLike | None = None,
    return_fig: bool | None = None,
) -> Axes | Figure | None:
    """Draw the scores of :func:`spatialfm.tl.classify_samples` or :func:`spatialfm.tl.few_shot_samples`.

    A row for each representation: the mean with its 95 % interval for other patients, and in grey the draws, which
    share patients. The published interval of the mean over draws, which shrinks with their number, is not drawn: it
    holds the truth in 40 % of the cohorts, not in 95 %. The dashed line is chance, where it has one value. Hollow marks
    are circular, or of features that an outcome of the same patients made.

    Parameters
    ----------
    adata
        What was classified.
    key
        Key of ``uns``.
    score
        Which of the scores.
    title
        Title (default: the label, and the number of patients).
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
    >>> cells = sfm.datasets.simulate_cells(n_patients=20, cells_per_patient=60, effect_size=3.0, random_state=0)
    >>> sfm.tl.classify_samples(cells, label_key="response", use_rep=["X", "X_latent"], n_components=8, n_draws=10)
    >>> ax = sfm.pl.sample_scores(cells, show=False)
    >>> ax.get_xlabel()
    'AUROC in held-out patients'
    """
    record = _record(adata, key)
    check_columns(record["draws"], {score: float}, f"uns[{key!r}]['draws']", _function(record))
    table = record["summary"][record["summary"]["score"] == score].reset_index(drop=True)
    hollow = bool(str(record["params"].get("circular", ""))) or by_outcome(record["params"]) == "yes"
    own, ax = ax is None, new_axes(ax, figsize or (6.4, 1.5 + 0.5 * len(table)))
    rep = next(name for name in NAMED if name in table)
    rng = np.random.default_rng(0)
    for place, row in table.iterrows():
        color = OKABE_ITO[int(place) % len(OKABE_ITO)]
        draws = record["draws"]
        of_row = (draws[rep] == row[rep]) & (_sizes(draws, rep) == _sizes(table, rep)[place])
        values = draws.loc[of_row, score].dropna().to_numpy(float)
        heights = place + 0.2 + 0.2 * rng.random(len(values))
        ax.scatter(values, heights, s=7, color="0.7", lw=0, zorder=1, label="draws" if place == 0 else None)
        if np.isfinite(row["low"]):
            label = "95 % interval for other patients" if place == 0 else None
            ax.plot([row["low"], row["high"]], [place, place], color=color, lw=2, zorder=2, label=label)
        face = "white" if hollow else color
        ax.plot(row["mean"], place, "o", ms=7, mfc=face, mec=color, mew=1.4, zorder=3)
        ax.annotate(_numbers(row), (1, place), (8, 0), xycoords=ax.get_yaxis_transform(), va="center",
                    textcoords="offset points", fontsize="small", annotation_clip=False)  # fmt: skip
    n_classes = record["patients"]["label"].nunique()
    chance = {"auroc": 0.5, "balanced_accuracy": 1 / n_classes}.get(score)
    if chance is not None:
        ax.axvline(chance, color="0.5", lw=1, ls="--", zorder=0, label="chance")
    ax.set_yticks(range(len(table)), _names(table, rep), parse_math=False)
    ax.set(ylim=(len(table) - 0.4, -0.5), xlim=(0, 1.02), xlabel=f"{WORDS[score]} in held-out patients")
    ax.spines[["top", "right"]].set_visible(False)
    said = f"{record['params']['label_key']}, {len(record['patients'])} patients{_doubt(record)}"
    ax.legend(
        loc="lower left", bbox_to_anchor=(0, 1.0), frameon=False, alignment="left", borderaxespad=0.2, fontsize="small",
        ncols=3, handlelength=1.4, columnspacing=1.2, title=said if title is None else title,
    )  # fmt: skip
    return finish(ax, own=own, show=show, save=save, return_fig=return_fig)


def _record(adata: AnnData, key: str) -> dict:
    record = adata.uns.get(key)
    if not isinstance(record, dict) or "summary" not in record or "draws" not in record:
        raise TableError(
            f"No scores of patients in uns[{key!r}]; uns has {listed(adata.uns)}. Make them with "
            "sfm.tl.classify_samples or sfm.tl.few_shot_samples, or pass key=."
        )
    function = _function(record)
    check_result(record, f"uns[{key!r}]", function)
    check_unchanged(adata, record, key, function)
    return record


def _function(record: dict) -> str:
    columns = {name for part in ("summary", "draws") for name in getattr(record[part], "columns", ())}
    of_shots = bool(columns & {"representation", "n_clusters"})  # one may have been taken out
    return "few_shot_samples" if of_shots else "classify_samples"


def _sizes(table: pd.DataFrame, rep: str) -> pd.Series:
    """Numbers of components or clusters, 0 for none."""
    return table[NAMED[rep]].fillna(0).astype(int)


def _names(table: pd.DataFrame, rep: str) -> list[str]:
    """Representations, with what they were reduced to where one occurs several times."""
    sizes, several = _sizes(table, rep), table[rep].duplicated().any()
    words = [f"{size} {SIZES[NAMED[rep]]}" if size else "all columns" for size in sizes]
    return [f"{name}, {word}" if several else str(name) for name, word in zip(table[rep], words, strict=True)]


def _numbers(row: pd.Series) -> str:
    limits = f" ({row['low']:.2f} to {row['high']:.2f})" if np.isfinite(row["low"]) else ""
    tested = f", {p_text(float(row['p_value']))}" if np.isfinite(row.get("p_value", np.nan)) else ""
    return f"{row['mean']:.2f}{limits}{tested}"


def _doubt(record: dict) -> str:
    """What makes the scores other than they look."""
    if str(record["params"].get("circular", "")):
        return "; circular: the label was made of the same cells"
    doubt = optimistic(record["params"])
    return doubt and f"; {doubt}"
