"""Where samples have tissue, over their images."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import to_rgba

from .._errors import ElementError, PanelError, TableError, listed
from .._public import public
from ..pp.arrays import channel_names, image_array
from ..pp.channels import nuclear_channel
from ..pp.elements import image_to_system, match_elements
from ..pp.tissue_sources import own_element, sources_of_images
from ..pp.units import length_unit
from ._figure import finish, new_panels
from ._raster import SlideWindow, draw_scale_bar, read_raster

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from spatialdata import SpatialData

    from ..pp.elements import SampleElements
    from ..pp.tissue_masks import TissueSource

BRIGHTEST = 99.5  # percentile of the shown pixels of a channel that becomes white
LINE, OUTSIDE = "#E69F00", "#0072B2"


@public
def tissue(
    sdata: SpatialData,
    samples: str | Sequence[str] | None = None,
    *,
    channels: str | Sequence[str] | None = None,
    image: str | Sequence[str] | Mapping[str, str] | None = None,
    max_pixels: int = 800,
    figsize: tuple[float, float] | None = None,
    ax: Axes | Sequence[Axes] | None = None,
    show: bool | None = None,
    save: str | PathLike | None = None,
    return_fig: bool | None = None,
) -> np.ndarray | Figure | None:
    """Draw the tissue of each sample: its outline over the image, in blue what is left out, its share in the title.

    What is drawn is what the tissue ``"auto"`` of a recipe takes: the element ``tissue_<sample>``, made by
    :func:`spatialfm.pp.tissue` or by hand, laid on the image by the transformations of both.

    Parameters
    ----------
    sdata
        Images, and labels or shapes ``tissue_<sample>``.
    samples
        Samples to draw (default: all).
    channels
        Channels shown in grey, the mean of several, each up to its 99.5th percentile. Default: the nuclear stain, or
        all where none is known.
    image
        Images, where they are not called ``image_<sample>``.
    max_pixels
        Most pixels that are drawn along a side.
    figsize
        Width and height in inches of a new figure.
    ax
        Axes to draw into, one for each sample.
    show
        Whether to show the figure (default: if it is new, not saved, and there is a screen).
    save
        File to save to.
    return_fig
        Whether to return the figure.

    Returns
    -------
    The figure with `return_fig`, None when it was shown, otherwise the axes, one for each sample.

    Raises
    ------
    ElementError, CoordinateError
        If a sample has no tissue element, or one that is empty or does not fit its image.
    PanelError
        If an image lacks one of the `channels`.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=128, glass=0.3, difficulty="easy")
    >>> sfm.pp.tissue(sdata)
    >>> axes = sfm.pl.tissue(sdata, show=False)
    >>> axes[0].get_title(loc="left").startswith("P001_1: ")
    True
    """
    pairs = match_elements(sdata, image, {}, samples=samples, need_labels=False)
    if lacking := [pair.sample for pair in pairs if own_element(sdata, pair.sample) is None]:
        raise ElementError(
            f"No element states where {listed(lacking, 8)} {'has' if len(lacking) == 1 else 'have'} tissue. Make them "
            "with sfm.pp.tissue(sdata)."
        )
    shown = [_shown(sdata, pair, channels) for pair in pairs]
    sources = sources_of_images(sdata, pairs, "auto")
    own = ax is None
    if own:
        axes = new_panels(len(pairs), figsize, most=4, panel=(3.2, 3.4))
    else:
        axes = np.atleast_1d(np.asarray(ax, dtype=object)).ravel()
    if len(axes) != len(pairs):
        raise TableError(f"ax= holds {len(axes)} axes; {len(pairs)} samples are to be drawn.")
    for one, pair, source, places in zip(axes, pairs, sources, shown, strict=True):
        _draw(one, sdata, pair, source, places, max_pixels)
    result = finish(axes[0], own=own, show=show, save=save, return_fig=return_fig)
    return axes if result is axes[0] else result


def _shown(sdata: SpatialData, pair: SampleElements, asked: str | Sequence[str] | None) -> list[int]:
    """Indices of the channels to show."""
    names = channel_names(sdata, pair.image)
    if asked is None:
        nuclear = nuclear_channel(names, None, pair.image)
        return list(range(len(names))) if nuclear is None else [nuclear]
    asked = [asked] if isinstance(asked, str) else list(asked)
    if unknown := [name for name in asked if name not in names] or ([""] if not asked else []):
        raise PanelError(f"No channel {unknown[0]!r} in image {pair.image!r} (channels=); found {listed(names, 50)}.")
    return [names.index(name) for name in asked]


def _draw(
    ax: Axes, sdata: SpatialData, pair: SampleElements, source: TissueSource, channels: Sequence[int], max_pixels: int
) -> None:
    image, to_system = image_array(sdata, pair.image), image_to_system(sdata, pair)
    height, width = image.shape[-2:]
    (y0, x0), (y1, x1) = to_system(0, 0), to_system(height, width)
    window = SlideWindow(x0, y0, x1, y1)
    pixels, extent = read_raster(image.isel(c=list(channels)), to_system, window, max_pixels)
    ax.imshow(_grey(pixels), extent=extent, cmap="gray", vmin=0, vmax=1, interpolation="nearest")

    mask, step = source.given(), source.step
    bottom, right = to_system(mask.shape[0] * step, mask.shape[1] * step)
    outside = np.zeros((*mask.shape, 4))
    outside[~mask] = to_rgba(OUTSIDE, 0.45)
    ax.imshow(outside, extent=(x0, right, bottom, y0), interpolation="nearest")
    if not mask.all():
        # beyond the image it goes on as at its edge, where no outline is wanted
        rows, columns = ((np.arange(-1, n + 1) + 0.5) * step for n in mask.shape)
        y, x = to_system(rows, columns)
        ax.contour(x, y, np.pad(mask, 1, mode="edge").astype(float), levels=[0.5], colors=LINE, linewidths=1.2)
    ax.set(xlim=(x0, x1), ylim=(y1, y0), aspect="equal", xticks=[], yticks=[])
    draw_scale_bar(ax, window, length_unit(sdata, pair), True)
    ax.set_title(f"{pair.sample}: {mask.mean():.0%} tissue", loc="left", fontsize="medium")


def _grey(pixels: np.ndarray) -> np.ndarray:
    """Mean ``(y, x)`` of channels ``(c, y, x)``, each between 0 and its brightest shown pixels."""
    mean = np.zeros(pixels.shape[1:])
    for channel in np.nan_to_num(pixels.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0):
        top = np.percentile(channel, BRIGHTEST) or channel.max()
        if top > 0:
            mean += np.clip(channel / top, 0, 1)
    return mean / len(pixels)
