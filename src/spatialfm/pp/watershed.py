"""Cells of one tile by watershed: nuclei from a nuclear stain, grown to cells; lengths in pixels of the tile.

What a pixel becomes depends on its surroundings alone, within `Watershed.reach`, and on levels that were found on the
whole image: tiles of one image agree where they overlap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NUCLEUS = 0.7  # diameter of a nucleus over that of its cell
_SMOOTHING = 0.08  # standard deviation of the smoothing over the diameter of a cell
_AWAY = 4.0  # weight of the distance to the nucleus, in diameters, against the membrane stain
_MIN_NUCLEUS = 0.15  # of the area of a disc of the expected diameter: smaller is debris


@dataclass(frozen=True)
class Watershed:
    """Options of the segmentation, in pixels.

    Attributes
    ----------
    diameter
        Of a typical cell.
    expansion
        How far a cell reaches beyond its nucleus at most.
    threshold
        Of the smoothed nuclear stain, above which a pixel belongs to a nucleus.
    """

    diameter: float
    expansion: float
    threshold: float

    @property
    def reach(self) -> int:
        """Pixels from which others can decide over one."""
        return int(np.ceil(3 * self.diameter + self.expansion))

    def __call__(self, nuclear: np.ndarray, membrane: np.ndarray | None = None) -> np.ndarray:
        """Cells of a tile.

        Parameters
        ----------
        nuclear, membrane
            ``(y, x)`` float32; the unit of `threshold`, and 1 where the membrane stain begins .

        Returns
        -------
        ``(y, x)`` int32, 0 where no cell is.
        """
        return grow(find_nuclei(nuclear, self.diameter, self.threshold), self.expansion, self.diameter, membrane)


def smoothed(image: np.ndarray, diameter: float) -> np.ndarray:
    """An image in which the noise of single pixels is gone, and cells are not."""
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(np.asarray(image, np.float32), max(_SMOOTHING * diameter, 0.5), mode="nearest")


def find_nuclei(nuclear: np.ndarray, diameter: float, threshold: float) -> np.ndarray:
    """Nuclei ``(y, x)``, int32: what is brighter than the threshold, and than its surroundings, cut between seeds.

    Seeds are the maxima of brightness times depth below the outline, one within half the diameter of a nucleus: two
    nuclei that touch have a waist or a dark line between them, mostly both.
    """
    from scipy.ndimage import distance_transform_edt, gaussian_filter, label
    from skimage.feature import peak_local_max
    from skimage.segmentation import watershed

    fine = smoothed(nuclear, diameter)
    around = gaussian_filter(fine, diameter, mode="nearest")
    bright = fine > np.maximum(threshold, 0.5 * around)
    nucleus = NUCLEUS * diameter
    depth = np.minimum(distance_transform_edt(bright) / (nucleus / 2), 1)
    height = gaussian_filter((depth * np.sqrt(np.maximum(fine, 0))).astype(np.float32), 0.12 * diameter, mode="nearest")
    parts, _ = label(bright)
    peaks = peak_local_max(height, min_distance=max(1, round(nucleus / 2)), labels=parts, exclude_border=False)
    peaks = peaks[np.lexsort(peaks.T[::-1])]
    seeds = np.zeros(bright.shape, np.int32)
    seeds[tuple(peaks.T)] = 1 + np.arange(len(peaks))
    nuclei = watershed(-height, seeds, mask=bright).astype(np.int32)
    return without_small(nuclei, _MIN_NUCLEUS * np.pi / 4 * nucleus**2)


def grow(nuclei: np.ndarray, expansion: float, diameter: float, membrane: np.ndarray | None = None) -> np.ndarray:
    """Cells around nuclei up to a distance: each pixel to the nearest one; with a membrane stain, divided along it.

    Cells then end where the stain does too, but not below half of the distance: not every cell has the marker.
    """
    from scipy.ndimage import distance_transform_edt
    from skimage.segmentation import expand_labels, watershed

    if membrane is None or not nuclei.any():
        return expand_labels(nuclei, expansion).astype(np.int32)
    away = distance_transform_edt(nuclei == 0).astype(np.float32)
    stain = smoothed(membrane, diameter)
    reached = (away <= expansion) & ((stain > 1) | (away <= expansion / 2))
    return watershed(stain + _AWAY * away / diameter, nuclei, mask=reached).astype(np.int32)


def without_small(labels: np.ndarray, area: float) -> np.ndarray:
    """Labels without those of less than `area` pixels."""
    keep = np.bincount(labels.ravel()) >= area
    keep[0] = False
    return np.where(keep[labels], labels, 0).astype(np.int32)
