"""Encoders of every trainable family in a size that a test can train."""

from __future__ import annotations

import numpy as np
import torch

from spatialfm.models import Encoder, card, hub
from spatialfm.models.dinov2 import Dinov2Encoder
from spatialfm.models.kronos import KronosEncoder
from spatialfm.models.openphenom import CaMaeConfig, OpenPhenomEncoder
from spatialfm.models.virtues import VirTuesEncoder
from spatialfm.models.virtues_blocks import VirTuesConfig
from spatialfm.models.vit import ViTConfig
from spatialfm.train.cells import CellSample, CellWindows

FAMILIES = ("kronos", "dinov2", "dinov2-rgb", "openphenom", "virtues")


def encoder_of(family: str, *, seed: int = 0, spread: float = 5.0, **options: object) -> Encoder:
    """An encoder in evaluation mode, its random weights `spread` times as wide as usual so that pixels decide."""
    encoder: Encoder
    if family == "kronos":
        config = ViTConfig(dim=24, depth=4, heads=2, patch_size=16, grid=2, in_channels=1, registers=2, chunks=2)
        encoder = KronosEncoder(card("kronos"), config, **options)
    elif family.startswith("dinov2"):
        config = ViTConfig(dim=24, depth=3, heads=2, patch_size=14, grid=2, ffn="swiglu")
        encoder = Dinov2Encoder(card("dinov2-s"), config, rgb=family.endswith("rgb"))
    elif family == "openphenom":
        encoder = OpenPhenomEncoder(card("openphenom"), CaMaeConfig(dim=24, depth=3, heads=2, patch_size=16))
    else:
        config = VirTuesConfig(dim=24, hidden=32, heads=2, encoder="hvhv", decoder="ff", max_side=16)
        encoder = VirTuesEncoder(card("virtues"), config, **options)
    encoder.weights = hub.fill_random(encoder.backbone, encoder.card, seed)
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if parameter.ndim > 1 and "pos_embed" not in name:
                parameter.mul_(spread)
    return encoder.eval().requires_grad_(False)


def windows_of(
    encoder: Encoder, n: int = 2, n_markers: int = 3, side: int = 32
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Normalised windows ``(n, M, side, side)`` and what the encoder takes for their markers."""
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randn(n, n_markers, side, side, generator=generator)
    if encoder.n_marker_ids:
        return pixels, torch.arange(n_markers)
    if encoder.card.marker_vocabulary == "protein embedding":
        return pixels, torch.randn(n_markers, 640, generator=generator)
    return pixels, None


def batch_of(windows: CellWindows, n: int) -> list[CellSample]:
    """Windows of the first cells, each in the middle of its own and never turned: one batch, again and again."""
    return [windows.sample(i, np.random.default_rng(0), augment=False) for i in range(n)]
