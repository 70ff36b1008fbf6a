"""``sfm.pp.tissue``: where each sample has tissue, as an element that can be looked at, corrected and replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from .._errors import ArgumentError, ElementError, PanelError, listed
from .._keys import ATTRS, TISSUE, TISSUE_PREFIX
from .._logging import logger
from .._progress import progress_bar
from .._public import public
from .arrays import channel_names, image_array, labels_array
from .elements import match_elements
from .glass import ASSUMED_MPP, find_tissue_mask
from .maps import labels_element
from .missing_chunks import report_missing_chunks
from .otsu import otsu_mask
from .stand_ins import labels_digest
from .tissue_masks import METHOD, SIDE, averaged, pixels_of, squares, warn_of_lost_cells
from .tissue_sources import sources_of_images

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from spatialdata import SpatialData
    from xarray import DataArray

    from .elements import SampleElements
    from .tissue_masks import TissueSource

OF_OTSU = {"smoothing": 10.0, "min_area": 150.0, "max_hole": 100_000.0}  # µm, µm², µm²


@public
def tissue(
    sdata: SpatialData,
    method: Literal["auto", "otsu", "all"] = "auto",
    *,
    image: str | Sequence[str] | Mapping[str, str] | None = None,
    samples: str | Sequence[str] | None = None,
    channels: Sequence[str] | None = None,
    resolution: float | None = None,
    smoothing: float | None = None,
    min_area: float | None = None,
    max_hole: float | None = None,
    overwrite: bool = False,
    copy: bool = False,
) -> dict[str, DataArray] | None:
    """Find the tissue of every sample and write it as an element.

    The element ``tissue_<sample>`` is what the tissue ``"auto"``, the default of every recipe, of
    `spatialfm.pp.marker_statistics` and of `spatialfm.pp.channel_quality`, means from then on: statistics of markers,
    clipping values and tiles rest on it.
    Look at it with `spatialfm.pl.tissue` or napari, paint in it, or replace it with labels (0: no tissue) or shapes of
    the same name. Without it, tissue is found again in each run, on the markers and at the pixel size of the model.

    Parameters
    ----------
    sdata
        Images ``(c, y, x)``.
    method
        ``"auto"``: all of an image, less empty glass: regions that are large, dark in most channels, without segmented
        cells, and whose smoothed intensities are a mode of their own (docs: *Choosing a model*, *Tissue*). An image
        full of tissue stays whole. ``"otsu"``: what is brighter than the threshold of Otsu (1979, IEEE Transactions on
        Systems, Man, and Cybernetics 9:62) of the smoothed mean of the channels; it splits every image in two, also
        one that is full of tissue. ``"all"``: everything.
    image
        Image elements to use (default: all).
    samples
        Samples to use (default: all).
    channels
        Channels to find it on, for example the nuclear stain alone (default: all).
    resolution
        µm of one pixel of the mask, rounded to whole pixels of the image. Default: as many as bring the longer side of
        the image to 512 pixels or fewer. ``"auto"`` was tried at the default.
    smoothing
        ``"otsu"`` only: standard deviation of the Gaussian in µm (default 10, a cell and its neighbours).
    min_area
        ``"otsu"`` only, in µm²: smaller pieces of tissue are removed (default 150).
    max_hole
        ``"otsu"`` only, in µm²: holes up to this size are filled (default 100,000: vessels, ducts, necrosis).
    overwrite
        Whether elements of these names are replaced.
    copy
        Return the masks alone, by sample. The record of how they were made is only written.

    Returns
    -------
    None, or ``{sample: mask}`` if `copy`. Written:

    ``sdata.labels["tissue_<sample>"]``
        ``(y, x)``, 1 tissue, 0 none, with a scale to the coordinate systems of the image.
    ``sdata.attrs["spatialfm"]["tissue"]["tissue_<sample>"]``
        Method, parameters, µm per pixel (0: unknown), the share that is tissue, and the SHA-256 of the mask, by which
        records of embeddings tell whether it was edited.

    Raises
    ------
    ElementError
        If an element is missing, or one of the name to be written exists.
    PanelError
        If `channels` names one that an image does not have.
    ArgumentError
        If an argument of one method is passed to another.
    PixelSizeError
        If a coordinate system is in another unit than µm, so that pixels have a size that cannot be.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=256, glass=0.3, difficulty="easy")
    >>> sfm.pp.tissue(sdata)
    >>> mask = sdata["tissue_P001_1"].values
    >>> truth = sdata["true_tissue_P001_1"].values
    >>> bool((mask == truth).mean() > 0.95)
    True
    """
    settings_named = {"smoothing": smoothing, "min_area": min_area, "max_hole": max_hole}
    if method != "otsu" and (given := [name for name, value in settings_named.items() if value is not None]):
        raise ArgumentError(f"{given[0]}= belongs to method='otsu', not to method={method!r}. Leave it out.")
    options = {name: OF_OTSU[name] if value is None else float(value) for name, value in settings_named.items()}
    pairs = match_elements(sdata, image, {}, samples=samples, need_labels=False)
    if not copy:
        _check_names(sdata, [TISSUE_PREFIX + pair.sample for pair in pairs], overwrite)
    chosen = [_chosen(channel_names(sdata, pair.image), channels, pair.image) for pair in pairs]
    sources = sources_of_images(sdata, pairs, "auto", elements=False)
    pairs = report_missing_chunks(sdata, pairs)
    masks = [
        _find(sdata, pair, source, method, kept, resolution, options)
        for pair, source, kept in zip(progress_bar(pairs, desc="tissue", unit="image"), sources, chosen, strict=True)
    ]
    warn_of_lost_cells([pair.sample for pair in pairs], sources, masks)
    masks_of = {}
    for pair, source, (mask, step), kept in zip(pairs, sources, masks, chosen, strict=True):
        element = labels_element(sdata, pair, mask, step, 1)
        masks_of[pair.sample] = element
        if not copy:
            names = channel_names(sdata, pair.image)
            record = {
                "method": method,
                "channels": [names[channel] for channel in kept],
                **(options if method == "otsu" else METHOD if method == "auto" else {}),
                "mpp": 0.0 if source.size is None else source.size * step,
                "share": round(float(mask.mean()), 6),
            }
            _write(sdata, TISSUE_PREFIX + pair.sample, element, record)
    shares = listed([f"{pair.sample} {mask.mean():.0%}" for pair, (mask, _) in zip(pairs, masks, strict=True)], 5)
    logger.info(f"tissue: {shares}")
    return masks_of if copy else None


def _chosen(names: Sequence[str], asked: Sequence[str] | None, image: str) -> list[int]:
    if asked is None:
        return list(range(len(names)))
    if missing := [name for name in asked if name not in names]:
        raise PanelError(f"No channel {missing[0]!r} in image {image!r} (channels=); found {listed(names, 50)}.")
    if not len(asked):
        raise PanelError("channels= is empty. Name one or more, or leave it out to take all.")
    return [names.index(name) for name in asked]


def _find(
    sdata: SpatialData,
    pair: SampleElements,
    source: TissueSource,
    method: str,
    channels: Sequence[int],
    resolution: float | None,
    options: Mapping[str, float],
) -> tuple[np.ndarray, int]:
    """Mask of one image, and how many of its pixels one of the mask spans."""
    image = image_array(sdata, pair.image).data
    shape, size = image.shape[-2:], source.size
    step = squares(shape, SIDE)
    if resolution is not None:
        if size is None:
            raise ElementError(
                f"The pixel size of image {pair.image!r} is unknown, so that resolution= in µm means nothing. Leave it "
                "out, or set the size with spatialdata.transformations.set_transformation(...)."
            )
        step = max(1, round(resolution / size))
    if method == "all":
        return np.ones([-(-side // step) for side in shape], bool), step
    part = image if len(channels) == len(image) else image[list(channels)]
    small = averaged(pixels_of(part), len(channels), shape, step)
    of_mask = (ASSUMED_MPP if size is None else size) * step
    if method == "otsu":
        return otsu_mask(small, of_mask, **options), step
    return find_tissue_mask(small, of_mask, source.where_cells_are(shape, step)), step


def _check_names(sdata: SpatialData, names: Sequence[str], overwrite: bool) -> None:
    """Refuse to write over masks that somebody may have corrected, and names of other kinds of elements."""
    for kind in ("labels", "shapes"):
        if not overwrite and (taken := [name for name in names if name in getattr(sdata, kind)]):
            raise ElementError(
                f"sdata already has {kind} {taken[0]!r}, in which corrections would be lost. Keep them, or pass "
                "overwrite=True, or copy=True to have the masks returned."
            )
    for kind in ("images", "points", "tables"):
        if taken := [name for name in names if name in getattr(sdata, kind)]:
            raise ElementError(
                f"Tissue cannot be written as labels {taken[0]!r}: sdata.{kind} holds one of that name. Rename it "
                "first, or pass copy=True to have the masks returned."
            )


def _write(sdata: SpatialData, name: str, element: DataArray, record: Mapping[str, object]) -> None:
    for kind in (sdata.labels, sdata.shapes):
        if name in kind:
            del kind[name]
    sdata.labels[name] = element
    attrs = dict(sdata.attrs.get(ATTRS, {}))
    digest = labels_digest(labels_array(sdata, name).data)
    attrs[TISSUE] = {**attrs.get(TISSUE, {}), name: {**record, "sha256": digest}}
    sdata.attrs[ATTRS] = attrs
