"""The head of self-distillation, from an embedding to prototypes (Caron et al. 2021, arXiv:2104.14294; DINOv2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DinoHead(nn.Module):
    """Three layers, a normalised bottleneck, and cosines with prototypes.

    Parameters
    ----------
    dim
        Width of an embedding.
    hidden, bottleneck
        Width of the layers between, and of the last of them.
    prototypes
        Number of prototypes, ``K``.
    seed
        Of the initial weights.
    """

    def __init__(
        self, dim: int, hidden: int = 2048, bottleneck: int = 256, prototypes: int = 65_536, seed: int = 0
    ) -> None:
        super().__init__()
        with torch.device("meta"):  # the weights come next, so none are made up here
            self.mlp = nn.Sequential(
                nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, bottleneck)
            )
            self.prototypes = nn.Parameter(torch.empty(prototypes, bottleneck))
        generator = torch.Generator().manual_seed(seed)
        values = {}
        for name, parameter in self.named_parameters():
            value = torch.zeros(parameter.shape)
            if name == "prototypes":
                bound = bottleneck**-0.5  # of a linear layer in torch; only the directions count
                value.uniform_(-bound, bound, generator=generator)
            elif parameter.ndim == 2:
                nn.init.trunc_normal_(value, std=0.02, generator=generator)
            values[name] = value
        self.load_state_dict(values, assign=True)

    def forward(self, x: Tensor) -> Tensor:
        """Embeddings ``(N, D)`` to logits ``(N, K)``, cosines between -1 and 1."""
        x = self.mlp(x)
        x = F.normalize(x.float(), dim=-1)
        return F.linear(x, F.normalize(self.prototypes.float(), dim=-1))
