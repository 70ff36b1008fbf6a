"""Two label images of one field: which objects share pixels, which are one, which are several in one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .measure import Box, loaded, plan_blocks
from .stitch import overlaps

INSIDE = 0.5  # share of its pixels that lie in an object of the other image, above which it belongs to it


@dataclass(frozen=True)
class Agreement:
    """Objects of an image and of its reference that share pixels.

    Attributes
    ----------
    ids, reference_ids
        ``(n,)``, ``(m,)`` numbers of all objects, ascending.
    segmented, reference, shared
        ``(p,)`` rows of `ids` and `reference_ids`, and pixels that they share.
    area, reference_area
        ``(n,)``, ``(m,)`` pixels.
    """

    ids: np.ndarray
    reference_ids: np.ndarray
    segmented: np.ndarray
    reference: np.ndarray
    shared: np.ndarray
    area: np.ndarray
    reference_area: np.ndarray

    @property
    def iou(self) -> np.ndarray:
        """Intersection over union of each pair ``(p,)``."""
        return self.shared / (self.area[self.segmented] + self.reference_area[self.reference] - self.shared)

    def best(self) -> tuple[np.ndarray, np.ndarray]:
        """Reference object (its number, 0: none) and intersection over union of the best partner of each object."""
        numbers, values = np.zeros(self.ids.size, np.int64), np.zeros(self.ids.size)
        iou = self.iou
        order = np.argsort(iou, kind="stable")  # the best is written last
        numbers[self.segmented[order]] = self.reference_ids[self.reference[order]]
        values[self.segmented[order]] = iou[order]
        return numbers, values

    def hits(self, threshold: float) -> int:
        """Pairs of an intersection over union above 0.5 or more, at which no object has two partners."""
        return int(np.count_nonzero(self.iou > threshold))

    def f1(self, threshold: float) -> float:
        """``2 hits / (objects + reference objects)``; NaN where there is neither."""
        n = self.ids.size + self.reference_ids.size
        return 2 * self.hits(threshold) / n if n else float("nan")

    def merged(self) -> np.ndarray:
        """Which objects ``(n,)`` hold more than half of two reference objects or more."""
        inside = self.shared > INSIDE * self.reference_area[self.reference]
        return np.bincount(self.segmented[inside], minlength=self.ids.size) > 1

    def split(self) -> np.ndarray:
        """Which reference objects ``(m,)`` hold more than half of two objects or more."""
        inside = self.shared > INSIDE * self.area[self.segmented]
        return np.bincount(self.reference[inside], minlength=self.reference_ids.size) > 1

    def parts(self) -> np.ndarray:
        """Which objects ``(n,)`` are parts of a split reference object."""
        inside = self.shared > INSIDE * self.area[self.segmented]
        parts = np.zeros(self.ids.size, bool)
        parts[self.segmented[inside & self.split()[self.reference]]] = True
        return parts

    def missed(self) -> int:
        """Reference objects of which no object has more than half, and which have more than half of none."""
        inside = self.shared > INSIDE * self.reference_area[self.reference]
        around = self.shared > INSIDE * self.area[self.segmented]
        return int(self.reference_ids.size - np.unique(self.reference[inside | around]).size)


def agreement(labels, reference_at: Callable[[Box], np.ndarray]) -> Agreement:
    """Compare a label image with its reference, block by block.

    Parameters
    ----------
    labels
        ``(y, x)``, lazy.
    reference_at
        Reference labels in a box of its pixels, such as a `spatialfm.pp.measure.LabelGrid`.
    """
    pairs, areas, references = [], [], []
    for y0, y1, x0, x1 in plan_blocks(labels):
        one = loaded(labels[y0:y1, x0:x1]).astype(np.int64)
        other = reference_at((y0, y1, x0, x1)).astype(np.int64)
        pairs.append(np.stack(overlaps(one, other), axis=1))
        areas.append(np.stack(np.unique(one[one > 0], return_counts=True), axis=1))
        references.append(np.stack(np.unique(other[other > 0], return_counts=True), axis=1))
    ids, area = _summed(areas)
    reference_ids, reference_area = _summed(references)
    both = np.concatenate([np.empty((0, 3), np.int64), *pairs])
    segmented, reference = np.searchsorted(ids, both[:, 0]), np.searchsorted(reference_ids, both[:, 1])
    keys, place = np.unique(segmented * (reference_ids.size + 1) + reference, return_inverse=True)
    shared = np.bincount(place, both[:, 2], keys.size).astype(np.int64)
    segmented, reference = np.divmod(keys, reference_ids.size + 1)
    return Agreement(ids, reference_ids, segmented, reference, shared, area, reference_area)


def _summed(parts: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Numbers that occur in any block, ascending, and their pixels."""
    rows = np.concatenate([np.empty((0, 2), np.int64), *parts])
    numbers, place = np.unique(rows[:, 0], return_inverse=True)
    return numbers, np.bincount(place, rows[:, 1], numbers.size).astype(np.int64)
