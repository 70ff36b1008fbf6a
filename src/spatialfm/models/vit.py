"""Vision transformer of the DINOv2 family; parameter names are those of the published checkpoints.

Architecture: Oquab et al. 2024 (DINOv2); register tokens: Darcet et al. 2024.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class ViTConfig:
    """Shape of a vision transformer.

    Attributes
    ----------
    dim, depth, heads
        Width of a token, number of blocks, attention heads of a block.
    patch_size, stride
        Side in pixels of a token, and pixels between two tokens (None: `patch_size`, no overlap).
    grid
        Side in tokens of the learned position table.
    in_channels
        Input channels of the patch embedding.
    registers
        Register tokens, which come after CLS and have no position.
    layer_scale, mask_token
        Whether blocks scale their residuals; whether the checkpoint has a mask token (kept for training).
    mlp_ratio, eps
        Width of the feed-forward layer over `dim`; epsilon of the layer norms.
    ffn
        Feed-forward layer: ``"mlp"`` (GELU) or ``"swiglu"`` (gated, two thirds as wide).
    chunks
        0: blocks are named ``blocks.<block>``; otherwise ``blocks.<chunk>.<block>`` in so many equal chunks.
    resize_offset, resize_antialias
        How the position table is resized to another grid: bicubically with scale factor ``(n + offset) / grid``, or to
        the exact size where the offset is 0; with or without antialiasing.
    """

    dim: int
    depth: int
    heads: int
    patch_size: int
    grid: int
    stride: int | None = None
    in_channels: int = 3
    registers: int = 0
    layer_scale: bool = True
    mask_token: bool = True
    mlp_ratio: float = 4.0
    eps: float = 1e-6
    ffn: Literal["mlp", "swiglu"] = "mlp"
    chunks: int = 0
    resize_offset: float = 0.1
    resize_antialias: bool = False


class TrainingTokens(NamedTuple):
    """Outputs of a network in training: CLS ``(N, D)``, patch tokens ``(N, L, D)``, which were hidden ``(N, L)``."""

    cls: Tensor
    tokens: Tensor
    hidden: Tensor | None


class Attention(nn.Module):
    """Multi-head self-attention with one projection for queries, keys and values."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens ``(B, L, D)`` attend to each other."""
        query, key, value = self._split(self.qkv(x), 3)
        return self._merge(F.scaled_dot_product_attention(query, key, value))

    def first(self, x: Tensor) -> Tensor:
        """What `forward` gives for the first token alone, ``(B, 1, D)``."""
        query = self._project(x[:, :1], 0, 1)[0]
        key, value = self._project(x, 1, 3)
        return self._merge(F.scaled_dot_product_attention(query, key, value))

    def first_weights(self, x: Tensor) -> Tensor:
        """Softmax attention ``(B, heads, L)`` of the first token to all tokens."""
        query, key = self._project(x[:, :1], 0, 1)[0], self._project(x, 1, 2)[0]
        logits = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
        return logits.float().softmax(-1).squeeze(2)

    def _project(self, x: Tensor, start: int, stop: int) -> tuple[Tensor, ...]:
        rows = slice(start * x.shape[-1], stop * x.shape[-1])
        return self._split(F.linear(x, self.qkv.weight[rows], self.qkv.bias[rows]), stop - start)

    def _split(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        return x.unflatten(-1, (parts, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)

    def _merge(self, x: Tensor) -> Tensor:
        return self.proj(x.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Feed-forward layer."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens ``(B, L, D)``, each separately."""
        return self.fc2(F.gelu(self.fc1(x)))


class SwiGlu(nn.Module):
    """Feed-forward layer with a gate (Shazeer 2020), as wide as DINOv2 makes it: two thirds, in steps of eight."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        hidden = (int(hidden * 2 / 3) + 7) // 8 * 8
        self.w12 = nn.Linear(dim, 2 * hidden)
        self.w3 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens ``(B, L, D)``, each separately."""
        gate, value = self.w12(x).chunk(2, dim=-1)
        return self.w3(F.silu(gate) * value)


class Residual(nn.Module):
    """Adds a residual."""

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        """Sum of tokens and residual, ``(B, L, D)``."""
        return x + residual


class LayerScale(nn.Module):
    """Adds a residual with a learned gain for each component."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        """Sum of tokens and scaled residual, ``(B, L, D)``."""
        return torch.addcmul(x, residual, self.gamma)


class TransformerBlock(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.dim, eps=config.eps)
        self.attn = Attention(config.dim, config.heads)
        self.ls1 = LayerScale(config.dim) if config.layer_scale else Residual()
        self.norm2 = nn.LayerNorm(config.dim, eps=config.eps)
        feed_forward = SwiGlu if config.ffn == "swiglu" else Mlp
        self.mlp = feed_forward(config.dim, int(config.dim * config.mlp_ratio))
        self.ls2 = LayerScale(config.dim) if config.layer_scale else Residual()

    def forward(self, x: Tensor, gains: Tensor | None = None) -> Tensor:
        """Tokens ``(B, L, D)`` to tokens; `gains` ``(B, 2)`` are those of `drop_path`, for training."""
        if gains is not None:
            x = _drop_path(x, gains[:, 0], lambda part: self.attn(self.norm1(part)), self.ls1)
            return _drop_path(x, gains[:, 1], lambda part: self.mlp(self.norm2(part)), self.ls2)
        x = self.ls1(x, self.attn(self.norm1(x)))
        return self.ls2(x, self.mlp(self.norm2(x)))

    def first(self, x: Tensor) -> Tensor:
        """What `forward` gives for the first token alone, ``(B, 1, D)``, at a fraction of the work."""
        first = self.ls1(x[:, :1], self.attn.first(self.norm1(x)))
        return self.ls2(first, self.mlp(self.norm2(first)))


class PatchEmbed(nn.Module):
    """One convolution turns each patch of pixels into a token."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        stride = config.stride or config.patch_size
        self.proj = nn.Conv2d(config.in_channels, config.dim, config.patch_size, stride=stride)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels ``(B, C, H, W)`` to tokens ``(B, h * w, D)``."""
        return self.proj(pixels.to(self.proj.weight.dtype)).flatten(2).transpose(1, 2)


class VisionTransformer(nn.Module):
    """CLS token, register tokens, patch tokens, pre-norm blocks, a final layer norm.

    The pieces are separate methods, because models differ in what they add to a token before the blocks
    (KRONOS: the marker) and in which blocks they run.
    """

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.config = config
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + config.grid**2, config.dim))
        if config.registers:
            self.register_tokens = nn.Parameter(torch.zeros(1, config.registers, config.dim))
        if config.mask_token:
            self.mask_token = nn.Parameter(torch.zeros(1, config.dim))
        self.patch_embed = PatchEmbed(config)
        self.blocks = _name_blocks([TransformerBlock(config) for _ in range(config.depth)], config.chunks)
        self.norm = nn.LayerNorm(config.dim, eps=config.eps)
        self._resized: dict[tuple[int, int], tuple[Tensor, tuple, Tensor]] = {}

    @property
    def n_prefix(self) -> int:
        """Tokens before the patch tokens: CLS and registers."""
        return 1 + self.config.registers

    def token_grid(self, height: int, width: int) -> tuple[int, int]:
        """Tokens along y and x of a window.

        Raises
        ------
        ValueError
            If the window is smaller than a patch or leaves pixels over.
        """
        size, stride = self.config.patch_size, self.config.stride or self.config.patch_size
        for side in (height, width):
            if side < size or (side - size) % stride:
                below = size + max(side - size, 0) // stride * stride
                raise ValueError(
                    f"a window of {height} x {width} pixels does not divide into patches of {size} pixels with stride "
                    f"{stride}; sides of {below} or {below + stride} pixels do"
                )
        return (height - size) // stride + 1, (width - size) // stride + 1

    def positions(self, height: int, width: int) -> Tensor:
        """Position table ``(height * width, D)`` of a token grid; remembered as long as the weights stay the same."""
        table = self.pos_embed
        if (height, width) == (self.config.grid, self.config.grid):
            return table[0, 1:]
        if table.requires_grad and torch.is_grad_enabled():
            return self._resize(height, width)
        # an inference tensor has no version, and cannot be changed in place outside inference mode either
        state = (table.device, table.dtype, None if table.is_inference() else table._version)
        known = self._resized.get((height, width))
        if known is None or known[0] is not table or known[1] != state:
            with torch.inference_mode(False), torch.no_grad():
                known = (table, state, self._resize(height, width))
            self._resized[height, width] = known
        return known[2]

    def assemble(self, tokens: Tensor) -> Tensor:
        """Put CLS (with its position) and the registers before the tokens ``(B, L, D)``."""
        prefix = [self.cls_token + self.pos_embed[:, :1]]
        if self.config.registers:
            prefix.append(self.register_tokens)
        return torch.cat([*(part.expand(len(tokens), -1, -1) for part in prefix), tokens], dim=1)

    def run(
        self,
        x: Tensor,
        blocks: Sequence[int] | None = None,
        *,
        first_only: bool = False,
        gains: Tensor | None = None,
    ) -> Tensor:
        """Run blocks on ``(B, L, D)``: all, or those named, in order; without the final norm.

        With `first_only` the last one works out the first token alone, and the result is ``(B, 1, D)``. `gains`
        ``(B, depth, 2)`` multiply what each block of each image adds (stochastic depth, for training): 0, or one over
        the share that is kept. They are given, not drawn here, so that they belong to an image and not to a batch.
        """
        sequence = self.block_list()
        if gains is not None:
            for number, block in enumerate(sequence):
                x = block(x, gains[:, number])
            return x
        chosen = [sequence[i] for i in (range(len(sequence)) if blocks is None else blocks)]
        for block in chosen[:-1]:
            x = block(x)
        return chosen[-1].first(x) if first_only else chosen[-1](x)

    def block_list(self) -> list[TransformerBlock]:
        """The blocks in order, however their names are chunked."""
        if not self.config.chunks:
            parts = list(self.blocks.children())
        else:
            parts = [block for chunk in self.blocks.children() for block in chunk.children()]
        return [block for block in parts if isinstance(block, TransformerBlock)]

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels ``(B, C, H, W)`` to normed tokens ``(B, 1 + registers + h * w, D)``, all blocks run."""
        tokens = self.patch_embed(pixels) + self.positions(*self.token_grid(*pixels.shape[-2:]))
        return self.norm(self.run(self.assemble(tokens)))

    def _resize(self, height: int, width: int) -> Tensor:
        config, table = self.config, self.pos_embed
        offset, antialias = config.resize_offset, config.resize_antialias
        return resized_positions(table[:, 1:], (height, width), offset, antialias=antialias)[0].to(table.dtype)


def resized_positions(table: Tensor, grid: tuple[int, int], offset: float = 0.1, *, antialias: bool = False) -> Tensor:
    """Positions ``(1, h * w, D)`` of a token grid ``(h, w)``, resized as DINOv2 does it; float32.

    Parameters
    ----------
    table
        ``(1, side**2, D)``, positions of a square grid.
    grid
        Sides of the other grid.
    offset, antialias
        See `ViTConfig`.
    """
    side = math.isqrt(table.shape[1])
    size = None if offset else grid
    factor = ((grid[0] + offset) / side, (grid[1] + offset) / side) if offset else None
    square = table.float().unflatten(1, (side, side)).permute(0, 3, 1, 2)
    resized = F.interpolate(square, size, factor, mode="bicubic", antialias=antialias)
    return resized.permute(0, 2, 3, 1).flatten(1, 2).contiguous()


def _drop_path(x: Tensor, gain: Tensor, branch: Callable[[Tensor], Tensor], add: nn.Module) -> Tensor:
    """Add a branch to the images ``(B, L, D)`` whose gain ``(B,)`` is not 0; it is not worked out for the others.

    Of none, it is worked out for the first one, at a gain of 0: every parameter has a gradient in every step, which
    training in several processes needs.
    """
    rows = gain.nonzero().squeeze(1)
    rows = rows if len(rows) else rows.new_zeros(1)
    part = x.index_select(0, rows)
    scaled = branch(part) * gain[rows].to(x.dtype)[:, None, None]
    return x.index_copy(0, rows, add(part, scaled).to(x.dtype))


def _name_blocks(blocks: list[TransformerBlock], chunks: int) -> nn.Module:
    if not chunks:
        return nn.ModuleList(blocks)
    size = len(blocks) // chunks
    return nn.ModuleDict(
        {
            str(chunk): nn.ModuleDict({str(i): blocks[i] for i in range(chunk * size, (chunk + 1) * size)})
            for chunk in range(chunks)
        }
    )
