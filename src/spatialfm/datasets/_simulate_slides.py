"""Batch effects of simulated slides: how strongly each marker is stained, and how evenly the slide is lit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ._simulate_options import generator
from ._simulate_panel import MARKERS, SPREAD_LIMIT

_GAIN_SD = 0.25  # log of the staining gain of a marker
_BACKGROUND_SD = 0.25  # log of the background of a marker


@dataclass(frozen=True)
class Slide:
    """Batch effects of one slide.

    Attributes
    ----------
    gain, background
        ``(40,)`` factors of the staining and of the background of each marker.
    falloff
        How much darker the image is a side length away from the brightest point (0: even).
    centre
        Brightest point (x, y), in side lengths.
    """

    gain: np.ndarray
    background: np.ndarray
    falloff: float
    centre: tuple[float, float]


def draw_slide(slide: int, random_state: int, batch_effect: float) -> Slide:
    """Batch effects of slide number `slide`; `batch_effect` scales them, 0 takes them away."""
    rng = generator(random_state, "slide", slide)
    gain = np.clip(rng.standard_normal(len(MARKERS)), -SPREAD_LIMIT, SPREAD_LIMIT)
    background = np.clip(rng.standard_normal(len(MARKERS)), -SPREAD_LIMIT, SPREAD_LIMIT)
    falloff, x, y = rng.uniform(0.15, 0.45), *rng.uniform(0.3, 0.7, 2)
    return Slide(
        np.exp(_GAIN_SD * batch_effect * gain),
        np.exp(_BACKGROUND_SD * batch_effect * background),
        float(min(falloff * batch_effect, 0.8)),
        (float(x), float(y)),
    )


def illumination(slide: Slide, size: int) -> np.ndarray:
    """Share of the light ``(size, size)`` that reaches each pixel, 1 at the brightest point."""
    at = (np.arange(size) + 0.5) / size
    squared = (at[None, :] - slide.centre[0]) ** 2 + (at[:, None] - slide.centre[1]) ** 2
    return np.clip(1 - slide.falloff * squared, 0.1, 1).astype(np.float32)
