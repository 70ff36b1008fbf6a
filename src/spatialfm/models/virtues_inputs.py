"""What VirTues takes, checked: pixels that divide into patches, protein embeddings of channels, a mask of tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .._errors import ModelError
from .virtues_cards import VIRTUES

if TYPE_CHECKING:
    from .virtues_blocks import VirTuesConfig


def checked(
    name: str, config: VirTuesConfig, weight: Tensor, pixels: Tensor, markers: Tensor | None, hidden: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Pixels, embeddings ``(B or 1, M, d)`` and mask, on the device of `weight` and in its type.

    Raises
    ------
    ModelError
        If embeddings, mask and channels do not match, or the window does not divide into patches.
    """
    (batch, channels, height, width), size = pixels.shape, config.patch_size
    if height % size or width % size or max(height, width) > size * config.max_side:
        raise ModelError(
            f"Model {name!r}: a window of {height} x {width} pixels does not divide into patches of {size} pixels; "
            f"pass sides that are multiples of {size}, up to {size * config.max_side}."
        )
    markers = _embeddings(name, config.marker_dim, markers, batch, channels).to(weight)
    if hidden is not None:
        expected = (batch, channels, height // size, width // size)
        if tuple(hidden.shape) != expected or hidden.dtype != torch.bool:
            raise ModelError(
                f"Model {name!r} takes a boolean mask (B, M, h, w), True for hidden tokens, here {expected}; got "
                f"{tuple(hidden.shape)} of {hidden.dtype}."
            )
        hidden = hidden.to(weight.device)
    return pixels.to(weight), markers, hidden


def fits(config: VirTuesConfig) -> str | None:
    """What is wrong with a shape of the network, in words; None: nothing."""
    if config.heads < 1 or config.dim % (4 * config.heads):
        return f"dim {config.dim} must be a multiple of four times heads {config.heads}, for the rotary positions"
    if config.patch_size < 1 or (VIRTUES.recipe.window or 0) % config.patch_size:
        return f"patch_size {config.patch_size} must divide {VIRTUES.recipe.window}, the side of a tile"
    if not config.encoder or set(config.encoder) - set("hvf") or set(config.decoder) - set("hvf"):
        return f"encoder {config.encoder!r} and decoder {config.decoder!r} must have one of h, v and f for each block"
    if min(config.hidden, config.marker_dim, config.max_side) < 1:
        return "hidden, marker_dim and max_side must be at least 1"
    return None


def _embeddings(name: str, width: int, markers: Tensor | None, batch: int, channels: int) -> Tensor:
    if markers is None:
        raise ModelError(
            f"Model {name!r} needs a protein embedding for each channel: pass markers=(M, {width}), the mean over "
            "residues of ESM-2 esm2_t30_150M_UR50D."
        )
    markers = torch.as_tensor(markers)
    if tuple(markers.shape) not in ((channels, width), (batch, channels, width)) or not markers.is_floating_point():
        raise ModelError(
            f"Model {name!r} needs protein embeddings ({channels}, {width}) or ({batch}, {channels}, {width}), one "
            f"for each channel; got {tuple(markers.shape)} of {markers.dtype}."
        )
    markers = markers if markers.ndim == 3 else markers[None]
    if len(bad := (~markers.isfinite().all(-1)).nonzero()):
        raise ModelError(f"The protein embedding of channel {int(bad[0, 1])} is not finite; leave that channel out.")
    return markers
