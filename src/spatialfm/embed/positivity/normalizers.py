"""What each marker is divided by before a network sees it: a high quantile of its bright pixels, over some images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..._cache import remembered
from ..._progress import progress_bar
from ...pp.measure import plan_blocks
from ..pixels.reader import SampleReader

QUANTILE = 0.999
N_IMAGES = 10
NOTHING = 1e-8  # where no image has a pixel above 0: whatever it is divided by, it stays 0


def normalizers_of(
    readers: Mapping[str, Sequence[SampleReader]], given: Mapping[str, float], random_state: int
) -> dict[str, float]:
    """Normaliser of each marker: the mean over up to ten images of the 99.9 % quantile of pixels above 0.

    Images are drawn; those without a pixel above 0 do not count, and where none of the ten has one, others are looked
    at. (The released code divides by 1e-8 then, which makes every pixel of the other images as bright as can be.)

    Parameters
    ----------
    readers
        Of each marker: one reader per image that has it, at the pixels of the image.
    given
        Normalisers that are known.
    random_state
        Seed of the draw, which is the same for all markers.
    """
    normalizers = {}
    for marker, images in progress_bar(readers.items(), desc="normalisers", unit="marker"):
        if marker in given:
            normalizers[marker] = float(given[marker])
            continue
        values: list[float] = []
        for place, number in enumerate(np.random.default_rng(random_state).permutation(len(images))):
            if place >= N_IMAGES and values:
                break
            value = bright_quantile(images[number])
            values += [] if np.isnan(value) else [value]
        normalizers[marker] = float(np.mean(values)) if values else NOTHING
    return normalizers


def bright_quantile(reader: SampleReader) -> float:
    """Quantile of the pixels above 0 of the one channel that a reader has; NaN where there are none."""
    made = remembered(
        "bright-quantile",
        {"image": reader.image_digest, "quantile": QUANTILE, "on_nan": reader.on_nan},
        lambda: {"value": np.array(_quantile(reader))},
    )
    return float(made["value"])


def _quantile(reader: SampleReader) -> float:
    """As `numpy.quantile` (linear) of all of them, holding only as many of the brightest as it can depend on."""
    n_pixels = int(np.prod(reader.image.shape[-2:]))
    most = int(np.ceil((1 - QUANTILE) * n_pixels)) + 2
    brightest, n = np.empty(0, np.float32), 0
    for y0, y1, x0, x1 in plan_blocks(reader.image):
        values = reader.pixels(y0, y1, x0, x1).ravel()
        values = values[values > 0]
        n += values.size
        brightest = np.concatenate([brightest, values])
        if brightest.size > most:
            brightest = np.partition(brightest, brightest.size - most)[brightest.size - most :]
    if not n:
        return np.nan
    place = QUANTILE * (n - 1)
    low = int(np.floor(place))
    brightest = np.sort(brightest).astype(np.float64)
    first = n - brightest.size  # rank of the darkest that is held
    upper = brightest[min(low + 1, n - 1) - first]
    return float(brightest[low - first] + (upper - brightest[low - first]) * (place - low))
