"""Whether the images of a run are in one unit of brightness, by a look at a few places."""

from __future__ import annotations

from collections.abc import Sequence

import dask.array as da
import numpy as np

from ..._errors import listed, warn
from ...pp.measure import loaded
from ...pp.units import say_apart
from .reader import SampleReader

SIDE = 96
PLACES = ((0.5, 0.5), (0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75))  # of the height and width
PERCENTILE = 99.5


REMEDY = (
    "If they hold the same stain in other units, pass intensity_max={sample: value of the brightest possible pixel}; "
    "if not, embed them apart with samples=."
)


def say_levels(
    samples: Sequence[str], readers: Sequence[SampleReader], *, of_cohort: bool, compared: bool = True
) -> np.ndarray:
    """Warn of channels with one value, and of samples that seem to be in another unit than the others.

    Parameters
    ----------
    samples, readers
        Pixels scaled by the `intensity_max` of each sample.
    of_cohort
        Whether statistics over all samples are made, so that a marker with one value in all of them is found there.
    compared
        Whether samples are compared; otherwise the caller does so, with samples of other panels.

    Returns
    -------
    How bright each marker of each sample is, ``(samples, M)``.
    """
    looks = [look(reader) for reader in readers]
    flat = np.stack([flat_channels(reader, suspect) for reader, (_, suspect) in zip(readers, looks, strict=True)])
    if of_cohort:
        flat &= ~flat.all(axis=0)
    if flat.any():
        constant = [
            f"{reader.name}: {name}"
            for reader, row in zip(readers, flat, strict=True)
            for name, is_flat in zip(reader.channel_names, row, strict=True)
            if is_flat
        ]
        warn(
            f"Channels with one value in the whole image: {listed(constant, 10, quoted=False)}. They carry no "
            "information, and set these images apart from others. Pass markers= without them, or samples= without "
            "these images."
        )
    bright = np.stack([bright for bright, _ in looks])
    if compared and len(readers) > 1:
        say_apart(samples, bright, REMEDY)
    return bright


def look(reader: SampleReader) -> tuple[np.ndarray, np.ndarray]:
    """A high percentile of each marker ``(M,)`` over five squares of the image, and where they hold one value."""
    height, width = reader.shape
    chunks = getattr(reader.image, "chunks", None) or ((reader.image.shape[-2],), (reader.image.shape[-1],))
    parts = []
    for down, right in PLACES:
        y = _start(down, height, chunks[-2], reader.ratio)
        x = _start(right, width, chunks[-1], reader.ratio)
        square = reader.pixels(y, min(y + SIDE, height), x, min(x + SIDE, width))
        parts.append(square.reshape(len(square), -1))
    values = np.concatenate(parts, axis=1)
    return np.percentile(values, PERCENTILE, axis=1), values.min(axis=1) == values.max(axis=1)


def _start(share: float, size: int, chunks: Sequence[int], ratio: float) -> int:
    """First pixel of a square; moved into one chunk, if all of it would have to be decoded."""
    start = max(0, round(share * size) - SIDE // 2)
    edges = np.ceil(np.cumsum(chunks) / ratio).astype(int)
    inside = edges[(edges > start) & (edges < start + SIDE) & (edges + SIDE <= size)]
    return int(inside[0]) if inside.size else start


def flat_channels(reader: SampleReader, suspect: np.ndarray) -> np.ndarray:
    """Which of the suspected channels hold one value in the whole image ``(M,)``; only their pixels are read."""
    flat = np.zeros(len(suspect), bool)
    for place in np.flatnonzero(suspect):
        channel = reader.image[reader.channels[place]]
        low, high = loaded(da.stack([channel.min(), channel.max()]))
        flat[place] = low == high
    return flat
