"""Stand-in encoders: a card that is filled in, and outputs that can be worked out by hand."""

from __future__ import annotations

from collections.abc import Callable

import torch

from spatialfm.models.card import ModelCard
from spatialfm.models.encoder import Encoder, EncoderOutput, Weights
from spatialfm.models.recipe import Recipe


def card_of(name: str, **fields: object) -> ModelCard:
    """A card with what every card must say."""
    common = {
        "family": "test",
        "title": name,
        "license": "BSD-3-Clause",
        "commercial": True,
        "gated": False,
        "reference": "none",
        "trained_on": "nothing",
    }
    return ModelCard(name=name, **{**common, **fields})


class StandIn(Encoder):
    """Base of them: a subclass sets `card` and says in `look` what its outputs are.

    Parameters
    ----------
    before
        Called before each batch with the number of windows that came before it; it may raise.
    """

    weights = Weights("none")
    options: dict = {}

    def __init__(self, before: Callable[[int], object] = lambda n: None):
        super().__init__()
        self.before, self.n_windows = before, 0
        self.register_buffer("one", torch.ones(1))  # tells the device

    def look(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Outputs by their names, from windows ``(B, M, H, W)``."""
        raise NotImplementedError

    def forward(self, pixels, markers=None, *, mask=None, outputs=None):
        self.before(self.n_windows)
        self.n_windows += len(pixels)
        return EncoderOutput(**self.look(pixels))

    def __deepcopy__(self, memo):
        return type(self)(self.before)


class Sums(StandIn):
    """Sums over the window and over each square of 8 pixels of it."""

    card = card_of(
        "sums",
        embedding_dim=1,
        mpp=0.5,
        recipe=Recipe(window=16),
        patch_size=8,
        outputs=("patch", "marker", "token"),
        default_output="marker",
    )

    def look(self, pixels):
        token = pixels.unflatten(-1, (-1, 8)).unflatten(-3, (-1, 8)).sum((-3, -1))[..., None]
        marker = token.sum((2, 3))
        return {"patch": marker.mean(1), "marker": marker, "token": token}


class Painter(StandIn):
    """A decoder that can be worked out by hand: hidden pixels are the mean of what is seen, seen ones are returned.

    The mean of the channels that are seen at the pixel, plus a tenth of the mean of all that is seen in the window, so
    that a tile is known by its neighbourhood.
    """

    card = card_of(
        "painter",
        embedding_dim=1,
        recipe=Recipe(window=32, background="keep", scaling="raw", normalization="marker statistics"),
        patch_size=8,
        marker_vocabulary="protein embedding",
    )
    marker_dim = 640

    def look(self, pixels):
        return {"patch": pixels.mean((-2, -1))}

    def reconstruct(self, pixels, markers, mask=None):
        self.before(self.n_windows)
        self.n_windows += len(pixels)
        hidden = mask.repeat_interleave(8, -1).repeat_interleave(8, -2)
        seen = torch.where(hidden, 0, pixels)
        at_pixel = seen.sum(1, keepdim=True) / (~hidden).sum(1, keepdim=True).clamp(min=1)
        around = seen.sum((1, 2, 3)) / (~hidden).sum((1, 2, 3)).clamp(min=1)
        return torch.where(hidden, at_pixel + 0.1 * around[:, None, None, None], pixels)
