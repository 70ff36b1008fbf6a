"""Who neighbours whom more in one group of patients than in another."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from .._errors import TableError, listed
from .._fingerprint import check_unchanged
from .._public import public
from ._figure import finish, new_axes
from ._results import check_result, corrected

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

UNTESTED = "0.85"


@public
def compare_enrichment(
    adata: AnnData,
    *,
    key: str = "compare_enrichment",
    groups: tuple[str, str] | None = None,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | PathLike | None = None,
    return_fig: bool | None = None,
) -> Axes | Figure | None:
    """Differences between groups in which types are neighbours, as written by :func:`spatialfm.tl.compare_enrichment`.

    One square a pair of types: how many times (log2) the neighbours of a row's cells are more often of the column's
    type, over chance, in the second group than in the first. Orange squares are more frequent in the second, purple
    ones in the first; an asterisk is significant after correction, grey was not tested: in too few patients.

    Parameters
    ----------
    adata
        Cells with ``uns[key]``.
    key
        Key of ``uns``.
    groups
        The two groups (default: where there are two only).
    title
        Title (default: the groups, their patients, and what is adjusted for).
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
        If there is no comparison under `key`, or not of these groups.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=6, cells_per_patient=200, random_state=0)
    >>> cells.obs["arm"] = cells.obs["patient"].isin(cells.obs["patient"].unique()[:3]).map({True: "a", False: "b"})
    >>> sfm.tl.compare_enrichment(cells, "type", "arm", n_neighbors=6)
    >>> ax = sfm.pl.compare_enrichment(cells, show=False)
    >>> ax.get_xlabel()
    'neighbour'
    """
    record = adata.uns.get(key)
    if not isinstance(record, dict) or "table" not in record:
        raise TableError(
            f"No comparison of neighbours in uns[{key!r}]; uns has {listed(adata.uns)}. Make one with "
            "sfm.tl.compare_enrichment."
        )
    check_result(record, f"uns[{key!r}]", "compare_enrichment")
    check_unchanged(adata, record, key, "compare_enrichment")
    whole, level = corrected(record)
    table, params = _of_groups(whole, groups), record["params"]
    types = list(dict.fromkeys([*map(str, table["cell_type"]), *map(str, table["neighbour"])]))
    values, stars = _square(table, types, "difference"), _square(table, types, "significant").fillna(0).astype(bool)
    values = values.where(_square(table, types, "p_value").notna())
    side = 1.2 + 0.42 * len(types)
    own, ax = ax is None, new_axes(ax, figsize or (side + 2.4, side + 0.7))
    most = float(np.nanmax(np.abs(values.to_numpy()))) if values.notna().any(axis=None) else 1.0
    colors = plt.get_cmap("PuOr_r").with_extremes(bad=UNTESTED)
    image = ax.imshow(np.ma.masked_invalid(values), cmap=colors, vmin=-(most or 1.0), vmax=most or 1.0)
    for row, column in zip(*np.nonzero(stars.to_numpy()), strict=True):
        dark = abs(values.iloc[row, column]) > 0.6 * most
        ax.text(column, row + 0.06, "*", ha="center", va="center", color="white" if dark else "black")
    ax.set_xticks(range(len(types)), types, rotation=90)
    ax.set_yticks(range(len(types)), types)
    ax.set(xlabel="neighbour", ylabel="cell type")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    one, two = str(table["group_1"].iloc[0]), str(table["group_2"].iloc[0])
    ax.get_figure().colorbar(image, ax=ax, shrink=0.8, label=f"log2 ratio, {two} minus {one}")
    ax.set_title(title or _title(table, params, one, two, level), loc="left", fontsize="medium")
    return finish(ax, own=own, show=show, save=save, return_fig=return_fig)


def _of_groups(table: pd.DataFrame, groups: tuple[str, str] | None) -> pd.DataFrame:
    pairs = list(dict.fromkeys(zip(table["group_1"].astype(str), table["group_2"].astype(str), strict=True)))
    if groups is None and len(pairs) == 1:
        return table
    asked = () if groups is None else tuple(str(name) for name in groups)
    if asked not in pairs:
        raise TableError(
            f"groups={groups!r}: the comparisons are of {listed([' and '.join(pair) for pair in pairs])}. Pass one of "
            f"them, as groups={pairs[0]!r}."
        )
    return table[(table["group_1"].astype(str) == asked[0]) & (table["group_2"].astype(str) == asked[1])]


def _square(table: pd.DataFrame, types: list[str], column: str) -> pd.DataFrame:
    """Types by types; of mutual neighbours, which are listed once per pair, on both sides."""
    square = pd.DataFrame(np.nan, index=types, columns=types)
    for one, two, value in zip(table["cell_type"], table["neighbour"], table[column], strict=True):
        square.loc[str(one), str(two)] = float(value)
    return square.combine_first(square.T).loc[types, types]


def _title(table: pd.DataFrame, params: dict, one: str, two: str, level: str) -> str:
    n = f"{one} ({int(table['n_1'].max())}) and {two} ({int(table['n_2'].max())} patients)"
    covariates = [*map(str, np.atleast_1d(params.get("covariates", []))), str(params.get("block_key", ""))]
    equal = f", at equal {listed(filter(None, covariates), quoted=False)}" if any(covariates) else ""
    paired = ", within patients" if params.get("pair_key") else ""
    grey = ", grey: not tested" if table["p_value"].isna().any() else ""
    return f"{n}{equal}{paired}\n* {level}{grey}"
