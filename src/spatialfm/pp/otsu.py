"""Tissue by a threshold. Arrays in, masks out."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

SPIKE = 99.5  # percentile of a channel that counts as its brightest


def otsu_mask(small: np.ndarray, size: float, *, smoothing: float, min_area: float, max_hole: float) -> np.ndarray:
    """What is brighter than Otsu's threshold, less small pieces, with small holes filled, ``(h, w)`` boolean.

    Parameters
    ----------
    small
        ``(c, h, w)``, an image averaged over squares. Each channel counts as much as any other, up to its 99.5th
        percentile.
    size
        Side of one of its pixels in µm.
    smoothing
        Standard deviation of the Gaussian in µm.
    min_area, max_hole
        µm².
    """
    from skimage.filters import threshold_otsu

    mean = np.zeros(small.shape[1:], np.float64)
    for channel in small.astype(np.float64):
        top = np.percentile(channel, SPIKE) or channel.max()  # lit on fewer pixels than that
        if top > 0:
            mean += np.minimum(channel / top, 1)
    mean = ndimage.gaussian_filter(mean / len(small), smoothing / size, mode="nearest")
    if mean.max() - mean.min() <= 1e-9 * max(mean.max(), 1):  # nothing to split
        return np.ones(mean.shape, bool)
    tissue = mean > threshold_otsu(mean)
    tissue = _without(tissue, min_area / size**2, strictly=True)
    return ~_without(~tissue, max_hole / size**2, strictly=False, at_edge=True)


def _without(mask: np.ndarray, area: float, *, strictly: bool, at_edge: bool = False) -> np.ndarray:
    """A mask less its pieces of this many pixels or fewer (`strictly`: fewer), those at the edge kept if `at_edge`."""
    pieces, n = ndimage.label(mask)
    pixels = np.bincount(pieces.ravel(), minlength=n + 1)
    is_large = pixels >= area if strictly else pixels > area
    if at_edge:
        is_large[np.concatenate([pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]])] = True
    is_large[0] = False
    return is_large[pieces]
