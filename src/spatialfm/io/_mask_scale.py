"""Masks of another resolution than their image, brought to its pixels by nearest neighbour, lazily."""

from __future__ import annotations

import math
from dataclasses import dataclass

import dask.array as da
import numpy as np

from ._pixel_size import PixelSize

_LARGEST = 64
# masks that differ by less were cropped or shifted, unless both files state pixel sizes that explain it
_LEAST = 1.2
_BLOCK_SIDE = 2048


@dataclass(frozen=True)
class Scaling:
    """How the pixels of an image find theirs in a mask: row ``i`` lies in row ``floor((2 i + 1) up / (2 down))``.

    `up` and `down` hold a whole number for y and one for x: pixels of the mask for as many of the image.
    """

    shape: tuple[int, int]  # of the image
    up: tuple[int, int]
    down: tuple[int, int]

    @property
    def factor(self) -> str:
        """Pixels of the image along one of the mask, in words."""
        ratio = self.down[0] / self.up[0]
        return f"{ratio:.4g}" if ratio >= 1 or round(1 / ratio, 6) % 1 else f"1/{round(1 / ratio)}"


def find_scaling(mask: tuple[int, int], image: tuple[int, int], sizes: tuple[PixelSize | None, ...]) -> Scaling | None:
    """How a mask of one size covers an image of another; None where it does not look like another resolution of it.

    A whole factor is taken where each side of the smaller is that of the larger divided by it, rounded down or up, as
    programs make smaller images. Otherwise both sides must have one ratio, up to a pixel of the larger, of at least
    1.2. Where both files state their pixel size, these must have the same ratio.

    Parameters
    ----------
    mask, image
        Height and width in pixels.
    sizes
        Pixel sizes that the files state, of mask and image.

    Examples
    --------
    >>> find_scaling((50, 40), (101, 80), (None, None)).factor
    '2'
    >>> find_scaling((50, 40), (100, 90), (None, None)) is None
    True
    """
    if 0 in (*mask, *image):
        return None
    stated = sizes[0].x / sizes[1].x if sizes[0] is not None and sizes[1] is not None else None
    for k in range(2, _LARGEST + 1):
        for small, large, is_up in ((mask, image, True), (image, mask, False)):
            if all(s in (n // k, -(-n // k)) for s, n in zip(small, large, strict=True)):
                up, down = ((1, 1), (k, k)) if is_up else ((k, k), (1, 1))
                return Scaling(image, up, down) if _agrees(k if is_up else 1 / k, stated) else None
    ratio = math.sqrt(image[0] / mask[0] * image[1] / mask[1])
    slack = max(1.0, 1 / ratio)  # a pixel of the larger, in pixels of the image
    fits = all(abs(n - s * ratio) <= slack for s, n in zip(mask, image, strict=True))
    known = stated is not None and _agrees(ratio, stated)
    if not fits or not (known or (stated is None and max(ratio, 1 / ratio) >= _LEAST)):
        return None
    return Scaling(image, mask, image)


def scaled(labels: da.Array, scaling: Scaling) -> da.Array:
    """Labels at the centres of the image's pixels; each block reads the part of the mask below it."""
    rows, columns = (
        np.minimum((2 * np.arange(n) + 1) * up // (2 * down), length - 1)
        for n, up, down, length in zip(scaling.shape, scaling.up, scaling.down, labels.shape, strict=True)
    )
    side = max(1, _BLOCK_SIDE * min(scaling.down[0], scaling.up[0]) // scaling.up[0])  # of a mask that is larger, less
    blocks = [[range(n)[i : i + side] for i in range(0, n, side)] for n in scaling.shape]
    return da.block([[_taken(labels, rows[r], columns[c]) for c in blocks[1]] for r in blocks[0]])


def _taken(labels: da.Array, rows: np.ndarray, columns: np.ndarray) -> da.Array:
    window = labels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    window = window.rechunk(window.shape)
    return window.map_blocks(
        _sample, rows - rows[0], columns - columns[0], dtype=labels.dtype, chunks=((len(rows),), (len(columns),))
    )


def _sample(window: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    return window[np.ix_(rows, columns)]


def _agrees(ratio: float, stated: float | None) -> bool:
    return stated is None or math.isclose(ratio, stated, rel_tol=0.02)
