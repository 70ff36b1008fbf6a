"""Pixels that no model has seen: NaN, infinite and negative ones, counted over whole images before a run begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class OddPixels:
    """What the channels of one image hold, ``(M,)`` each."""

    not_finite: np.ndarray
    negative: np.ndarray
    lowest: np.ndarray


@dataclass(frozen=True)
class OddCounts:
    """Counts of each plane ``(y, x)`` of an image, added up band by band as it is read."""

    planes: dict[int, list[float]] = field(default_factory=dict)

    def see(self, plane: int, values: np.ndarray) -> None:
        """Add a band of a plane; bands of one plane come one after the other."""
        counts = self.planes.setdefault(plane, [0, 0, 0.0])
        if not values.size:
            return
        if values.dtype.kind == "f" and not (finite := np.isfinite(values)).all():
            counts[0] += int(values.size - np.count_nonzero(finite))
            values = values[finite]
        if (lowest := values.min(initial=0)) < 0:
            counts[1] += int(np.count_nonzero(values < 0))
            counts[2] = min(counts[2], float(lowest))

    def arrays(self, planes: Sequence[int]) -> dict[str, np.ndarray]:
        """The fields of `OddPixels`, in the order of `planes`; zero for those that were not seen."""
        counts = np.array([self.planes.get(plane, [0, 0, 0.0]) for plane in planes]).T
        return {"not_finite": counts[0].astype(int), "negative": counts[1].astype(int), "lowest": counts[2]}
