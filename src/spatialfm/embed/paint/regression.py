"""Regression in the place of a decoder: hidden pixels from the channels, and the pixels around, that are seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..._errors import ModelError
from ...models.card import ModelCard
from ...models.encoder import Encoder, EncoderOutput, Weights, digest_of
from ...models.recipe import Recipe

PATCH = 8  # pixels to a side of what is hidden at a time, as VirTues' tokens
WINDOW = 128
NEAR = 8.0  # pixels; standard deviation of the weights with which seen pixels count for a hidden one
FAR = 1e-3  # weight of all pixels of the tile beside that of the nearest, so that there always is a mean

CARD = ModelCard(
    name="linear",
    family="floor",
    title="Ridge regression of pixels",
    license="BSD-3-Clause",
    commercial=True,
    gated=False,
    reference="Hoerl and Kennard 1970, Technometrics 12(1)",
    trained_on="the images that it is used on",
    patch_size=PATCH,
    recipe=Recipe(scaling="raw", normalization="none", window=WINDOW),
    needs_weights=False,
)


class Regression(Encoder):
    """A linear map of what is seen of a tile: the other channels at the pixel, and its own around it.

    A channel that is hidden at the pixel counts by its mean over seen pixels around; see `filled_and_around`.

    Parameters
    ----------
    coefficients
        ``(M, M)``, of each target (rows): of the other channels, and on the diagonal of its own around the pixel.
    intercept
        ``(M,)``.
    """

    card = CARD
    coefficients: Tensor
    intercept: Tensor

    def __init__(self, coefficients: np.ndarray | None = None, intercept: np.ndarray | None = None) -> None:
        super().__init__()
        self.options = {"near": NEAR, "far": FAR}
        for name, part in (("coefficients", coefficients), ("intercept", intercept)):
            self.register_buffer(name, torch.tensor(np.zeros(1) if part is None else part, dtype=torch.float32))
        self.weights = Weights("fitted here", digest_of(dict(self.named_buffers())))

    def forward(
        self,
        pixels: Tensor,
        markers: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        outputs: Sequence[str] | None = None,
    ) -> EncoderOutput:
        """Refused: regression predicts pixels and embeds nothing."""
        raise ModelError("Regression of pixels predicts markers and embeds nothing. Pass a model.")

    def reconstruct(
        self, pixels: Tensor, markers: object, hidden: Tensor, *, channels: Sequence[int] | None = None
    ) -> Tensor:
        """Pixels ``(B, k, H, W)`` of some channels, from normalised ones ``(B, M, H, W)`` and hidden tokens."""
        places = list(range(pixels.shape[1])) if channels is None else list(channels)
        filled, around = filled_and_around(pixels, hidden)
        weights = self.coefficients[places]
        own = weights[range(len(places)), places]
        others = weights.clone()
        others[range(len(places)), places] = 0
        of_others = torch.einsum("km,bmhw->bkhw", others, filled)
        return of_others + own[:, None, None] * around[:, places] + self.intercept[places][:, None, None]


def filled_and_around(pixels: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels ``(B, M, S, S)`` with those that are hidden filled, and what they are filled with everywhere.

    `hidden`: tokens ``(B, M, h, h)``.
    """
    size = pixels.shape[-1] // hidden.shape[-1]
    seen = ~hidden.repeat_interleave(size, -1).repeat_interleave(size, -2)
    around = mean_around(pixels, seen)
    return torch.where(seen, pixels, around), around


def mean_around(pixels: Tensor, seen: Tensor) -> Tensor:
    """Mean of the seen pixels of each channel ``(..., H, W)``, weighted by their distance; 0 where none is seen."""
    counts = seen.to(pixels.dtype)
    rows, columns = (_near(size, pixels) for size in pixels.shape[-2:])
    total = rows @ counts @ columns
    return rows @ (pixels * counts) @ columns / torch.where(total > 0, total, 1)


def _near(size: int, like: Tensor) -> Tensor:
    places = torch.arange(size, device=like.device, dtype=like.dtype)
    return torch.exp(-((places[:, None] - places) ** 2) / (2 * NEAR**2)) + FAR
