"""Power against numbers of patients."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from textwrap import fill
from typing import TYPE_CHECKING, Any

from .._errors import TableError, listed
from .._fingerprint import check_unchanged
from .._public import public
from ._figure import OKABE_ITO, finish, new_axes, with_band
from ._results import check_result

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKS = "osD^vP*X"
WORDS = {
    "composition": "{effect:g}-fold share of {cell_type}{whose}",
    "survival": "hazard ratio {effect:g}{whose}",
    "auroc": "AUROC {effect:g}",
}
WIDE = 52  # letters of a line of the title


@public
def power(
    patients: AnnData,
    *,
    key: str = "power",
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | PathLike | None = None,
    return_fig: bool | None = None,
) -> Axes | Figure | None:
    """Draw the result of :func:`spatialfm.tl.power`: power against patients, a line for each number of cells.

    Bands are the 95 % intervals of the simulation; the dashed line is the power that was wanted.

    Parameters
    ----------
    patients
        The pilot.
    key
        Key of ``uns``.
    title
        Title (default: the effect).
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
    >>> cells = sfm.datasets.simulate_cells(20, cells_per_patient=200)
    >>> pilot = sfm.tl.composition(cells, "type", patient_key="patient")
    >>> sfm.tl.power(pilot, "auroc", 0.75, n_patients=[10, 20, 40], n_simulations=50)
    >>> ax = sfm.pl.power(pilot, show=False)
    >>> ax.get_xlabel()
    'patients'
    """
    if not isinstance(patients.uns.get(key), dict) or "needed" not in patients.uns[key]:
        raise TableError(
            f"No result {key!r} of sfm.tl.power in uns; found {listed(patients.uns)}. Run it, or pass key=."
        )
    result = patients.uns[key]
    check_result(result, f"uns[{key!r}]", "power")
    params, table = result["params"], result["table"]
    check_unchanged(patients, result, key, "power")
    if str(params["question"]) not in WORDS:
        raise TableError(f"uns[{key!r}]['params']['question'] is not one of {listed(WORDS)}. Run sfm.tl.power again.")
    own, ax = ax is None, new_axes(ax, figsize or (4.6, 3.4))
    for i, (cells, part) in enumerate(table.groupby("n_cells", sort=True)):
        color = OKABE_ITO[i % len(OKABE_ITO)]
        label = f"{int(cells):,} cells per patient" if cells else None
        ax.plot(part["n_patients"], part["power"], color=color, marker=MARKS[i % len(MARKS)], ms=5, label=label)
        ax.fill_between(part["n_patients"], part["ci_low"], part["ci_high"], color=color, alpha=0.18, lw=0)
    wanted = float(params["target_power"])
    ax.axhline(wanted, color="0.4", lw=1, ls="--")
    ax.text(0.995, wanted - 0.012, f"{wanted:g} wanted", transform=ax.get_yaxis_transform(),
            ha="right", va="top", fontsize="small", color="0.35")  # fmt: skip
    ax.set(xlabel="patients", ylabel="power", ylim=(0, 1.02), xlim=(0, None))
    words = WORDS[str(params["question"])].format(
        effect=params["effect"], cell_type=params.get("cell_type", ""), whose=_whose(params)
    )
    level = float(params["alpha"]) / int(params["n_tests"])
    ax.set_title(fill(f"{words}, level {level:.2g}", WIDE) if title is None else title, fontsize="medium")
    bands = with_band(ax, "95 % interval of the simulation")
    ax.legend(**bands, frameon=False, loc="lower right", bbox_to_anchor=(1, 0.02), fontsize="small")
    ax.spines[["top", "right"]].set_visible(False)
    return finish(ax, own=own, show=show, save=save, return_fig=return_fig)


def _whose(params: Mapping[str, Any]) -> str:
    """Which group has the effect, against the other; of a continuous feature, its standard deviation."""
    share = float(params.get("share", 0.0))
    if params["question"] == "survival" and not share:
        return " per SD"
    return f" in {100 * (share or 0.5):g} % of patients against the others"
