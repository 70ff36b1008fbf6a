"""Which cells of a sample the prediction for its patient rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from .._coordinates import coordinates
from .._errors import TableError, listed
from .._fingerprint import check_unchanged
from .._keys import SAMPLE_KEY, SPATIAL
from .._public import public
from .._storable import named_table
from ..get import record
from ._figure import (
    MISSING,
    Palette,
    category_colors,
    digits,
    finish,
    in_random_order,
    letter_panels,
    place_labels,
    places_in,
)
from ._heatmap import extended
from ._results import check_columns, check_result, default_output

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CMAP = "PuOr_r"  # orange above the average cell, purple below; apart with every colour blindness
LABEL = "Attention over that of the average cell"
TISSUE = "channel-summary tokens"  # among the options of a model that tells nothing else
LOWEST = 2.0**-8  # attention below is drawn as this


@public
def attention(
    adata: AnnData,
    sample: str | None = None,
    *,
    key: str = "mil",
    values: Literal["attention", "gradient", "contribution"] = "attention",
    output: str | None = None,
    cluster_key: str | None = None,
    min_cells: int = 5,
    limit: float | None = None,
    palette: Palette = None,
    library_key: str = SAMPLE_KEY,
    spatial_key: str = SPATIAL,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | tuple[Axes, Axes] | None = None,
    show: bool | None = None,
    save: str | PathLike | None = None,
    return_fig: bool | None = None,
) -> Axes | tuple[Axes, Axes] | Figure | None:
    """Attention to the cells of a sample, as written by :func:`spatialfm.tl.mil`: in space, and by type.

    Or, of VirTues that was fine-tuned to a label of the tissue (``sfm.train.finetune(..., level="tissue")``), the
    attention of its channel-summary tokens: pass the key of ``obsm`` that `spatialfm.tl.embed_cells` wrote.

    The networks that paid it did not see the patient in training. 1 is a cell like the average one of its bag; colours
    and the axis of types are logarithmic. Attention shows where a network looks, not that it needs what it sees. What
    raises and lowers an answer is shown by gradients (``tl.mil(..., gradients=True)``), and by the exact contributions
    of ``tl.mil(..., head="bcos")``, both around 0.

    Parameters
    ----------
    adata
        Cells with ``obs[f"{key}_attention"]``, or with ``obsm[key]``.
    sample
        Sample to draw; not needed where there is one.
    key
        ``key_added`` of :func:`spatialfm.tl.mil` or :func:`spatialfm.tl.predict_bags`, or the key of ``obsm`` of a
        label of the tissue.
    values
        What is drawn: ``"attention"``, ``"gradient"`` (``obsm[f"{key}_gradient"]``) or ``"contribution"``.
    output
        Of gradients and contributions: the class whose logit they are of (default: the positive one of two, or the
        last). Of a label of the tissue: the marker, where ``obsm[key]`` is of markers.
    cluster_key
        Column of ``obs`` with types of cells: a second panel shows attention to each (box: quartiles, line: median,
        whiskers: 5th and 95th percentile, dot: mean), the highest median on top.
    min_cells
        Types with fewer cells in the sample are left out of the second panel.
    limit
        Attention of full colour, as a multiple of the average; its inverse ends the other side (default: the 99th
        percentile of either, 2 at least). Of other values the number at which colours end (default: that percentile).
    palette
        Colours of the types, in their order or by name (default: ``uns["<cluster_key>_colors"]``, or colours that are
        distinguishable with colour blindness).
    library_key
        Column of ``obs`` with the sample of each cell.
    spatial_key
        Key of ``obsm`` with the place of each cell.
    title
        Title (default: the sample, and what was predicted for its patient).
    figsize
        Width and height in inches of a new figure.
    ax
        Axes to draw into: one, or two with `cluster_key`.
    show
        Whether to show the figure (default: if it is new, not saved, and there is a screen).
    save
        File to save to.
    return_fig
        Whether to return the figure.

    Returns
    -------
    The figure with `return_fig`, None when it was shown, the axes otherwise (two with `cluster_key`).

    Raises
    ------
    TableError
        If there is no attention under `key`, no such sample or column, or the patient was left out.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=24, cells_per_patient=40, effect_size=3.0, random_state=0)
    >>> sfm.tl.mil(
    ...     cells, use_rep="X_latent", label_key="response", n_folds=2, n_seeds=1, n_heads=2, hidden=8, max_epochs=3
    ... )
    >>> places, types = sfm.pl.attention(cells, "P001_1", cluster_key="type", show=False)
    >>> types.get_ylabel()
    'type'
    """
    of_tissue = key in adata.obsm
    rows, sample = _rows_of(adata, sample, None if of_tissue else key, library_key)
    if not of_tissue:
        _check_unchanged(adata, key)
    numbers, scale = (_of_tissue if of_tissue else _values_of)(adata, rows, sample, key, values, output)
    if spatial_key not in adata.obsm:
        raise TableError(f"No coordinates {spatial_key!r} in obsm (spatial_key=); found {listed(adata.obsm)}.")
    end = scale.end(numbers, limit)
    xy = places_in(coordinates(adata, spatial_key, finite=False)[rows], sample, spatial_key)
    types = None if cluster_key is None else _types(adata, cluster_key, rows, min_cells, palette)
    own = ax is None
    axes = _axes(ax, figsize, xy, None if types is None else len(types[1]))
    _map(axes[0], xy, numbers, end, scale)
    axes[0].set(**place_labels(adata, spatial_key))
    if types is not None:
        _boxes(axes[1], numbers, *types, scale)
        axes[1].set_ylabel(cluster_key)
    text = _title(adata, sample, rows, key) if title is None else title
    axes[0].set_title(text, loc="left", fontsize="medium")
    if own and len(axes) > 1:
        letter_panels(axes)
    drawn = finish(axes[0], own=own, show=show, save=save, return_fig=return_fig)
    return tuple(axes) if drawn is axes[0] and len(axes) > 1 else drawn


def power_text(power: float) -> str:
    """Twofold steps as they are read.

    Examples
    --------
    >>> power_text(-2), power_text(0), power_text(3)
    ('1/4', '1', '8')
    """
    return f"1/{2 ** -int(power)}" if power < 0 else f"{2 ** int(power)}"


@dataclass(frozen=True)
class _Scale:
    """How numbers are drawn: attention as powers of two, all else as it is."""

    label: str
    powers: bool

    def end(self, numbers: np.ndarray, limit: float | None) -> float:
        """Where colours end."""
        if self.powers and limit is not None and not limit > 1:
            raise TableError(f"limit={limit} is not a multiple of the average above 1. Pass for example 4.")
        if limit is not None:
            return float(np.log2(limit)) if self.powers else limit
        most = float(np.percentile(np.abs(numbers[np.isfinite(numbers)]), 99))
        return max(most, 1.0) if self.powers else most or 1e-9

    def mean(self, numbers: np.ndarray) -> float:
        """Where the mean is: of attention that of itself, not of its logarithm: the share that a type gets."""
        return float(np.log2(np.mean(2.0**numbers)) if self.powers else np.mean(numbers))


def _rows_of(adata: AnnData, sample: str | None, key: str | None, library_key: str) -> tuple[np.ndarray, str]:
    """Rows of a sample, and its name; `key`: of :func:`spatialfm.tl.mil`."""
    column = f"{key}_attention"
    if key is not None and column not in adata.obs:
        raise TableError(f"No attention in obs[{column!r}]; uns has {listed(adata.uns)}. Make it with sfm.tl.mil.")
    if library_key not in adata.obs:
        raise TableError(f"No column {library_key!r} in obs (library_key=); found {listed(adata.obs.columns, 12)}.")
    samples = adata.obs[library_key].astype(str).to_numpy()
    names = pd.unique(samples)
    if sample is None and len(names) == 1:
        sample = names[0]
    if sample not in names:
        raise TableError(f"sample={sample!r} is not one of {listed(names)}. Pass the sample to draw.")
    return np.flatnonzero(samples == sample), str(sample)


def _check_unchanged(adata: AnnData, key: str) -> None:
    """Refuse networks of other labels or patients."""
    record = adata.uns.get(key)
    if isinstance(record, Mapping):
        check_unchanged(adata, record, key, "mil", fewer=True)


def _values_of(
    adata: AnnData, rows: np.ndarray, sample: str, key: str, values: str, output: str | None
) -> tuple[np.ndarray, _Scale]:
    """What is drawn of each cell ``(n,)``, NaN where there is nothing, and how."""
    if values == "attention":
        column = f"{key}_attention"
        if output is not None:
            raise TableError(f"output={output!r} is of gradients and contributions. Pass values='gradient' with it.")
        if not pd.api.types.is_numeric_dtype(adata.obs[column].dtype):
            raise TableError(f"obs[{column!r}] holds {adata.obs[column].dtype}, not numbers. Run sfm.tl.mil again.")
        numbers, scale = adata.obs[column].to_numpy(dtype=float)[rows], _Scale(LABEL, True)
        drawn = np.log2(np.maximum(numbers, LOWEST))
    else:
        table, output = _of_output(adata, key, values, output)
        numbers = drawn = table[output].to_numpy(dtype=float)[rows]
        what = "Gradient × input of" if values == "gradient" else "Contribution to"
        scale = _Scale(f"{what} {output!r}", False)
    if np.isnan(numbers).all():
        raise TableError(
            f"The patient of sample {sample!r} was left out, as what is predicted was missing: no attention."
        )
    return drawn, scale


def _of_tissue(
    adata: AnnData, rows: np.ndarray, sample: str, key: str, values: str, output: str | None
) -> tuple[np.ndarray, _Scale]:
    """Attention of a channel-summary token to the place of each cell: of the patch summaries, or of one marker."""
    if values != "attention":
        raise TableError(f"values={values!r} is of sfm.tl.mil, and obsm[{key!r}] holds attention. Leave it out.")
    notes = record(adata, key)
    if TISSUE not in str(notes.get("model_options", "")) or notes["output"] not in ("patch", "marker"):
        raise TableError(
            f"obsm[{key!r}] (key=) holds output {notes['output']!r} of {notes['model']!r}, no attention of "
            "channel-summary tokens. Embed with the adapter of sfm.train.finetune(..., level='tissue') and "
            "outputs=['patch', 'marker']."
        )
    attention, names = np.asarray(adata.obsm[key], dtype=float)[rows], [str(name) for name in notes["markers"]]
    if notes["output"] == "patch":
        if output is not None:
            raise TableError(f"output={output!r}: obsm[{key!r}] is of the patch summaries. Pass the key of 'marker'.")
        numbers, what = attention[:, 0], "the patch summaries"
    else:
        if output is None or output not in names:
            raise TableError(f"output={output!r} is not one of the markers {listed(names, 60)}. Pass the one to draw.")
        numbers, what = attention[:, names.index(output)], output
    return np.log2(np.maximum(numbers, LOWEST)), _Scale(f"Attention of {what}\nover that of the average place", True)


def _of_output(adata: AnnData, key: str, values: str, output: str | None) -> tuple[pd.DataFrame, str]:
    """Gradients or contributions, and the class that is drawn."""
    where = f"{key}_{values}"
    if where not in adata.obsm:
        how = "gradients=True" if values == "gradient" else "head='bcos'"
        raise TableError(
            f"No table in obsm[{where!r}]; found {listed(adata.obsm)}. Make it with sfm.tl.mil(..., {how})."
        )
    table = named_table(adata, where)
    names = [str(name) for name in table.columns]
    output = default_output(adata.uns.get(key), names) if output is None else output
    if output not in names:
        raise TableError(f"output={output!r} is not one of {listed(names)}. Pass the class to draw.")
    return table, output


def _types(
    adata: AnnData, cluster_key: str, rows: np.ndarray, min_cells: int, palette: Palette
) -> tuple[np.ndarray, list[str], list[str]]:
    """Code of each cell among the types that are frequent enough (-1: others), their names and colours."""
    if cluster_key not in adata.obs:
        raise TableError(f"No column {cluster_key!r} in obs (cluster_key=); found {listed(adata.obs.columns, 12)}.")
    column = adata.obs[cluster_key].astype("category")
    names = [str(name) for name in column.cat.categories]
    colors = category_colors(names, palette, adata.uns.get(f"{cluster_key}_colors"))
    codes = column.cat.codes.to_numpy()[rows]
    counts = np.bincount(codes[codes >= 0], minlength=len(names))
    frequent = np.flatnonzero(counts >= max(min_cells, 1))
    if not len(frequent):
        raise TableError(
            f"No type of obs[{cluster_key!r}] has {min_cells} cells in this sample. Pass a smaller min_cells=."
        )
    place = np.full(len(names) + 1, -1)
    place[frequent] = np.arange(len(frequent))
    return place[codes], [names[k] for k in frequent], [colors[k] for k in frequent]


def _axes(
    ax: Axes | tuple[Axes, Axes] | None, figsize: tuple[float, float] | None, xy: np.ndarray, n_types: int | None
) -> list[Axes]:
    import matplotlib.pyplot as plt

    n = 1 if n_types is None else 2
    if ax is not None:
        axes = list(np.ravel(np.array(ax, dtype=object)))
        if len(axes) != n:
            raise TableError(f"ax= holds {len(axes)} axes; {n} are drawn. Pass {n}, or none.")
        return axes
    width, height = np.maximum(np.ptp(xy, axis=0), 1)
    inch = 4.0 / max(width, height)
    width, height = float(inch * width + 1.8), float(max(inch * height + 1.0, 2.6))
    if n == 1:
        return [plt.subplots(figsize=figsize or (width, height), layout="constrained")[1]]
    height = max(height, 1.2 + 0.28 * (n_types or 0))
    figure, axes = plt.subplots(
        1, 2, figsize=figsize or (width + 3.9, height), layout="constrained", width_ratios=[width, 3.9]
    )
    figure.get_layout_engine().set(wspace=0.06)
    return list(axes)


def _map(ax: Axes, xy: np.ndarray, numbers: np.ndarray, end: float, scale: _Scale) -> None:
    known = np.isfinite(numbers)
    size = float(np.clip(30_000 / len(xy), 2, 60))
    ax.scatter(*xy[~known].T, c=MISSING, s=size, linewidths=0)
    order = in_random_order(np.flatnonzero(known))
    drawn = ax.scatter(
        *xy[order].T, c=numbers[order], cmap=CMAP, vmin=-end, vmax=end, s=size, edgecolors="0.5", linewidths=0.15
    )
    ax.set(aspect="equal")
    ax.invert_yaxis()
    ax.spines[["top", "right"]].set_visible(False)
    extend = extended(numbers[known], -end, end)
    ticks = np.arange(-int(end), int(end) + 1) if scale.powers else None
    bar = ax.get_figure(root=True).colorbar(drawn, ax=ax, shrink=0.75, pad=0.02, extend=extend, ticks=ticks)
    if ticks is not None:
        bar.ax.set_yticklabels([power_text(tick) for tick in ticks])
    bar.set_label(scale.label)


def _boxes(
    ax: Axes, numbers: np.ndarray, codes: np.ndarray, names: list[str], colors: list[str], scale: _Scale
) -> None:
    parts = [numbers[(codes == k) & np.isfinite(numbers)] for k in range(len(names))]
    order = np.argsort([-np.median(part) for part in parts], kind="stable")
    for row, k in enumerate(order, 1):
        low, first, median, third, high = np.percentile(parts[k], [5, 25, 50, 75, 95])
        ax.plot([low, high], [row, row], color="0.3", lw=0.8, zorder=1)
        ax.barh(row, third - first, left=first, height=0.62, color=colors[k], edgecolor="0.2", linewidth=0.8, zorder=2)
        ax.plot([median, median], [row - 0.31, row + 0.31], color="black", lw=1.6, solid_capstyle="butt", zorder=3)
    means = [scale.mean(parts[k]) for k in order]
    ax.scatter(means, np.arange(1, len(order) + 1), s=16, color="white", edgecolors="black", linewidths=0.8, zorder=4)
    ax.axvline(0, color="0.6", lw=0.8, ls="--", zorder=0)
    ax.set_yticks(np.arange(1, len(order) + 1), [f"{names[k]} ({len(parts[k]):,})" for k in order])
    ax.invert_yaxis()
    if scale.powers:
        low, high = (int(np.floor(ax.get_xlim()[0])), int(np.ceil(ax.get_xlim()[1])))
        step = max(1, (high - low) // 6)
        ticks = np.arange(low - low % step, high + 1, step)
        ax.set_xticks(ticks, [power_text(tick) for tick in ticks])
    else:
        ax.locator_params(axis="x", nbins=3)  # shares of a cell are small numbers with long labels
    ax.set_xlabel(scale.label)
    ax.spines[["top", "right"]].set_visible(False)


def _title(adata: AnnData, sample: str, rows: np.ndarray, key: str) -> str:
    """The sample, and truth and prediction of its patient where they can be found."""
    record = adata.uns.get(key)
    if not isinstance(record, dict) or "patients" not in record:
        return sample
    check_result(record, f"uns[{key!r}]", "mil")
    patients, column = named_table(adata, key, "patients"), record["params"]["case_key"]
    if column not in adata.obs:
        return sample
    name = str(adata.obs[column].iloc[rows[0]])
    if name not in patients.index:
        return sample
    row = patients.loc[name]
    keys = [key for key in np.atleast_1d(record["params"].get("columns", ())) if key in adata.obs]
    if "label" in row and keys and str(adata.obs[keys[0]].iloc[rows[0]]) != str(row["label"]):
        raise TableError(
            f"uns[{key!r}] was made of other data: obs[{str(keys[0])!r}] of {name!r} was {row['label']!r} then. Run "
            "sfm.tl.mil again."
        )
    if not {"label", "target", "risk"} & set(row.index) and "predicted" in row:  # of a published network: no truth
        said = row["predicted"]
        return f"{sample}: predicted {said}" if isinstance(said, str) else f"{sample}: predicted {digits(said)}"
    needed = [f"p_{row['label']}"] if "label" in row else ["predicted"] if "target" in row else ["risk"]
    check_columns(patients, dict.fromkeys(needed, float), f"uns[{key!r}]['patients']", "mil")
    if "label" in row:
        of_label = row[f"p_{row['label']}"]
        return f"{sample}: {row['label']}, held-out probability {of_label:.2f}"
    if "target" in row:
        return f"{sample}: {digits(row['target'])}, held-out prediction {digits(row['predicted'])}"
    return f"{sample}: {'held-out ' if 'fold' in row else ''}log hazard {row['risk']:.2f}"
