"""Positions of the niches of a simulated sample: vessels first, then lymphoid aggregates, tumor nests, and stroma."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ._simulate_panel import NICHES

STEP = 2.5  # µm between grid points: niches are smooth on this scale
TUMOR, STROMA, AGGREGATE, VESSEL = range(len(NICHES))
_NEST_SCALE = 11.0  # µm, standard deviation of the smoothing that makes nests
_WALL = 1.6  # µm from the lumen to the centre of an endothelial cell
_WALL_SPACING = 7.5  # µm between endothelial cells along a vessel


@dataclass(frozen=True)
class NicheFields:
    """Niches of a square of tissue, on a grid of `STEP` µm.

    Attributes
    ----------
    niche
        ``(g, g)`` index of the niche.
    tumor_depth, aggregate_depth
        ``(g, g)`` µm to the border of the niche, positive inside.
    to_wall
        ``(g, g)`` µm to the lumen of the nearest vessel, negative inside.
    tumor_gradient
        ``(2, g, g)`` direction (x, y) in which the tumor grows denser; fibres run across it.
    lumen
        ``(v, 3)`` x, y and radius (µm) of the discs that make up the vessels' lumina.
    wall
        ``(w, 3)`` x, y and angle of the places along the vessels where endothelial cells sit.
    """

    niche: np.ndarray
    tumor_depth: np.ndarray
    aggregate_depth: np.ndarray
    to_wall: np.ndarray
    tumor_gradient: np.ndarray
    lumen: np.ndarray
    wall: np.ndarray

    def glow(self, size: int, mpp: float, margin: float) -> np.ndarray:
        """Where fibres are ``(size, size)``, 0 to 1, in the pixels of an image `margin` µm inside the square."""
        at = margin + (np.arange(size) + 0.5) * mpp
        index = np.clip((at / STEP).astype(int), 0, len(self.niche) - 1)
        fibrous = np.isin(self.niche, (STROMA, VESSEL)) & (self.to_wall > 0)
        return ndimage.gaussian_filter(fibrous[np.ix_(index, index)].astype(np.float32), 1.5 / mpp)

    def at(self, grid: np.ndarray, xy: np.ndarray) -> np.ndarray:
        """Values of a grid ``(..., g, g)`` at points ``(n, 2)`` in µm."""
        index = np.clip((xy / STEP).astype(int), 0, grid.shape[-1] - 1)
        return grid[..., index[:, 1], index[:, 0]]


def smooth_noise(shape: tuple[int, int], sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian random field of mean 0 and standard deviation 1; `sigma` in grid points."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape, np.float32), sigma, mode="reflect", truncate=3)
    return (field - field.mean()) / max(float(field.std()), 1e-9)


def draw_fields(side: float, shares: np.ndarray, rng: np.random.Generator) -> NicheFields:
    """Lay out a square of `side` µm whose niches take the given shares of the area."""
    g = int(np.ceil(side / STEP))
    centre = (np.arange(g) + 0.5) * STEP
    lumen, wall = _vessels(side, shares[VESSEL], rng)
    to_wall = _distance_to_lumen(lumen, g)
    niche = np.full((g, g), STROMA, np.int8)
    # the share decides how far the perivascular niche reaches, but a vessel always has a wall
    reach = -_threshold(-to_wall, np.ones((g, g), bool), shares[VESSEL])
    niche[to_wall <= np.clip(reach, 2.5 * _WALL, 15.0)] = VESSEL

    blobs = _blobs(side, centre, shares[AGGREGATE], rng) + 0.12 * smooth_noise((g, g), 7 / STEP, rng)
    # aggregates are next to vessels, tumor is away from them
    blobs += 0.15 * np.exp(-to_wall / 20)
    _claim(niche, AGGREGATE, blobs, shares[AGGREGATE])
    nests = smooth_noise((g, g), _NEST_SCALE / STEP, rng) + 0.2 * smooth_noise((g, g), 4 / STEP, rng)
    nests -= 1.2 * np.exp(-to_wall / 12)
    aggregate_depth = _depth(niche == AGGREGATE)
    nests -= 1.0 * np.exp(np.minimum(aggregate_depth, 0) / 10)
    _claim(niche, TUMOR, nests, shares[TUMOR])
    grown = ndimage.gaussian_filter(nests, 4 / STEP)
    gradient = np.stack([ndimage.sobel(grown, axis=1), ndimage.sobel(grown, axis=0)])
    return NicheFields(niche, _depth(niche == TUMOR), aggregate_depth, to_wall, gradient, lumen, wall)


def _claim(niche: np.ndarray, index: int, score: np.ndarray, share: float) -> None:
    free = niche == STROMA
    niche[free & (score >= _threshold(score, free, share))] = index


def _threshold(score: np.ndarray, free: np.ndarray, share: float) -> float:
    """The value that the best `share` of the whole area reach, among free points."""
    values = score[free]
    count = min(round(share * score.size), values.size)
    return float(np.partition(values, values.size - count)[values.size - count]) if count else np.inf


def _depth(mask: np.ndarray) -> np.ndarray:
    """Signed distance in µm to the border of a mask, positive inside."""
    far = float(max(mask.shape)) * STEP
    if not mask.any():
        return np.full(mask.shape, -far)
    if mask.all():
        return np.full(mask.shape, far)
    inside = ndimage.distance_transform_edt(mask)
    outside = ndimage.distance_transform_edt(~mask)
    return STEP * (inside - outside + np.where(mask, -0.5, 0.5))


def _blobs(side: float, centre: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Round bumps where aggregates grow: one every 250 µm squared, as many as the area has room for."""
    bumps = np.zeros((len(centre), len(centre)))
    count = 1 + rng.poisson((side / 250) ** 2)
    radius = np.sqrt(max(share, 0.02) / count / np.pi) * side
    for _ in range(count):
        x, y = rng.uniform(0, side, 2)
        stretch, angle = rng.uniform(0.75, 1.33), rng.uniform(0, np.pi)
        dx, dy = centre[None, :] - x, centre[:, None] - y
        u = (dx * np.cos(angle) + dy * np.sin(angle)) * stretch
        v = (-dx * np.sin(angle) + dy * np.cos(angle)) / stretch
        bumps = np.maximum(bumps, np.exp(-(u**2 + v**2) / (2 * (1.2 * radius) ** 2)))
    return bumps


def _vessels(side: float, share: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Vessels cut along (winding tubes) and across (rings), until they fill about a third of their niche."""
    lumen, wall, area = [], [], 0.0
    wanted = 0.35 * share * side**2
    while area < wanted or not lumen:
        tube = rng.random() < 0.5
        radius = rng.uniform(2.0, 3.5) if tube else rng.uniform(3.0, 5.0)
        start = rng.uniform(0, side, 2)
        length = rng.uniform(0.4, 0.9) * min(side, 200.0) if tube else 0.0
        points, heading = _walk(start, length, rng)
        lumen.append(np.column_stack([points, np.full(len(points), radius)]))
        wall.append(_wall_places(points, heading, radius) if tube else _ring_places(start, radius, rng))
        area += (length + 2 * radius) * 2 * (radius + 2 * _WALL)
    lumen, wall = np.concatenate(lumen), np.concatenate(wall)
    inside = ((wall[:, :2] >= 0) & (wall[:, :2] < side)).all(axis=1)
    # where two vessels cross, the wall of one would be in the lumen of the other
    gap = np.hypot(wall[:, None, 0] - lumen[:, 0], wall[:, None, 1] - lumen[:, 1]) - lumen[:, 2]
    return lumen, wall[inside & (gap.min(axis=1) > 0.5 * _WALL)]


def _walk(start: np.ndarray, length: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Points every µm of a winding line, and the heading at each."""
    n = int(length) + 1
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(0.06 * rng.standard_normal(n))
    steps = np.column_stack([np.cos(heading), np.sin(heading)])
    return start + np.cumsum(steps, axis=0) - steps[0], heading


def _wall_places(points: np.ndarray, heading: np.ndarray, radius: float) -> np.ndarray:
    every = int(_WALL_SPACING)
    normal = np.column_stack([-np.sin(heading), np.cos(heading)]) * (radius + _WALL)
    one, other = (points + normal)[::every], (points - normal)[every // 2 :: every]
    angle = np.concatenate([heading[::every], heading[every // 2 :: every]])
    return np.column_stack([np.concatenate([one, other]), angle])


def _ring_places(start: np.ndarray, radius: float, rng: np.random.Generator) -> np.ndarray:
    n = max(3, int(2 * np.pi * (radius + _WALL) / _WALL_SPACING))
    phase = rng.uniform(0, 2 * np.pi) + 2 * np.pi * np.arange(n) / n
    places = start + (radius + _WALL) * np.column_stack([np.cos(phase), np.sin(phase)])
    return np.column_stack([places, phase + np.pi / 2])


def _distance_to_lumen(lumen: np.ndarray, g: int) -> np.ndarray:
    """Distance in µm of every grid point to the wall of the nearest vessel, negative inside."""
    index = np.clip((lumen[:, :2] / STEP).astype(int), 0, g - 1)
    radius = np.zeros((g, g))
    radius[index[:, 1], index[:, 0]] = lumen[:, 2]
    distance, nearest = ndimage.distance_transform_edt(radius == 0, return_indices=True)
    return STEP * distance - radius[tuple(nearest)]
