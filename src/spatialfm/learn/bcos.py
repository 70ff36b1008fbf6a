"""B-cos layers, whose outputs are sums of what each input contributes. Pure torch.

A B-cos unit is ``|cos(x, w)|^(b-1) * (w_hat . x)`` with a weight of norm one (Böhle et al., CVPR 2022, and IEEE TPAMI
2024). With the scale held fixed it is linear in `x`: the share of input `j` is ``scale * w_hat_j * x_j``, and the
shares of all inputs add up to the output exactly.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

SMALLEST_NORM = 1e-12  # added to norms, as in the official code
SMALLEST_COS = 1e-6  # added to the cosine where b is not 2, as there


class BcosLinear(nn.Module):
    """A layer of B-cos units, without bias.

    Parameters
    ----------
    n_features, n_outputs
        Inputs and outputs.
    b
        Exponent: 1 is a linear layer with weights of norm one; the higher, the more an input must point along a weight.
    max_out
        Weights of each output, of which the one with the largest product counts.

    Examples
    --------
    The input lies along the only weight, and the output is its length, made up of both inputs:

    >>> import torch
    >>> layer = BcosLinear(2, 1)
    >>> with torch.no_grad():
    ...     _ = layer.linear.weight.copy_(torch.tensor([[0.6, 0.8]]))
    >>> shares = layer.contributions(torch.tensor([[3.0, 4.0]]))
    >>> [round(share, 4) for share in shares.flatten().tolist()]
    [1.8, 3.2]
    """

    def __init__(self, n_features: int, n_outputs: int, *, b: float = 2.0, max_out: int = 1):
        super().__init__()
        self.b, self.max_out = b, max_out
        self.linear = nn.Linear(n_features, n_outputs * max_out, bias=False)  # as the official layer names it

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(..., outputs)`` of ``(..., features)``."""
        along, _ = self._along(x)
        return self._scale(x, along) * along

    def weights(self, x: torch.Tensor) -> torch.Tensor:
        """The linear map that the layer is at each row, ``(..., outputs, features)``: times `x` it is the output."""
        along, chosen = self._along(x)
        unit = F.normalize(self.linear.weight, dim=1, eps=SMALLEST_NORM)
        return self._scale(x, along)[..., None] * unit[chosen]

    def contributions(self, x: torch.Tensor) -> torch.Tensor:
        """Share of each input in each output, ``(..., outputs, features)``; adds up to the outputs."""
        return self.weights(x) * x[..., None, :]

    def contributions_to(self, x: torch.Tensor, outputs: torch.Tensor) -> torch.Tensor:
        """Share of each input in one output of each row ``(rows,)``, ``(rows, features)``."""
        along, chosen = self._along(x)
        place = outputs[:, None]
        unit = F.normalize(self.linear.weight, dim=1, eps=SMALLEST_NORM)[chosen.gather(1, place)[:, 0]]
        return self._scale(x, along).gather(1, place) * unit * x

    def _along(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Products with the weights that count, and the rows of these."""
        unit = F.normalize(self.linear.weight, dim=1, eps=SMALLEST_NORM)
        products = F.linear(x, unit).unflatten(-1, (-1, self.max_out))
        best, place = products.max(dim=-1)
        first = torch.arange(0, len(unit), self.max_out, device=x.device)
        return best, first + place

    def _scale(self, x: torch.Tensor, along: torch.Tensor) -> torch.Tensor:
        if self.b == 1:
            return torch.ones_like(along)
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True) + SMALLEST_NORM
        if self.b == 2:
            return along.abs() / norm
        return ((along / norm).abs() + SMALLEST_COS).pow(self.b - 1)


class BcosHead(nn.Module):
    """B-cos units with a scale and intercepts: logits that are sums of what each input contributes.

    Parameters
    ----------
    n_features, n_outputs, max_out
        As of `BcosLinear`.

    Examples
    --------
    >>> import torch
    >>> head, x = BcosHead(3, 2), torch.ones(1, 3)
    >>> shares = head.contributions(x)
    >>> torch.allclose(shares.sum(dim=2) + head.intercept, head(x), atol=1e-6)
    True
    """

    def __init__(self, n_features: int, n_outputs: int, *, max_out: int = 2):
        super().__init__()
        self.units = BcosLinear(n_features, n_outputs, max_out=max_out)
        self.log_scale = nn.Parameter(torch.zeros(()))
        self.intercept = nn.Parameter(torch.zeros(n_outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(..., outputs)`` of ``(..., features)``."""
        return self.log_scale.exp() * self.units(x) + self.intercept

    def contributions(self, x: torch.Tensor) -> torch.Tensor:
        """Share of each input in each output, ``(..., outputs, features)``; with the intercept they add up."""
        return self.log_scale.exp() * self.units.contributions(x)
