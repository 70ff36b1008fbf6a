"""Channel-summary tokens of VirTues: what a label of a tissue is read from, and where it looks.

Wenckstern et al. 2026, arXiv:2501.06039, Methods, *Model inspection and visualization*: VirTues has no token for a
window as a whole. It gets one for each channel, the patch summaries among them, which sits in the middle of the window.
The encoded one of the patch summaries is read; the attention that it pays to them in the last spatial layer but one is
drawn. The published weights have no such tokens: they are learned with the label.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .virtues_blocks import FactorisedBlock, Rotary, VisibleTokens

if TYPE_CHECKING:
    from .virtues_blocks import VirTuesEncoderNet

OUTPUTS = ("patch", "marker", "token", "summary")


class ChannelSummaries(nn.Module):
    """One token for each channel of a window: a learned vector, and of a marker its projected protein embedding.

    Parameters
    ----------
    dim
        Width of a token.
    seed
        Of the vectors at the start, which are as long as the other learned tokens of VirTues.
    """

    def __init__(self, dim: int, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.tokens = nn.Parameter(torch.randn(2, dim, generator=generator) / math.sqrt(dim))

    def forward(self, of_markers: Tensor, n_windows: int) -> Tensor:
        """Tokens ``(B, 1 + M, 1, D)`` for projected protein embeddings ``(B or 1, M, D)``."""
        first, others = self.tokens[0].expand(len(of_markers), 1, -1), self.tokens[1] + of_markers
        return torch.cat([first, others], dim=1).expand(n_windows, -1, -1)[:, :, None]


def read_tissue(
    net: VirTuesEncoderNet, summaries: ChannelSummaries, pixels: Tensor, markers: Tensor, spatial_layer: int
) -> tuple[Tensor, Tensor]:
    """What a window says of its tissue, and the positions that it says it by.

    Parameters
    ----------
    net
        The encoder.
    summaries
        Its channel-summary tokens.
    pixels, markers
        ``(B, M, H, W)`` and ``(B or 1, M, d)``, as the encoder takes them.
    spatial_layer
        Number of the block whose attention is given.

    Returns
    -------
    ``(B, D)``, the encoded channel-summary token of the patch summaries; ``(B, 1 + M, h, w)``, the attention of the
    channel-summary token of each channel to the positions of that channel, mean over heads, the patch summaries first:
    1 is the average position of the window.
    """
    tokens, grid = net.embed(pixels, markers, None)
    of_markers = net.prior_embedding_encoder(markers).float()
    x = torch.cat([tokens, summaries(of_markers, len(tokens)).to(tokens)], dim=2)
    attention = None
    for number, block in enumerate(net.blocks()):
        if number == spatial_layer:
            attention = _paid(block, x, grid)
        x = _through(block, x, grid)
    if attention is None:
        raise IndexError(f"no block {spatial_layer}")
    return net.layer_norm(x[:, 0, -1]), attention.unflatten(-1, (grid.height, grid.width))


def _through(block: FactorisedBlock, x: Tensor, grid: VisibleTokens) -> Tensor:
    """One block on tokens ``(B, C, L + 1, D)``, the last of each channel its summary."""
    part = block.multi_head_attention
    query, key, value = _heads(block, x, grid)
    out = F.scaled_dot_product_attention(query, key, value)
    if part.along == "h":
        out = out.transpose(1, 2).flatten(2).unflatten(0, x.shape[:2])
    elif part.along == "v":
        out = out.transpose(1, 2).flatten(2).unflatten(0, (len(x), x.shape[2])).transpose(1, 2)
    else:
        out = out.transpose(1, 2).flatten(2).unflatten(1, x.shape[1:3])
    x = x + part.W_o(out)
    return x + block.feedforward(block.layernorm2(x))


def _paid(block: FactorisedBlock, x: Tensor, grid: VisibleTokens) -> Tensor:
    """Attention of each channel's summary to the positions of its channel ``(B, C, L)``, over that of the average."""
    query, key, _ = _heads(block, x, grid)  # (B * C, heads, L + 1, d)
    logits = (query[:, :, -1:] @ key[:, :, :-1].transpose(-2, -1) * query.shape[-1] ** -0.5).float()
    paid = logits.softmax(-1).squeeze(2).mean(1)
    return (paid * paid.shape[-1]).unflatten(0, x.shape[:2])


def _heads(block: FactorisedBlock, x: Tensor, grid: VisibleTokens) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of the sequences that attend to each other, ``(G, heads, S, d)``."""
    part, normed = block.multi_head_attention, block.layernorm1(x)
    heads = []
    for weight in (part.W_q, part.W_k, part.W_v):
        y = weight(normed).unflatten(-1, (part.heads, -1))  # (B, C, L + 1, heads, d)
        if weight is not part.W_v and part.along != "v":
            y = _placed(part.pos_emb, y, grid)
        if part.along == "h":
            y = y.flatten(0, 1).transpose(1, 2)
        elif part.along == "v":
            y = y.transpose(1, 2).flatten(0, 1).transpose(1, 2)
        else:
            y = y.flatten(1, 2).transpose(1, 2)
        heads.append(y)
    return heads[0], heads[1], heads[2]


def _placed(rotary: Rotary, y: Tensor, grid: VisibleTokens) -> Tensor:
    """Queries or keys ``(B, C, L + 1, heads, d)`` turned: tokens by their position, summaries by the middle."""
    y = y.permute(0, 1, 3, 2, 4)  # (B, C, heads, L + 1, d)
    tokens = rotary(y[..., :-1, :].flatten(0, 1), grid.height, grid.width).unflatten(0, y.shape[:2])
    middle = (grid.height - 1) / 2, (grid.width - 1) / 2
    return torch.cat([tokens, turned(rotary, y[..., -1:, :], middle)], dim=-2).permute(0, 1, 3, 2, 4)


def turned(rotary: Rotary, y: Tensor, place: tuple[float, float]) -> Tensor:
    """Queries or keys ``(..., d)`` of one place between positions, in rows and columns."""
    half = rotary.rope1d.cos.shape[1]
    frequency = 10000.0 ** (-torch.arange(0, half, 2, device=y.device, dtype=torch.float32) / half)
    angles = torch.cat([at * frequency.repeat(2) for at in place])
    cos, sin = angles.cos().to(y.dtype), angles.sin().to(y.dtype)
    rotated = torch.cat(
        [torch.cat([-second, first], dim=-1) for first, second in (half_.chunk(2, -1) for half_ in y.chunk(2, -1))],
        dim=-1,
    )
    return y * cos + rotated * sin
