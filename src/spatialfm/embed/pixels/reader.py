"""Pixels and labels of one sample on the model's pixel grid, read region by region.

The model's grid covers the image with pixels of ``ratio`` image pixels. Every value depends only on its global
position, never on the region that was asked for, so that results cannot depend on how an image is cut into blocks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from ..._cache import remembered
from ..._errors import RunError, counted
from ..._identity import fingerprint
from ...pp.arrays import AxisAffine
from ...pp.measure import LabelGrid, loaded
from ...pp.stored_chunks import StoredChunks
from ...pp.tissue_masks import TissueSource
from .content import content_digest
from .decoded import Decoded
from .odd_pixels import OddCounts, OddPixels


@dataclass(frozen=True)
class SampleReader:
    """Lazy access to one sample.

    Attributes
    ----------
    name, labels_name
        Element names, for messages.
    image
        Dask array ``(c, y, x)``.
    labels
        Dask array ``(y, x)``.
    channels
        Indices of the channels to read, in the order of the markers.
    channel_names
        Names of those channels.
    intensity_max
        Pixel value that becomes 1.
    ratio
        Image pixels per model pixel.
    image_to_labels
        Map from image pixels to label pixels.
    on_nan
        Pixels that are NaN or infinite: ``"raise"`` or ``"zero"``.
    area
        Whether a larger pixel is the mean of those it covers, as in a microscope, instead of antialiased by a
        triangle.
    tissue
        What decides where there is tissue; None: found on the pixels alone.
    chunks
        Files of image and labels, where these are a store's: what is removed in mid-run would read as zeros.
    decoded
        Pixels held in memory, for all images of a run together.
    """

    name: str
    labels_name: str
    image: Any
    labels: Any
    channels: tuple[int, ...]
    channel_names: tuple[str, ...]
    intensity_max: float
    ratio: float
    image_to_labels: AxisAffine
    on_nan: str = "raise"
    area: bool = False
    tissue: TissueSource | None = field(default=None, compare=False, repr=False)
    chunks: tuple[StoredChunks | None, StoredChunks | None] = field(default=(None, None), compare=False, repr=False)
    decoded: Decoded = field(default_factory=Decoded, compare=False, repr=False)
    known: list[str] = field(default_factory=list, init=False, compare=False, repr=False)  # identity of the tissue
    _odd: OddCounts = field(default_factory=OddCounts, init=False, compare=False, repr=False)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in model pixels."""
        height, width = self.image.shape[-2:]
        return max(1, round(height / self.ratio)), max(1, round(width / self.ratio))

    def pixels(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """Pixels scaled by `intensity_max`, float32 ``(M, y1 - y0, x1 - x0)``; zero outside of the image.

        Negative pixels count as 0: no model has seen any, and one -9999 for "no data" would decide every statistic.
        `spatialfm.embed.odd_pixels` counts them.
        """
        height, width = self.shape
        out = np.zeros((len(self.channels), y1 - y0, x1 - x0), np.float32)
        ya, yb, xa, xb = max(y0, 0), min(y1, height), max(x0, 0), min(x1, width)
        if ya >= yb or xa >= xb:
            return out
        inside = out[:, ya - y0 : yb - y0, xa - x0 : xb - x0]
        if self.ratio != 1:
            rows, (ya, yb) = resampling_weights(ya, yb, self.ratio, self.image.shape[-2], area=self.area)
            columns, (xa, xb) = resampling_weights(xa, xb, self.ratio, self.image.shape[-1], area=self.area)
            rows, columns = csr_array(rows), csr_array(columns)
        # marker by marker: at 40 of them, copies of the whole region as float32 would take more than the region
        for target, values in zip(inside, self._raw(ya, yb, xa, xb), strict=True):
            if self.ratio != 1:
                values = (columns @ (rows @ values.astype(np.float32, copy=False)).T).T
            np.divide(values, np.float32(self.intensity_max), out=target, dtype=np.float32, casting="unsafe")
        return out

    def of_channels(self, places: Sequence[int]) -> SampleReader:
        """The same of some channels, by their places among those that are read; others are not decoded."""
        names = tuple(self.channel_names[place] for place in places)
        return replace(self, channels=tuple(self.channels[place] for place in places), channel_names=names)

    def label_image(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """Labels, int64 ``(y1 - y0, x1 - x0)``, nearest neighbour; zero outside of the image or the labels."""
        to_labels = AxisAffine(self.ratio, self.ratio).then(self.image_to_labels)
        out = LabelGrid(self.labels, to_labels)((y0, y1, x0, x1)).astype(np.int64)
        if self.chunks[1] is not None:
            self.chunks[1].check_still_there(self.labels_name, _within(to_labels, (y0, y1, x0, x1), self.labels.shape))
        height, width = self.shape
        # labels may reach further than the image
        out[: max(0, -y0)], out[max(0, height - y0) :] = 0, 0
        out[:, : max(0, -x0)], out[:, max(0, width - x0) :] = 0, 0
        return out

    def _raw(self, ya: int, yb: int, xa: int, xb: int) -> np.ndarray:
        check = None
        if (stored := self.chunks[0]) is not None:

            def check(box: tuple[int, int, int, int]) -> None:
                stored.check_still_there(self.name, box, self.channels)

        region = self.decoded.region(self.image, self.channels, (ya, yb, xa, xb), self._load, check)
        if self.image.dtype.kind == "f":
            region = region.astype(np.float32, copy=False)
            if not (finite := np.isfinite(region)).all():
                if self.on_nan == "raise":
                    self._refuse(~finite, f"rows {ya} to {yb}, columns {xa} to {xb}")
                region = np.where(finite, region, np.float32(0))
        if self.image.dtype.kind in "if" and region.size and region.min() < 0:
            region = np.maximum(region, 0)
        return region

    def _load(self, part: Any, what: str | None = None) -> np.ndarray:
        try:
            return loaded(part)
        except Exception as error:
            raise RunError(
                f"Cannot read {what or f'image {self.name!r}'}: {error}. Finished blocks are kept: correct the file "
                "and repeat the call."
            ) from error

    def _load_labels(self, part: Any) -> np.ndarray:
        return self._load(part, f"labels {self.labels_name!r}")

    def _refuse(self, wrong: np.ndarray, where: str) -> None:
        numbers = [
            f"channel {name!r}: {counted(int(count), 'pixel')}"
            for name, count in zip(self.channel_names, wrong.sum(axis=(1, 2)), strict=True)
            if count
        ]
        raise RunError(
            f"Image {self.name!r}, {'; '.join(numbers)} NaN or infinite in {where}. Correct them in the image."
        )

    @cached_property
    def image_digest(self) -> str:
        """SHA-256 of all pixels of the channels that are read, which are counted on the way."""
        return self._digest()

    @cached_property
    def odd_pixels(self) -> OddPixels:
        """Pixels of the whole image that no model takes."""
        if self.image.dtype.kind in "if":
            arrays = remembered("odd-pixels", {"image": self.image_digest}, self._count)
        else:
            arrays = self._odd.arrays(self.channels)
        return OddPixels(**arrays)

    def _count(self) -> dict[str, np.ndarray]:
        if not self._odd.planes:  # nothing was read, as the digest was known
            self._digest(anew=True)
        return self._odd.arrays(self.channels)

    def _digest(self, *, anew: bool = False) -> str:
        see = self._odd.see if self.image.dtype.kind in "if" else None
        return content_digest(self.image, self.channels, name=self.name, load=self._load, see=see, anew=anew)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all pixels of the channels that are read, of all labels, and of how they are read."""
        # every field, so that one that comes later is not forgotten; names and places of channels decide no number
        apart = {"name", "labels_name", "image", "labels", "channels", "channel_names"}
        how = {f.name: getattr(self, f.name) for f in fields(self) if f.compare and f.name not in apart}
        arrays = {name: content_digest(value) for name, value in how.items() if getattr(value, "ndim", 0) in (2, 3)}
        digest = hashlib.sha256(fingerprint(how | arrays).encode())
        digest.update(self.image_digest.encode())
        if self.labels_name:
            digest.update(content_digest(self.labels, name=self.labels_name, load=self._load_labels).encode())
        return digest.hexdigest()


def resampling_weights(
    start: int, stop: int, ratio: float, size: int, *, area: bool = False
) -> tuple[np.ndarray, tuple[int, int]]:
    """Weights that resample one axis with an antialiased linear (triangle) filter, or by area.

    Parameters
    ----------
    start, stop
        Output pixels wanted.
    ratio
        Input pixels per output pixel.
    size
        Length of the input axis.
    area
        Whether an output pixel is the mean of the input pixels that it covers; only where it is the larger one.

    Returns
    -------
    Weights ``(stop - start, b - a)``, float32, rows summing to one, and the input range ``(a, b)`` they apply to.
    """
    support = max(1.0, ratio)
    centers = (np.arange(start, stop) + 0.5) * ratio
    a = int(np.clip(np.floor(centers[0] - support), 0, size - 1))
    b = int(np.clip(np.ceil(centers[-1] + support), a + 1, size))
    distance = np.abs(np.arange(a, b) + 0.5 - centers[:, None]) / support
    if area and ratio > 1:  # the part of an input pixel that is below the output pixel
        weights = np.clip((ratio + 1) / 2 - distance * support, 0, 1)
    else:
        weights = np.clip(1 - distance, 0, None)
    empty = weights.sum(axis=1) == 0  # an output pixel rounded beyond the last input pixel takes the nearest one
    weights[empty, np.argmin(distance[empty], axis=1)] = 1
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32), (a, b)


def _within(to_labels: AxisAffine, box: tuple[int, int, int, int], shape: tuple[int, int]) -> tuple[int, int, int, int]:
    """Pixels of the labels below a window of the image."""
    (ya, xa), (yb, xb) = to_labels(box[0], box[2]), to_labels(box[1], box[3])
    rows = np.clip([np.floor(ya), np.ceil(yb)], 0, shape[0]).astype(int)
    columns = np.clip([np.floor(xa), np.ceil(xb)], 0, shape[1]).astype(int)
    return int(rows[0]), int(rows[1]), int(columns[0]), int(columns[1])
