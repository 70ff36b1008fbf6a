"""Where Nimbus looks: images whole or in tiles, turned and mirrored, as released and as it was meant.

The released code averages six maps of an image: four rotations and two mirror images. A slip (its four rotations are
functions that all read the last value of one variable) makes all four 270°, so that the image as it is counts nowhere.
And its tiles of 1024 pixels have an odd side on the third level of the network, where pooling drops the last row and
column: what comes from below is then one pixel off on the second level and two pixels off at the output.

``"released"`` repeats both, as the published scores were made with them. ``"corrected"`` has the four rotations, and
tiles of 1020 pixels, of which no level is odd and which begin where the same pixels are pooled as in the whole image:
inside of an image, what a tile gives is what the whole image would give.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from .nimbus import POOLED

Augmentation = Literal["released", "corrected", "none"]
Box = tuple[int, int, int, int]
LARGEST = 1024  # side of an image that the network sees whole
OUTPUT = 832  # side of what is kept of a tile
SIDES = {"released": 1024, "corrected": 1020, "none": 1020}
SMALLEST = 2 * POOLED  # below, there is one pixel at the bottom, which cannot be padded by reflection


@dataclass(frozen=True)
class View:
    """An image turned by quarters (counter-clockwise) or mirrored, and how often its map counts.

    Attributes
    ----------
    turns
        Quarters.
    mirrored
        Axis that is mirrored, 0: rows, 1: columns; None: none.
    weight
        How often it counts.
    """

    turns: int = 0
    mirrored: int | None = None
    weight: int = 1

    def of(self, image: Tensor) -> Tensor:
        """``(..., H, W)`` seen so."""
        image = torch.rot90(image, self.turns, (-2, -1))
        return image if self.mirrored is None else torch.flip(image, (self.mirrored - 2,))

    def back(self, image: Tensor) -> Tensor:
        """What was seen so, as it was."""
        image = image if self.mirrored is None else torch.flip(image, (self.mirrored - 2,))
        return torch.rot90(image, -self.turns, (-2, -1))

    def shape(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Height and width of an image seen so."""
        return (shape[1], shape[0]) if self.turns % 2 else shape

    def box_back(self, box: Box, shape: tuple[int, int]) -> Box:
        """Where a box ``(y0, y1, x0, x1)`` of what is seen is in the image, whose shape is given.

        Examples
        --------
        >>> View(turns=1).box_back((0, 2, 0, 5), (5, 8))  # the last two columns became the first two rows
        (0, 5, 6, 8)
        """
        y0, y1, x0, x1 = box
        height, width = self.shape(shape)
        if self.mirrored == 0:
            y0, y1 = height - y1, height - y0
        if self.mirrored == 1:
            x0, x1 = width - x1, width - x0
        for _ in range(self.turns % 4):
            # seen[i, j] is image[j, width of the image - 1 - i]
            height, width = width, height
            y0, y1, x0, x1 = x0, x1, width - y1, width - y0
        return y0, y1, x0, x1


VIEWS: dict[str, tuple[View, ...]] = {
    "released": (View(turns=3, weight=4), View(mirrored=0), View(mirrored=1)),
    "corrected": (*(View(turns=k) for k in range(4)), View(mirrored=0), View(mirrored=1)),
    "none": (View(),),
}


@dataclass(frozen=True)
class NetworkPass:
    """A pass of the network.

    Attributes
    ----------
    view
        How the image is seen.
    read, kept
        What is read, and what is kept of the map; boxes in pixels of the image, which both may leave.
    whole
        Whether it is the whole image, padded within the network.
    """

    view: View
    read: Box
    kept: Box
    whole: bool


def windows_of(shape: tuple[int, int], augmentation: Augmentation) -> list[list[NetworkPass]]:
    """Passes over an image of a shape; each list is one unit of work. Every pixel is kept once by each view."""
    views = VIEWS[augmentation]
    if max(shape) <= LARGEST:
        height, width = (max(SMALLEST, -(-side // POOLED) * POOLED) for side in shape)
        return [[NetworkPass(view, (0, height, 0, width), (0, shape[0], 0, shape[1]), True) for view in views]]
    return [[window] for view in views for window in _tiles(view, shape, augmentation)]


def _tiles(view: View, shape: tuple[int, int], augmentation: Augmentation) -> Iterator[NetworkPass]:
    side = SIDES[augmentation]
    margin = (side - OUTPUT) // 2
    rows, columns = (starts_of(length, augmentation) for length in view.shape(shape))
    for y in rows:
        for x in columns:
            read = view.box_back((y, y + side, x, x + side), shape)
            inner = (y + margin, y + margin + OUTPUT, x + margin, x + margin + OUTPUT)
            yield NetworkPass(view, read, view.box_back(inner, shape), False)


def starts_of(length: int, augmentation: Augmentation) -> list[int]:
    """First pixel of each tile along an axis.

    Examples
    --------
    >>> starts_of(2000, "released")  # 1024 - 2000 % 832 = 688 pixels of padding, half of them before
    [-344, 488, 1320]
    >>> starts_of(2000, "corrected")
    [-94, 738, 1570]
    """
    side = SIDES[augmentation]
    if augmentation == "released":
        padding = side - length % OUTPUT
        first, n = -(padding - padding // 2), length // OUTPUT + 1
    else:
        # 2 above a multiple of 16: on every level, the same pixels are pooled as in the whole image
        first, n = -((side - OUTPUT) // 2), -(-length // OUTPUT)
    return [first + OUTPUT * index for index in range(n)]


def reflected(start: int, stop: int, length: int) -> np.ndarray:
    """Pixels of an axis at the places `start` to `stop`, mirrored at its ends as often as needed.

    Examples
    --------
    >>> reflected(-3, 7, 4)
    array([3, 2, 1, 0, 1, 2, 3, 2, 1, 0])
    """
    if length == 1:
        return np.zeros(stop - start, np.int64)
    place = np.arange(start, stop) % (2 * (length - 1))
    return np.where(place < length, place, 2 * (length - 1) - place)


def kept_of(network: Callable[..., Tensor], seen: Tensor, *, whole: bool) -> Tensor:
    """The map of one window ``(1, 2, H, W)`` as it is seen: all of it, or the middle `OUTPUT` pixels of a tile."""
    if whole:
        return network(seen, "reflect")[0]
    inner = network(seen, "valid")[0]
    cut = (inner.shape[-1] - OUTPUT) // 2
    return inner[cut : cut + OUTPUT, cut : cut + OUTPUT]
