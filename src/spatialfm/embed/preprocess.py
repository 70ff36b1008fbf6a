"""VirTues' preparation of pixels: clip, log, blur; standardising follows with the statistics of the cohort.

Methods, "Dataset preprocessing": clipping at the 99th percentile of image and channel over the tissue, ``log(1 + x)``,
Gaussian blur with a kernel of 3 and sigma 1, standardising with mean and standard deviation over the cohort's tissue.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .cache import remembered
from .reader import SampleReader, regions
from .tissue import find_tissue

PERCENTILE = 99.0
_HALF = np.exp(-0.5)
KERNEL = np.array([_HALF, 1.0, _HALF]) / (1 + 2 * _HALF)  # Gaussian of sigma 1 on three pixels
MAX_VALUES = 2**24  # pixels of all channels that are held for a percentile; of more, every k-th row is taken


@dataclass(frozen=True)
class PreparedReader:
    """A sample whose pixels are clipped, log-transformed and blurred; a `SampleReader` in all else."""

    reader: SampleReader
    clip: np.ndarray  # (M,), raw pixel values

    def __getattr__(self, name: str):
        if name == "reader":  # not set yet while unpickling
            raise AttributeError(name)
        return getattr(self.reader, name)

    @property
    def preparation(self) -> list[float]:
        """What decides the pixels, beside the reader."""
        return [float(value) for value in self.clip]

    def pixels(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """Prepared pixels, float32 ``(M, y1 - y0, x1 - x0)``; zero outside of the image, which blurs nothing in."""
        height, width = self.reader.shape
        out = np.zeros((len(self.clip), y1 - y0, x1 - x0), np.float32)
        ya, yb, xa, xb = max(y0, 0), min(y1, height), max(x0, 0), min(x1, width)
        if ya >= yb or xa >= xb:
            return out
        values = self.reader.pixels(ya - 1, yb + 1, xa - 1, xb + 1) * np.float32(self.reader.intensity_max)
        values = np.log1p(np.clip(values, 0, self.clip[:, None, None].astype(np.float32)))
        # beyond the image's edge stands its mirror image, as the blur of the published recipe has it
        for axis, low, high, size in ((1, ya, yb, height), (2, xa, xb, width)):
            _mirror(values, axis, at_start=low == 0, at_end=high == size)
        kernel = KERNEL.astype(np.float32)
        rows = values[:, :-2] * kernel[0] + values[:, 1:-1] * kernel[1] + values[:, 2:] * kernel[2]
        blurred = rows[..., :-2] * kernel[0] + rows[..., 1:-1] * kernel[1] + rows[..., 2:] * kernel[2]
        out[:, ya - y0 : yb - y0, xa - x0 : xb - x0] = blurred
        return out


def prepare(reader: SampleReader) -> PreparedReader:
    """Find the clipping values of one image."""
    found = remembered(
        "percentiles",
        {"image": reader.fingerprint, "percentile": PERCENTILE, "kept": MAX_VALUES},
        lambda: {"values": tissue_percentiles(reader, PERCENTILE)},
    )
    return PreparedReader(reader, found["values"] * reader.intensity_max)


def tissue_percentiles(reader: SampleReader, percentile: float, *, block: int = 1024) -> np.ndarray:
    """Percentile of each marker over the tissue of one image, ``(M,)``, in the reader's units.

    Exact for 8- and 16-bit pixels that are not resampled. Of others every k-th row of pixels is taken, so that no more
    than `MAX_VALUES` are held.
    """
    tissue, step = find_tissue(reader)
    if reader.ratio == 1 and reader.image.dtype in (np.uint8, np.uint16):
        return _counted_percentiles(reader, tissue, step, percentile, block)
    every = max(1, -(-int(tissue.sum()) * step**2 * len(reader.channels) // MAX_VALUES))
    parts = []
    for y0, y1, x0, x1 in regions(reader.shape, block):
        rows = np.arange(-(-y0 // every) * every, y1, every)  # the same rows however the image is cut
        if not len(rows):
            continue
        inside = tissue[np.ix_(rows // step, np.arange(x0, x1) // step)]
        parts.append(reader.pixels(y0, y1, x0, x1)[:, rows - y0][:, inside])
    return np.percentile(np.concatenate(parts, axis=1), percentile, axis=1)


def _counted_percentiles(
    reader: SampleReader, tissue: np.ndarray, step: int, percentile: float, block: int
) -> np.ndarray:
    """From how often each pixel value occurs; between two values as `numpy.percentile` has it."""
    n_values = np.iinfo(reader.image.dtype).max + 1
    counts = np.zeros((len(reader.channels), n_values), np.int64)
    for y0, y1, x0, x1 in regions(reader.shape, block):
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
    values = np.moveaxis(values, axis, 0)
    if at_start:
        values[0] = values[min(2, len(values) - 2)]
    if at_end:
        values[-1] = values[max(-3, 1 - len(values))]
