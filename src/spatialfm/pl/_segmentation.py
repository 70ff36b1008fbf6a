"""Outlines of segmented cells over their stains, with what `spatialfm.pp.segmentation_quality` says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.colors import to_rgb

from .._errors import PanelError, TableError, listed
from .._public import public
from ..pp.arrays import channel_names, drawn_kind, image_array
from ..pp.channels import nuclear_channel
from ..pp.drawn_cells import cells_array, numbers_of_rows
from ..pp.elements import image_to_system, labels_to_system, match_elements
from ..pp.units import length_unit
from ._cells import CellColors, _decorate, _figsize, _legends, _window
from ._figure import finish, new_axes
from ._raster import composite, fine, paint, read_raster

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from spatialdata import SpatialData

NUCLEAR, MEMBRANE = "#4F83FF", "#6F6F6F"
PLAIN = "#FFFFFF"
# flags in the order in which one goes before another, and what they are called in the legend
FLAGS = {
    "merged": ("merged", "#D55E00"),
    "split": ("split", "#CC79A7"),
    "cut": ("cut at a seam", "#F0E442"),
    "several_nuclei": ("several nuclei", "#E69F00"),
    "shared_nucleus": ("nucleus shared", "#56B4E9"),
    "no_nucleus": ("no nucleus found", "#009E73"),
    "at_border": ("at the border", "#999999"),
}


@public
def segmentation(
    sdata: SpatialData,
    sample: str,
    quality: pd.DataFrame | None = None,
    *,
    nuclear: str | None = None,
    membrane: str | Sequence[str] | None = None,
    flags: Sequence[str] | None = None,
    crop: tuple[float, float, float, float] | None = None,
    percentiles: tuple[float, float] = (1.0, 99.7),
    image: str | None = None,
    labels: str | None = None,
    palette: Mapping[str, str] | None = None,
    scale_bar: bool = True,
    max_pixels: int = 1500,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | PathLike | None = None,
    return_fig: bool | None = None,
) -> Axes | Figure | None:
    """Outlines of the cells of a sample over its nuclear and membrane stains; cells with a flag in its colour.

    Parameters
    ----------
    sdata
        Image and labels.
    sample
        Sample to draw.
    quality
        What ``spatialfm.pp.segmentation_quality(sdata, by="cell")`` returned (default: all outlines are white).
    nuclear
        Nuclear stain, in blue. Default: the first that `spatialfm.pp.match_markers` recognises as one.
    membrane
        Channels that are shown in grey, each between its own percentiles.
    flags
        Columns of `quality` to show (default: all but ``"at_border"``). A cell that has several is drawn in the colour
        of the first of ``"merged"``, ``"split"``, ``"cut"``, ``"several_nuclei"``, ``"shared_nucleus"``,
        ``"no_nucleus"``, ``"at_border"``.
    crop
        ``(x0, y0, x1, y1)`` in µm (default: the whole image).
    percentiles
        Percentiles of a channel's shown pixels that become black and full colour.
    image
        Image element, where its name does not follow from the sample.
    labels
        Labels element, where its name does not follow from the sample.
    palette
        Other colours, by flag.
    scale_bar
        Whether to draw a scale bar; without one, the axes have ticks in µm.
    max_pixels
        Most pixels that are drawn along a side.
    title
        Title (default: the sample, and the number of cells with and without a flag in `quality`).
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
    ElementError, PanelError, CoordinateError
        If the sample or a channel is missing, or `crop` misses the image.
    TableError
        If `quality` is of other labels, is by sample, or lacks a flag.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=96, difficulty="easy")
    >>> quality = sfm.pp.segmentation_quality(sdata, by="cell")
    >>> ax = sfm.pl.segmentation(sdata, "P001_1", quality, membrane="Cytokeratin", crop=(0, 0, 40, 40), show=False)
    >>> ax.get_title(loc="left").partition(":")[0]
    'P001_1'
    """
    images, given = (None if name is None else {sample: name} for name in (image, labels))
    pair = match_elements(sdata, images, given, samples=[sample])[0]
    stains = _stains(channel_names(sdata, pair.image), nuclear, membrane, pair.image)
    outlines = None if quality is None else _outlines(sdata, quality, sample, str(pair.labels), flags, palette or {})
    to_um = image_to_system(sdata, pair)
    array = image_array(sdata, pair.image)
    window = _window(array, to_um, crop, pair.image)

    own, ax = ax is None, new_axes(ax, figsize or _figsize(window, outlines))
    pixels, extent = read_raster(array.isel(c=[place for _, place, _ in stains]), to_um, window, max_pixels)
    ax.imshow(composite(pixels, [shade for _, _, shade in stains], percentiles), extent=extent, interpolation="nearest")
    cells, extent = read_raster(cells_array(sdata, pair), labels_to_system(sdata, pair), window, max_pixels)
    colors = outlines or _plain(np.unique(cells[cells > 0]))
    painted, _ = paint(fine(cells), colors.labels, colors.rgb, fill=False)
    ax.imshow(painted, extent=extent, interpolation="nearest")
    ax.set(xlim=(window.x0, window.x1), ylim=(window.y1, window.y0), aspect="equal")
    _decorate(ax, window, length_unit(sdata, pair), scale_bar, dark=True)
    _legends(ax, outlines, "outline", {name: shade for name, _, shade in stains})
    ax.set_title(_title(sample, outlines) if title is None else title, loc="left", fontsize="medium")
    return finish(ax, own=own, show=show, save=save, return_fig=return_fig)


def _stains(
    names: list[str], nuclear: str | None, membrane: str | Sequence[str] | None, image: str
) -> list[tuple[str, int, str]]:
    """Name, place and colour of the channels to show."""
    first = nuclear_channel(names, nuclear, image)
    others = [membrane] if isinstance(membrane, str) else list(membrane or ())
    if missing := [name for name in others if name not in names]:
        raise PanelError(f"No channel {missing[0]!r} in image {image!r} (membrane=); found {listed(names, 50)}.")
    stains = [] if first is None else [(names[first], first, NUCLEAR)]
    stains += [(name, names.index(name), MEMBRANE) for name in others]
    if not stains:
        raise PanelError(
            f"No nuclear stain is recognised in image {image!r}: {listed(names, 50)}. Pass "
            "nuclear=<channel>, or membrane=."
        )
    return stains


def _outlines(
    sdata: SpatialData,
    quality: pd.DataFrame,
    sample: str,
    labels: str,
    flags: Sequence[str] | None,
    palette: Mapping[str, str],
) -> CellColors:
    """Colour of each cell: that of its first flag, or white."""
    if missing := [name for name in ("labels", "cell_id") if name not in quality]:
        raise TableError(
            f"quality= has no column {missing[0]!r}. Pass what sfm.pp.segmentation_quality(sdata, by='cell') returns."
        )
    if unknown := [name for name in flags or () if name not in FLAGS or name not in quality]:
        there = [name for name in FLAGS if name in quality]
        raise TableError(f"quality= has no flag {unknown[0]!r} (flags=); it has {listed(there)}.")
    rows = quality[quality["labels"].astype(str) == labels]
    if not len(rows):
        raise TableError(
            f"quality= has no row of labels {labels!r} (sample {sample!r}); it is of "
            f"{listed(quality['labels'].unique())}."
        )
    shown = [
        name for name in FLAGS if name in quality and (name in flags if flags is not None else name != "at_border")
    ]
    rgb, legend = np.tile(to_rgb(PLAIN), (len(rows), 1)), {}
    for name in reversed(shown):  # the first is painted last
        flagged = rows[name].astype("boolean").fillna(False).to_numpy(bool)
        text, shade = FLAGS[name]
        shade = palette.get(name, shade)
        rgb[flagged] = to_rgb(shade)
        if flagged.any():
            legend[text] = shade
    legend = dict(reversed(legend.items())) | {"none of these": PLAIN}
    if drawn_kind(sdata, labels) is not None:  # shapes have ids of any kind
        return CellColors(numbers_of_rows(sdata, labels, rows["cell_id"], "'cell_id' of quality="), rgb, legend)
    return CellColors(rows["cell_id"].to_numpy(np.int64), rgb, legend)


def _plain(labels: np.ndarray) -> CellColors:
    return CellColors(labels.astype(np.int64), np.ones((labels.size, 3)), {})


def _title(sample: str, outlines: CellColors | None) -> str:
    if outlines is None:
        return sample
    flagged = int((outlines.rgb != np.array(to_rgb(PLAIN))).any(axis=1).sum())
    return f"{sample}: {flagged:,} of {len(outlines.labels):,} cells flagged"
