"""Intensities of a marker in every sample, with the threshold above which a cell is positive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from textwrap import fill
from typing import TYPE_CHECKING, Annotated

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from .._dense import dense
from .._errors import PanelError, TableError, listed
from .._fingerprint import check_unchanged
from .._public import public
from .._ranges import at_least
from .._storable import named_table
from ._figure import digits, finish, new_panels
from ._results import check_result

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AGAIN = "Call sfm.tl.marker_positivity(adata) again."
NEGATIVE, POSITIVE, LINE = "#B0B0B0", "#0072B2", "#D55E00"
UNCALLED = {"facecolor": "white", "edgecolor": "#808080", "hatch": "//////"}  # neither: not to be read as negative
STYLES: dict[str, dict[str, object]] = {
    "threshold": {"color": LINE, "linewidth": 1.2, "linestyle": "-"},
    "of the other samples": {"color": "#404040", "linewidth": 0.9, "linestyle": "--"},
    "its own, not used": {"color": LINE, "linewidth": 1.2, "linestyle": ":"},
}
BETWEEN = ("own", "others", "overruled")
N_TICKS = 4
SAID = {"no positives": "hardly any", "no negatives": "nearly all"}
"""States that would contradict the share beside them, in other words."""

LETTERS = 11  # of the title in an inch
LEGEND = 1.5  # inches right of the panels
TOP = 99.9  # percentile of all cells at which the axis ends


@public
def positivity(
    adata: AnnData,
    marker: str,
    *,
    samples: str | Sequence[str] | None = None,
    key: str = "positive",
    bins: Annotated[int, at_least(2)] = 50,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | Sequence[Axes] | None = None,
    show: bool | None = None,
    save: str | PathLike | None = None,
    return_fig: bool | None = None,
) -> np.ndarray | Figure | None:
    """Draw the intensities of a marker in each sample: one small panel per sample, all on one axis.

    The axis is the one on which positive cells were found, ``arcsinh(intensity / cofactor)``, with the intensities
    written below. Cells are grey, positive ones blue, and hatched where they were not called; the line is the
    threshold, and the dashed one the median of those of the other samples: where the two lie apart, staining or
    tissue differ. A dotted line is a threshold of the sample's own that is not used, as it lies outside of the
    populations of all samples. A panel says what share of its cells is positive, and what its threshold is where it
    is not the sample's own. Calls of a network have no threshold. Bars end at the 99.9th percentile.

    Parameters
    ----------
    adata
        Cells after `spatialfm.tl.marker_positivity`.
    marker
        Marker to draw.
    samples
        Samples to draw (default: all).
    key
        Key of ``layers`` and ``uns``.
    bins
        Bars of each panel.
    title
        Title (default: the marker, and the number of samples that were split by a threshold of their own).
    figsize
        Width and height in inches of a new figure.
    ax
        Axes to draw into, one per sample.
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
    PanelError
        If the marker was not called.
    TableError
        If ``uns[key]`` was not written by `spatialfm.tl.marker_positivity`, a sample is not in it, or there are not as
        many axes as samples.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=3, cells_per_patient=400, random_state=0)
    >>> sfm.tl.marker_positivity(cells, markers="CD20")
    >>> axes = sfm.pl.positivity(cells, "CD20", show=False)
    >>> axes[0].get_title(loc="left").splitlines()[0]
    'P001_1'
    """
    params, limits, status = _calls(adata, marker, key)
    names = list(map(str, limits.index)) if samples is None else _names(samples)
    if lacking := [name for name in names if name not in limits.index]:
        raise TableError(f"No sample {lacking[0]!r} in uns[{key!r}]; found {listed(limits.index, 12)}.")

    values, probability, of_sample = _cells(adata, marker, key, params)
    cofactor = _cofactor(params, marker, values)
    shown = np.isfinite(values) & np.isin(of_sample, names)
    if not shown.any():
        raise TableError(f"Marker {marker!r} was measured in no cell of {listed(names, 12)}.")
    scaled = np.arcsinh(values / cofactor)
    edges = np.linspace(
        scaled[shown].min(), max(np.percentile(scaled[shown], TOP), scaled[shown].min() + 1e-6), bins + 1
    )

    own, axes = ax is None, _axes(ax, len(names), figsize)
    for one, name in zip(axes, names, strict=True):
        rows = shown & (of_sample == name)
        _draw(one, np.clip(scaled[rows], edges[0], edges[-1]), probability[rows], edges)
        for value, style in _lines(adata, key, marker, name, limits[name]):
            if np.isfinite(value):
                one.axvline(np.arcsinh(value / cofactor), **style)
        one.set_title(_says(name, status[name], probability[rows]), loc="left", fontsize="small", parse_math=False)
    _label(axes, cofactor, edges)
    if own:
        figure = axes[0].get_figure(root=True)
        text = _heading(marker, status)
        text = fill(text, max(20, int(LETTERS * (figure.get_figwidth() - LEGEND)))) if title is None else title
        figure.suptitle(text, x=0.01, ha="left", fontsize="medium", parse_math=False)
        figure.supxlabel(f"{marker} (intensity)", fontsize="medium", parse_math=False)
        _legend(figure, axes)
    first = finish(axes[0], own=own, show=show, save=save, return_fig=return_fig)
    return axes if first is axes[0] else first


def _calls(adata: AnnData, marker: str, key: str) -> tuple[Mapping, pd.Series, pd.Series]:
    """Parameters of the calls; threshold and state of the marker in each sample."""
    if key not in adata.uns:
        raise TableError(
            f"No calls of markers in uns[{key!r}]; uns has {listed(adata.uns)}. Make them with "
            "sfm.tl.marker_positivity(adata)."
        )
    record = check_result(adata.uns[key], f"uns[{key!r}]", "marker_positivity")
    check_unchanged(adata, record, key, "marker_positivity", fewer=True)
    thresholds, status = (named_table(adata, key, name) for name in ("thresholds", "status"))
    if marker not in thresholds:
        raise PanelError(f"Marker {marker!r} was not called; found {listed(thresholds.columns, 60)}.")
    if not thresholds.index.equals(status.index) or marker not in status:
        raise TableError(f"uns[{key!r}] has thresholds and states of other samples or markers. {AGAIN}")
    try:
        limits = thresholds[marker].astype(float)
    except (TypeError, ValueError) as error:
        raise TableError(f"uns[{key!r}]['thresholds'] holds no numbers for {marker!r}. {AGAIN}") from error
    return record["params"], limits, status[marker]


def _names(samples: str | Sequence[str]) -> list[str]:
    return [samples] if isinstance(samples, str) else list(map(str, samples))


def _cells(adata: AnnData, marker: str, key: str, params: Mapping) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Intensities, probabilities and samples of all cells."""
    if key not in adata.layers:
        raise TableError(f"No layer {key!r} beside uns[{key!r}]. {AGAIN}")
    part = adata[:, [marker]]
    layer, library_key = str(params["layer"]), str(params["library_key"])
    if (layer != "X" and layer not in adata.layers) or (library_key and library_key not in adata.obs):
        raise TableError(
            f"uns[{key!r}]['params'] names layer {layer!r} and column {library_key!r}, not both here. {AGAIN}"
        )
    values = dense(part.X if layer == "X" else part.layers[layer]).astype(float).ravel()
    of_sample = adata.obs[library_key].astype(str).to_numpy() if library_key else np.full(adata.n_obs, "all")
    return values, np.asarray(dense(part.layers[key]), dtype=float).ravel(), of_sample


def _cofactor(params: Mapping, marker: str, values: np.ndarray) -> float:
    """That of the mixture; with gates, the median of what is above 0."""
    table = params.get("cofactors")
    if isinstance(table, pd.DataFrame) and "cofactor" in table and marker in table.index:
        cofactor = pd.to_numeric(table["cofactor"], errors="coerce")[marker]
        if np.isfinite(cofactor) and cofactor > 0:
            return float(cofactor)
    above = values[values > 0]
    return float(np.median(above)) if len(above) else 1.0


def _axes(ax: Axes | Sequence[Axes] | None, n: int, figsize: tuple[float, float] | None) -> np.ndarray:
    if ax is not None:
        axes = np.atleast_1d(np.asarray(ax, dtype=object))
        if len(axes) != n:
            raise TableError(f"{n} samples need as many axes; ax= has {len(axes)}.")
        return axes
    return new_panels(n, figsize, most=5, panel=(1.9, 1.5), margin=(LEGEND, 0.6), sharex=True)


def _draw(ax: Axes, values: np.ndarray, probability: np.ndarray, edges: np.ndarray) -> None:
    """Bars of all cells, positive ones in their colour."""
    groups = (probability <= 0.5, probability > 0.5, ~np.isfinite(probability))
    styles: tuple[dict[str, object], ...] = (
        {"color": NEGATIVE, "linewidth": 0},
        {"color": POSITIVE, "linewidth": 0},
        UNCALLED | {"linewidth": 0.3},
    )
    base = np.zeros(len(edges) - 1)
    for rows, style in zip(groups, styles, strict=True):
        height = np.histogram(values[rows], edges)[0] / max(len(values), 1)
        if rows.any():
            ax.bar(edges[:-1], height, np.diff(edges), align="edge", bottom=base, **style)
        base = base + height
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.set_yticks([])


def _lines(
    adata: AnnData, key: str, marker: str, sample: str, threshold: float
) -> list[tuple[float, dict[str, object]]]:
    """Thresholds of a panel and how they are drawn: that in use, that of the other samples, one that is not used."""
    lines = [(threshold, STYLES["threshold"])]
    if not np.isfinite(threshold):
        return lines
    table = adata.uns[key].get("between_samples")
    if isinstance(table, pd.DataFrame) and {"sample", "marker", *BETWEEN} <= set(table):
        rows = table[(table["sample"].astype(str) == sample) & (table["marker"].astype(str) == marker)]
        for _, row in rows.iterrows():
            lines.append((float(row["others"]), STYLES["of the other samples"]))
            if row["overruled"]:
                lines.append((float(row["own"]), STYLES["its own, not used"]))
    return lines


def _heading(marker: str, status: pd.Series) -> str:
    if (n_seen := int((status == "network").sum())) > 0:
        return f"{marker}: cells of {n_seen} of {len(status)} samples were called on the image"
    own = status.isin(["split", "gate"])
    if len(own) == 1:
        return f"{marker}: {'a' if own.all() else 'no'} threshold of the sample's own"
    verb = "has a threshold of its" if own.sum() == 1 else "have a threshold of their"
    return f"{marker}: {own.sum()} of {len(own)} samples {verb} own"


def _legend(figure: Figure, axes: Sequence[Axes]) -> None:
    """Right of all panels, with the lines that are drawn."""
    drawn = {line.get_linestyle() for ax in axes for line in ax.lines}
    shades = {bar.get_facecolor() for ax in axes for bar in ax.patches}
    patches = [
        Patch(color=NEGATIVE, label="negative"),
        Patch(color=POSITIVE, label="positive"),
        Patch(**UNCALLED, label="not called"),
    ]
    handles = [
        *(patch for patch in patches if patch.get_facecolor() in shades),
        *(Line2D([], [], label=label, **style) for label, style in STYLES.items() if style["linestyle"] in drawn),
    ]
    figure.legend(handles=handles, loc="outside right upper", frameon=False, fontsize="small", handlelength=1)


def _says(name: str, status: str, probability: np.ndarray) -> str:
    known = probability[np.isfinite(probability)]
    share = f"{(known > 0.5).mean():.1%} positive" if len(known) else "not called"
    return f"{name}\n{share}" if status in ("split", "gate") else f"{name}\n{share} ({SAID.get(status, status)})"


def _label(axes: Sequence[Axes], cofactor: float, edges: np.ndarray) -> None:
    """Ticks at round intensities."""
    ends = np.sinh(edges[[0, -1]]) * cofactor
    places = _round_numbers(ends[0], ends[1], cofactor)
    for ax in axes:
        ax.xaxis.set_major_locator(FixedLocator(np.arcsinh(places / cofactor)))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: digits(np.sinh(x) * cofactor)))
        ax.tick_params(labelsize="small")


def _round_numbers(low: float, high: float, cofactor: float) -> np.ndarray:
    """0 if it is there, and numbers like 1, 2, 5, 10 that lie apart on the axis."""
    powers = 10.0 ** np.arange(-6, 9)
    candidates = np.sort(np.concatenate([powers, 2 * powers, 5 * powers, -powers, [0.0]]))
    candidates = candidates[(candidates >= low - 1e-9) & (candidates <= high + 1e-9)]
    if not len(candidates):
        return np.array([low, high])
    places, apart = [candidates[-1]], (np.arcsinh(high / cofactor) - np.arcsinh(low / cofactor)) / N_TICKS
    for value in candidates[::-1]:
        if np.arcsinh(places[-1] / cofactor) - np.arcsinh(value / cofactor) >= apart:
            places.append(value)
    return np.array(places[::-1])
