"""What each pixel of a cohort is made of: its markers as shares of one, after a blur, as Pixie has them.

Images are read square by square, with a margin as wide as the blur, so that no value depends on how they are cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.ndimage import gaussian_filter

from ..._errors import PanelError
from ..._progress import progress_bar
from ..._squares import squares_of
from .quantiles import streamed_quantiles
from .reader import SampleReader

SIDE = 512  # of a square that is read at a time
SCALE_QUANTILE = 0.99  # of the pixels of a channel that are not 0: what a channel is divided by
TOTAL_QUANTILE = 0.05  # of the sums over channels: pixels with less are left out
CEILING_QUANTILE = 0.999  # of the shares that are not 0: what a share is divided by
TRUNCATE = 4.0  # standard deviations that the blur reaches

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Profiles:
    """Profiles of the pixels of all images.

    Attributes
    ----------
    readers
        One image each, with the same markers in the same order.
    scale
        What each marker is divided by, ``(M,)``.
    least
        Pixels count whose markers sum up to more.
    blur
        Standard deviation of the Gaussian, in pixels.
    """

    readers: Sequence[SampleReader]
    scale: np.ndarray
    least: float
    blur: float

    def blocks(self, number: int) -> Iterator[tuple[Box, np.ndarray, np.ndarray]]:
        """Squares of an image: box, which pixels count ``(h, w)``, and their profiles, float32 ``(n, M)``."""
        reader = self.readers[number]
        for box in squares_of(reader.shape, SIDE):
            values = self._blurred(reader, box)
            total = values.sum(axis=0)
            counts = (total > self.least) & (total > 0)
            yield box, counts, (values[:, counts] / total[counts]).T

    def _blurred(self, reader: SampleReader, box: Box) -> np.ndarray:
        (height, width), margin = reader.shape, int(TRUNCATE * self.blur + 0.5)
        y0, y1, x0, x1 = box
        # no further than the image: the filter mirrors what is at its edge
        ya, yb = max(y0 - margin, 0), min(y1 + margin, height)
        xa, xb = max(x0 - margin, 0), min(x1 + margin, width)
        values = reader.pixels(ya, yb, xa, xb)
        inside = np.s_[y0 - ya : y1 - ya, x0 - xa : x1 - xa]
        out = np.empty((len(values), y1 - y0, x1 - x0), np.float32)
        for marker, plane in enumerate(values):
            plane /= np.float32(self.scale[marker])
            out[marker] = gaussian_filter(plane, self.blur, truncate=TRUNCATE)[inside]
        return out


def profiles_of(readers: Sequence[SampleReader], markers: Sequence[str], blur: float) -> Profiles:
    """Profiles of a cohort: each marker by the mean over images of its 99th percentile, dark pixels left out.

    Raises
    ------
    PanelError
        If a marker is 0 in all images.
    """
    of_images = [
        streamed_quantiles(partial(_rows, reader), len(markers), SCALE_QUANTILE, positive=True)[0]
        for reader in progress_bar(readers, desc="scales of markers", unit="image")
    ]
    scale = mean_of_known(of_images)
    if dark := [name for name, value in zip(markers, scale, strict=True) if not value > 0]:
        raise PanelError(f"Marker {dark[0]!r} is 0 in all images. Leave it out: markers=[...].")
    factors = (1 / scale).astype(np.float32)

    def totals(reader: SampleReader) -> Iterator[np.ndarray]:
        return (factors[None] @ rows for rows in _rows(reader))

    least = [
        streamed_quantiles(partial(totals, reader), 1, TOTAL_QUANTILE)[0]
        for reader in progress_bar(readers, desc="dark pixels", unit="image")
    ]
    return Profiles(readers, scale, float(np.mean(least)), blur)


def ceiling_of(profiles: Profiles) -> tuple[np.ndarray, np.ndarray]:
    """Mean over images of the 99.9th percentile of each marker's shares ``(M,)``, and pixels of each image."""
    values, sizes = [], []
    for number, reader in enumerate(progress_bar(profiles.readers, desc="shares of markers", unit="image")):
        seen: list[int] = []
        rows = partial(_shares, profiles, number, seen)
        values.append(streamed_quantiles(rows, len(profiles.scale), CEILING_QUANTILE, positive=True)[0])
        sizes.append(sum(seen) // 2)  # each block came twice
        if not sizes[-1]:
            raise PanelError(f"Image {reader.name!r} has no pixel with signal. Leave its sample out: samples=[...].")
    return mean_of_known(values), np.array(sizes)


def some_pixels(profiles: Profiles, share: float, seed: int) -> np.ndarray:
    """Profiles of a random share of the pixels, float32 ``(n, M)``; which ones depends on image, place and seed."""
    parts = []
    for number in progress_bar(range(len(profiles.readers)), desc="pixels to learn from", unit="image"):
        width = profiles.readers[number].shape[1]
        for (y0, y1, x0, x1), counts, values in profiles.blocks(number):
            place = np.arange(y0, y1)[:, None] * width + np.arange(x0, x1)
            parts.append(values[_uniform(place[counts], number, seed) < share])
    return np.concatenate(parts)


def mean_of_known(values: Sequence[np.ndarray]) -> np.ndarray:
    """Mean of arrays of one shape over those that are not NaN; NaN where all are."""
    stack = np.stack(values)
    known = ~np.isnan(stack)
    total = np.where(known, stack, 0).sum(axis=0)
    return np.divide(total, known.sum(axis=0), out=np.full(total.shape, np.nan), where=known.any(axis=0))


def _shares(profiles: Profiles, number: int, seen: list[int]) -> Iterator[np.ndarray]:
    for _, _, part in profiles.blocks(number):
        seen.append(len(part))
        yield part.T


def _rows(reader: SampleReader) -> Iterator[np.ndarray]:
    for box in squares_of(reader.shape, SIDE):
        yield reader.pixels(*box).reshape(len(reader.channels), -1)


def _uniform(place: np.ndarray, number: int, seed: int) -> np.ndarray:
    """Numbers in [0, 1) that depend on place, image and seed alone (the mixing steps of SplitMix64)."""
    start = np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0]
    x = place.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + start
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    return ((x ^ (x >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53
