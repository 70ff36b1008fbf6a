"""Example cells of each phenotype: small cuts out of the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._errors import SpatialfmError
from .._keys import SPATIAL
from ..pl._crops import PERCENTILES, Cut, cut_around, draw_cut, sample_limits
from ..pl._raster import BEYOND
from ..pp.arrays import channel_names
from ..pp.channels import nuclear_channel
from ..pp.elements import SampleElements, pixel_size
from .elements import Html, note, tag
from .figures import drawn
from .source import Source

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

N_EXAMPLES = 6  # cells of a phenotype
MOST_TYPES = 20
SIDE = 30.0  # µm, of a cut
COLORS = ((0.25, 0.45, 1.0), (1.0, 0.35, 0.1), (0.2, 0.9, 0.3))  # nuclei blue, then the two markers
SHADES = ("#2040b0", "#b04000", "#107020")


def example_cells(source: Source, key: str, scores: pd.DataFrame) -> list[Html]:
    """Cuts around cells drawn at random of each phenotype, or a sentence why there are none.

    Parameters
    ----------
    scores
        How far each marker stands out in each phenotype, as from `marker_means`.
    """
    if lacking := _lacking(source):
        return [note(f"No example cells are shown: {lacking}.", kind="absent")]
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


def choose(source: Source, key: str) -> dict[str, list[Cut]]:
    """Up to `N_EXAMPLES` random cells of each phenotype, from the images that are looked at.

    A cell whose mask is not where the table has its centre is left out: the cut would show another one.
    """
    cells, pairs = source.cells, {pair.labels: pair for pair in source.looked_at if pair.labels is not None}
    regions, numbers = source.annotated
    xy = np.asarray(cells.obsm[SPATIAL], dtype=float)[:, :2]
    there = np.isin(regions, list(pairs)) & np.isfinite(xy).all(axis=1) & cells.obs[key].notna().to_numpy()
    rows = np.flatnonzero(there)
    rng = np.random.default_rng(0)
    cuts: dict[str, list[Cut]] = {}
    types = cells.obs[key].astype(str).to_numpy()[rows]
    for name in sorted(set(types)):
        examples: list[Cut] = []
        for row in rng.permutation(rows[types == name])[: 3 * N_EXAMPLES]:
            example = cut_around(source.sdata, pairs[regions[row]], xy[row], int(numbers[row]), SIDE)
            if example is not None:
                examples.append(replace(example, row=int(row)))
            if len(examples) == N_EXAMPLES:
                break
        cuts[str(name)] = examples
    return cuts


def _lacking(source: Source) -> str:
    """What examples need and is not there."""
    cells = source.cells
    if source.sdata is None or not source.looked_at:
        return "there are no images to cut them from"
    if SPATIAL not in cells.obsm:
        return f"the cells have no obsm[{SPATIAL!r}]"
    if cells.X is None or not cells.n_vars:
        return "the cells have no values of markers"
    if all(pixel_size(source.sdata, pair) is None for pair in source.looked_at):
        return "the size of a pixel is not known"
    try:
        _ = source.annotated
    except SpatialfmError as error:
        return str(error).rstrip(".")
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


def _draw(source: Source, chosen: dict[str, list[Cut]], panels: dict[str, list[str]]) -> Figure:
    import matplotlib.pyplot as plt

    width, names = 1.05 * N_EXAMPLES, 1.7  # inches
    figure, axes = plt.subplots(
        len(chosen), N_EXAMPLES, figsize=(width + names, 1.05 * len(chosen)), squeeze=False, facecolor="white"
    )
    figure.subplots_adjust(left=names / (width + names), right=1, top=1, bottom=0, wspace=0.04, hspace=0.04)
    of_sample: dict[str, dict[int, Cut]] = {}
    for example in (one for examples in chosen.values() for one in examples):
        of_sample.setdefault(example.pair.sample, {})[example.row] = example
    limits = {sample: _limits(source, cuts) for sample, cuts in of_sample.items()}
    for row, (name, examples) in zip(axes, chosen.items(), strict=True):
        for ax in row:
            ax.set(xticks=[], yticks=[], facecolor=BEYOND)
            ax.spines[:].set_visible(False)
        for ax in row[len(examples) :]:
            ax.set_axis_off()
        for ax, example in zip(row, examples, strict=False):
            colors = dict(zip(panels[name], COLORS, strict=False))
            draw_cut(ax, source.sdata, example, colors, limits[example.pair.sample])
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


def _limits(source: Source, cuts: Mapping[int, Cut]) -> pd.DataFrame:
    """Intensities of each marker that become black and full colour, from the means of the cells of a sample."""
    regions, _ = source.annotated
    labels = next(iter(cuts.values())).pair.labels
    return sample_limits(source.sdata, source.cells, np.flatnonzero(regions == labels), cuts)
