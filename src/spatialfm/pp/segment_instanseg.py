"""``sfm.pp.segment_cells(method="instanseg")``: tiles as the network would see them in the whole image.

InstanSeg (Goldsborough et al. 2024) brings an image to the size of its own pixels, fills it up at the right and bottom
to whole steps of its pooling, and takes the labels back. Done tile by tile, each of the three depends on where a tile
starts. Here the pixels of the network are those of the whole image, a tile starts at a whole step of the pooling
(`Grid`, `period`), and labels go back by the place of a pixel in the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._errors import InputFileError, SpatialfmError
from .stitch import ROUNDING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr

STEP = 16  # pixels of the network: it fills an image up to a multiple of them
_LEAST = 64  # pixels of the network: the square around a seed in which it looks for a cell
_SAME = 0.01  # of a pixel's size: closer to its own, the network takes an image as it is


@dataclass(frozen=True)
class TileAxis:
    """Rows, or columns, of a tile, and those that a network sees of them.

    Attributes
    ----------
    first, n
        First of the tile in the image, and how many.
    scale
        Pixels of the network to one of the image.
    """

    first: int
    n: int
    scale: float

    @property
    def start(self) -> int:
        """First one of the network, counted over the whole image; a multiple of its step."""
        return STEP * int(np.ceil(self.first * self.scale / STEP - ROUNDING))

    @property
    def size(self) -> int:
        """How many the network sees."""
        return max(int(np.floor((self.first + self.n) * self.scale + ROUNDING)) - self.start, 1)

    def sources(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of each one of the network, the two of the tile that it lies between, and the weight of the second."""
        centre = (self.start + np.arange(self.size) + 0.5) / self.scale - 0.5 - self.first
        centre = np.clip(centre, 0, self.n - 1)
        low = np.floor(centre).astype(np.int64)
        return low, np.minimum(low + 1, self.n - 1), (centre - low).astype(np.float32)

    def targets(self) -> np.ndarray:
        """Of each one of the tile, the one of the network that it lies in."""
        inside = np.floor((self.first + np.arange(self.n) + 0.5) * self.scale).astype(np.int64) - self.start
        return np.clip(inside, 0, self.size - 1)


def resampled(pixels: np.ndarray, rows: TileAxis, columns: TileAxis) -> np.ndarray:
    """Pixels ``(c, y, x)`` float32 of a tile as the network sees them: linear between two, as InstanSeg does it."""
    for dimension, axis in ((1, rows), (2, columns)):
        low, high, weight = axis.sources()
        if not weight.any() and axis.size == axis.n and (low == np.arange(axis.n)).all():
            continue
        weight = weight.reshape([-1 if one == dimension else 1 for one in range(3)])
        pixels = pixels.take(low, dimension) * (1 - weight) + pixels.take(high, dimension) * weight
    return pixels


class InstanSegTiles:
    """A model of InstanSeg, called on tiles.

    Parameters
    ----------
    path
        TorchScript file of a released model.
    device
        Of torch.
    options
        Of `eval_small_image`.
    """

    def __init__(self, path: str, device: str, options: Mapping[str, object]):
        import torch
        from instanseg import InstanSeg

        network = torch.jit.load(path, map_location="cpu")
        self.pixel_size = float(getattr(network, "pixel_size", 0) or 0)
        if not (np.isfinite(self.pixel_size) and self.pixel_size > 0):
            raise InputFileError(
                f"weights={path!r} does not say the size of its pixels. Pass the TorchScript file of a model that "
                "has pixel_size, as all released ones have."
            )
        self.model = InstanSeg(network, device=device, verbosity=0)
        self.options = {"target": "cells", **options}

    def scale(self, mpp: float) -> float:
        """Pixels of the network to one of an image; 1 where they are as good as the same."""
        scale = mpp / self.pixel_size
        return 1.0 if abs(scale - 1) <= _SAME else scale

    def period(self, mpp: float) -> float:
        """Pixels of an image to a step of the network's pooling."""
        return max(STEP / self.scale(mpp), 1.0)

    def __call__(self, tile: xr.DataArray, pixels: np.ndarray, mpp: float) -> np.ndarray:
        """Labels of a tile, whose pixels were scaled by the levels of the image."""
        import torch

        scale = self.scale(mpp)
        rows, columns = (TileAxis(int(tile[name][0]), tile.sizes[name], scale) for name in ("y", "x"))
        seen = resampled(pixels, rows, columns)
        fill = [(0, 0), *((0, max(_LEAST - n, 0)) for n in (rows.size, columns.size))]
        seen = np.pad(seen, fill, mode="reflect")  # as it fills up itself
        if len(seen) >= min(seen.shape[1:]):  # it takes the shortest axis for the channels
            raise SpatialfmError(
                f"InstanSeg cannot take {len(seen)} channels of {seen.shape[1]} x {seen.shape[2]} pixels. Name "
                "fewer in nuclear= and membrane=."
            )
        output = self.model.eval_small_image(
            torch.from_numpy(np.ascontiguousarray(seen))[None],
            pixel_size=self.pixel_size,  # resampled above
            normalise=False,
            return_image_tensor=False,
            rescale_output=True,
            **self.options,
        )
        labels = np.asarray(output).reshape(-1, *seen.shape[1:])
        if len(labels) != 1:
            raise SpatialfmError(
                f"InstanSeg returned {len(labels)} label images where one is needed. Pass "
                "options={'target': 'cells'} or options={'target': 'nuclei'}."
            )
        return labels[0][np.ix_(rows.targets(), columns.targets())].astype(np.int64)
