"""What an answer that adds up is made of: types by markers, or one cell or patient from the intercept to its logit."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._errors import TableError, listed
from .._fingerprint import check_unchanged
from .._public import public
from .._storable import named_table
from ._figure import finish, new_axes
from ._heatmap import draw_heatmap
from ._marker_attention import marker_order
from ._results import NAMES, check_columns, default_output

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CMAP = "RdBu_r"  # red to blue: apart with red-green blindness
FOR, AGAINST, SUM = "#B2182B", "#2166AC", "0.35"
LABEL = "Contribution to the logit"
MOST_NUMBERS = 120  # cells of a heatmap whose values can still be read
INTERCEPT = "intercept"
TOTALS = {"risk": "log hazard", "predicted": "prediction"}  # of survival and of numbers; of classes it is the logit


@public
def contributions(
    adata: AnnData,
    key: str,
    *,
    cell: str | None = None,
    patient: str | None = None,
    output: str | None = None,
    n_markers: int = 12,
    sort: bool = True,
    limit: float | None = None,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | PathLike | None = None,
    return_fig: bool | None = None,
) -> Axes | Figure | None:
    """Contributions of markers to an answer of B-cos units, which add up to it.

    Of :func:`spatialfm.tl.annotate` with ``method="bcos"``: types by markers, means over the cells that are called so;
    or, with `cell`, one cell as a waterfall. Of :func:`spatialfm.tl.mil` with ``head="bcos"``: patients by markers; or,
    with `patient`, one patient as a waterfall. A waterfall begins at the intercept, and each bar begins where the one
    above it ends; the last one is the logit.

    Parameters
    ----------
    adata
        Cells with ``uns[key]``.
    key
        ``key_added`` of the function that wrote it.
    cell
        Name of the cell whose waterfall is drawn.
    patient
        Name of the patient whose waterfall is drawn.
    output
        Of :func:`spatialfm.tl.mil`: the class whose logit is shown (default: the positive one of two, or the last).
    n_markers
        Markers of a waterfall that have a bar, the largest ones; the others are one bar together.
    sort
        Whether the markers of a heatmap are in the order of the row that they contribute most to, or as in the table.
    limit
        Contribution of full colour (default: the largest of the heatmap).
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
        If there are no contributions under `key`, or no such cell, patient or output.

    Examples
    --------
    >>> import numpy as np
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=2, cells_per_patient=60, random_state=0)
    >>> cells.obs["known"] = cells.obs["type"].where(np.arange(cells.n_obs) % 4 == 0)
    >>> sfm.tl.annotate(cells, "known", use_rep="X", method="bcos")
    >>> ax = sfm.pl.contributions(cells, "known_predicted", cell=cells.obs_names[0], show=False)
    >>> ax.get_xlabel()
    'Contribution to the logit'
    """
    table = _stored(adata, key, of_cell=cell is not None)
    of_patients, own = "output" in table, ax is None
    if of_patients:
        table, output = _of_output(adata, key, table, output)
    _check_asked(key, of_patients, cell, patient, output)
    if cell is not None or patient is not None:
        shares, text = _one_patient(table, str(patient), output) if of_patients else _one_cell(adata, key, str(cell))
        bars = _bars(shares, n_markers)
        ax = new_axes(ax, figsize or (5.6, 1.2 + 0.27 * (len(bars) + 1)))
        _waterfall(ax, bars, TOTALS.get(output or "", "logit"))
    else:
        shares = table.drop(columns=[name for name in ("n", INTERCEPT, "total") if name in table])
        shares = shares.iloc[:, marker_order(shares.to_numpy()) if sort else slice(None)]
        if not of_patients:
            shares.index = [f"{name} ({n:,})" for name, n in zip(shares.index, table["n"].astype(int), strict=True)]
        ax = new_axes(ax, figsize or (2.8 + 0.34 * shares.shape[1], 1.7 + 0.28 * len(shares)))
        label = f"{LABEL},\nmean of the cells" if output is None else _label(output)
        draw_heatmap(ax, shares, label=label, limit=limit, cmap=CMAP, numbers=shares.size <= MOST_NUMBERS)
        text = "Held-out patients" if of_patients else "Cells by the type that they are called"
    ax.set_title(text if title is None else title, loc="left", fontsize="medium")
    return finish(ax, own=own, show=show, save=save, return_fig=return_fig)


def _label(output: str) -> str:
    return f"Contribution to the {TOTALS[output]}" if output in TOTALS else f"{LABEL}\nof {output!r}"


def _stored(adata: AnnData, key: str, *, of_cell: bool) -> pd.DataFrame:
    record = adata.uns.get(key)
    if not isinstance(record, Mapping) or not isinstance(record.get("contributions"), pd.DataFrame):
        raise TableError(
            f"No contributions in uns[{key!r}]; uns has {listed(adata.uns)}. Make them with sfm.tl.annotate(..., "
            "method='bcos') or sfm.tl.mil(..., head='bcos')."
        )
    table = named_table(adata, key, "contributions")
    of_patients = "output" in table
    columns = {INTERCEPT: float} | ({"total": float, "output": NAMES} if of_patients else {"n": int})
    if of_patients:  # names of patients come first
        columns[str(table.columns[0])] = NAMES
    function = "mil" if of_patients else "annotate"
    check_columns(table, columns, f"uns[{key!r}]['contributions']", function, others=float)
    check_unchanged(adata, record, key, function, fewer=of_patients or of_cell)
    return table


def _of_output(adata: AnnData, key: str, table: pd.DataFrame, output: str | None) -> tuple[pd.DataFrame, str]:
    """The rows of one output, named after their patients, the highest total first."""
    outputs = list(dict.fromkeys(table["output"].astype(str)))
    output = default_output(adata.uns[key], outputs) if output is None else output
    if output not in outputs:
        raise TableError(f"output={output!r} is not one of {listed(outputs)}. Pass the class to show.")
    mine = table[table["output"].astype(str) == output]
    names = mine.columns[0]  # patients, or what each was
    mine = mine.set_index(mine[names].astype(str)).drop(columns=[names, "output"])
    return mine.sort_values("total", ascending=False, kind="stable"), output


def _check_asked(key: str, of_patients: bool, cell: str | None, patient: str | None, output: str | None) -> None:
    if of_patients and cell is not None:
        raise TableError(
            f"uns[{key!r}] is of sfm.tl.mil, whose answers are of patients. Pass patient= instead of cell=."
        )
    if not of_patients and (patient is not None or output is not None):
        raise TableError(f"uns[{key!r}] is of sfm.tl.annotate, whose answers are of cells. Pass cell= alone.")


def _one_patient(table: pd.DataFrame, patient: str, output: str | None) -> tuple[pd.Series, str]:
    if patient not in table.index:
        raise TableError(f"patient={patient!r} is not one of {listed(table.index)}. Pass the patient to draw.")
    row = table.loc[patient]
    return row.drop("total"), f"{patient}: {output!r}, held out"


def _one_cell(adata: AnnData, key: str, cell: str) -> tuple[pd.Series, str]:
    where = f"{key}_contribution"
    if where not in adata.obsm:
        raise TableError(f"No table in obsm[{where!r}]; found {listed(adata.obsm)}. Run sfm.tl.annotate again.")
    if cell not in adata.obs_names:
        raise TableError(
            f"cell={cell!r} is not among obs_names. Pass the name of a cell, such as {adata.obs_names[0]!r}."
        )
    if (n := int((adata.obs_names == cell).sum())) > 1:
        raise TableError(f"cell={cell!r} is the name of {n} cells. Call adata.obs_names_make_unique() first.")
    shares = named_table(adata, where).loc[cell]
    label = adata.obs[key].loc[cell]
    return shares, f"{cell}: {label if pd.notna(label) else 'no label'}"


def _bars(shares: pd.Series, n_markers: int) -> pd.Series:
    """The intercept, the largest contributions with their signs, and what all others add up to."""
    markers = shares.drop(INTERCEPT).astype(float)
    order = np.argsort(-markers.abs().to_numpy(), kind="stable")
    largest, others = markers.iloc[order[:n_markers]], markers.iloc[order[n_markers:]]
    bars = pd.concat([pd.Series({INTERCEPT: float(shares[INTERCEPT])}), largest])
    if len(others):
        bars[f"{len(others)} others"] = others.sum()
    return bars


def _waterfall(ax: Axes, bars: pd.Series, total: str) -> None:
    ends = bars.cumsum().to_numpy()
    starts = np.concatenate([[0.0], ends[:-1]])
    for row, (start, end) in enumerate(zip(starts, ends, strict=True)):
        ax.barh(row, end - start, left=start, height=0.66, color=FOR if end >= start else AGAINST)
        ax.plot([end, end], [row - 0.33, row + 1.33], color="0.5", lw=0.8, zorder=0)
    ax.barh(len(bars), ends[-1], height=0.66, color=SUM)
    reach = max(float(np.ptp([0.0, *ends])), 1e-9)
    digits = max(2, 2 - int(np.floor(np.log10(reach))))
    for row, value in enumerate([*bars, ends[-1]]):
        right = max(starts[row], ends[row]) if row < len(bars) else max(ends[-1], 0.0)
        sign = "+" if row < len(bars) else ""
        text = f"{value:{sign}.{digits}f}".replace("-", "−")
        ax.text(right + 0.02 * reach, row, text, va="center", fontsize="x-small")
    names = [str(name) for name in bars.index]
    ax.set_yticks(np.arange(len(bars) + 1), [*names, total], parse_math=False)
    ax.axvline(0, color="0.6", lw=0.8, ls="--", zorder=0)
    low, high = min(0.0, float(ends.min())), max(0.0, float(ends.max()))
    ax.set_xlim(low - 0.04 * reach, high + 0.14 * reach)
    ax.set_xlabel(f"Contribution to the {total}")
    ax.invert_yaxis()
    ax.spines[["top", "right"]].set_visible(False)
