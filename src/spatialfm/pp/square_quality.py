"""Saturation, sharpness and brightness of every token: the quality of channels, on the scale of an artifact."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

COLUMNS = ("saturated_most", "saturated_mean", "sharpness_mean", "sharpness_least")
STRIP = 1024  # rows of an image that are read at a time


def token_quality(
    image, channels: Sequence[int], means: np.ndarray, top: float, corners: np.ndarray, side: float
) -> tuple[np.ndarray, np.ndarray]:
    """Properties of squares of an image ``(c, y, x)`` that do not depend on which channel shows them.

    Parameters
    ----------
    image
        Array, numpy or dask.
    channels, means
        Channels to look at, and the mean of each over the image.
    top
        Value of a saturated pixel.
    corners, side
        First row and column of each square ``(n, 2)``, and their side, in pixels; what is outside does not count.

    Returns
    -------
    quality
        ``(n, 4)``, float32, as in `COLUMNS`: share of saturated pixels, of the channel with most of them and of all
        channels; standard deviation of the Laplacian over that of the pixels (as in `spatialfm.pp.channel_quality`),
        mean over channels and least of them.
    brightness
        ``(n,)``: logarithm of the mean over the image's mean, averaged over channels.
    """
    height, width = image.shape[-2:]
    low = np.clip(np.rint(corners), 0, (height - 1, width - 1)).astype(np.int64)
    high = np.clip(np.rint(corners + side), low + 1, (height, width)).astype(np.int64)
    out, level_of = np.empty((len(corners), len(COLUMNS)), np.float32), np.empty(len(corners))
    strips = low[:, 0] // STRIP
    for strip in np.unique(strips):
        in_strip = np.flatnonzero(strips == strip)
        top_row, bottom_row = int(low[in_strip, 0].min()), int(high[in_strip, 0].max())
        boxes = np.stack(
            [low[in_strip, 0] - top_row, high[in_strip, 0] - top_row, low[in_strip, 1], high[in_strip, 1]], axis=1
        )
        saturated, sharpness, brightness = np.empty((3, len(in_strip), len(channels)))
        for i, (channel, mean) in enumerate(zip(channels, means, strict=True)):
            pixels, inner = _rows(image, channel, top_row, bottom_row)
            saturated[:, i], sharpness[:, i], level = _measure(pixels, inner, boxes, top)
            floor = 1e-6 * max(top, 1e-12)  # of dark squares, and not above the light of the others
            floor = min(floor, 0.01 * mean) if mean > 0 else floor
            brightness[:, i] = np.log((np.maximum(level, 0) + floor) / (max(mean, 0) + floor))
        parts = saturated.max(axis=1), saturated.mean(axis=1), sharpness.mean(axis=1), sharpness.min(axis=1)
        out[in_strip], level_of[in_strip] = np.stack(parts, axis=1), brightness.mean(axis=1)
    return out, level_of


def _rows(image, channel: int, first: int, last: int) -> tuple[np.ndarray, slice]:
    """Rows of a channel with a border of one pixel, which is repeated at the edge; and where they are in it."""
    from .measure import loaded

    above, below = max(first - 1, 0), min(last + 1, image.shape[-2])
    pixels = np.nan_to_num(loaded(image[channel, above:below]).astype(np.float64), posinf=0, neginf=0)
    return np.pad(pixels, [(above - first + 1, last + 1 - below), (1, 1)], mode="edge"), slice(1, -1)


def _measure(
    pixels: np.ndarray, inner: slice, boxes: np.ndarray, top: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Saturated share, sharpness and mean of each box ``(n, 4)`` of rows and columns."""
    values = pixels[inner, inner]
    laplacian = pixels[:-2, inner] + pixels[2:, inner] + pixels[inner, :-2] + pixels[inner, 2:] - 4 * values
    center = values.mean()  # sums of squares lose fewer digits about it
    area = (boxes[:, 1] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 2])
    saturated, first, second, rough, rougher = (
        box_sums(part, boxes) / area
        for part in (values >= top, values - center, (values - center) ** 2, laplacian, laplacian**2)
    )
    variance, of_laplacian = np.maximum(second - first**2, 0), np.maximum(rougher - rough**2, 0)
    rounding = 1e-13 * ((values - center) ** 2).sum() / area  # of sums that run over all rows
    sharpness = np.sqrt(np.divide(of_laplacian, variance, out=np.zeros_like(variance), where=variance > rounding))
    return saturated, sharpness, first + center


def box_sums(values: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Sum of each box ``(n, 4)``: first and last row, first and last column, the last not included.

    Examples
    --------
    >>> box_sums(np.arange(6).reshape(2, 3), np.array([[0, 2, 1, 3], [1, 2, 0, 1]]))
    array([12.,  3.])
    """
    total = np.zeros((values.shape[0] + 1, values.shape[1] + 1))
    total[1:, 1:] = values.cumsum(axis=0, dtype=np.float64).cumsum(axis=1)
    y0, y1, x0, x1 = boxes.T
    return total[y1, x1] - total[y0, x1] - total[y1, x0] + total[y0, x0]


def dark_tokens(level: np.ndarray, centers: np.ndarray, left_out: np.ndarray, reach: float) -> np.ndarray:
    """Tokens with nothing bright around them.

    Parameters
    ----------
    level
        ``(n,)`` brightness of each token.
    centers
        ``(n, 2)``.
    left_out
        ``(n,)`` tokens that neither count as bright nor decide what is: a clump of stain would otherwise be all the
        tissue.
    reach
        Distance, along each axis, within which no token is above Otsu's threshold.

    Examples
    --------
    >>> places = np.stack([np.zeros(6), np.arange(6)], axis=1)
    >>> dark_tokens(np.array([0, 0, 0, 0.1, 5, 6]), places, np.zeros(6, bool), 2).astype(int)
    array([1, 1, 0, 0, 0, 0])
    """
    from scipy.spatial import cKDTree
    from skimage.filters import threshold_otsu

    judged = ~left_out & np.isfinite(level)
    if not judged.any() or np.ptp(level[judged]) == 0:
        return np.zeros(len(level), bool)
    bright = judged & (level > threshold_otsu(level[judged]))
    distance, _ = cKDTree(centers[bright]).query(centers, p=np.inf)
    return (distance > reach) & ~left_out
