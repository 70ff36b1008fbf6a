"""VirTues' preparation of pixels: clip, log, standardise, blur.

Two readings of it. The release, which published weights were used with, computes mean and standard deviation of a data
set over the tissue's pixels after clipping and ``log(1 + x)``, standardises, and blurs last: `RELEASED`, the default.
The Methods ("Dataset preprocessing") name the blur before the standardising, so that statistics can be read as those of
blurred pixels: `PAPER`. A blur lowers the standard deviation: inputs by the second reading are
larger, 1.1 to 2.5 times on tissue.

The blur's weights sum to one, so that blurring and standardising may change places: here pixels are blurred first and
standardised with the windows, whichever it is. What differs is which pixels the statistics are of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .._cache import remembered
from .._squares import squares_of
from .._types import is_short
from .preparation import Pixels, Preparation, PreparedPixels, TissueMask

if TYPE_CHECKING:
    from torch import Tensor

PERCENTILE = 99.0
_HALF = np.exp(-0.5)
KERNEL = np.array([_HALF, 1.0, _HALF]) / (1 + 2 * _HALF)  # Gaussian of sigma 1 on three pixels
MAX_VALUES = 2**24  # pixels of all channels that are held for a percentile; of more, every k-th row is taken


@dataclass(frozen=True)
class ClippedLogBlurred(PreparedPixels):
    """An image whose pixels are clipped, log-transformed and blurred.

    Attributes
    ----------
    reader
        Pixels as the image has them (`intensity_max` 1), or in a unit that all samples share.
    clip
        Largest value of each marker, ``(M,)``.
    padding
        Rows and columns of zeros around the image that are there before everything, as the release has them: the
        image's border is blurred with them, and the blur is mirrored at theirs.
    blur
        Whether pixels are blurred.
    blurred_statistics
        Whether statistics are of blurred pixels.
    source
        Where the clipping values come from, for the record.
    """

    clip: np.ndarray = field(default_factory=lambda: np.zeros(0))
    padding: tuple[int, int] = (0, 0)
    blur: bool = True
    blurred_statistics: bool = False
    source: str = "image"

    @property
    def preparation(self) -> list[object]:
        """What decides the pixels, besides the reader."""
        return [float(self.blur), *map(float, self.padding), *map(float, self.clip)]

    def padded(self, rows: int, columns: int) -> ClippedLogBlurred:
        """The same with zeros around the image."""
        return replace(self, padding=(rows, columns))

    def of_statistics(self) -> ClippedLogBlurred:
        """The pixels that mean and standard deviation of a cohort are of."""
        return replace(self, padding=(0, 0), blur=self.blurred_statistics)

    def highest(self) -> np.ndarray:
        """Largest value of each marker before the blur, ``(M,)``."""
        return np.log1p(self.clip)

    def notes(self) -> dict[str, Any]:
        """Clipping values and where they come from."""
        return {"clip": list(map(float, self.clip)), "clip_source": self.source}

    def pixels(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """Prepared pixels, float32 ``(M, y1 - y0, x1 - x0)``; zero beyond the padding."""
        (height, width), (rows, columns) = self.reader.shape, self.padding
        out = np.zeros((len(self.clip), y1 - y0, x1 - x0), np.float32)
        ya, yb, xa, xb = max(y0, -rows), min(y1, height + rows), max(x0, -columns), min(x1, width + columns)
        if ya >= yb or xa >= xb:
            return out
        target = out[:, ya - y0 : yb - y0, xa - x0 : xb - x0]
        if not self.blur:
            target[:] = self._logged(ya, yb, xa, xb)
            return out
        values = self._logged(ya - 1, yb + 1, xa - 1, xb + 1)
        # beyond the padding is its mirror image, as the blur of the published recipe has it
        for axis, low, high, first, last in (
            (1, ya, yb, -rows, height + rows),
            (2, xa, xb, -columns, width + columns),
        ):
            _mirror(values, axis, at_start=low == first, at_end=high == last)
        kernel = KERNEL.astype(np.float32)
        down = values[:, :-2] * kernel[0] + values[:, 1:-1] * kernel[1] + values[:, 2:] * kernel[2]
        target[:] = down[..., :-2] * kernel[0] + down[..., 1:-1] * kernel[1] + down[..., 2:] * kernel[2]
        return out

    def _logged(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        values = self.reader.pixels(y0, y1, x0, x1)
        return np.log1p(np.clip(values, 0, self.clip[:, None, None].astype(np.float32), out=values), out=values)


@dataclass(frozen=True)
class ClipLogBlur(Preparation):
    """Clip at a percentile of the image's tissue, ``log(1 + x)``, blur.

    Attributes
    ----------
    blurred_statistics
        Whether mean and standard deviation of a marker are of blurred pixels.
    percentile
        Of each marker over the tissue of an image.
    """

    name: str
    blurred_statistics: bool
    percentile: float = PERCENTILE
    words: str = "clipped, log-transformed"

    @property
    def layout(self) -> str:  # type: ignore[override]  # computed here, a field of the base
        """Published statistics are of pixels before the blur."""
        return "" if self.blurred_statistics else "quantile_clipping_log1p/uq_0.99_image"

    def prepare(self, reader: Pixels, tissue: TissueMask, known: np.ndarray | None = None) -> ClippedLogBlurred:
        """Find the clipping values of one image; those that are known are taken."""
        clip = np.full(len(reader.channels), np.nan) if known is None else np.asarray(known, float)
        source = "image" if known is None else "published" if np.isfinite(clip).all() else "published, else image"
        if np.isnan(clip).any():
            stored = remembered(
                "percentiles",
                {
                    "image": reader.fingerprint,
                    "tissue": tissue.identity,
                    "percentile": self.percentile,
                    "kept": MAX_VALUES,
                },
                lambda: {"values": tissue_percentiles(reader, tissue, self.percentile)},
            )
            clip = np.where(np.isnan(clip), stored["values"], clip)
        return ClippedLogBlurred(reader, clip, blurred_statistics=self.blurred_statistics, source=source)

    @property
    def lost(self) -> str:  # type: ignore[override]  # no field: it decides no number
        """What `undo` leaves."""
        return "clipping, blur"

    def undo(self, pixels: Tensor) -> Tensor:
        """``exp(x) - 1``, and 0 where that is negative, as intensities are counted from there."""
        return pixels.expm1().clamp(min=0)

    def variants(self) -> Sequence[Preparation]:
        """Both readings of the paper."""
        return (RELEASED, PAPER)


RELEASED = ClipLogBlur("virtues-released", blurred_statistics=False)
PAPER = ClipLogBlur("virtues-paper", blurred_statistics=True)


def tissue_percentiles(reader: Pixels, tissue_of: TissueMask, percentile: float, *, block: int = 1024) -> np.ndarray:
    """Percentile of each marker over the tissue of one image, ``(M,)``, in the reader's units.

    Exact for 8- and 16-bit pixels that are not resampled. Of others every k-th row of pixels is taken, so that no more
    than `MAX_VALUES` are held.
    """
    tissue, step = tissue_of.find()
    if reader.ratio == 1 and is_short(reader.image.dtype):
        return _counted_percentiles(reader, tissue, step, percentile, block)
    every = max(1, -(-int(tissue.sum()) * step**2 * len(reader.channels) // MAX_VALUES))
    parts = []
    for y0, y1, x0, x1 in squares_of(reader.shape, block):
        rows = np.arange(-(-y0 // every) * every, y1, every)  # the same rows however the image is cut
        if not len(rows):
            continue
        inside = tissue[np.ix_(rows // step, np.arange(x0, x1) // step)]
        parts.append(reader.pixels(y0, y1, x0, x1)[:, rows - y0][:, inside])
    return np.percentile(np.concatenate(parts, axis=1), percentile, axis=1)


def _counted_percentiles(reader: Pixels, tissue: np.ndarray, step: int, percentile: float, block: int) -> np.ndarray:
    """From how often each pixel value occurs; between two values as `numpy.percentile` has it."""
    n_values = np.iinfo(reader.image.dtype).max + 1
    counts = np.zeros((len(reader.channels), n_values), np.int64)
    for y0, y1, x0, x1 in squares_of(reader.shape, block):
        inside = tissue[np.ix_(np.arange(y0, y1) // step, np.arange(x0, x1) // step)]
        for row, pixels in zip(counts, reader.pixels(y0, y1, x0, x1), strict=True):
            whole = np.rint(pixels[inside] * np.float32(reader.intensity_max)).astype(np.int64)
            row += np.bincount(whole, minlength=n_values)
    below = counts.cumsum(axis=1)
    position = percentile / 100 * (below[:, -1] - 1)
    low, part = np.floor(position), position - np.floor(position)
    first, second = ((below > rank[:, None]).argmax(axis=1) for rank in (low, np.ceil(position)))
    return (first + part * (second - first)) / reader.intensity_max


def _mirror(values: np.ndarray, axis: int, *, at_start: bool, at_end: bool) -> None:
    """Put the mirror image of the third row in the place of the first, and so at the end; there are three or more."""
    values = np.moveaxis(values, axis, 0)
    if at_start:
        values[0] = values[2]
    if at_end:
        values[-1] = values[-3]
