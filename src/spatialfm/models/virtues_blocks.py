"""Network of VirTues: factorised attention over markers and positions; parameter names are those published.

Wenckstern et al. 2026, arXiv:2501.06039, Methods, "VirTues architecture".

Tokens are a grid ``(B, C, L)``: windows, channels (the patch summary tokens are channel 0, the markers follow),
positions row by row. The blocks see them packed: the visible ones, ``(N, D)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_WEIGHTS_AT_ONCE = 2**25  # attention weights in memory at a time where only their mean over queries is kept
_GROUPS_AT_ONCE = 2**15  # CUDA kernels of scaled_dot_product_attention refuse batches of 2**16 and more


@dataclass(frozen=True, kw_only=True)
class VirTuesConfig:
    """Shape of the network.

    Attributes
    ----------
    dim, hidden, heads
        Width of a token and of the feed-forward layer, attention heads of a block.
    patch_size
        Side in pixels of a token.
    marker_dim
        Width of a marker's protein embedding.
    encoder, decoder
        One letter a block: ``h`` attends among the positions of one channel, ``v`` among the channels of one position,
        ``f`` among all tokens.
    max_side
        Tokens a side for which the position tables hold rows.
    """

    dim: int = 512
    hidden: int = 1024
    heads: int = 8
    patch_size: int = 8
    marker_dim: int = 640
    encoder: str = "hv" * 8
    decoder: str = "ffff"
    max_side: int = 1200


class VisibleTokens:
    """A grid of tokens ``(B, C, h * w)``, and which of them are visible.

    Parameters
    ----------
    shape
        ``(B, C, h, w)``.
    visible
        ``(B, C, h * w)``, False for hidden tokens; None: all are visible.
    """

    def __init__(self, shape: tuple[int, int, int, int], visible: Tensor | None = None) -> None:
        self.n_windows, self.n_channels, self.height, self.width = shape
        self.shape = (self.n_windows, self.n_channels, self.height * self.width)
        self.visible = visible
        self._index = None if visible is None else visible.flatten().nonzero().squeeze(1)

    def pack(self, x: Tensor) -> Tensor:
        """Visible tokens of ``(B, C, L, D)`` as ``(N, D)``."""
        x = x.flatten(0, 2)
        return x if self._index is None else x[self._index]

    def unpack(self, x: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Packed tokens ``(N, D)`` back in the grid ``(B, C, L, D)``; `hidden` (default: zeros) fills the others."""
        if self._index is None:
            return x.unflatten(0, self.shape)
        n = self.n_windows * self.shape[1] * self.shape[2]
        blank = x.new_zeros(n, x.shape[-1]) if hidden is None else hidden.flatten(0, 2).to(x.dtype, copy=True)
        return blank.index_copy_(0, self._index, x).unflatten(0, self.shape)

    def groups(self, x: Tensor, along: str) -> Tensor:
        """Tokens ``(B, C, L, heads, d)`` as the sequences that attend to each other, ``(G, heads, S, d)``."""
        if along == "h":
            return x.flatten(0, 1).transpose(1, 2)
        if along == "v":
            return x.permute(0, 2, 3, 1, 4).flatten(0, 1)
        return x.flatten(1, 2).transpose(1, 2)

    def ungroup(self, x: Tensor, along: str) -> Tensor:
        """Back from ``(G, heads, S, d)`` to tokens ``(B, C, L, heads * d)``."""
        if along == "h":
            x = x.transpose(1, 2).unflatten(0, self.shape[:2])
        elif along == "v":
            x = x.unflatten(0, (self.shape[0], self.shape[2])).permute(0, 3, 1, 2, 4)
        else:
            x = x.transpose(1, 2).unflatten(1, self.shape[1:])
        return x.flatten(3)

    def keys(self, along: str) -> Tensor | None:
        """Which keys take part, ``(G, 1, 1, S)``; None where all do."""
        if self.visible is None:
            return None
        keys = self.groups(self.visible[..., None, None], along).squeeze(-1)[:, :, None]
        # a sequence without any key has no softmax; what comes out of it belongs to hidden tokens and is dropped
        return keys | ~keys.any(-1, keepdim=True)


class RotaryTable(nn.Module):
    """Sine and cosine of every position and frequency, ``(max_side, dim)``; constants that checkpoints also store."""

    sin: Tensor
    cos: Tensor

    def __init__(self, dim: int, max_side: int) -> None:
        super().__init__()
        # on the CPU even while the parameters are laid out on the meta device: no file is needed to fill them
        frequency = 10000.0 ** (-torch.arange(0, dim, 2, device="cpu", dtype=torch.float32) / dim)
        angle = torch.arange(max_side, device="cpu", dtype=torch.float32)[:, None] * frequency
        angle = torch.cat([angle, angle], dim=1)
        self.register_buffer("sin", angle.sin())
        self.register_buffer("cos", angle.cos())


class Rotary(nn.Module):
    """Rotary positions in two dimensions: rows turn the first half of a head, columns the second (Su et al. 2024)."""

    def __init__(self, dim: int, max_side: int) -> None:
        super().__init__()
        self.rope1d = RotaryTable(dim // 2, max_side)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        """Turn queries or keys ``(G, heads, S, d)``; S is the grid, once or several times."""
        repeats = x.shape[-2] // (height * width)
        cos, sin = (self._grid(table, height, width).repeat(repeats, 1) for table in (self.rope1d.cos, self.rope1d.sin))
        # the sign goes to the small table, so that the tokens are but swapped: (-b, a) * sin = (b, a) * (-sin, sin)
        first, second = sin.unflatten(-1, (2, 2, -1)).unbind(-2)
        sin = torch.stack([-first, second], dim=-2).flatten(-3)
        swapped = x.unflatten(-1, (2, 2, -1)).flip(-2).flatten(-3)
        return torch.addcmul(x * cos, swapped, sin).to(x.dtype)

    @staticmethod
    def _grid(table: Tensor, height: int, width: int) -> Tensor:
        rows = table[:height, None].expand(-1, width, -1)
        columns = table[None, :width].expand(height, -1, -1)
        return torch.cat([rows, columns], dim=-1).flatten(0, 1)


class GroupAttention(nn.Module):
    """Multi-head self-attention within groups of a token grid."""

    def __init__(self, config: VirTuesConfig, along: str) -> None:
        super().__init__()
        self.along, self.heads = along, config.heads
        self.W_q = nn.Linear(config.dim, config.dim)
        self.W_k = nn.Linear(config.dim, config.dim)
        self.W_v = nn.Linear(config.dim, config.dim)
        self.W_o = nn.Linear(config.dim, config.dim)
        if along != "v":
            self.pos_emb = Rotary(config.dim // config.heads, config.max_side)

    def forward(self, x: Tensor, grid: VisibleTokens) -> Tensor:
        """Packed tokens ``(N, D)`` to packed tokens."""
        query, key, value = (self._project(x, weight, grid) for weight in (self.W_q, self.W_k, self.W_v))
        out = _attend(self._place(query, grid), self._place(key, grid), value, grid.keys(self.along))
        return self.W_o(grid.pack(grid.ungroup(out, self.along)))

    def summary(self, x: Tensor, grid: VisibleTokens) -> Tensor:
        """What `forward` of a ``v`` block gives for the summary tokens alone, ``(B * L, D)``."""
        first = grid.unpack(x)[:, 0].flatten(0, 1)
        query = self.W_q(first).unflatten(-1, (self.heads, 1, -1))
        key, value = (self._project(x, weight, grid) for weight in (self.W_k, self.W_v))
        return self.W_o(_attend(query, key, value, grid.keys("v")).flatten(1))

    def weights(self, x: Tensor, grid: VisibleTokens) -> Tensor:
        """Softmax attention ``(G, heads, S, S)`` of every token (rows) to the tokens of its group."""
        query, key = self._query_key(x, grid)
        return self._softmax(query, key, grid.keys(self.along))

    def total_weights(self, x: Tensor, grid: VisibleTokens) -> Tensor:
        """Attention of a ``v`` block summed over the positions, ``(B, heads, C, C)``; hidden tokens add nothing."""
        query, key = self._query_key(x, grid)
        keys, length = grid.keys("v"), grid.shape[2]
        step = max(1, _WEIGHTS_AT_ONCE // (self.heads * grid.n_channels**2 * length)) * length
        rows = None if grid.visible is None else grid.visible.transpose(1, 2).flatten(0, 1)[:, None, :, None]
        sums = []
        for part in (slice(start, start + step) for start in range(0, len(query), step)):
            weights = self._softmax(query[part], key[part], None if keys is None else keys[part])
            weights = weights if rows is None else weights * rows[part]
            sums.append(weights.unflatten(0, (-1, length)).sum(1))
        return torch.cat(sums)

    def mean_weights(self, x: Tensor, grid: VisibleTokens, query: int | None = None) -> Tensor:
        """Attention ``(G, heads, S)`` of one token of each group, or the mean over its visible tokens."""
        queries, key = self._query_key(x, grid)
        keys = grid.keys(self.along)
        if query is not None:
            return self._softmax(queries[:, :, [query]], key, keys).squeeze(2)
        n, heads, length, _ = queries.shape
        rows = queries.new_ones(n, 1, 1, length) if keys is None else keys.to(queries.dtype)
        rows = (rows / rows.sum(-1, keepdim=True)).float()
        step = max(1, _WEIGHTS_AT_ONCE // (heads * length * length))
        parts = [slice(i, i + step) for i in range(0, n, step)]
        return torch.cat(
            [
                (rows[part] @ self._softmax(queries[part], key[part], None if keys is None else keys[part])).squeeze(2)
                for part in parts
            ]
        )

    def _project(self, x: Tensor, weight: nn.Linear, grid: VisibleTokens) -> Tensor:
        return grid.groups(grid.unpack(weight(x)).unflatten(-1, (self.heads, -1)), self.along)

    def _place(self, x: Tensor, grid: VisibleTokens) -> Tensor:
        return x if self.along == "v" else self.pos_emb(x, grid.height, grid.width)

    def _query_key(self, x: Tensor, grid: VisibleTokens) -> tuple[Tensor, Tensor]:
        query, key = (self._place(self._project(x, weight, grid), grid) for weight in (self.W_q, self.W_k))
        return query, key

    @staticmethod
    def _softmax(query: Tensor, key: Tensor, keys: Tensor | None) -> Tensor:
        logits = (query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5).float()
        return (logits if keys is None else logits.masked_fill(~keys, -torch.inf)).softmax(-1)


def _attend(query: Tensor, key: Tensor, value: Tensor, keys: Tensor | None) -> Tensor:
    parts = [slice(i, i + _GROUPS_AT_ONCE) for i in range(0, max(1, len(query)), _GROUPS_AT_ONCE)]
    outs = [
        F.scaled_dot_product_attention(
            query[part], key[part], value[part], attn_mask=None if keys is None else keys[part]
        )
        for part in parts
    ]
    return outs[0] if len(outs) == 1 else torch.cat(outs)


class FactorisedBlock(nn.Module):
    """Pre-norm transformer block whose attention runs along one axis of the grid."""

    def __init__(self, config: VirTuesConfig, along: str) -> None:
        super().__init__()
        self.multi_head_attention = GroupAttention(config, along)
        self.feedforward = nn.Sequential(  # the published names count a dropout, which inference does not have
            nn.Linear(config.dim, config.hidden), nn.GELU(), nn.Identity(), nn.Linear(config.hidden, config.dim)
        )
        self.layernorm1 = nn.LayerNorm(config.dim)
        self.layernorm2 = nn.LayerNorm(config.dim)

    def forward(self, x: Tensor, grid: VisibleTokens) -> Tensor:
        """Packed tokens ``(N, D)`` to packed tokens."""
        x = x + self.multi_head_attention(self.layernorm1(x), grid)
        return x + self.feedforward(self.layernorm2(x))

    def summary(self, x: Tensor, grid: VisibleTokens) -> Tensor:
        """What `forward` of a ``v`` block gives for the summary tokens alone, ``(B * L, D)``."""
        first = grid.unpack(x)[:, 0].flatten(0, 1)
        first = first + self.multi_head_attention.summary(self.layernorm1(x), grid)
        return first + self.feedforward(self.layernorm2(first))


def _stack(config: VirTuesConfig, pattern: str) -> nn.ModuleList:
    return nn.ModuleList(nn.ModuleDict({"encoder_layer": FactorisedBlock(config, along)}) for along in pattern)


class VirTuesEncoderNet(nn.Module):
    """Patches and protein embeddings to encoded tokens."""

    def __init__(self, config: VirTuesConfig) -> None:
        super().__init__()
        self.patch_size = config.patch_size
        self.patch_summary_token = nn.Parameter(torch.zeros(config.dim))
        self.masked_token = nn.Parameter(torch.zeros(config.dim))
        self.patch_encoder = nn.Linear(config.patch_size**2, config.dim)
        self.prior_embedding_encoder = nn.Linear(config.marker_dim, config.dim)
        self.layer_norm = nn.LayerNorm(config.dim)
        self.encoder = _stack(config, config.encoder)

    def embed(self, pixels: Tensor, markers: Tensor, hidden: Tensor | None) -> tuple[Tensor, VisibleTokens]:
        """Tokens ``(B, 1 + M, L, D)`` that enter the blocks, and their grid.

        `pixels` ``(B, M, H, W)``, `markers` ``(B or 1, M, d)``, `hidden` ``(B, M, h, w)`` or None.
        """
        size = self.patch_size
        patches = pixels.unflatten(3, (-1, size)).unflatten(2, (-1, size)).transpose(3, 4)
        shape = (len(pixels), 1 + pixels.shape[1], *patches.shape[2:4])
        tokens = self.patch_encoder(patches.flatten(4).flatten(2, 3))
        visible = None
        if hidden is not None:
            hidden = hidden.flatten(2)
            tokens = torch.where(hidden[..., None], self.masked_token.to(tokens.dtype), tokens)
            visible = F.pad(~hidden, (0, 0, 1, 0), value=True)
        tokens = tokens + self.prior_embedding_encoder(markers)[:, :, None]
        summary = self.patch_summary_token.to(tokens.dtype).expand(len(tokens), 1, *tokens.shape[2:])
        return torch.cat([summary, tokens], dim=1).float(), VisibleTokens(shape, visible)

    def blocks(self) -> list[FactorisedBlock]:
        """The blocks in order."""
        layers = [entry.get_submodule("encoder_layer") for entry in self.encoder]
        return [layer for layer in layers if isinstance(layer, FactorisedBlock)]

    def run(self, tokens: Tensor, grid: VisibleTokens, *, summary_only: bool = False) -> Tensor:
        """All blocks and the final norm, ``(B, 1 + M, L, D)``; hidden tokens pass the blocks untouched.

        With `summary_only`, ``(B, 1, L, D)``: the last block works for the summary tokens alone.
        """
        *before, last = self.blocks()
        x = grid.pack(tokens)
        for block in before:
            x = block(x, grid)
        if summary_only and last.multi_head_attention.along == "v":
            return self.layer_norm(last.summary(x, grid)).unflatten(0, (grid.shape[0], 1, grid.shape[2]))
        out = self.layer_norm(grid.unpack(last(x, grid), hidden=tokens))
        return out[:, :1] if summary_only else out

    def without(self, encoded: Tensor, markers: Tensor, withheld: Tensor) -> Tensor:
        """What `run` gave, with tokens that are `withheld` ``(B, M, h, w)`` as those are that `embed` hid."""
        hidden = self.layer_norm(self.masked_token + self.prior_embedding_encoder(markers))[:, :, None]
        tokens = torch.where(withheld.flatten(2)[..., None], hidden.to(encoded.dtype), encoded[:, 1:])
        return torch.cat([encoded[:, :1], tokens], dim=1)

    def summaries(self, tokens: Tensor, grid: VisibleTokens, after: Sequence[int]) -> tuple[Tensor, list[Tensor]]:
        """Summary tokens ``(B, L, D)`` at the end, with the final norm, and after each of these blocks, without.

        Blocks are counted from 1, in ascending order.
        """
        x, after_blocks = grid.pack(tokens), []
        for number, block in enumerate(self.blocks(), 1):
            is_last = number == len(self.encoder) and block.multi_head_attention.along == "v"
            if is_last:  # it works for the summary tokens alone
                summary = block.summary(x, grid).unflatten(0, (grid.shape[0], grid.shape[2]))
            else:
                x = block(x, grid)
                summary = grid.unpack(x)[:, 0]
            if number in after:
                after_blocks.append(summary)
        return self.layer_norm(summary), after_blocks

    def before(self, tokens: Tensor, grid: VisibleTokens, blocks: Sequence[int]) -> dict[int, Tensor]:
        """What enters the attention of each of the blocks named, packed and normed."""
        x, inputs = grid.pack(tokens), {}
        for number, block in enumerate(self.blocks()[: max(blocks) + 1]):
            if number in blocks:
                inputs[number] = block.layernorm1(x)
            if number < max(blocks):
                x = block(x, grid)
        return inputs


class VirTuesDecoderNet(nn.Module):
    """Encoded tokens of one channel and the summary tokens to pixels of that channel."""

    def __init__(self, config: VirTuesConfig) -> None:
        super().__init__()
        self.patch_size = config.patch_size
        self.multiplex_decoder_mlp = nn.Sequential(nn.Linear(config.dim, config.patch_size**2))
        self.decoder = _stack(config, config.decoder)
        self.layer_norm = nn.LayerNorm(config.dim)

    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        """Encoded tokens ``(B, 1 + M, h * w, D)`` to pixels ``(B, M, H, W)``."""
        n_windows, n_markers = len(tokens), tokens.shape[1] - 1
        pairs = torch.stack([tokens[:, :1].expand(-1, n_markers, -1, -1), tokens[:, 1:]], dim=2).flatten(0, 1)
        grid = VisibleTokens((len(pairs), 2, height, width))
        x = grid.pack(pairs)
        for entry in self.decoder:
            x = entry.get_submodule("encoder_layer")(x, grid)
        patches = self.multiplex_decoder_mlp(self.layer_norm(grid.unpack(x)[:, 1]))
        patches = patches.unflatten(2, (self.patch_size, self.patch_size)).unflatten(1, (height, width))
        return patches.transpose(2, 3).flatten(3).flatten(1, 2).unflatten(0, (n_windows, n_markers))


class VirTuesNet(nn.Module):
    """Encoder and decoder under the names of the published checkpoint."""

    def __init__(self, config: VirTuesConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = VirTuesEncoderNet(config)
        self.decoder = VirTuesDecoderNet(config)
