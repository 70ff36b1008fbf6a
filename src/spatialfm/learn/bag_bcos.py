"""A bag judged by B-cos units: each cell's, and each marker's, share of the answer adds up to it. Pure torch."""

from __future__ import annotations

import torch
from torch import nn

from .bcos import BcosLinear

MAX_OUT = 2  # weights of an output: cells of two kinds may speak for one answer


class BcosMIL(nn.Module):
    """Mean over the cells of a bag of what B-cos units say of each, times a scale, plus an intercept.

    A cell's share of an output is what the units say of it over the number of cells, and a column's share is its part
    of that (`BcosLinear.contributions`); with the intercept the shares add up to the output. Attention is the part of
    a cell in the sum of all shares without their signs.

    Parameters
    ----------
    n_features, n_outputs
        Columns of a cell, numbers to predict.
    dropout
        Share of the columns that training leaves out.

    Examples
    --------
    >>> import torch
    >>> network = BcosMIL(4, 2).eval()
    >>> x = torch.arange(20.0).reshape(1, 5, 4)
    >>> output, attention = network(x, torch.ones(1, 5, dtype=torch.bool))
    >>> shares, intercept = network.contributions(x[0])
    >>> torch.allclose(shares.sum(dim=(0, 2)) + intercept, output[0], atol=1e-5)
    True
    """

    whole_bags = True  # a cell is judged without the others: any number at once

    def __init__(self, n_features: int, n_outputs: int, *, dropout: float = 0.0):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.units = BcosLinear(n_features, n_outputs, max_out=MAX_OUT)
        self.log_scale = nn.Parameter(torch.zeros(()))
        self.intercept = nn.Parameter(torch.zeros(n_outputs))

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Outputs ``(bags, outputs)`` and attention ``(bags, cells)``, see `GatedAttentionMIL.forward`."""
        n = mask.sum(dim=1)[:, None, None]
        said = self.log_scale.exp() * self.units(self.dropout(x)).masked_fill(~mask[..., None], 0.0) / n
        size = said.detach().abs().sum(dim=2)
        total = size.sum(dim=1, keepdim=True)
        even = mask / n[:, :, 0]  # where no cell says anything
        return said.sum(dim=1) + self.intercept, torch.where(total > 0, size / total.clamp_min(1e-30), even)

    def contributions(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Shares ``(cells, outputs, features)`` of a bag ``(cells, features)`` in its outputs, and the intercepts."""
        return self.log_scale.exp() * self.units.contributions(x) / len(x), self.intercept
