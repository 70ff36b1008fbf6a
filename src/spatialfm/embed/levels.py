"""Whether the images of a run are in one unit of brightness, by a look at a few places."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..pp.units import say_apart
from .reader import SampleReader

SIDE = 96
PLACES = ((0.5, 0.5), (0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75))  # of the height and width
PERCENTILE = 99.5


def say_levels(samples: Sequence[str], readers: Sequence[SampleReader]) -> None:
    """Warn of samples whose pixels, scaled by their `intensity_max`, seem to be in another unit than the others'."""
    if len(readers) > 1:
        say_apart(
            samples,
            np.stack([bright_values(reader) for reader in readers]),
            "If they hold the same stain in other units, pass intensity_max={sample: value of the brightest possible "
            "pixel}; if not, embed them apart with samples=.",
        )


def bright_values(reader: SampleReader) -> np.ndarray:
    """A high percentile of each marker ``(M,)`` over five squares of the image."""
    height, width = reader.shape
    parts = []
    for down, right in PLACES:
        y, x = (max(0, round(share * size) - SIDE // 2) for share, size in ((down, height), (right, width)))
        square = reader.pixels(y, min(y + SIDE, height), x, min(x + SIDE, width))
        parts.append(square.reshape(len(square), -1))
    return np.percentile(np.concatenate(parts, axis=1), PERCENTILE, axis=1)
