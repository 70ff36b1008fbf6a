"""Predicted tiles put together again, region by region, from the finished blocks of a run."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from ..run.store import BlockStore
from ..windows.tiles import TileBlock
from .job import PaintJob

if TYPE_CHECKING:
    from ...models.encoder import Encoder
    from ...models.recipe import Recipe

Overlap = Literal["mean", "feather"]
Box = tuple[int, int, int, int]


class Painting:
    """Predicted pixels of all samples, of which a region is in memory at a time.

    Where tiles overlap, each counts alike, or the less the nearer a pixel is to the tile's edge. Where tokens are
    drawn, a pixel that was hidden in one tile and seen in another is what the first predicts: what a model has seen of
    a pixel never counts for it.

    Parameters
    ----------
    job, blocks
        The run.
    store
        Its finished blocks.
    overlap
        ``"mean"`` or ``"feather"``.
    mean, std
        Statistics of the targets, to turn pixels back to intensities; None: they stay as the model predicts them.
    """

    def __init__(
        self,
        job: PaintJob,
        blocks: Sequence[TileBlock],
        store: BlockStore,
        overlap: Overlap = "mean",
        statistics: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> None:
        self.job, self.store, self.statistics = job, store, statistics
        self.weights = edge_weights(job.window) if overlap == "feather" else np.ones((job.window, job.window))
        places = [
            (block.sample, int(y), int(x), number, place)
            for number, block in enumerate(blocks)
            for place, (y, x) in enumerate(block.starts)
        ]
        # sums are always made in the order of the image
        self.tiles = np.array(sorted(places), np.int64).reshape(-1, 5)
        self._read = lru_cache(maxsize=16)(store.read)

    def shape(self, sample: int) -> tuple[int, int, int]:
        """Targets, height and width of a sample in model pixels."""
        return len(self.job.targets), *self.job.readers[sample].shape

    def region(self, sample: int, box: Box, slots: Sequence[int] | None = None) -> np.ndarray:
        """Pixels as the model predicts them, float32 ``(targets, h, w)``; `slots`: of some targets, by their number."""
        return self._blended(sample, box, slots)[0]

    def hidden(self, sample: int, box: Box, slots: Sequence[int] | None = None) -> np.ndarray:
        """Which of them no tile saw that counts, bool ``(targets, h, w)``."""
        return self._blended(sample, box, slots)[1]

    def values(self, sample: int, box: Box, slots: Sequence[int] | None = None) -> np.ndarray:
        """Pixels in the space that was asked for, float32 ``(targets, h, w)``."""
        slots = list(range(len(self.job.targets))) if slots is None else list(slots)
        pixels = self.region(sample, box, slots)
        if self.statistics is None:
            return pixels
        mean, std = (torch.tensor(part[slots], dtype=torch.float32) for part in self.statistics)
        turned = turned_back(self.job.encoder, torch.from_numpy(pixels)[None], mean, std, self.job.recipe)
        return turned[0].numpy() * np.float32(self.job.readers[sample].intensity_max)

    def _blended(self, sample: int, box: Box, slots: Sequence[int] | None) -> tuple[np.ndarray, np.ndarray]:
        (y0, y1, x0, x1), side = box, self.job.window
        slots = list(range(len(self.job.targets))) if slots is None else list(slots)
        # first what was hidden, then what was seen
        kinds = 2 if self.job.draws else 1
        sums = np.zeros((kinds, len(slots), y1 - y0, x1 - x0))
        weights = np.zeros_like(sums)
        of_sample = self.tiles[self.tiles[:, 0] == sample]
        near = (of_sample[:, 1] < y1) & (of_sample[:, 1] + side > y0)
        near &= (of_sample[:, 2] < x1) & (of_sample[:, 2] + side > x0)
        for _, y, x, block, place in of_sample[near].tolist():
            ya, yb, xa, xb = max(y, y0), min(y + side, y1), max(x, x0), min(x + side, x1)
            inside = (slice(None), slice(ya - y, yb - y), slice(xa - x, xb - x))
            target = (slice(None), slice(ya - y0, yb - y0), slice(xa - x0, xb - x0))
            pixels, weight = self._read(block, "pixels")[place][slots][inside], self.weights[inside[1:]]
            hidden = self._hidden_pixels(block, place, slots)[inside]
            for number in range(kinds):
                counts = weight * (hidden if number == 0 else ~hidden)
                sums[number][target] += counts * pixels
                weights[number][target] += counts
        was_hidden = weights[0] > 0
        if kinds == 1:
            return (sums[0] / weights[0]).astype(np.float32), was_hidden
        total = np.where(was_hidden, weights[0], weights[1])
        return (np.where(was_hidden, sums[0], sums[1]) / total).astype(np.float32), was_hidden

    def _hidden_pixels(self, block: int, place: int, slots: list[int]) -> np.ndarray:
        if not self.job.draws:
            return np.ones((1, self.job.window, self.job.window), bool)
        size = self.job.window // self.job.n_tokens
        return self._read(block, "hidden")[place][slots].repeat(size, -1).repeat(size, -2)


def turned_back(
    encoder: Encoder, pixels: torch.Tensor, mean: torch.Tensor, std: torch.Tensor, recipe: Recipe | None
) -> torch.Tensor:
    """`Encoder.denormalize`, of a model that may have its own, which need not know recipes."""
    takes = "recipe" in inspect.signature(encoder.denormalize).parameters
    return encoder.denormalize(pixels, mean, std, **({"recipe": recipe} if takes else {}))


def edge_weights(side: int) -> np.ndarray:
    """Weights ``(side, side)`` that fall linearly to a tile's edges, and are never 0.

    Examples
    --------
    >>> edge_weights(4)[1].tolist()
    [0.5, 1.0, 1.0, 0.5]
    """
    ramp = np.minimum(np.arange(1, side + 1), np.arange(side, 0, -1)) / (side // 2)
    return np.outer(ramp, ramp)
