"""SToFM's SE(2) transformer: cells of a piece of tissue, their embeddings and the distances between them.

Zhao et al. 2025, *SToFM: a multi-scale foundation model for spatial transcriptomics*, ICML, arXiv:2507.11588. Tokens
are cells, virtual cells (means of clusters of the whole slice) and one token for the piece. Places enter as distances
alone, so that the result is the same for a piece that was moved, turned or mirrored.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._errors import ModelError, WeightsError
from .._public import taken
from .._ranges import at_least
from .._signatures import rules_of
from .._tissue_tokens import FAR, PADDING
from .card import ModelCard

SMALLEST = 1e-5  # added to the width of a Gaussian
PREFIX = "model."  # of the transformer's tensors in a checkpoint of pretraining, which holds the heads beside them

CARD = ModelCard(
    name="stofm",
    family="stofm",
    title="SToFM, cells in their context",
    license="MIT",
    commercial=True,
    gated=False,
    reference="Zhao et al. 2025, SToFM: a multi-scale foundation model for spatial transcriptomics, ICML, "
    "arXiv:2507.11588",
    trained_on="SToCorpus-88M: 2,000 slices of spatial transcriptomics, 88 million cells",
    weights_file="se2transformer.pth",
)


@dataclass(frozen=True)
class StofmConfig:
    """Sizes of the network.

    Attributes
    ----------
    in_dim
        Columns of a cell's embedding.
    dim, hidden, heads, depth
        Width of a token, of the feed-forward layers, attention heads, layers.
    gaussians
        Gaussians that a distance is described by.
    """

    in_dim: Annotated[int, at_least(1)] = 256
    dim: Annotated[int, at_least(1)] = 128
    hidden: Annotated[int, at_least(1)] = 256
    heads: Annotated[int, at_least(1)] = 8
    depth: Annotated[int, at_least(1)] = 4
    gaussians: Annotated[int, at_least(1)] = 64

    def __post_init__(self) -> None:
        for name, value in taken("StofmConfig", vars(self), rules_of(type(self))).items():
            object.__setattr__(self, name, value)  # frozen
        if self.dim % self.heads:
            multiple = self.heads * math.ceil(self.dim / self.heads)
            raise ModelError(
                f"A width of {self.dim} (dim) does not divide into {self.heads} attention heads. Pass a multiple, such "
                f"as {multiple}."
            )


class Distances(nn.Module):
    """What a distance adds to the attention of each head.

    A line, the values of Gaussians there, and two linear layers; a distance of exactly 0 adds nothing.
    """

    def __init__(self, config: StofmConfig) -> None:
        super().__init__()
        self.linear = nn.Linear(1, 1)
        self.means = nn.Embedding(1, config.gaussians)
        self.stds = nn.Embedding(1, config.gaussians)
        self.proj = nn.Sequential(
            nn.Linear(config.gaussians, config.gaussians), nn.ReLU(), nn.Linear(config.gaussians, config.heads)
        )

    def forward(self, distances: Tensor) -> Tensor:
        """Bias ``(B, heads, N, N)`` of distances ``(B, N, N)``.

        Each distance is described once: most pairs are not neighbours and have the same one, the others have theirs in
        both directions. Gaussians of all pairs would take more memory and time than all else.
        """
        flat = distances.reshape(-1)
        far = flat == FAR
        near = (~far & (flat != 0)).view_as(distances)
        first, second = _directions(distances, near)
        described = self._described(torch.cat([flat[first], flat.new_full((1,), FAR)])).T
        of_pairs, of_far = described[:, :-1], described[:, -1]
        places, both = (first, of_pairs) if second is None else (torch.cat([first, second]), of_pairs.repeat(1, 2))
        bias = torch.outer(of_far, far.to(of_far.dtype)).index_copy_(1, places, both)
        return bias.view(-1, *distances.shape).transpose(0, 1)

    def _described(self, values: Tensor) -> Tensor:
        """``(n, heads)`` of distances ``(n,)``."""
        narrow = 1 / (self.stds.weight.abs() + SMALLEST)
        first, rest = cast(nn.Linear, self.proj[0]), self.proj[1:]
        on_line = values[:, None] * self.linear.weight + self.linear.bias
        shapes = _Shapes.apply(on_line, self.means.weight, narrow)
        heights = first.weight * (narrow / math.sqrt(2 * math.pi))  # with the weights: they are fewer than the pairs
        return rest(F.linear(shapes, heights, first.bias))


class _Shapes(torch.autograd.Function):
    """``exp(-((x - means) * narrow) ** 2 / 2)``, with a gradient in few passes: these take most of a step."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, means: Tensor, narrow: Tensor) -> Tensor:
        """Values ``(n, gaussians)`` at places ``(n, 1)``."""
        away = (x - means).mul_(narrow)
        shapes = away.square().mul_(-0.5).exp_()
        ctx.save_for_backward(away, shapes, narrow)
        return shapes

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of places, means and inverse widths."""
        away, shapes, narrow = ctx.saved_tensors
        slopes = (grads[0] * shapes).mul_(away)
        of_narrow = -torch.linalg.vecdot(slopes, away, dim=0)[None] / narrow
        return -(slopes @ narrow.T), slopes.sum(0, keepdim=True) * narrow, of_narrow


def _directions(distances: Tensor, near: Tensor) -> tuple[Tensor, Tensor | None]:
    """Places of the pairs in `near` in ``distances.flatten()``, each once, and those of the same pairs the other way.

    Where the two ways differ, all of them in one, and None.
    """
    n = distances.shape[-1]
    if not torch.equal(distances, distances.mT) or near.diagonal(dim1=1, dim2=2).any():
        return near.reshape(-1).nonzero()[:, 0], None
    piece, row, column = near.triu(1).nonzero().unbind(1)
    return (piece * n + row) * n + column, (piece * n + column) * n + row


class PairAttention(nn.Module):
    """Self-attention whose logits go on to the next layer."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.k_proj, self.v_proj, self.q_proj, self.out_proj = (nn.Linear(dim, dim) for _ in range(4))
        self.heads = heads

    def forward(self, tokens: Tensor, bias: Tensor, padded: Tensor | None) -> tuple[Tensor, Tensor]:
        """Tokens ``(B, N, dim)``, and logits ``(B, heads, N, N)``, which are 0 for keys that are padding.

        `padded` is None where nothing is.
        """
        q, k, v = (
            layer(tokens).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2) + bias
        seen = logits
        if padded is not None:
            keys = padded[:, None, None, :]
            seen, logits = logits.masked_fill(keys, -torch.inf), logits.masked_fill(keys, 0.0)
        return self.out_proj((seen.softmax(-1) @ v).transpose(1, 2).flatten(-2)), logits


class Layer(nn.Module):
    """Attention and a feed-forward layer, each followed by a norm of its sum with what went in."""

    def __init__(self, config: StofmConfig) -> None:
        super().__init__()
        self.self_attn = PairAttention(config.dim, config.heads)
        self.self_attn_layer_norm = nn.LayerNorm(config.dim)
        self.fc1, self.fc2 = nn.Linear(config.dim, config.hidden), nn.Linear(config.hidden, config.dim)
        self.final_layer_norm = nn.LayerNorm(config.dim)

    def forward(self, tokens: Tensor, bias: Tensor, padded: Tensor | None) -> tuple[Tensor, Tensor]:
        """Tokens and logits."""
        attended, logits = self.self_attn(tokens, bias, padded)
        tokens = self.self_attn_layer_norm(tokens + attended)
        return self.final_layer_norm(tokens + self.fc2(F.gelu(self.fc1(tokens)))), logits


class Stofm(nn.Module):
    """The transformer.

    Parameters
    ----------
    config
        Its sizes.
    """

    def __init__(self, config: StofmConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding_layer = nn.Linear(config.in_dim, config.dim)
        self.token_type_embeddings = nn.Embedding(4, config.dim)
        self.gaussian = Distances(config)
        self.encoder = nn.ModuleDict({"layers": nn.ModuleList(Layer(config) for _ in range(config.depth))})

    def forward(self, tokens: Tensor, types: Tensor, distances: Tensor) -> tuple[Tensor, Tensor]:
        """Encode pieces of tissue.

        Parameters
        ----------
        tokens
            Embeddings ``(B, N, in_dim)``.
        types
            ``(B, N)``: 0 a cell, 1 the first token, 2 a virtual cell, 3 padding.
        distances
            ``(B, N, N)``; 100 where it is not known, 0 where it adds nothing.

        Returns
        -------
        Tokens ``(B, N, dim)``, and the representation of pairs ``(B, N, N, heads)``.
        """
        hidden = self.embedding_layer(tokens) + self.token_type_embeddings(types)
        bias, padding = self.gaussian(distances), types == PADDING
        padded = padding if padding.any() else None
        layers: Any = self.encoder["layers"]
        for layer in layers:
            hidden, bias = layer(hidden, bias, padded)
        return hidden, bias.permute(0, 2, 3, 1)


class Heads(nn.Module):
    """What pretraining reads from the transformer: masked cells, and distances of pairs.

    Parameters
    ----------
    config
        Sizes of the transformer.
    out
        Columns that are predicted of a cell. None: those of its embedding; as published, `dim`, which is the same where
        the two widths agree, as they do in the published model.
    """

    def __init__(self, config: StofmConfig, out: int | None = None) -> None:
        super().__init__()
        dim, heads = config.dim, config.heads
        self.lm_head = nn.Sequential(
            nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, config.in_dim if out is None else out)
        )
        self.pair_head = nn.Sequential(nn.Linear(heads, heads), nn.ReLU(), nn.Linear(heads, 1))


def config_of(tensors: Mapping[str, Tensor]) -> StofmConfig:
    """Sizes of the network that tensors belong to, whose names have no prefix.

    Raises
    ------
    WeightsError
        If tensors that tell them are missing.
    """
    try:
        dim, in_dim = tensors["embedding_layer.weight"].shape
        heads, gaussians = tensors["gaussian.proj.2.weight"].shape
        hidden = tensors["encoder.layers.0.fc1.weight"].shape[0]
    except (KeyError, ValueError) as error:
        raise WeightsError(
            f"The file is not one of SToFM's transformer: its tensor {error} tells a size, and is not there. Pass "
            f"{CARD.weights_file} of the published folder, or a folder that sfm.train.pretrain_context wrote."
        ) from error
    depth = len({name.split(".")[2] for name in tensors if name.startswith("encoder.layers.")})
    return StofmConfig(in_dim, dim, hidden, heads, depth, gaussians)


def split(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Tensors of the transformer without the prefix of pretraining, and those of the heads."""
    heads = {name: one for name, one in tensors.items() if name.startswith(("lm_head.", "pair_head."))}
    return {name.removeprefix(PREFIX): one for name, one in tensors.items() if name not in heads}, heads


@torch.no_grad()
def initialise(module: Stofm | Heads, seed: int = 0, reach: float = 3.0) -> None:
    """Weights that training begins with, as published; the same seed gives the same ones.

    Matrices are normal with deviation 0.02, those of the attention uniform by Glorot's rule (queries, keys and values
    with half of its variance), biases 0; the means of the Gaussians are uniform up to `reach` (published: 3). So are
    their widths, but none is below the mean distance of two means (published: any): a narrow one hardly sees a
    distance, and has a gradient that drowns all others.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        owner, last = name.rsplit(".", 1)
        if "layer_norm" in owner or owner == "gaussian.linear":
            parameter.fill_(float(last == "weight"))
        elif last == "bias":
            parameter.zero_()
        elif owner in ("gaussian.means", "gaussian.stds"):
            least = reach / parameter.shape[1] if owner == "gaussian.stds" else 0.0
            parameter.uniform_(0, reach, generator=generator).clamp_(min=least)
        elif ".self_attn." in name:
            gain = 1.0 if owner.endswith("out_proj") else math.sqrt(0.5)
            nn.init.xavier_uniform_(parameter, gain=gain, generator=generator)
        else:
            parameter.normal_(0, 0.02, generator=generator)
