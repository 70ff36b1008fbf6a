"""One marker of one image at a time through a network that gives a probability per pixel; sums over cells are kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_array

from ..._errors import RunError
from ...models.nimbus_tiles import Augmentation, Box, NetworkPass, kept_of, reflected, windows_of
from ...pp.measure import compact
from ..pixels.reader import resampling_weights
from ..run.engine import Job


@dataclass(frozen=True)
class ProbabilityBlock:
    """A part of one marker of one image, in pixels of the image, and the passes over it.

    Attributes
    ----------
    sample
        Number of the reader.
    y0, y1, x0, x1
        What is read.
    windows
        In pixels of the network.
    """

    sample: int
    y0: int
    y1: int
    x0: int
    x1: int
    windows: tuple[NetworkPass, ...]

    @property
    def n_windows(self) -> int:
        """Passes of the network."""
        return len(self.windows)

    @property
    def n_rows(self) -> int:
        """The same: what the bar counts."""
        return len(self.windows)


@dataclass(frozen=True)
class Axis:
    """One axis of an image and of what the network sees of it.

    Attributes
    ----------
    image, network
        Pixels.
    """

    image: int
    network: int

    def in_image(self, pixels: np.ndarray) -> np.ndarray:
        """The pixel of the image that stands for each of the network's, as nearest neighbours are taken by OpenCV."""
        return pixels * self.image // self.network

    def in_network(self, pixels: np.ndarray) -> np.ndarray:
        """The pixel of the network that stands for each of the image's."""
        return pixels * self.network // self.image

    def image_span(self, start: int, stop: int) -> tuple[int, int]:
        """Pixels of the image that `in_network` brings to `start` to `stop`."""
        return -(-start * self.image // self.network), -(-stop * self.image // self.network)

    def weights(self, start: int, stop: int) -> tuple[np.ndarray, tuple[int, int]]:
        """Weights of the image's pixels in the network's, by area, and the pixels of the image that they are of."""
        return resampling_weights(start, stop, self.image / self.network, self.image, area=True)

    def read_span(self, start: int, stop: int) -> tuple[int, int]:
        """Pixels of the image that are needed for `start` to `stop`: those of the weights, and neighbours in masks."""
        low, high = self.image_span(start, stop)
        around = int(np.ceil(max(1.0, self.image / self.network))) + 1
        return max(0, low - around), min(self.image, high + around)


@dataclass(frozen=True)
class ProbabilityJob(Job[ProbabilityBlock]):
    """Probabilities of the network, summed over the pixels of each label.

    `std` holds what the pixels of each reader are divided by; readers have one channel, at the pixels of the image.

    Attributes
    ----------
    shapes
        Height and width of each reader's image in pixels of the network.
    augmentation
        See `spatialfm.models.nimbus_tiles`.
    """

    shapes: tuple[tuple[int, int], ...] = ()
    augmentation: Augmentation = "released"

    unit = "window"
    made_by = "sfm.tl.marker_positivity"

    def axes(self, number: int) -> tuple[Axis, Axis]:
        """Rows and columns of a reader's image."""
        sizes = zip(self.readers[number].image.shape[-2:], self.shapes[number], strict=True)
        rows, columns = (Axis(int(image), network) for image, network in sizes)
        return rows, columns

    def plan(self, side: int) -> list[ProbabilityBlock]:
        """Whole images that are small, tiles of the others; `side` is the network's."""
        blocks = []
        for number, shape in enumerate(self.shapes):
            for windows in windows_of(shape, self.augmentation):
                (y0, y1), (x0, x1) = (
                    _needed(axis, [one.read[2 * place : 2 * place + 2] for one in windows])
                    for place, axis in enumerate(self.axes(number))
                )
                blocks.append(ProbabilityBlock(number, y0, y1, x0, x1, tuple(windows)))
        return blocks

    def encode_block(
        self,
        block: ProbabilityBlock,
        pixels: np.ndarray,
        labels: np.ndarray,
        batch_size: int,
        advance: Callable[[int], object] = lambda n: None,
    ) -> dict[str, np.ndarray]:
        """Labels ``(n,)``, the sum of the probability over their pixels, and their pixels, each as often as it counts.

        Every pixel of an image is in one block of each view, so that sums and pixels add up over blocks.
        """
        stain = np.clip(pixels[0] / np.float32(self.std[block.sample].item()), 0, 1)
        inside, parts = interiors(labels), []
        for window in block.windows:
            image = self._seen(block, window.read, stain, inside)
            tensor = torch.from_numpy(image[None]).to(self.encoder.device)
            with torch.inference_mode():
                probability = window.view.back(kept_of(self.module, window.view.of(tensor), whole=window.whole))
            values = probability.float().cpu().numpy()
            if not np.isfinite(values).all():
                reader = self.readers[block.sample]
                raise RunError(
                    f"The network returned NaN for channel {reader.channel_names[0]!r} of image {reader.name!r}. Look "
                    "at the pixels there, or check the weights."
                )
            parts.append((*self._sums(block, window.kept, values, labels), window.view.weight))
            advance(1)
        ids = np.unique(np.concatenate([part[0] for part in parts]))
        total, count = np.zeros(len(ids)), np.zeros(len(ids), np.int64)
        for of_part, sums, counts, weight in parts:
            rows = np.searchsorted(ids, of_part)
            total[rows] += weight * sums
            count[rows] += weight * counts
        return {"label": ids, "sum": total, "count": count}

    def _seen(self, block: ProbabilityBlock, read: Box, stain: np.ndarray, inside: np.ndarray) -> np.ndarray:
        """Stain and interiors ``(2, h, w)`` of a box of the network's pixels, mirrored beyond the image."""
        chosen, masked, weights = [], [], []
        starts = (block.y0, block.x0)
        for axis, (start, stop), first in zip(self.axes(block.sample), (read[:2], read[2:]), starts, strict=True):
            places = reflected(start, stop, axis.network)
            low, high = int(places.min()), int(places.max()) + 1
            matrix, (a, b) = axis.weights(low, high)
            chosen.append(places - low)
            masked.append(axis.in_image(places) - first)
            weights.append((csr_array(matrix), slice(a - first, b - first)))
        (rows, of_rows), (columns, of_columns) = weights
        resampled = (columns @ (rows @ stain[of_rows, of_columns]).T).T
        return np.stack([resampled[np.ix_(*chosen)], inside[np.ix_(*masked)]]).astype(np.float32)

    def _sums(
        self, block: ProbabilityBlock, kept: Box, values: np.ndarray, labels: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Labels below a map, the sum over the pixels of each, and their number, at the pixels of the image."""
        spans, places = [], []
        starts = (block.y0, block.x0)
        for axis, (start, stop), first in zip(self.axes(block.sample), (kept[:2], kept[2:]), starts, strict=True):
            span = axis.image_span(max(start, 0), max(min(stop, axis.network), max(start, 0)))
            spans.append(slice(span[0] - first, span[1] - first))
            places.append(axis.in_network(np.arange(*span)) - start)
        part = labels[spans[0], spans[1]]
        if not part.size:
            return np.empty(0, np.int64), np.empty(0), np.empty(0, np.int64)
        ids, local = compact(part.ravel())
        sums = np.bincount(local, weights=values[np.ix_(*places)].ravel().astype(np.float64), minlength=len(ids))
        counts = np.bincount(local, minlength=len(ids))
        cells = ids != 0
        return ids[cells], sums[cells], counts[cells]


def _needed(axis: Axis, spans: Sequence[tuple[int, ...]]) -> tuple[int, int]:
    """Pixels of the image along an axis that windows read."""
    places = [reflected(start, stop, axis.network) for start, stop in spans]
    return axis.read_span(min(int(part.min()) for part in places), max(int(part.max()) for part in places) + 1)


def interiors(labels: np.ndarray) -> np.ndarray:
    """Pixels of cells none of whose four neighbours has another label.

    Examples
    --------
    >>> interiors(np.array([[1, 1, 2, 0], [1, 1, 2, 2]])).astype(int)
    array([[1, 0, 0, 0],
           [1, 0, 0, 0]])
    """
    inside = labels != 0
    for part, axes in ((inside, labels), (inside.T, labels.T)):
        same = axes[1:] == axes[:-1]
        part[1:] &= same
        part[:-1] &= same
    return inside


def cell_means(
    blocks: Sequence[ProbabilityBlock], read: Callable[[int, str], np.ndarray], n_readers: int
) -> list[dict[str, np.ndarray]]:
    """Labels and their mean probability, for each reader, from the sums of its blocks.

    Parameters
    ----------
    read
        Gives an array of a finished block.
    """
    parts: list[list[tuple[np.ndarray, ...]]] = [[] for _ in range(n_readers)]
    for number, block in enumerate(blocks):
        parts[block.sample].append(tuple(np.asarray(read(number, name)) for name in ("label", "sum", "count")))
    means = []
    for of_reader in parts:
        label, total, count = (np.concatenate(column) for column in zip(*of_reader, strict=True))
        ids, place = np.unique(label, return_inverse=True)
        totals, counts = (np.bincount(place, weights=values, minlength=len(ids)) for values in (total, count))
        means.append({"label": ids, "mean": totals / np.maximum(counts, 1), "pixels": counts})
    return means
