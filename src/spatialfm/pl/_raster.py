"""Pixels for plots: read the few that are seen, mix channels, paint cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import to_rgb

from ..pp.arrays import AxisAffine
from ._figure import MISSING

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

FINE = 600  # pixels along the longer side of a raster, from which on borders are lines and not rows of blocks
LINE = 400  # of them to one of a border's width: a quarter to a third of a percent of the side
BEYOND = "0.3"  # where there is no image; unlike dark tissue
Extent = tuple[float, float, float, float]  # left, right, bottom, top, as matplotlib has it; y points down


@dataclass(frozen=True)
class SlideWindow:
    """Part of a slide, in µm."""

    x0: float
    y0: float
    x1: float
    y1: float


def read_raster(
    array: xr.DataArray, to_um: AxisAffine, window: SlideWindow, max_pixels: int
) -> tuple[np.ndarray, Extent]:
    """The pixels ``(..., y, x)`` that the window touches, thinned out to `max_pixels` per side, and their place.

    Channels are averaged over the pixels that become one; of labels one in each is taken.
    """
    inverse = to_um.inverse()
    (y0, x0), (y1, x1) = inverse(window.y0, window.x0), inverse(window.y1, window.x1)
    rows, columns = _pixel_range(y0, y1, array.sizes["y"]), _pixel_range(x0, x1, array.sizes["x"])
    part = array.isel(y=slice(*rows), x=slice(*columns))
    step = max(1, -(-max(part.sizes["y"], part.sizes["x"]) // max_pixels))
    if step > 1 and "c" in array.dims:
        part = part.coarsen(y=step, x=step, boundary="pad").mean()
    elif step > 1:
        part = part.isel(y=slice(step // 2, None, step), x=slice(step // 2, None, step))
    pixels = np.asarray(part.data.compute() if hasattr(part.data, "compute") else part.data)
    top, left = to_um(rows[0], columns[0])
    bottom, right = to_um(rows[0] + pixels.shape[-2] * step, columns[0] + pixels.shape[-1] * step)
    return pixels, (left, right, bottom, top)


def composite(pixels: np.ndarray, colors: Sequence[str], percentiles: tuple[float, float]) -> np.ndarray:
    """Sum ``(y, x, 3)`` of coloured channels ``(c, y, x)``, each between its percentiles."""
    mixed = np.zeros((*pixels.shape[1:], 3))
    for channel, color in zip(pixels.astype(np.float64), colors, strict=True):
        finite = channel[np.isfinite(channel)]
        low, high = np.percentile(finite, percentiles) if finite.size else (0.0, 0.0)
        if high <= low and finite.size:  # nearly empty: a few bright pixels are still to be seen
            high = float(finite.max())
        if high > low:
            mixed += np.nan_to_num(np.clip((channel - low) / (high - low), 0, 1))[..., None] * np.array(to_rgb(color))
    return np.clip(mixed, 0, 1)


def paint(pixels: np.ndarray, labels: np.ndarray, rgb: np.ndarray, fill: bool) -> tuple[np.ndarray, int]:
    """Label image ``(y, x)`` in colour.

    Parameters
    ----------
    labels, rgb
        ``(n,)`` labels and their ``(n, 3)`` colours; another label is grey.
    fill
        Whether to fill cells and darken their border, or to draw the border alone.

    Returns
    -------
    RGBA ``(y, x, 4)``, transparent where nothing is drawn, and the number of labels without colour.
    """
    from skimage.segmentation import find_boundaries

    present, inverse = np.unique(pixels, return_inverse=True)
    table = np.tile([*to_rgb(MISSING), 1.0], (present.size, 1))
    order = np.argsort(labels)
    place = np.minimum(np.searchsorted(labels[order], present), max(labels.size - 1, 0))
    known = (labels[order][place] == present) & (present != 0)
    table[known, :3] = rgb[order][place[known]]
    table[present == 0] = 0
    rgba = table[inverse.reshape(pixels.shape)]
    border = find_boundaries(pixels, mode="inner")
    if fill:
        rgba[border, :3] *= 0.6
    else:
        # one pixel of a large image would not be seen
        for _ in range(max(pixels.shape) // LINE):
            border = _grow(border)
        rgba[~border | (pixels == 0)] = 0
    return rgba, int((~known & (present != 0)).sum())


def fine(pixels: np.ndarray, side: int = FINE) -> np.ndarray:
    """Labels ``(y, x)`` in `side` pixels or more: smaller ones, so that outlines are lines and not rows of blocks."""
    factor = -(-side // max(pixels.shape))
    return pixels.repeat(factor, axis=0).repeat(factor, axis=1)


def draw_scale_bar(ax: Axes, window: SlideWindow, unit: str, dark: bool) -> None:
    """A bar of a round length, about a fifth of the width."""
    from matplotlib.font_manager import FontProperties
    from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

    length = round_length((window.x1 - window.x0) / 5)
    ink, paper = ("white", "black") if dark else ("black", "white")
    bar = AnchoredSizeBar(
        ax.transData, length, f"{length:g} {unit}", "lower right", pad=0.35, borderpad=0.5, sep=3, color=ink,
        size_vertical=(window.y1 - window.y0) / 120, fontproperties=FontProperties(size="small"),
    )  # fmt: skip
    bar.patch.set(facecolor=paper, alpha=0.6, linewidth=0)
    ax.add_artist(bar)


def round_length(about: float) -> float:
    """The largest of 1, 2, 5, 10, ... that is not above `about`."""
    power = 10.0 ** np.floor(np.log10(about))
    return float(power * max(step for step in (1, 2, 5) if step * power <= about * (1 + 1e-9)))


def _pixel_range(low: float, high: float, size: int) -> tuple[int, int]:
    """Whole pixels that a range touches; a hair's breadth of rounding does not count."""
    first = min(max(int(np.floor(low + 1e-6)), 0), size - 1)
    return first, max(min(int(np.ceil(high - 1e-6)), size), first + 1)


def _grow(mask: np.ndarray) -> np.ndarray:
    grown = mask.copy()
    grown[1:] |= mask[:-1]
    grown[:-1] |= mask[1:]
    grown[:, 1:] |= mask[:, :-1]
    grown[:, :-1] |= mask[:, 1:]
    return grown
