"""Low-rank adaptation (LoRA): a few trained columns beside weights that stay as they are.

Hu et al. 2022, arXiv:2106.09685: a projection ``W`` becomes ``W + alpha / rank * up @ down``, with `up` zero at the
start, so that training begins from the model as it is.

The common library for it (peft) replaces a linear layer by one of its own, and adds the columns when that layer is
called. Encoders here also read the weights of a layer without calling it: the last block of KRONOS and of the DINOv2
family for the CLS token alone, and the fused projection of OpenPhenom. There such a layer would leave the adapter out
without a word. The sum is therefore put where the weight is (`torch.nn.utils.parametrize`), which every way of using it
sees, and no further package is needed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from .._errors import ModelError
from ..models.adapter import DOWN, UP
from ..models.encoder import Encoder

RANK, ALPHA, BLOCKS = 8, 16.0, 6


class LowRank(nn.Module):
    """Adds ``alpha / rank * up @ down`` to a matrix.

    Parameters
    ----------
    weight
        ``(outputs, inputs)``.
    rank, alpha
        Columns, and the weight of their product times `rank`.
    generator
        Draws `down`, uniformly as a linear layer is drawn; `up` is zero.
    """

    def __init__(self, weight: Tensor, rank: int, alpha: float, generator: torch.Generator) -> None:
        super().__init__()
        outputs, inputs = weight.shape
        bound = 1 / math.sqrt(inputs)
        down = torch.empty(rank, inputs).uniform_(-bound, bound, generator=generator)
        self.scale = alpha / rank
        self.down = nn.Parameter(down.to(weight))
        self.up = nn.Parameter(weight.new_zeros(outputs, rank))

    def forward(self, weight: Tensor) -> Tensor:
        """The matrix with what was learned."""
        return torch.addmm(weight, self.up, self.down, alpha=self.scale)


def projections(block: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """Modules and names of the matrices of a block that project tokens, those of attention and feed-forward layers."""
    for module in block.modules():
        if isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None:
            yield module, "in_proj_weight"
        elif isinstance(module, nn.Linear):
            yield module, "weight"


def check_blocks(encoder: Encoder, blocks: int) -> list[nn.Module]:
    """The last blocks of an encoder, which are adapted.

    Raises
    ------
    ModelError
        If there are none.
    """
    of_encoder = encoder.transformer_blocks()
    if not of_encoder or not any(True for block in of_encoder for _ in projections(block)):
        raise ModelError(
            f"{encoder.card.name} has no transformer blocks, so there is nothing that LoRA could adapt. Pass "
            'method="linear", or method="full" for a network of another kind.'
        )
    return of_encoder[-blocks:]


def attach(encoder: Encoder, *, rank: int = RANK, alpha: float = ALPHA, blocks: int = BLOCKS, seed: int = 0) -> None:
    """Put trainable columns beside the projections of the last blocks, in place; all else is frozen.

    Parameters
    ----------
    encoder
        Is changed; copy it first where it is used elsewhere.
    rank, alpha, blocks
        Columns of each projection, their weight times `rank`, and the number of blocks.
    seed
        Of the columns' first values.

    Raises
    ------
    ModelError
        If the encoder has no transformer blocks.
    """
    chosen = check_blocks(encoder, blocks)
    encoder.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for block in chosen:
        for module, name in list(projections(block)):
            weight = getattr(module, name)
            # its shape is that of the weight, and nothing is computed that could show otherwise
            parametrize.register_parametrization(module, name, LowRank(weight, rank, alpha, generator), unsafe=True)


def attached(encoder: nn.Module) -> Iterator[tuple[str, LowRank]]:
    """Names of the parameters that are adapted, as the encoder without adapter has them, and what is added to each."""
    for path, module in encoder.named_modules():
        if parametrize.is_parametrized(module):
            for name, parts in module.parametrizations.items():
                for part in parts:
                    if isinstance(part, LowRank):
                        yield f"{path}.{name}" if path else name, part


def adapter_tensors(encoder: nn.Module) -> dict[str, Tensor]:
    """What was learned, under the names that `spatialfm.models.adapter` reads."""
    tensors = {}
    for name, part in attached(encoder):
        tensors[name + DOWN], tensors[name + UP] = part.down.detach().clone(), part.up.detach().clone()
    return tensors
