"""From windows to one row per cell: cut, normalise, mask, encode. All on the batch tensor, nothing cell by cell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...models.encoder import takes_outputs, takes_recipe

if TYPE_CHECKING:
    from ...models.encoder import Encoder, EncoderOutput
    from ...models.recipe import Recipe


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
    masks: Tensor | None,
    markers: Tensor | list[str] | None,
    mean: Tensor,
    std: Tensor,
    *,
    background: str,
    outputs: Sequence[str] | None = None,
    module: Callable | None = None,
    recipe: Recipe | None = None,
) -> EncoderOutput:
    """Outputs for scaled pixels ``(B, M, side, side)`` and masks ``(B, side, side)``; `module` replaces the encoder.

    Pixels are normalised first and masked after, as KRONOS's Online Methods (Cell phenotyping) have it: what is
    outside of the cell is then the marker's mean, not its darkest value.
    """
    pixels = encoder.normalize(pixels, mean, std, **({"recipe": recipe} if takes_recipe(encoder) else {}))
    if background == "zero" and masks is not None:
        pixels = pixels * masks[:, None]
    arguments: dict[str, Any] = {"mask": masks if encoder.card.needs_mask else None}
    if takes_outputs(encoder):  # one registered by a user may not have them
        arguments["outputs"] = outputs
    return (encoder if module is None else module)(pixels, markers, **arguments)
