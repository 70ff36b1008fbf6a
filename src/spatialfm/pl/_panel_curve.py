"""Score of panels against their size."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING

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

CHOSEN, VARIANCE, RANDOM, LINEAR = OKABE_ITO[0], OKABE_ITO[1], "0.55", OKABE_ITO[2]
INCHES = 0.27  # a size on the axis
LEGEND = 2.5  # one more of a model
LETTER = 0.065  # of the names below it


@public
def panel_curve(
    adata: AnnData,
    *,
    key: str = "panel",
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | PathLike | None = None,
    return_fig: bool | None = None,
) -> Axes | Figure | None:
    """Draw the result of :func:`spatialfm.tl.select_panel`: score on held-out patients against the size of the panel.

    The blue line is of the panels that were chosen without the patients they are scored on, with the 95 % interval over
    patients. Below each size are the markers that are new in the panel of that size which all patients chose, and in
    brackets those that it has no longer. Grey: the mean of random panels, and where 95 % of them lie. Orange: the
    markers of largest variance. Dotted: all candidates together. Of a model also green: what ridge regression predicts
    from the same panels, and, dash-dotted, what the model predicts from the panels that regression chooses.

    Parameters
    ----------
    adata
        Cells after `spatialfm.tl.select_panel`.
    key
        Key of ``uns``.
    title
        Title (default: what is predicted, and in how many patients).
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
        If there is no such result.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=6, cells_per_patient=200, random_state=0)
    >>> ranking = sfm.tl.select_panel(cells, 5, n_random=5)
    >>> ax = sfm.pl.panel_curve(cells, show=False)
    >>> ax.get_ylabel()
    'explained variance in held-out patients'
    """
    if not isinstance(adata.uns.get(key), Mapping):
        raise TableError(
            f"No panel in uns[{key!r}]; uns has {listed(adata.uns)}. Choose one with "
            "sfm.tl.select_panel(adata, n_markers)."
        )
    record = check_result(adata.uns[key], f"uns[{key!r}]", "select_panel")
    check_unchanged(adata, record, key, "select_panel")
    curve, params = record["curve"], record["params"]
    size = curve["size"].to_numpy()

    steps = _steps(curve)
    longest = max(map(len, steps)) * LETTER
    own, ax = (
        ax is None,
        new_axes(ax, figsize or (max(4.2, 1.6 + INCHES * len(size)) + LEGEND + ("linear" in curve), 3.4 + longest)),
    )
    if curve["random"].notna().any():
        label = "random panels (95 % of them)"
        ax.fill_between(size, curve["random_low"], curve["random_high"], color=RANDOM, alpha=0.3, lw=0, label=label)
        ax.plot(size, curve["random"], color=RANDOM, lw=1.2)
    ax.plot(size, curve["variance"], color=VARIANCE, lw=1.4, ls="--", marker="s", ms=3.5, label="largest variance")
    if "linear" in curve:
        ax.plot(size, curve["linear"], color=LINEAR, lw=1.4, marker="^", ms=4, label="regression, the same panels")
        label = "the model, panels that regression chooses"
        ax.plot(size, curve["chosen_by_linear"], color=LINEAR, lw=1.2, ls="-.", label=label)
    ax.fill_between(size, curve["ci_low"], curve["ci_high"], color=CHOSEN, alpha=0.22, lw=0)
    label = "chosen (95 % interval over patients)"
    ax.plot(size, curve["score"], color=CHOSEN, lw=1.8, marker="o", ms=4.5, label=label)
    ax.axhline(float(record["whole"]), color="0.3", lw=1, ls=":", label="all candidates")
    look = {"rotation": 60, "ha": "right", "rotation_mode": "anchor", "fontsize": "small", "parse_math": False}
    ax.set_xticks(size, steps, **look)
    ax.set(xlabel="size of the panel, and what is new in it", ylabel=f"{params['score']} in held-out patients")
    drawn = [name for name in ("score", "random_low", "variance", "linear", "chosen_by_linear") if name in curve]
    lowest = float(np.nanmin(curve[drawn].to_numpy(dtype=float)))
    ax.set_xlim(size.min() - 0.5, size.max() + 0.5)
    top = max(float(record["whole"]), float(curve["ci_high"].max())) * 1.03
    ax.set_ylim(0.0 if lowest >= 0 else lowest - 0.03 * (top - lowest), top)  # no point is cut by the axis
    ax.set_title(_title(params) if title is None else title, loc="left", fontsize="medium", parse_math=False)
    # beside the lines: these rise from one corner to the other, and intervals may fill what is left
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0, fontsize="small")
    ax.spines[["top", "right"]].set_visible(False)
    return finish(ax, own=own, show=show, save=save, return_fig=return_fig)


def _steps(curve: pd.DataFrame) -> list[str]:
    """New markers of each size, and in brackets those that left.

    Examples
    --------
    >>> _steps(pd.DataFrame({"size": [1, 2], "enters": ["CD3", "CD8, CD31"], "leaves": ["", "CD3"]}))
    ['CD3  1', 'CD8, CD31 (not CD3)  2']
    """
    out = []
    for size, new, gone in zip(curve["size"], curve["enters"].astype(str), curve["leaves"].astype(str), strict=True):
        left = f" (not {gone})" if gone else ""
        out.append(f"{new}{left}  {size}")
    return out


def _title(params: Mapping) -> str:
    what = {
        "markers": "all markers",
        "label": f"types in {params['label_key']}",
        "embedding": str(params["use_rep"]),
    }.get(str(params["target"]), str(params["target"]))
    how = {"linear": "linear", "knn": "nearest cells", "model": str(params.get("model"))}.get(
        str(params["method"]), str(params["method"])
    )
    return f"{what} from a panel: {how}, {int(params['n_patients'])} patients"
