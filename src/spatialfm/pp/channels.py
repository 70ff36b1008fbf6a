"""Whether the channels of an image are worth embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._errors import PanelError, listed
from .._progress import progress_bar
from .._public import public
from .._types import is_short
from .arrays import channel_names, image_array
from .elements import match_elements
from .measure import loaded, plan_blocks
from .missing_chunks import report_missing_chunks
from .tissue_masks import tissue_below, tissue_of_images, warn_of_lost_cells
from .tissue_sources import sources_of_images

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from spatialdata import SpatialData

    from .tissue_sources import Tissue

MAX_SAMPLE = 2**20  # pixels of a channel that percentiles are taken of
MOST_SNR = 1000.0  # above, the dark pixels are at 0 but for a few: how far is not told by the image
BLANK_SNR = 1.5  # bright pixels less than this many times the dark ones: nothing was stained, or nothing was found
ROUNDING = 1e-12  # of squares in double precision
SATURATED = 0.01  # share of pixels at the largest value that is worth a look


@public
def channel_quality(
    sdata: SpatialData,
    *,
    image: str | Sequence[str] | Mapping[str, str] | None = None,
    samples: Sequence[str] | None = None,
    nuclear: str | None = None,
    tissue: Tissue = "auto",
) -> pd.DataFrame:
    """Signal, noise, saturation and sharpness of every channel of every image, over its tissue.

    Images are read block by block. Percentiles are taken of at most a million pixels, evenly spread.

    Parameters
    ----------
    sdata
        Images ``(c, y, x)``.
    image
        Image elements to use (default: all).
    samples
        Samples to use (default: all).
    nuclear
        Nuclear stain to correlate with. Default: the first channel that `spatialfm.pp.match_markers` recognises as one.
    tissue
        Pixels that count, as in `spatialfm.tl.embed_cells`: the element ``tissue_<sample>`` or all but empty glass
        (``"auto"``), ``"all"``, an element, a mask, or ``{sample: any of these}``. Between glass and tissue even a
        channel without stain has a contrast.

    Returns
    -------
    One row per sample and channel:

    ``mean``
        In the units of the image.
    ``snr``
        Mean of the brightest 5 % of pixels over the mean of the darkest 50 %; negative pixels count as 0, here and
        below. At most 1,000, which is also what half the pixels at 0 give; 1 where all are 0.
    ``dynamic_range``
        99.9th minus 0.1th percentile, as a share of the range of the pixel type (of floats, integers with sign and
        those of 32 bits or more: of the largest value of the image).
    ``saturated``
        Share of pixels at the largest value of the pixel type (of floats, integers with sign and those of 32 bits
        or more: at the largest value that occurs in the image).
    ``sharpness``
        Standard deviation of the Laplacian over that of the pixels: falls with blur, rises with noise. Compare images
        of one channel and one pixel size with each other, not channels.
    ``nuclear_correlation``
        Pearson correlation with the nuclear stain, over the pixels at which both are finite.
    ``invalid``
        NaN and infinite pixels of the whole image, which are left out of all else.
    ``tissue``
        Share of the image that is tissue.
    ``negative``
        Pixels of the whole image below 0, as of images from which a background was subtracted, or that mark missing
        data by -9999.
    ``note``
        ``"constant"``, ``"negative"``, ``"saturated"``, ``"blank"``, or empty.

    Raises
    ------
    PanelError
        If `nuclear` is not a channel of an image.
    ElementError, CoordinateError
        If `tissue` names an element that is missing, is empty, or does not cover its image.
    PixelSizeError
        If tissue is to be found where a coordinate system is in another unit than µm.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=96, difficulty="easy")
    >>> quality = sfm.pp.channel_quality(sdata)
    >>> float(quality.loc[("P001_1", "DAPI"), "nuclear_correlation"].round(3))
    1.0
    """
    pairs = report_missing_chunks(sdata, match_elements(sdata, image, {}, samples=samples, need_labels=False))
    stains = [nuclear_channel(channel_names(sdata, pair.image), nuclear, pair.image) for pair in pairs]
    sources = sources_of_images(sdata, pairs, tissue)
    rows, masks = [], []
    bar = progress_bar(
        pairs,
        desc="channels",
        unit="image",
    )
    for pair, stain, mask in zip(bar, stains, tissue_of_images(sdata, pairs, sources), strict=True):
        masks.append(mask)
        names = channel_names(sdata, pair.image)
        for name, row in zip(names, _measure(image_array(sdata, pair.image).data, stain, *mask), strict=True):
            rows.append({"sample": pair.sample, "channel": name, **row})
    warn_of_lost_cells([pair.sample for pair in pairs], sources, masks)
    return pd.DataFrame(rows).set_index(["sample", "channel"])


def nuclear_channel(names: Sequence[str], asked: str | None, image: str) -> int | None:
    """Index of the nuclear stain: the one asked for, or the first that is known as one."""
    if asked is not None:
        if asked not in names:
            raise PanelError(f"No channel {asked!r} in image {image!r} (nuclear=); found {listed(names, 50)}.")
        return names.index(asked)
    return next(iter(nuclear_stains(names)), None)


def nuclear_stains(names: Sequence[str]) -> list[int]:
    """Indices of all channels that are known as stains of nuclei."""
    from .panel import match_markers

    known = match_markers(names)
    stains = known.index[known["compartment"].astype(str).str.contains("nucle") & known["marker"].isin(STAINS)]
    return [int(stain) for stain in stains]


STAINS = ("DAPI", "Hoechst", "DNA", "DNA1", "DNA2", "Histone H3", "DRAQ5", "SYTOX")


def _measure(image, stain: int | None, mask: np.ndarray, step: int) -> list[dict[str, object]]:
    """Properties of each channel over the tissue; neighbouring blocks share a border of one pixel for the Laplacian."""
    n, height, width = image.shape
    every = max(1, int(np.ceil(np.sqrt(height * width / MAX_SAMPLE))))
    names = ("n", "x", "xx", "l", "ll", "top", "laplacians", "invalid", "negative")
    names += ("both", "bx", "bxx", "bs", "bss", "bxs")  # of pixels at which the stain is finite, too
    sums = {name: np.zeros(n) for name in names}
    parts: list[list[np.ndarray]] = [[] for _ in range(n)]
    top = brightest(image)
    for y0, y1, x0, x1 in plan_blocks(image):
        block = loaded(image[:, max(y0 - 1, 0) : y1 + 1, max(x0 - 1, 0) : x1 + 1])
        inner = (slice(min(y0, 1), min(y0, 1) + y1 - y0), slice(min(x0, 1), min(x0, 1) + x1 - x0))
        tissue = tissue_below(mask, step, (y0, y1), (x0, x1))
        around_here = tissue_below(mask, step, *_with_neighbours(block, y0, x0))
        of_stain = None if stain is None else block[stain][inner].astype(np.float64)
        for channel in range(n):
            whole = block[channel].astype(np.float64)
            whole[~np.isfinite(whole)] = np.nan
            values = whole[inner]
            finite = np.isfinite(values)
            valid = finite & tissue
            sums["invalid"][channel] += (~finite).sum()
            sums["negative"][channel] += (values < 0).sum()
            measured = values[valid]
            sums["n"][channel] += measured.size
            sums["x"][channel] += measured.sum()
            sums["xx"][channel] += (measured**2).sum()
            sums["top"][channel] += (measured >= top).sum()
            if of_stain is not None:
                both = valid & np.isfinite(of_stain)
                x, s = values[both], of_stain[both]
                for name, part in (("both", both), ("bx", x), ("bxx", x**2), ("bs", s), ("bss", s**2), ("bxs", x * s)):
                    sums[name][channel] += part.sum()
            around = whole[1:-1, 1:-1] * -4 + whole[:-2, 1:-1] + whole[2:, 1:-1] + whole[1:-1, :-2] + whole[1:-1, 2:]
            around = around[np.isfinite(around) & around_here]
            sums["laplacians"][channel] += around.size
            sums["l"][channel] += around.sum()
            sums["ll"][channel] += (around**2).sum()
            first = (-y0 % every, -x0 % every)  # the same pixels however the image is cut
            thinned = (slice(first[0], None, every), slice(first[1], None, every))
            parts[channel].append(values[thinned][valid[thinned]])
    scale = float(top) if top > 0 else 1.0
    rows = []
    for channel in range(n):
        of_channel = {name: values[channel] for name, values in sums.items()}
        rows.append(_row(of_channel, np.concatenate(parts[channel]), scale, stain) | {"tissue": mask.mean()})
    return rows


def _with_neighbours(block: np.ndarray, y0: int, x0: int) -> list[tuple[int, int]]:
    """Rows and columns of a block, read with a border, whose four neighbours are in it."""
    starts = (max(start - 1, 0) + 1 for start in (y0, x0))
    return [(start, start + size - 2) for start, size in zip(starts, block.shape[-2:], strict=True)]


def brightest(image) -> float:
    """Value of a saturated pixel: the largest of the type, or of those that occur where the type says nothing of it."""
    return float(np.iinfo(image.dtype).max) if is_short(image.dtype) else _largest(image)


def _largest(image) -> float:
    blocks = (loaded(image[:, y0:y1, x0:x1]) for y0, y1, x0, x1 in plan_blocks(image))
    return max((float(np.max(block, where=np.isfinite(block), initial=0)) for block in blocks), default=1.0)


def _variance(total: float, squares: float, n: float) -> float:
    """Of `n` numbers with these sums; 0 where it is what rounding leaves."""
    variance = squares / n - (total / n) ** 2
    return variance if variance > ROUNDING * squares / n else 0.0


def _row(sums: dict[str, float], sample: np.ndarray, scale: float, stain: int | None) -> dict[str, object]:
    n = max(sums["n"], 1)
    variance = _variance(sums["x"], sums["xx"], n)
    if not len(sample):
        sample = np.zeros(1)
    ordered = np.sort(np.maximum(sample, 0))
    dark, bright = ordered[: max(1, len(ordered) // 2)].mean(), ordered[-max(1, len(ordered) // 20) :].mean()
    m = max(sums["laplacians"], 1)
    rough = np.sqrt(max(sums["ll"] / m - (sums["l"] / m) ** 2, 0))
    correlation = np.nan
    if stain is not None:
        b = max(sums["both"], 1)
        spread = np.sqrt(_variance(sums["bx"], sums["bxx"], b) * _variance(sums["bs"], sums["bss"], b))
        correlation = (sums["bxs"] / b - sums["bx"] / b * sums["bs"] / b) / spread if spread > 0 else np.nan
    snr = bright / max(dark, bright / MOST_SNR) if bright > 0 else 1.0
    saturated = sums["top"] / n
    notes = {
        "constant": variance == 0,
        "negative": sums["negative"] > 0,
        "saturated": saturated > SATURATED,
        "blank": snr < BLANK_SNR,
    }
    return {
        "mean": sums["x"] / n,
        "snr": snr,
        "dynamic_range": float(np.subtract(*np.percentile(ordered, [99.9, 0.1]))) / scale,
        "saturated": saturated,
        "sharpness": rough / np.sqrt(variance) if variance > 0 else 0.0,
        "nuclear_correlation": correlation,
        "invalid": int(sums["invalid"]),
        "negative": int(sums["negative"]),
        "note": next((note for note, holds in notes.items() if holds), ""),
    }
