"""Reconstructed images beside what was measured: input, prediction and difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np

from .._errors import ElementError, TableError, listed
from .._public import public
from ..pp.predicted import Pair, PredictedImage, paired_pixels, predicted_images
from ..stats.reconstruction import pearson
from ._figure import finish, new_panels
from ._heatmap import extended

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from spatialdata import SpatialData

COLUMNS = ("measured", "input (grey: hidden)", "reconstruction", "difference")
AT_ONCE = 4  # samples that are drawn, where none are named
MOST = 1024  # pixels a side that are drawn; larger images are averaged down
TOP = 99.0  # percentile of the measured image at which colours end (VirTues' figures)
MASKED = "#8FA3B8"  # hidden pixels: no colour of the map


@public
def reconstruction(
    sdata: SpatialData,
    marker: str,
    *,
    samples: str | Sequence[str] | None = None,
    key: str = "reconstructed",
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Sequence[Axes] | None = None,
    show: bool | None = None,
    save: str | PathLike | None = None,
    return_fig: bool | None = None,
) -> np.ndarray | Figure | None:
    """Draw one marker of reconstructed images: measured, what a model saw of it, its prediction, and the difference.

    One row per image, with Pearson's r over the pixels that were hidden. Measured, input and reconstruction have one
    scale, which ends at the 99th percentile of the measured image. The difference is predicted less measured, red
    where more was predicted. Measured pixels are averaged to the model's; images of more than 1,024 pixels a side are
    averaged down, and r is then that of the averages.

    Parameters
    ----------
    sdata
        Images after `spatialfm.tl.reconstruct` or `spatialfm.tl.impute_markers`, in intensities.
    marker
        Marker to draw.
    samples
        Samples (default: all that were reconstructed, four at most).
    key
        Ending of the names of the images.
    title
        Title of the figure (default: the marker).
    figsize
        Width and height in inches of a new figure.
    ax
        Axes to draw into, four for each sample.
    show
        Whether to show the figure (default: if it is new, not saved, and there is a screen).
    save
        File to save to.
    return_fig
        Whether to return the figure.

    Returns
    -------
    The figure with `return_fig`, None when it was shown, the axes ``(samples, 4)`` otherwise.

    Raises
    ------
    ElementError
        If nothing was reconstructed under this key, or not in intensities.
    PanelError
        If the marker was not predicted, or not measured in a sample.
    TableError
        If there are not as many axes as pictures.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=128, difficulty="easy")
    >>> tiny = sfm.models.new_encoder("virtues", dim=8, heads=1, depth=2, decoder_depth=1)
    >>> panel = {"markers": ["CD3", "CD20", "CD68"]}
    >>> sfm.tl.reconstruct(sdata, tiny, panel=panel, mode="niche", space="intensity")
    >>> axes = sfm.pl.reconstruction(sdata, "CD20", show=False)
    >>> [ax.get_title(loc="left") for ax in axes[0, [0, 1, 3]]]
    ['measured', 'input (grey: hidden)', 'difference']
    """
    images = _chosen(predicted_images(sdata, key), samples)
    shown = {sample: paired_pixels(sdata, image, marker, MOST) for sample, image in images.items()}
    own, axes = ax is None, _axes(ax, len(shown), figsize)
    for number, (row, (sample, one)) in enumerate(zip(axes, shown.items(), strict=True)):
        _draw(row, one)
        for picture, name in zip(row, COLUMNS, strict=True):
            said = [name] if number == 0 else []
            said += [f"r = {round(_r(one), 2) + 0.0:.2f}"] if name == "reconstruction" else []  # and no -0.00
            picture.set_title(", ".join(said), loc="left", fontsize="medium")
            picture.set(xticks=[], yticks=[])
            picture.spines[:].set_visible(False)
        row[0].set_ylabel(sample, fontsize="medium", parse_math=False)
    if own:
        text = marker if title is None else title
        axes[0, 0].get_figure(root=True).suptitle(text, x=0.01, ha="left", fontsize="medium", parse_math=False)
    first = finish(axes[0, 0], own=own, show=show, save=save, return_fig=return_fig)
    return axes if first is axes[0, 0] else first


def _hidden(one: Pair) -> np.ndarray:
    return np.ones(one.measured.shape, bool) if one.hidden is None else one.hidden


def _r(one: Pair) -> float:
    """Correlation over hidden pixels."""
    used = _hidden(one)
    return pearson(one.measured[used], one.predicted[used])


def _chosen(known: Mapping[str, PredictedImage], samples: str | Sequence[str] | None) -> dict[str, PredictedImage]:
    names = list(known)[:AT_ONCE] if samples is None else [samples] if isinstance(samples, str) else list(samples)
    if lacking := [name for name in names if name not in known]:
        raise ElementError(f"Sample {lacking[0]!r} was not reconstructed (samples=); found {listed(known, 12)}.")
    return {name: known[name] for name in names}


def _axes(ax: Sequence[Axes] | None, n: int, figsize: tuple[float, float] | None) -> np.ndarray:
    across = len(COLUMNS)
    if ax is None:
        return new_panels(n * across, figsize, most=across, panel=(2.15, 2.15), margin=(0.0, 0.5)).reshape(n, across)
    axes = np.asarray(ax, dtype=object).ravel()
    if len(axes) != n * across:
        raise TableError(f"{n} samples need {n * across} axes, four for each; ax= has {len(axes)}.")
    return axes.reshape(n, across)


def _draw(row: np.ndarray, one: Pair) -> None:
    top = float(np.percentile(one.measured, TOP))
    top = top if top > 0 else float(np.abs(one.predicted).max()) or 1.0
    scale: dict[str, Any] = {"cmap": "magma", "vmin": 0, "vmax": top, "interpolation": "nearest"}
    row[0].imshow(one.measured, **scale)
    shaded = mpl.colormaps["magma"].with_extremes(bad=MASKED)
    row[1].imshow(np.ma.masked_array(one.measured, _hidden(one)), **{**scale, "cmap": shaded})
    if one.hidden is None:
        row[1].text(0.5, 0.5, "hidden as a whole", transform=row[1].transAxes, ha="center", va="center", color="white")
    picture = row[2].imshow(one.predicted, **scale)
    difference = one.predicted - one.measured
    reach = float(np.percentile(np.abs(difference), TOP)) or 1.0
    other = row[3].imshow(difference, cmap="RdBu_r", vmin=-reach, vmax=reach, interpolation="nearest")
    figure = row[0].get_figure(root=True)
    seen = np.concatenate([one.measured.ravel(), one.predicted.ravel()])  # pictures of one scale
    bars = (
        (picture, row[2], "intensity", extended(seen, 0, top)),
        (other, row[3], "predicted minus measured", extended(difference, -reach, reach)),
    )
    for mappable, place, label, extend in bars:
        bar = figure.colorbar(mappable, ax=place, shrink=0.75, aspect=18, pad=0.03, extend=extend)
        bar.set_label(label, fontsize="small")
        bar.ax.tick_params(labelsize="small")
        bar.outline.set_visible(False)
