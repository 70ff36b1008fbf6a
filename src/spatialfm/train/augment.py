"""What is changed in a window without changing what it shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from scipy.ndimage import gaussian_filter1d

from .._described import Described
from .._ranges import at_least


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Augment(Described):
    """How windows are changed at random.

    VirTues rotates by a multiple of 90 degrees and mirrors with probability 0.5; KRONOS rotates and mirrors in both
    directions, which gives the same eight orientations. Neither changes intensities.

    Attributes
    ----------
    rotate
        Whether windows are rotated by 0, 90, 180 or 270 degrees, each as likely.
    flip
        Whether they are mirrored, left to right, with probability 0.5.
    intensity
        Each channel is multiplied by a number from ``1 / (1 + intensity)`` to ``1 + intensity``, uniform in its
        logarithm, before it is standardised.
    blur
        All channels are blurred by a Gaussian of 0 to so many pixels, uniformly.
    noise
        To every standardised pixel is added a normal number with a standard deviation of 0 to so much, uniformly for
        each window.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> sfm.train.Augment(intensity=0.2, noise=0.1)
    Augment(intensity=0.2, noise=0.1)
    """

    rotate: bool = True
    flip: bool = True
    intensity: Annotated[float, at_least(0)] = 0.0
    blur: Annotated[float, at_least(0)] = 0.0
    noise: Annotated[float, at_least(0)] = 0.0


NOTHING = Augment(rotate=False, flip=False)


def augment_of(value: bool | Augment | Mapping[str, Any]) -> Augment:
    """What an argument means: True the default, False nothing."""
    return Augment() if value is True else NOTHING if value is False else Augment.of(value)


def scaled(pixels: np.ndarray, augment: Augment, rng: np.random.Generator) -> np.ndarray:
    """Pixels ``(M, H, W)``, each channel brighter or darker."""
    if not augment.intensity:
        return pixels
    largest = np.log1p(augment.intensity)
    return pixels * np.exp(rng.uniform(-largest, largest, len(pixels))).astype(np.float32)[:, None, None]


def oriented(pixels: np.ndarray, augment: Augment, rng: np.random.Generator) -> np.ndarray:
    """Square pixels ``(M, H, W)`` in one of the eight orientations."""
    turns = int(rng.integers(4)) if augment.rotate else 0
    if turns % 2:  # as `np.rot90`, which takes longer than the rest of a small window
        pixels = pixels.swapaxes(-2, -1)
    if turns in (1, 2):
        pixels = pixels[..., ::-1, :]
    if turns in (2, 3):
        pixels = pixels[..., ::-1]
    return pixels[..., ::-1] if augment.flip and rng.random() < 0.5 else pixels


def disturbed(pixels: np.ndarray, augment: Augment, rng: np.random.Generator) -> np.ndarray:
    """Standardised pixels ``(M, H, W)``, float32, blurred and with noise."""
    if augment.blur:
        sigma = rng.uniform(0, augment.blur)
        for axis in (-2, -1):
            pixels = gaussian_filter1d(pixels, sigma, axis=axis, mode="mirror") if sigma > 0 else pixels
    if augment.noise:
        pixels = pixels + np.float32(rng.uniform(0, augment.noise)) * rng.standard_normal(pixels.shape, np.float32)
    return pixels
