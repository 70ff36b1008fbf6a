"""What a network says of each pixel of an image: windows that overlap, of which the middle counts most."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..._errors import RunError
from ...models.encoder import takes_recipe
from ..windows.tiles import tile_starts

if TYPE_CHECKING:
    from ...models.preparation import PreparedPixels
    from ...models.recipe import Recipe
    from ...models.virtues_segmenter import VirTuesSegmenter
    from ..pixels.reader import SampleReader

Box = tuple[int, int, int, int]
_SIGMA = 0.5  # of a window's weights, with its edges at -1 and 1


@dataclass(frozen=True)
class LogitMap:
    """Logits of an image, worked out region by region.

    Windows lie on one grid of the image, and the last ones end at its border: the logits of a pixel do not depend on
    the region that was asked for, but for rounding.

    Attributes
    ----------
    segmenter
        The network, on its device.
    reader
        Prepared pixels of the image at the network's pixel size.
    markers, mean, std
        Protein embeddings ``(M, d)`` of the markers, and their statistics ``(M,)``, on the same device.
    recipe
        How pixels are standardised.
    batch_size
        Windows that go through the network together.
    """

    segmenter: VirTuesSegmenter
    reader: SampleReader | PreparedPixels
    markers: torch.Tensor
    mean: torch.Tensor
    std: torch.Tensor
    recipe: Recipe
    batch_size: int = 4

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the image in the network's pixels."""
        height, width = self.reader.shape
        return int(height), int(width)

    def region(self, box: Box) -> np.ndarray:
        """Logits ``(K, h, w)`` float32 of a box ``(y0, y1, x0, x1)`` inside of the image."""
        (y0, y1, x0, x1), side = box, self.segmenter.window
        weight = window_weights(side)
        sums: Any = 0.0
        weights = np.zeros((y1 - y0, x1 - x0))
        for y, x, logits in self._windows(box):
            ya, yb, xa, xb = max(y, y0), min(y + side, y1), max(x, x0), min(x + side, x1)
            inside = (slice(ya - y, yb - y), slice(xa - x, xb - x))
            target = (slice(ya - y0, yb - y0), slice(xa - x0, xb - x0))
            if isinstance(sums, float):
                sums = np.zeros((len(logits), *weights.shape))
            sums[:, *target] += weight[inside] * logits[:, *inside]
            weights[target] += weight[inside]
        return (sums / weights).astype(np.float32)

    def _windows(self, box: Box) -> Iterator[tuple[int, int, np.ndarray]]:
        """First row and column, and logits, of the windows that reach into a box, in the order of the image."""
        side, stride = self.segmenter.window, self.segmenter.stride
        ys, xs = (
            [int(start) for start in tile_starts(size, side, stride) if start < high and start + side > low]
            for size, low, high in zip(self.shape, (box[0], box[2]), (box[1], box[3]), strict=True)
        )
        for y in ys:  # a strip of windows is read at a time
            strip = torch.from_numpy(self.reader.pixels(y, y + side, xs[0], xs[-1] + side)).to(self.mean.device)
            for first in range(0, len(xs), self.batch_size):
                part = xs[first : first + self.batch_size]
                windows = torch.stack([strip[:, :, x - xs[0] : x - xs[0] + side] for x in part])
                for x, logits in zip(part, self._logits(windows), strict=True):
                    if not np.isfinite(logits).all():
                        raise RunError(
                            f"The network returned NaN for the window of image {self.reader.name!r} at row {y}, column "
                            f"{x}. Look at the pixels there, or check the weights."
                        )
                    yield y, x, logits

    def _logits(self, windows: torch.Tensor) -> np.ndarray:
        encoder = self.segmenter.encoder
        how: dict[str, Any] = {"recipe": self.recipe} if takes_recipe(encoder) else {}
        with torch.inference_mode():
            seen = encoder.normalize(windows, self.mean, self.std, **how)
            return self.segmenter(seen, self.markers).float().cpu().numpy()


def window_weights(side: int) -> np.ndarray:
    """How much each pixel of a window counts where windows overlap: a Gaussian around the middle (InstanSeg's).

    Examples
    --------
    >>> window_weights(3).round(3).tolist()
    [[0.018, 0.135, 0.018], [0.135, 1.0, 0.135], [0.018, 0.135, 0.018]]
    """
    along = np.exp(-(np.linspace(-1, 1, side) ** 2) / (2 * _SIGMA**2))
    return np.outer(along, along)
