"""Masks that are not those of the cells: nuclei alone, and outlines beside the cell that they were drawn for."""

from __future__ import annotations

import numpy as np


def nuclei_of(
    labels: np.ndarray, nucleus: np.ndarray, rate: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Labels ``(h, w)`` of which a share `rate` of the cells keeps its nucleus alone, and which cells these are.

    Cells whose nucleus is not in the section keep their outline: a segmentation of nuclei has nothing to go by.
    """
    n = int(labels.max())
    drawn = rng.random(n + 1) < rate
    drawn[0] = False
    has = np.zeros(n + 1, bool)
    has[np.unique(labels[nucleus])] = True
    drawn &= has
    return np.where(drawn[labels] & ~nucleus, 0, labels).astype(labels.dtype), np.flatnonzero(drawn)


def displaced(
    labels: np.ndarray, shift: float, mpp: float, rng: np.random.Generator
) -> tuple[np.ndarray, tuple[int, int]]:
    """Labels moved as a whole by a normal draw of standard deviation `shift` µm along each axis; and by which pixels.

    Labels stay 1 to m, without those that left the image.
    """
    down, right = (int(v) for v in np.rint(np.clip(rng.standard_normal(2), -2, 2) * shift / mpp))
    moved = np.zeros_like(labels)
    h, w = labels.shape
    moved[max(down, 0) : h + min(down, 0), max(right, 0) : w + min(right, 0)] = labels[
        max(-down, 0) : h + min(-down, 0), max(-right, 0) : w + min(-right, 0)
    ]
    values = np.unique(moved)
    values = values[values > 0]
    new = np.zeros(int(labels.max()) + 1, labels.dtype)
    new[values] = np.arange(1, len(values) + 1)
    return new[moved], (down, right)
