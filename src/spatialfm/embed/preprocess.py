"""VirTues' preparation of pixels: clip, log, blur; standardising follows with the statistics of the cohort.

Methods, "Dataset preprocessing": clipping at the 99th percentile of image and channel over the tissue, ``log(1 + x)``,
Gaussian blur with a kernel of 3 and sigma 1, standardising with mean and standard deviation over the cohort's tissue.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .reader import SampleReader, regions
from .stats import tissue_mask

PERCENTILE = 99.0
_HALF = np.exp(-0.5)
KERNEL = np.array([_HALF, 1.0, _HALF]) / (1 + 2 * _HALF)  # Gaussian of sigma 1 on three pixels
MAX_VALUES = 2**24  # tissue pixels of a channel that are kept for an exact percentile; beyond, every k-th one


@dataclass(frozen=True)
class PreparedReader:
    """A sample whose pixels are clipped, log-transformed and blurred; a `SampleReader` in all else."""

    reader: SampleReader
    clip: np.ndarray  # (M,), raw pixel values

    def __getattr__(self, name: str):
        if name == "reader":  # not set yet while unpickling
            raise AttributeError(name)
        return getattr(self.reader, name)

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
    return PreparedReader(reader, tissue_percentiles(reader, PERCENTILE) * reader.intensity_max)


def tissue_percentiles(reader: SampleReader, percentile: float, *, block: int = 1024) -> np.ndarray:
    """Percentile of each marker over the tissue of one image, ``(M,)``, in the reader's units.

    Exact up to `MAX_VALUES` tissue pixels; of a larger image every k-th row of pixels is taken.
    """
    tissue, step = tissue_mask(reader, block=block)
    n_pixels = int(tissue.sum()) * step**2
    every = max(1, -(-n_pixels // MAX_VALUES))
    parts = []
    for y0, y1, x0, x1 in regions(reader.shape, block):
        rows = np.arange(-(-y0 // every) * every, y1, every)  # the same rows however the image is cut
        if not len(rows):
            continue
        inside = tissue[np.ix_(rows // step, np.arange(x0, x1) // step)]
        parts.append(reader.pixels(y0, y1, x0, x1)[:, rows - y0][:, inside])
    return np.percentile(np.concatenate(parts, axis=1), percentile, axis=1)


def _mirror(values: np.ndarray, axis: int, *, at_start: bool, at_end: bool) -> None:
    values = np.moveaxis(values, axis, 0)
    if at_start:
        values[0] = values[min(2, len(values) - 2)]
    if at_end:
        values[-1] = values[max(-3, 1 - len(values))]
