"""Example cells of each phenotype: small cuts out of the images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._keys import INSTANCE_KEY, NUMBER_KEY, SPATIAL
from ..pl._raster import Window, read_raster
from ..pp.arrays import channel_names, image_array
from ..pp.channels import nuclear_channel
from ..pp.drawn_cells import cells_array
from ..pp.elements import SampleElements, image_to_system, labels_to_system, pixel_size
from .elements import Html, note, tag
from .figures import drawn
from .source import Source
from .summaries import marker_means

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

N_EXAMPLES = 6  # cells of a phenotype
MOST_TYPES = 20
SIDE = 30.0  # µm, of a cut
COLORS = ((0.25, 0.45, 1.0), (1.0, 0.35, 0.1), (0.2, 0.9, 0.3))  # nuclei blue, then the two markers
SHADES = ("#2040b0", "#b04000", "#107020")
PERCENTILES = (1.0, 99.5)  # of the means of the cells of the sample: black and full colour


@dataclass(frozen=True)
class Example:
    """One cell: where it is, and its label."""

    pair: SampleElements
    x: float
    y: float
    label: int


def example_cells(source: Source, key: str) -> list[Html]:
    """Cuts around cells drawn at random of each phenotype, or a sentence why there are none."""
    if lacking := _lacking(source):
        return [note(f"No example cells are shown: {lacking}.", kind="absent")]
    _, scores = marker_means(source.cells, key)
    chosen = choose(source, key)
    types = [name for name in scores.index if chosen.get(name)][:MOST_TYPES]
    if not types:
        return [note("No example cells are shown: no cell is in an image that was looked at.", kind="absent")]
    panels = {name: _channels(source, chosen[name][0].pair, scores.loc[name]) for name in types}
    low, high = PERCENTILES
    caption = (
        f"Cells of each phenotype, drawn at random, in cuts of {SIDE:g} µm, their own mask outlined in white. Colours "
        "are the nuclear stain (blue) and up to two markers that stand out in the phenotype (orange, green), named "
        f"beside it. Black and full colour are the {low:g}st and {high:g}th percentile of the means of the cells of "
        "the sample."
    )
    figure = drawn(
        lambda: _draw(source, {name: chosen[name] for name in types}, panels),
        alt=f"Up to {N_EXAMPLES} cells of each of {len(types)} phenotypes: {', '.join(types)}.",
        caption=caption,
    )
    left_out = [name for name in scores.index if name not in types]
    more = [note(f"Without example: {', '.join(left_out)}.", kind="absent")] if left_out else []
    return [tag("h3", "Example cells"), figure, *more]


def choose(source: Source, key: str) -> dict[str, list[Example]]:
    """Up to `N_EXAMPLES` random cells of each phenotype, from the images that are looked at."""
    number = NUMBER_KEY if NUMBER_KEY in source.cells.obs else INSTANCE_KEY
    cells, pairs = source.cells, {pair.sample: pair for pair in source.looked_at if pair.labels is not None}
    frame = pd.DataFrame(
        {
            "type": cells.obs[key].astype(str).to_numpy(),
            "sample": cells.obs[source.keys.library].astype(str).to_numpy(),
            "label": pd.to_numeric(cells.obs[number].astype(str), errors="coerce").fillna(-1).to_numpy(),
            "x": np.asarray(cells.obsm[SPATIAL])[:, 0],
            "y": np.asarray(cells.obsm[SPATIAL])[:, 1],
        }
    )[cells.obs[key].notna().to_numpy()]
    frame = frame[frame["sample"].isin(pairs) & np.isfinite(frame["x"]) & np.isfinite(frame["y"])]
    rng = np.random.default_rng(0)
    found: dict[str, list[Example]] = {}
    for name, rows in frame.groupby("type", sort=True):
        drawn_rows = rows.iloc[rng.permutation(len(rows))[:N_EXAMPLES]]
        found[str(name)] = [
            Example(pairs[row.sample], float(row.x), float(row.y), int(row.label)) for row in drawn_rows.itertuples()
        ]
    return found


def _lacking(source: Source) -> str:
    """What examples need and is not there."""
    cells = source.cells
    if source.sdata is None or not source.looked_at:
        return "there are no images to cut them from"
    if SPATIAL not in cells.obsm or INSTANCE_KEY not in cells.obs or source.keys.library not in cells.obs:
        return f"the cells have no obsm[{SPATIAL!r}], obs[{INSTANCE_KEY!r}] or obs[{source.keys.library!r}]"
    if cells.X is None or not cells.n_vars:
        return "the cells have no values of markers"
    if all(pixel_size(source.sdata, pair) is None for pair in source.looked_at):
        return "the size of a pixel is not known"
    return ""


def _channels(source: Source, pair: SampleElements, scores: pd.Series) -> list[str]:
    """The nuclear stain, if one is known, and the two markers with the highest score."""
    names = channel_names(source.sdata, pair.image)
    stain = nuclear_channel(names, None, pair.image)
    nuclear = [] if stain is None else [names[stain]]
    ranked = [
        name for name in scores.dropna().sort_values(ascending=False).index if name in names and name not in nuclear
    ]
    above = [name for name in ranked if scores[name] > 0] or ranked[:1]  # what is below average does not stand out
    return nuclear + above[: len(COLORS) - len(nuclear)]


def _draw(source: Source, chosen: dict[str, list[Example]], panels: dict[str, list[str]]) -> Figure:
    import matplotlib.pyplot as plt

    width, names = 1.05 * N_EXAMPLES, 1.7  # inches
    figure, axes = plt.subplots(
        len(chosen), N_EXAMPLES, figsize=(width + names, 1.05 * len(chosen)), squeeze=False, facecolor="white"
    )
    figure.subplots_adjust(left=names / (width + names), right=1, top=1, bottom=0, wspace=0.04, hspace=0.04)
    limits: dict[str, pd.DataFrame] = {}
    for row, (name, examples) in zip(axes, chosen.items(), strict=True):
        for ax in row:
            ax.set(xticks=[], yticks=[], facecolor="black")  # beyond the border of an image is nothing
            ax.spines[:].set_visible(False)
        for ax in row[len(examples) :]:
            ax.set_axis_off()
        for ax, example in zip(row, examples, strict=False):
            sample = example.pair.sample
            if sample not in limits:
                limits[sample] = _limits(source, sample)
            _draw_one(ax, source, example, panels[name], limits[sample])
        _name(row[0], name, panels[name])
    return figure


def _name(ax: Axes, name: str, channels: Sequence[str]) -> None:
    """Phenotype and channels, left of its row, each channel in a dark shade of its colour."""
    lines = [(name, "black", "bold")]
    lines += [(channel, shade, "normal") for channel, shade in zip(channels, SHADES, strict=False)]
    for place, (text, color, weight) in enumerate(lines):
        ax.text(
            -0.06, 0.5 + 0.19 * ((len(lines) - 1) / 2 - place), text, transform=ax.transAxes, ha="right", va="center",
            fontsize=8, color=color, fontweight=weight, parse_math=False,
        )  # fmt: skip


def _limits(source: Source, sample: str) -> pd.DataFrame:
    """Intensities of each marker that become black and full colour, from the means of the cells of a sample."""
    rows = (source.cells.obs[source.keys.library].astype(str) == sample).to_numpy()
    values = source.cells.X[rows]
    values = np.asarray(values.toarray() if hasattr(values, "toarray") else values, dtype=np.float64)
    with np.errstate(all="ignore"):
        low, high = np.nanpercentile(values, PERCENTILES, axis=0) if len(values) else np.zeros((2, values.shape[1]))
    return pd.DataFrame({"low": low, "high": high}, index=source.cells.var_names.astype(str))


def _draw_one(ax: Axes, source: Source, example: Example, channels: Sequence[str], limits: pd.DataFrame) -> None:
    sdata, pair = source.sdata, example.pair
    half = SIDE / 2
    window = Window(example.x - half, example.y - half, example.x + half, example.y + half)
    names = channel_names(sdata, pair.image)
    there = [name for name in channels if name in names and name in limits.index]
    array = image_array(sdata, pair.image).isel(c=[names.index(name) for name in there])
    pixels, extent = read_raster(array, image_to_system(sdata, pair), window, 400)
    mixed = np.zeros((*pixels.shape[1:], 3))
    for name, channel in zip(there, pixels.astype(np.float64), strict=True):
        low, high = limits.loc[name, "low"], limits.loc[name, "high"]
        if high > low:
            share = np.nan_to_num(np.clip((channel - low) / (high - low), 0, 1))
            mixed += share[..., None] * np.array(COLORS[list(channels).index(name)])
    ax.imshow(np.clip(mixed, 0, 1), extent=extent, interpolation="nearest")
    ids, place = read_raster(cells_array(sdata, pair), labels_to_system(sdata, pair), window, 400)
    if min(ids.shape) > 1 and (ids == example.label).any() and not (ids == example.label).all():
        ax.contour(ids == example.label, levels=[0.5], colors="white", linewidths=1.1, extent=place, origin="upper")
    ax.set(xlim=(window.x0, window.x1), ylim=(window.y1, window.y0))
