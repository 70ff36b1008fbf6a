"""From windows to one row a cell: cut, normalise, mask, encode. All on the batch tensor, nothing cell by cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from ..models.encoder import Encoder, EncoderOutput


def cut_windows(region: Tensor, starts: Tensor, window: int) -> Tensor:
    """Windows ``(B, ..., window, window)`` of a region ``(..., h, w)`` from their first rows and columns ``(B, 2)``."""
    span = torch.arange(window, device=region.device)
    rows = (starts[:, 0, None] + span)[:, :, None]
    columns = (starts[:, 1, None] + span)[:, None, :]
    return region[..., rows, columns].movedim(-3, 0)


def cell_masks(labels: Tensor, starts: Tensor, cells: Tensor, window: int) -> Tensor:
    """Masks ``(B, window, window)`` of cells with labels `cells` ``(B,)``.

    A cell so thin that no model pixel hits it keeps the pixel at its centroid.
    """
    masks = cut_windows(labels, starts, window) == cells[:, None, None]
    lost = ~masks.flatten(1).any(dim=1)
    masks[lost, window // 2, window // 2] = True
    return masks


def encode_windows(
    encoder: Encoder,
    pixels: Tensor,
    masks: Tensor,
    markers: Tensor | None,
    mean: Tensor,
    std: Tensor,
    *,
    background: str,
    output: str,
) -> Tensor:
    """One row a window, ``(B, columns)``, from scaled pixels ``(B, M, window, window)``.

    Pixels are normalised first and masked after, as KRONOS's Online Methods (Cell phenotyping) have it: what is
    outside of the cell is then the marker's mean, not its darkest value.
    """
    pixels = encoder.normalize(pixels, mean, std)
    if background == "zero":
        pixels = pixels * masks[:, None]
    mask = masks if encoder.card.needs_mask else None
    return _rows(encoder(pixels, markers, mask=mask), output)


def _rows(outputs: EncoderOutput, output: str) -> Tensor:
    return getattr(outputs, output).flatten(1)  # `marker`: (B, M, D) becomes (B, M * D), marker by marker
