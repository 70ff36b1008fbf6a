"""Pixels that no model takes, reported once for all images of a run: refused, or replaced and recorded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..._errors import RunError, counted, listed, warn
from ..._wording import takes

if TYPE_CHECKING:
    from .reader import SampleReader


_SHOWN = 5  # images of a message


def report_odd_pixels(samples: Sequence[str], readers: Sequence[SampleReader]) -> dict[str, dict[str, dict[str, int]]]:
    """Refuse or report pixels that no model takes, once for all images; returns the entries of the record.

    Parameters
    ----------
    samples, readers
        Images, each with its own `on_nan`.

    Raises
    ------
    RunError
        If pixels are NaN or infinite and are not to be zero.
    """
    counts = [reader.odd_pixels for reader in readers]
    broken = [(reader, odd.not_finite, None) for reader, odd in zip(readers, counts, strict=True)]
    below = [(reader, odd.negative, odd.lowest) for reader, odd in zip(readers, counts, strict=True)]
    if refused := _described([one for one in broken if one[0].on_nan == "raise"]):
        remedy = ", or pass on_nan='zero' to count them as 0" if takes("on_nan") else ""
        raise RunError(f"Pixels are NaN or infinite in {refused}. Fix them in the image{remedy}.")
    if replaced := _described(broken):
        warn(f"Pixels are NaN or infinite in {replaced}: they count as 0.")
    if clipped := _described(below):
        warn(
            f"Pixels are negative in {clipped}: they count as 0. Shift or replace them in the image first if they mean "
            "something else."
        )
    return {
        "pixels_replaced": _numbers(samples, broken),
        "pixels_clipped": _numbers(samples, below),
    }


_Counts = Sequence[tuple["SampleReader", np.ndarray, np.ndarray | None]]


def _described(counts: _Counts) -> str:
    """``2 images: 'image_a' (channel 'CD3': 1 pixel), ...``; empty where there are none."""
    images = []
    for reader, counts_of, lowest in counts:
        channels = [
            f"channel {reader.channel_names[m]!r}: {counted(int(counts_of[m]), 'pixel')}"
            + ("" if lowest is None else f", lowest {lowest[m]:g}")
            for m in np.flatnonzero(counts_of)
        ]
        if channels:
            images.append(f"{reader.name!r} ({listed(channels, _SHOWN, quoted=False)})")
    return f"{counted(len(images), 'image')}: {listed(images, _SHOWN, quoted=False)}" if images else ""


def _numbers(samples: Sequence[str], counts: _Counts) -> dict[str, dict[str, int]]:
    return {
        sample: {reader.channel_names[m]: int(counts_of[m]) for m in np.flatnonzero(counts_of)}
        for sample, (reader, counts_of, _) in zip(samples, counts, strict=True)
        if counts_of.any()
    }
