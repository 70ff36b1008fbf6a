"""Where a simulated section ends and the glass of its slide begins."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ._simulate_fields import STEP, smooth_noise

STRAY_LIGHT = 0.1  # of a marker's background, on glass
_RAGGED = 12.0  # µm, scale on which the edge of the section wanders


def draw_outline(size: int, mpp: float, glass: float, rng: np.random.Generator) -> np.ndarray:
    """Tissue ``(size, size)`` on one side of a ragged edge; the share `glass` of the pixels is on the other."""
    g = int(np.ceil(size * mpp / STEP)) + 1
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[:g, :g] / g
    height = np.cos(angle) * x + np.sin(angle) * y + 0.05 * smooth_noise((g, g), _RAGGED / STEP, rng)
    at = (np.arange(size) + 0.5) * mpp / STEP
    fine = ndimage.map_coordinates(height, np.stack(np.meshgrid(at, at, indexing="ij")), order=1, mode="nearest")
    return fine >= np.quantile(fine, glass)


def on_tissue(outline: np.ndarray, xy: np.ndarray, mpp: float) -> np.ndarray:
    """Which points ``(n, 2)`` in µm are on tissue; beyond the image it goes on as at its edge."""
    column, row = np.clip((xy / mpp).astype(int), 0, len(outline) - 1).T
    return outline[row, column]
