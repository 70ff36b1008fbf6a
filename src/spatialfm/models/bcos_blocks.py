"""Last blocks of a transformer as B-cos blocks, whose output is a sum of what each token that enters them contributes.

Böhle et al., CVPR 2022; Böhle et al. 2024, IEEE TPAMI (B-cos v2, with the transformers of its released code). A linear
layer ``W x`` becomes ``|cos(x, w)| * w x`` for each of its rows, without bias, and is the only nonlinearity: activation
functions go. Layer norms lose their bias. Attention stays; its values have no bias. With the scales, the attention and
the variances of the norms held fixed all of it is linear, so that the gradient times the input adds up to the output.

Two things differ from the released transformers. Blocks begin with the weights of the model that is tuned, and rows
keep their length, where the release divides by it. And outputs are multiplied by the root of the number of inputs, as
the cosine of two directions of so many dimensions is about one over that: a constant, so that a block which is
converted does not vanish beside what it is added to.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._errors import ModelError
from .virtues_blocks import FactorisedBlock
from .vit import Attention, Mlp, TransformerBlock

if TYPE_CHECKING:
    from .encoder import Encoder

SMALLEST = 1e-12


class Explained(nn.Module):
    """A part that can hold what multiplies its input fixed, see `explained`."""

    held = False

    def fixed(self, value: Tensor) -> Tensor:
        """A factor that no gradient goes through while answers are explained."""
        return value.detach() if self.held else value


class BcosUnits(Explained):
    """A linear layer as B-cos units with the exponent 2."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight = nn.Parameter(linear.weight.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """Tokens ``(..., inputs)`` to ``(..., outputs)``."""
        along = F.linear(x, self.weight)
        norms = torch.linalg.vector_norm(x, dim=-1, keepdim=True) * torch.linalg.vector_norm(self.weight, dim=1)
        return self.fixed(along.abs() / (norms + SMALLEST)) * along * math.sqrt(x.shape[-1])


class DynamicNorm(Explained):
    """A layer norm without bias, whose deviation is a fixed scale while answers are explained."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.eps = norm.eps
        self.weight = nn.Parameter(norm.weight.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """Tokens ``(..., D)``."""
        centred = x - x.mean(-1, keepdim=True)
        return centred * self.fixed((centred.square().mean(-1, keepdim=True) + self.eps).rsqrt()) * self.weight


class Aimed(Explained):
    """A projection to queries or keys: attention is held fixed while answers are explained."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        """Tokens ``(..., D)``."""
        return self.fixed(self.linear(x))


class BcosAttention(Explained):
    """Attention of a vision transformer with values that have no bias, and B-cos units behind."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.heads = attention.heads
        dim = attention.qkv.in_features
        self.aim = nn.Linear(dim, 2 * dim)
        self.value = nn.Linear(dim, dim, bias=False)
        with torch.no_grad():
            self.aim.weight.copy_(attention.qkv.weight[: 2 * dim])
            self.aim.bias.copy_(attention.qkv.bias[: 2 * dim])
            self.value.weight.copy_(attention.qkv.weight[2 * dim :])
        self.proj = BcosUnits(attention.proj)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens ``(B, L, D)`` attend to each other."""
        return self._attend(self._aimed(x, 0, 2), x)

    def first(self, x: Tensor) -> Tensor:
        """What `forward` gives for the first token alone, ``(B, 1, D)``."""
        return self._attend([*self._aimed(x[:, :1], 0, 1), *self._aimed(x, 1, 2)], x)

    def first_weights(self, x: Tensor) -> Tensor:
        """Softmax attention ``(B, heads, L)`` of the first token to all tokens."""
        query, key = self._aimed(x[:, :1], 0, 1)[0], self._aimed(x, 1, 2)[0]
        return (query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5).float().softmax(-1).squeeze(2)

    def _aimed(self, x: Tensor, start: int, stop: int) -> list[Tensor]:
        rows = slice(start * x.shape[-1], stop * x.shape[-1])
        return [
            self._split(one) for one in F.linear(x, self.aim.weight[rows], self.aim.bias[rows]).chunk(stop - start, -1)
        ]

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _attend(self, aimed: list[Tensor], x: Tensor) -> Tensor:
        query, key = (self.fixed(one) for one in aimed)
        out = F.scaled_dot_product_attention(query, key, self._split(self.value(x)))
        return self.proj(out.transpose(1, 2).flatten(2))


def convert(encoder: Encoder, blocks: int) -> list[nn.Module]:
    """Make the last blocks of an encoder, and its final norm, B-cos blocks, in place; gives what was converted.

    Parameters
    ----------
    encoder
        Is changed; copy it first where it is used elsewhere.
    blocks
        Number of blocks; more than there are: all.

    Raises
    ------
    ModelError
        If its blocks are of no known kind.
    """
    of_encoder = encoder.transformer_blocks()
    chosen = of_encoder[-blocks:]
    known = bool(chosen) and all(
        isinstance(one, FactorisedBlock) or (isinstance(one, TransformerBlock) and isinstance(one.mlp, Mlp))
        for one in chosen
    )
    holder, name, norm = _final_norm(encoder)
    if not known or not isinstance(norm, nn.LayerNorm):
        raise ModelError(
            f"{encoder.card.name} has no blocks that can be made B-cos blocks: those of VirTues can, and of vision "
            'transformers with a plain feed-forward layer (KRONOS, DINOv2). Pass another model, or head="bcos" alone.'
        )
    for block in chosen:
        if isinstance(block, FactorisedBlock):
            _of_virtues(block)
        elif isinstance(block, TransformerBlock):
            _of_vit(block)
    _put(holder, **{name: DynamicNorm(norm)})
    converted = [*chosen, holder.get_submodule(name)]
    for part in converted:
        _put(part, is_bcos=True)
    return converted


def _final_norm(encoder: Encoder) -> tuple[nn.Module, str, nn.Module]:
    """What holds the final norm of the tokens, its name there, and the norm."""
    for path, name in (("backbone.encoder", "layer_norm"), ("backbone", "norm")):
        try:
            holder = encoder.get_submodule(path)
        except AttributeError:
            continue
        if isinstance(getattr(holder, name, None), nn.Module):
            return holder, name, holder.get_submodule(name)
    return encoder, "", nn.Identity()


def _put(module: nn.Module, **parts: object) -> None:
    """Replace parts of a module, whatever kind they had."""
    for name, part in parts.items():
        setattr(module, name, part)


def _of_virtues(block: FactorisedBlock) -> None:
    part = block.multi_head_attention
    linear = [one for one in block.feedforward if isinstance(one, nn.Linear)]
    feedforward = nn.Sequential(*(BcosUnits(one) for one in linear))
    _put(part, W_q=Aimed(part.W_q), W_k=Aimed(part.W_k), W_v=_without_bias(part.W_v), W_o=BcosUnits(part.W_o))
    _put(block, layernorm1=DynamicNorm(block.layernorm1), layernorm2=DynamicNorm(block.layernorm2))
    _put(block, feedforward=feedforward)


def _of_vit(block: TransformerBlock) -> None:
    mlp = block.mlp
    if isinstance(mlp, Mlp):
        _put(block, mlp=nn.Sequential(BcosUnits(mlp.fc1), BcosUnits(mlp.fc2)))
    _put(block, norm1=DynamicNorm(block.norm1), norm2=DynamicNorm(block.norm2), attn=BcosAttention(block.attn))


def _without_bias(linear: nn.Linear) -> nn.Linear:
    layer = nn.Linear(linear.in_features, linear.out_features, bias=False)
    layer.weight = nn.Parameter(linear.weight.detach().clone())
    return layer


@contextmanager
def explained(encoder: nn.Module) -> Iterator[None]:
    """While it is open, what multiplies tokens in B-cos blocks is held fixed: gradients are those of a linear map."""
    parts = [one for one in encoder.modules() if isinstance(one, Explained)]
    for one in parts:
        one.held = True
    try:
        yield
    finally:
        for one in parts:
            one.held = False


@contextmanager
def entering(block: nn.Module) -> Iterator[list[Tensor]]:
    """While it is open, tokens that enter a block are kept, as inputs that gradients are taken of."""
    entered: list[Tensor] = []

    def keep(module: nn.Module, given: tuple) -> tuple:
        entered.append(given[0].detach().requires_grad_(True))
        return (entered[-1], *given[1:])

    first = getattr(block, "first", None) or getattr(block, "summary", None)
    name = "first" if hasattr(block, "first") else "summary"
    handle = block.register_forward_pre_hook(keep)
    if first is not None:  # the last block may be asked for one token alone, which no hook sees
        setattr(block, name, lambda *given: first(*keep(block, given)))
    try:
        yield entered
    finally:
        handle.remove()
        if first is not None:
            delattr(block, name)
