"""Stains that are not even: granular, one-sided, and taken up by some places of a section more than by others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ._simulate_fields import smooth_noise
from ._simulate_panel import MARKERS, SPREAD_LIMIT
from ._simulate_shapes import Shapes, centroids

_GRANULE = 0.45  # µm, size of granules
_PATCH = 40.0  # µm over which an antibody works equally well
_COARSE = 8.0  # µm between the points at which that is drawn


@dataclass(frozen=True)
class Stain:
    """Factors of a marker's light inside cells.

    Attributes
    ----------
    granules, pole
        ``(h, w)`` factors of everything but nuclear stains, of mean 1; None: 1 everywhere.
    efficiency
        ``(40, g, g)`` factor of each marker on a coarse grid; None: 1 everywhere.
    """

    granules: np.ndarray | None
    pole: np.ndarray | None
    efficiency: np.ndarray | None

    def applied(self, signal: np.ndarray, marker: int, compartment: str) -> np.ndarray:
        """A marker's light ``(h, w)`` with this stain."""
        if compartment != "nuclear":
            for factor in (self.granules, self.pole):
                signal = signal if factor is None else signal * factor
        if self.efficiency is not None:
            grid = self.efficiency[marker]
            at = np.linspace(0, grid.shape[0] - 1, signal.shape[0])
            place = np.stack(np.meshgrid(at, at, indexing="ij"))
            signal = signal * ndimage.map_coordinates(grid, place, order=1, output=np.float32)
        return signal


def draw_stain(
    shapes: Shapes, mpp: float, granularity: float, polarity: float, unevenness: float, rng: np.random.Generator
) -> Stain:
    """Stain of one sample; a strength of 0 takes no part, and changes no other's draws."""
    granule_rng, pole_rng, patch_rng = rng.spawn(3)
    size = shapes.labels.shape[0]
    return Stain(
        granules(size, mpp, granularity, granule_rng) if granularity else None,
        poles(shapes.labels, mpp, polarity, pole_rng) if polarity else None,
        patches(size * mpp, unevenness, patch_rng) if unevenness else None,
    )


def granules(size: int, mpp: float, granularity: float, rng: np.random.Generator) -> np.ndarray:
    """Factor ``(size, size)`` of mean 1: a share `granularity` of the light is in granules, on a tenth of the area."""
    noise = smooth_noise((size, size), _GRANULE / mpp, rng)
    spots = np.clip(noise - 1.28, 0, None)
    return (1 - granularity + granularity * spots / spots.mean()).astype(np.float32)


def poles(labels: np.ndarray, mpp: float, polarity: float, rng: np.random.Generator) -> np.ndarray:
    """Factor ``(h, w)``: ``1 + polarity * cos`` of the angle to the pole of each cell, as seen from its centroid."""
    n = int(labels.max())
    angle = np.concatenate([[0.0], rng.uniform(0, 2 * np.pi, n)])[labels]
    centre = np.concatenate([np.zeros((1, 2)), centroids(labels, n, mpp)])[labels]
    at = (np.arange(len(labels)) + 0.5) * mpp
    dx, dy = at[None, :] - centre[..., 0], at[:, None] - centre[..., 1]
    cos = (dx * np.cos(angle) + dy * np.sin(angle)) / np.maximum(np.hypot(dx, dy), 1e-6)
    return np.where(labels > 0, 1 + polarity * cos, 1).astype(np.float32)


def patches(side: float, unevenness: float, rng: np.random.Generator) -> np.ndarray:
    """Efficiency of each of the 40 markers ``(40, g, g)``; its log has the standard deviation `unevenness`."""
    g = int(np.ceil(side / _COARSE)) + 1
    wide = g + 2 * int(np.ceil(_PATCH / _COARSE))  # a field of a small sample need not average out within it
    out = np.empty((len(MARKERS), g, g), np.float32)
    for m in range(len(MARKERS)):
        noise = ndimage.gaussian_filter(rng.standard_normal((wide, wide)), _PATCH / 2 / _COARSE, mode="wrap")
        noise *= 2 * np.sqrt(np.pi) * (_PATCH / 2 / _COARSE)  # white noise smoothed by s has the variance 1 / (4 pi s²)
        out[m] = np.exp(unevenness * np.clip(noise[:g, :g], -SPREAD_LIMIT, SPREAD_LIMIT))
    return out
