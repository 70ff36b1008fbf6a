"""Two projection heads and the losses that bring the two vectors of a row together.

Heads and losses are those of HESCAPE (Gindra et al., arXiv 2508.01490; its `mlp` is timm's), with one difference: there
the loss and the retrieval take vectors that are not normalised, here their length is 1, as the losses were published
(CLIP: Radford et al. 2021; SigLIP: Zhai et al. 2023).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HeadName = Literal["linear", "mlp"]
LossName = Literal["clip", "siglip"]
SIGLIP_BIAS = -10.0
LARGEST_SCALE = 100.0  # the scale is held between 1 and this


def projection_head(kind: HeadName, n_features: int, n_components: int, dropout: float) -> nn.Sequential:
    """``"linear"``, or ``"mlp"``: twice the components, GELU, dropout, LayerNorm, the components, dropout.

    Examples
    --------
    >>> projection_head("mlp", 32, 128, 0.2)(torch.zeros(5, 32)).shape
    torch.Size([5, 128])
    """
    if kind == "linear":
        return nn.Sequential(nn.Linear(n_features, n_components))
    width = 2 * n_components
    return nn.Sequential(
        nn.Linear(n_features, width), nn.GELU(), nn.Dropout(dropout), nn.LayerNorm(width),
        nn.Linear(width, n_components), nn.Dropout(dropout),
    )  # fmt: skip


def clip_loss(one: Tensor, two: Tensor, scale: Tensor) -> Tensor:
    """Cross-entropy of the partner among all rows of the batch, the mean of both directions.

    Examples
    --------
    Vectors that tell nothing lose the logarithm of the batch:

    >>> same = F.normalize(torch.ones(4, 2))
    >>> round(clip_loss(same, same, torch.tensor(10.0)).item() / math.log(4), 6)
    1.0
    """
    logits = scale * one @ two.T
    target = torch.arange(len(one), device=one.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def siglip_loss(one: Tensor, two: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Logistic loss of every pair of the batch, true for partners and false for others; the sum over a row's pairs."""
    logits = scale * one @ two.T + bias
    sign = 2 * torch.eye(len(one), device=one.device, dtype=logits.dtype) - 1
    return -F.logsigmoid(sign * logits).sum() / len(one)


class Alignment(nn.Module):
    """Both heads, and the scale (and bias) of the loss.

    Parameters
    ----------
    n_features
        Columns of the two representations.
    heads
        Kind of each.
    n_components
        Columns of the common space.
    loss
        ``"clip"`` or ``"siglip"``.
    dropout
        Of ``"mlp"``.
    temperature
        One over the scale at the start; it is trained.
    """

    def __init__(
        self,
        n_features: tuple[int, int],
        heads: tuple[HeadName, HeadName],
        n_components: int,
        loss: LossName,
        dropout: float,
        temperature: float,
    ) -> None:
        super().__init__()
        self.a = projection_head(heads[0], n_features[0], n_components, dropout)
        self.b = projection_head(heads[1], n_features[1], n_components, dropout)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / temperature)))
        self.bias = nn.Parameter(torch.tensor(SIGLIP_BIAS)) if loss == "siglip" else None

    def project(self, values: Tensor, side: Literal["a", "b"]) -> Tensor:
        """Rows in the common space, of length 1."""
        return F.normalize(self.a(values) if side == "a" else self.b(values), dim=1)

    def forward(self, one: Tensor, two: Tensor) -> Tensor:
        """Loss of a batch of pairs."""
        one, two, scale = self.project(one, "a"), self.project(two, "b"), self.log_scale.exp()
        return clip_loss(one, two, scale) if self.bias is None else siglip_loss(one, two, scale, self.bias)

    @torch.no_grad()
    def clamp(self) -> None:
        """Hold the scale between 1 and 100, after each step."""
        self.log_scale.clamp_(0.0, math.log(LARGEST_SCALE))
