"""VirTues-M2's preparation of pixels: clip, scale to 1, blur; as spora's ``quantile_clipping`` with its blur."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .preparation import Pixels, TissueMask
from .virtues_pixels import ClipLogBlur, ClippedLogBlurred

if TYPE_CHECKING:
    from torch import Tensor

    from .preparation import PreparedPixels


@dataclass(frozen=True)
class ClippedScaledBlurred(ClippedLogBlurred):
    """An image whose pixels are clipped, divided by the clipping value and blurred."""

    @property
    def preparation(self) -> list[object]:
        """What decides the pixels, besides the reader; other than of pixels that are log-transformed."""
        return ["scaled", *super().preparation]

    def highest(self) -> np.ndarray:
        """1, where there is any signal."""
        return (np.asarray(self.clip) > 0).astype(float)

    def _logged(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        clip = np.asarray(self.clip, np.float32)[:, None, None]
        values = np.clip(self.reader.pixels(y0, y1, x0, x1), 0, clip)
        return np.divide(values, clip, out=np.zeros_like(values), where=clip > 0)


@dataclass(frozen=True)
class ClipScaleBlur(ClipLogBlur):
    """Clip at a percentile of the image's tissue, divide by it, blur: spora's ``quantile_clipping``."""

    words: str = "clipped, scaled"

    @property
    def layout(self) -> str:  # type: ignore[override]  # computed there, a field of the base
        """No statistics of these pixels are used."""
        return ""

    def prepare(self, reader: Pixels, tissue: TissueMask, known: np.ndarray | None = None) -> PreparedPixels:  # type: ignore[override]
        """Find the clipping values of one image; those that are known are taken."""
        prepared = super().prepare(reader, tissue, known)
        return ClippedScaledBlurred(prepared.reader, prepared.clip, source=prepared.source)

    def undo(self, pixels: Tensor) -> Tensor:
        """Share of the clipping value; what that was is in the record."""
        return pixels.clamp(min=0)

    def variants(self) -> tuple[ClipScaleBlur, ...]:
        """Itself."""
        return (self,)
