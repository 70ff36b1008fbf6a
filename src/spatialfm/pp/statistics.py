"""``sfm.pp.marker_statistics``: mean and standard deviation of every marker over the tissue of a cohort.

This file alone of `pp` imports from `embed`: the numbers are those that an embedding would be normalised with, by the
code that makes these. `embed` rests on other files of `pp`, not on this one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pandas as pd

from .._errors import PixelSizeError
from .._public import public
from ..embed.markers.panel import resolve_panel
from ..embed.pixels.geometry import common_pixel_size, resampling_ratios
from ..embed.pixels.levels import say_levels
from ..embed.pixels.odd_report import report_odd_pixels
from ..embed.pixels.open import open_readers
from ..embed.pixels.statistics import merged, moments_of_images
from ..embed.pixels.tissue import tissue_notes
from .arrays import channel_names, image_array
from .elements import match_elements
from .missing_chunks import report_missing_chunks
from .pixel_sizes import image_pixel_sizes
from .units import intensity_ranges

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from .tissue_sources import Tissue


@dataclass(frozen=True)
class ModelPixels:
    """Pixel sizes of a model's card."""

    mpp: float | None
    mpp_range: tuple[float, float] | None = None
    mpp_reference: float | None = None

    def __post_init__(self) -> None:
        if self.mpp_range is not None and not 0 < self.mpp_range[0] <= self.mpp_range[1]:
            raise PixelSizeError(f"pixel_size={self.mpp_range} is not a range of µm; the smaller size comes first.")


@public
def marker_statistics(
    sdata: SpatialData,
    *,
    image: str | Sequence[str] | Mapping[str, str] | None = None,
    samples: str | Sequence[str] | None = None,
    markers: Sequence[str] | None = None,
    mapping: Mapping[str, str | None] | None = None,
    on_unknown: Literal["raise", "keep", "drop"] = "keep",
    nuisance: Literal["drop", "keep"] = "drop",
    intensity_max: float | Mapping[str, float] | None = None,
    mpp: float | Mapping[str, float] | None = None,
    pixel_size: float | tuple[float, float] | None = None,
    resampling: Literal["triangle", "area"] | None = None,
    tissue: Tissue = "auto",
    on_nan: Literal["raise", "zero"] = "raise",
    per_sample: bool = False,
) -> pd.DataFrame:
    """Mean and standard deviation of every marker over the tissue of all samples.

    The numbers that `spatialfm.tl.embed_cells` normalises with where the statistics are those of the cohort, by the
    same code: to look at, to keep in a file, or to give to a run that embeds other samples. Every pixel of tissue
    counts once, in any sample.

    Models that prepare whole images (VirTues: clipping, logarithm, blur) have statistics of prepared pixels, and refuse
    these. The record of a run holds theirs (`spatialfm.get.record`).

    Parameters
    ----------
    sdata
        Images ``(c, y, x)``.
    image
        Image elements to use (default: all).
    samples
        Samples to use (default: all).
    markers
        Markers to use, as in `spatialfm.tl.embed_cells`.
    mapping
        Channel → marker, as in `spatialfm.tl.embed_cells`.
    on_unknown
        What becomes of channels that are not resolved, as in `spatialfm.tl.embed_cells`.
    nuisance
        What becomes of channels that hold no marker (autofluorescence, blanks, dyes alone), as in `spatialfm.Panel`.
    intensity_max
        Pixel value that becomes 1, or ``{sample: value}``. Default: the range of 8- and 16-bit images; 1 for others.
    mpp
        µm per pixel of the images, or ``{sample: µm}``. Default: from their transformations.
    pixel_size
        µm per pixel that the model was trained on, or the smallest and largest (``mpp`` and ``mpp_range`` of its card;
        KRONOS: ``(0.37, 0.5)``): images more than 10 % off are resampled to it, as for an embedding. A standard
        deviation depends on it. Default: images stay as they are; of different sizes, all are brought to the coarsest.
    resampling
        ``"triangle"``: an antialiased linear filter; ``"area"``: a larger pixel is the mean of those that it covers.
        Default: the first with `pixel_size`, the second without, as models of the two kinds do.
    tissue
        Pixels that count, as in `spatialfm.tl.embed_cells`: the element ``tissue_<sample>`` or all but empty glass
        (``"auto"``), ``"all"``, an element, a mask, or ``{sample: any of these}``.
    on_nan
        Pixels that are NaN or infinite: an error that names image, channel and number, or zero with a warning.
        Negative pixels count as 0, with a warning.
    per_sample
        One row for each sample and marker, instead of all samples together.

    Returns
    -------
    One row for each marker, in the order of the panel (index ``marker``; ``sample`` and ``marker`` if `per_sample`):

    ``mean``, ``std``
        Of pixels divided by `intensity_max`; the standard deviation of the population.
    ``n_pixels``
        Pixels of tissue, at the pixel size of the statistics.

    ``attrs`` of the table hold ``intensity_max``, ``mpp`` (of the statistics), ``tissue`` and ``tissue_kept`` of each
    sample.

    Raises
    ------
    PanelError, PixelSizeError, ElementError, CoordinateError
        If markers, pixel types, pixel sizes or tissue cannot be brought together; as for an embedding.
    RunError
        If pixels are NaN or infinite.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=96, difficulty="easy")
    >>> table = sfm.pp.marker_statistics(sdata)
    >>> list(table.columns), int(table.loc["CD3", "n_pixels"])
    (['mean', 'std', 'n_pixels'], 9216)
    >>> sfm.tl.embed_cells(sdata, "classical", recipe={"statistics": table})
    """
    pairs = match_elements(sdata, image, {}, samples=samples, need_labels=False)
    names = [pair.sample for pair in pairs]
    panel = resolve_panel(
        [channel_names(sdata, pair.image) for pair in pairs],
        markers=markers,
        mapping=mapping,
        on_unknown=on_unknown,
        nuisance=nuisance,
    )
    ranges = intensity_ranges({pair.sample: image_array(sdata, pair.image).dtype for pair in pairs}, intensity_max)
    sizes = image_pixel_sizes(sdata, pairs, mpp, required=pixel_size is not None, common=True)
    model = ModelPixels(pixel_size[1], pixel_size) if isinstance(pixel_size, tuple) else ModelPixels(pixel_size)
    ratios = resampling_ratios(model, sizes, resample=True, common=common_pixel_size(model, sizes))
    used = [None if size is None else size * ratio for size, ratio in zip(sizes, ratios, strict=True)]
    pairs = report_missing_chunks(sdata, pairs)
    area = (resampling or ("area" if pixel_size is None else "triangle")) == "area"
    readers = open_readers(
        sdata, pairs, panel.channels, ratios, used, ranges=ranges, tissue=tissue, on_nan=on_nan, area=area
    )
    report_odd_pixels(names, readers)
    say_levels(names, readers, of_cohort=True)
    parts = moments_of_images(readers)
    if per_sample:
        rows = [_table([part], panel.markers) for part in parts]
        table = pd.concat(dict(zip(names, rows, strict=True)), names=["sample", "marker"])
    else:
        table = _table(parts, panel.markers)
    table.attrs = {
        "intensity_max": ranges,
        "mpp": dict(zip(names, used, strict=True)),
        **tissue_notes(names, readers, used=True),
    }
    return table


def _table(parts: Sequence[dict[str, NDArray]], markers: Sequence[str]) -> pd.DataFrame:
    n_pixels, mean, std = merged(parts)
    return pd.DataFrame({"mean": mean, "std": std, "n_pixels": n_pixels}, index=pd.Index(markers, name="marker"))
