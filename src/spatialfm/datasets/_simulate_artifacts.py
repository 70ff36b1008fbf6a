"""Artifacts of slides and microscopes, each with the mask of where it is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ._simulate_fields import smooth_noise
from ._simulate_optics import MAX_COUNT, Camera, blurred, expose
from ._simulate_options import ARTIFACTS

_FOLD_WIDTH = (4.0, 8.0)  # µm from the middle of a fold to its edge
_SEAM = 1.0  # µm from the middle of a seam to its edge
_SEAM_SHIFT = (0.5, 2.0)  # µm by which fields of view disagree
_BLUR = 1.8  # µm, standard deviation of the blur out of focus


def add_artifacts(
    counts: np.ndarray,
    photons: np.ndarray,
    rngs: Mapping[str, np.random.Generator],
    rate: float,
    camera: Camera,
    mpp: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Put artifacts into an image.

    Parameters
    ----------
    counts, photons
        ``(M, h, w)`` the clean image, and the expected photons behind it.
    rngs
        Kinds of artifacts, each with its own random numbers: a further kind leaves the others unchanged.
    rate
        Probability of each.

    Returns
    -------
    counts
        ``(M, h, w)``; differs from the clean image only inside the mask.
    mask
        ``(h, w)`` uint8 codes (`ARTIFACTS`), 0 where the image is clean. A later kind covers an earlier one.
    """
    size = counts.shape[-1]
    counts = counts.copy()
    mask = np.zeros((size, size), np.uint8)
    for kind, rng in rngs.items():
        if rng.random() < rate:
            where, altered = _MAKERS[kind](photons, camera, mpp, rng)
            counts[:, where] = expose(altered[:, where], camera, rng)
            mask[where] = ARTIFACTS[kind]
    return counts, mask


def _fold(photons: np.ndarray, camera: Camera, mpp: float, rng: np.random.Generator):
    """A band in which the tissue is folded onto itself: its light is added to that of the adjacent tissue."""
    size = photons.shape[-1]
    at = (np.arange(size) + 0.5) * mpp
    x, y = at[None, :] - size * mpp * rng.uniform(0.25, 0.75), at[:, None] - size * mpp * rng.uniform(0.25, 0.75)
    angle, width = rng.uniform(0, np.pi), rng.uniform(*_FOLD_WIDTH)
    along, across = x * np.cos(angle) + y * np.sin(angle), -x * np.sin(angle) + y * np.cos(angle)
    across = across + 3.0 * np.sin(along / 25 + rng.uniform(0, 2 * np.pi))
    where = np.abs(across) < width
    shift = 2 * width / mpp
    moved = np.roll(photons, (round(shift * np.cos(angle)), round(-shift * np.sin(angle))), axis=(1, 2))
    return where, photons + np.stack([blurred(channel, 0.6 / mpp) for channel in moved])


def _saturation(photons: np.ndarray, camera: Camera, mpp: float, rng: np.random.Generator):
    """A clump of stain that drives some channels to the end of the camera's range."""
    size = photons.shape[-1]
    at = (np.arange(size) + 0.5) * mpp
    x, y = at[None, :] - size * mpp * rng.uniform(0.15, 0.85), at[:, None] - size * mpp * rng.uniform(0.15, 0.85)
    radius = rng.uniform(4.0, 9.0)
    where = np.hypot(x, y) < radius * (1 + 0.15 * smooth_noise((size, size), 2 / mpp, rng))
    hit = rng.random(len(photons)) < 0.35
    hit[rng.integers(len(photons))] = True
    altered = photons.copy()
    altered[hit] += 2 * MAX_COUNT / camera.gain
    return where, altered


def _blur(photons: np.ndarray, camera: Camera, mpp: float, rng: np.random.Generator):
    """A patch out of focus."""
    size = photons.shape[-1]
    at = (np.arange(size) + 0.5) / size
    x, y = at[None, :] - rng.uniform(0.1, 0.9), at[:, None] - rng.uniform(0.1, 0.9)
    radius = rng.uniform(0.16, 0.3)
    where = np.hypot(x, y) < radius * (1 + 0.1 * smooth_noise((size, size), 10 / mpp, rng))
    return where, np.stack([blurred(channel, _BLUR / mpp) for channel in photons])


def _dropout(photons: np.ndarray, camera: Camera, mpp: float, rng: np.random.Generator):
    """A patch that some antibodies did not reach, as under a bubble, or from which they were washed off."""
    size = photons.shape[-1]
    at = (np.arange(size) + 0.5) / size
    x, y = at[None, :] - rng.uniform(0.1, 0.9), at[:, None] - rng.uniform(0.1, 0.9)
    where = np.hypot(x, y) < rng.uniform(0.12, 0.25) * (1 + 0.1 * smooth_noise((size, size), 6 / mpp, rng))
    hit = rng.random(len(photons)) < 0.35
    hit[rng.integers(len(photons))] = True
    altered = photons.copy()
    altered[hit] *= 0.05
    return where, altered


def _seam(photons: np.ndarray, camera: Camera, mpp: float, rng: np.random.Generator):
    """A line where two fields of view meet: what is seen twice is blended, a little apart, and dark at their edges."""
    size = photons.shape[-1]
    half = max(1, round(_SEAM / mpp))
    at, axis = int(rng.integers(half, size - half)), int(rng.integers(1, 3))
    where = np.zeros((size, size), bool)
    where[(slice(at - half, at + half), slice(None))[:: 1 if axis == 1 else -1]] = True
    apart = max(1, round(rng.uniform(*_SEAM_SHIFT) / mpp)) * (1 if rng.random() < 0.5 else -1)
    return where, 0.35 * (photons + np.roll(photons, (apart, apart), axis=(1, 2)))


_MAKERS = {"fold": _fold, "saturation": _saturation, "blur": _blur, "dropout": _dropout, "seam": _seam}
