"""Networks that turn a bag of cells into one prediction, and the loss of survival. Pure torch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

CHUNK = 16_384  # cells scored at once where no gradient is kept


class GatedAttentionMIL(nn.Module):
    """Gated attention over the cells of a bag (Ilse et al., ICML 2018), with several heads.

    Each head weighs cells by ``softmax(w · (tanh(V x) * sigmoid(U x)))``; the weighted means of all heads together go
    through one linear layer (VirTues, Methods, *Tissue-level classification*).

    Parameters
    ----------
    n_features, n_outputs
        Columns of a cell, numbers to predict.
    n_heads, hidden
        Heads, and rows of `V` and `U` of each.
    dropout
        Share of the pooled features that training leaves out.

    Examples
    --------
    >>> import torch
    >>> network = GatedAttentionMIL(4, 2, n_heads=2, hidden=3)
    >>> output, attention = network(torch.zeros(1, 5, 4), torch.ones(1, 5, dtype=torch.bool))
    >>> output.shape, attention.sum().item()
    (torch.Size([1, 2]), 1.0)
    """

    whole_bags = True  # attention to a cell is made without the others: any number at once

    def __init__(self, n_features: int, n_outputs: int, *, n_heads: int = 8, hidden: int = 256, dropout: float = 0.0):
        super().__init__()
        self.n_heads = n_heads
        self.value = nn.Linear(n_features, n_heads * hidden)
        self.gate = nn.Linear(n_features, n_heads * hidden)
        self.weight = nn.Parameter(torch.empty(n_heads, hidden).uniform_(-1, 1) / hidden**0.5)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(n_heads * n_features, n_outputs)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Outputs ``(bags, outputs)`` and attention ``(bags, cells)``, the mean over heads, which adds up to 1.

        Parameters
        ----------
        x
            ``(bags, cells, features)``.
        mask
            ``(bags, cells)``, true where there is a cell and not padding.
        """
        parts = [x] if torch.is_grad_enabled() else x.split(CHUNK, dim=1)
        scores = torch.cat([self._scores(part) for part in parts], dim=1)
        attention = scores.masked_fill(~mask[..., None], -torch.inf).softmax(dim=1)
        pooled = torch.einsum("bnh,bnd->bhd", attention, x).flatten(1)
        return self.head(self.dropout(pooled)), attention.mean(dim=2)

    def _scores(self, x: torch.Tensor) -> torch.Tensor:
        gated = torch.tanh(self.value(x)) * torch.sigmoid(self.gate(x))
        return (gated.unflatten(-1, (self.n_heads, -1)) * self.weight).sum(dim=-1)


class TransformerMIL(nn.Module):
    """A transformer over the cells of a bag with a class token (after Wagner et al., Cancer Cell 2023).

    Cells are projected, pass self-attention without positions, and the class token is read out. A cell's attention is
    that of the class token in the last layer.

    Parameters
    ----------
    n_features, n_outputs
        Columns of a cell, numbers to predict.
    n_heads, hidden
        Heads, and width of each: the network is ``n_heads * hidden`` wide.
    n_layers
        Layers.
    dropout
        Share of features that training leaves out.

    Examples
    --------
    >>> import torch
    >>> network = TransformerMIL(4, 2, n_heads=2, hidden=4).eval()
    >>> output, attention = network(torch.zeros(1, 5, 4), torch.ones(1, 5, dtype=torch.bool))
    >>> output.shape, attention.shape
    (torch.Size([1, 2]), torch.Size([1, 5]))
    """

    whole_bags = False  # memory grows with the square of the cells

    def __init__(
        self,
        n_features: int,
        n_outputs: int,
        *,
        n_heads: int = 8,
        hidden: int = 64,
        n_layers: int = 2,
        dropout: float = 0.0,
    ):
        super().__init__()
        width = n_heads * hidden
        self.embed = nn.Sequential(nn.Linear(n_features, width), nn.ReLU())
        self.token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.layers = nn.ModuleList(_Layer(width, n_heads, dropout) for _ in range(n_layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, n_outputs)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Outputs ``(bags, outputs)`` and attention ``(bags, cells)``, see `GatedAttentionMIL.forward`."""
        x = torch.cat([self.token.expand(len(x), -1, -1), self.embed(x)], dim=1)
        mask = F.pad(mask, (1, 0), value=True)
        for layer in self.layers:
            attention = layer.of_token(x, mask) if layer is self.layers[-1] else None
            x = layer(x, mask)
        return self.head(self.norm(x[:, 0])), attention


class _Layer(nn.Module):
    def __init__(self, width: int, n_heads: int, dropout: float):
        super().__init__()
        self.n_heads, self.dropout = n_heads, dropout
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, width))

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        query, key, value = self._heads(x)
        attended = F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask[:, None, None, :], dropout_p=self.dropout if self.training else 0.0
        )
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm_2(x))

    def of_token(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Attention of the first token to the others ``(bags, cells)``, mean over heads, without itself."""
        with torch.no_grad():
            query, key, _ = self._heads(x)
            scores = (query[:, :, :1] @ key[:, :, 1:].transpose(-1, -2)).squeeze(2) / query.shape[-1] ** 0.5
            return scores.masked_fill(~mask[:, None, 1:], -torch.inf).softmax(dim=-1).mean(dim=1)

    def _heads(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        packed = self.qkv(self.norm_1(x)).unflatten(-1, (3, self.n_heads, -1))
        query, key, value = packed.permute(2, 0, 3, 1, 4)
        return query, key, value


def cox_loss(risk: torch.Tensor, time: torch.Tensor, event: torch.Tensor) -> torch.Tensor:
    """Negative log partial likelihood of Cox regression, by event; ties as Breslow.

    Parameters
    ----------
    risk, time, event
        ``(n,)`` log hazard, time, and whether the event was seen. Without one the loss is 0.

    Examples
    --------
    Two patients of equal risk, the first has an event: either could have had it.

    >>> import torch
    >>> cox_loss(torch.zeros(2), torch.tensor([1.0, 2.0]), torch.tensor([True, False])).exp().item()
    2.0
    """
    if not event.any():
        return risk.sum() * 0.0
    at_risk = time[None, :] >= time[event][:, None]
    total = risk[None, :].expand_as(at_risk).masked_fill(~at_risk, -torch.inf).logsumexp(dim=1)
    return (total - risk[event]).mean()
