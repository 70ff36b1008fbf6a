"""OpenPhenom: a channel-agnostic masked autoencoder of cell paintings (Kraus et al. 2024, CVPR, "CA-MAE").

Names and shapes are those of the encoder in the published checkpoint, which are `timm`'s for a ViT-S/16 of parallel
blocks (Dehghani et al. 2023, section 2.1) with query-key norm; its decoder is left out.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._errors import ModelError
from . import hub, initial
from .card import ModelCard
from .encoder import Encoder, EncoderOutput
from .family import Family, add_family, shaped_card
from .recipe import Recipe
from .registry import register
from .saved import saved_in
from .vit import LayerScale

OPENPHENOM = ModelCard(
    name="openphenom",
    family="openphenom",
    title="OpenPhenom-S/16 (CA-MAE)",
    license="Recursion Non-Commercial End User License Agreement",
    commercial=False,
    gated=False,
    reference="Kraus et al. 2024, Masked Autoencoders for Microscopy are Scalable Learners of Cellular Biology, CVPR, "
    "arXiv:2404.10242",
    domains=("fluorescence",),
    trained_on="RxRx3 and JUMP-CP: fluorescence images of cultured cells (cell painting), six channels at a time",
    parameters=21_377_280,
    embedding_dim=384,
    recipe=Recipe(window=64, background="keep"),  # of the KRONOS paper's cells, where it is a baseline; trained on 256
    patch_size=16,
    marker_vocabulary="none",
    outputs=("patch", "marker", "token"),
    default_output="marker",
    hub="recursionpharma/OpenPhenom",
    weights_file="model.safetensors",
)
_ENCODER = "encoder.vit_backbone."
_DECODER = ("decoder.", "decoder_pred.", "encoder_decoder_proj.")
# a table that the code makes again, and a norm that its features do not pass through
_UNUSED = ("pos_embed", "fc_norm.weight", "fc_norm.bias")


@dataclass(frozen=True, kw_only=True)
class CaMaeConfig:
    """Shape of the encoder: width, blocks, attention heads, side of a patch, feed-forward width over `dim`."""

    dim: int = 384
    depth: int = 12
    heads: int = 6
    patch_size: int = 16
    mlp_ratio: float = 4.0
    eps: float = 1e-6


class ParallelBlock(nn.Module):
    """Pre-norm block whose attention and feed-forward layer read the same tokens, out of one projection.

    The projection gives the feed-forward layer first, then queries, keys and values. Its bias, though, is put together
    in the other order, as by the library that the published weights were trained with (timm 0.9): zeros for as many
    components as queries, keys and values have, the stored bias behind them. So three quarters of the feed-forward
    components go without a bias, and queries, keys and values have one.
    """

    def __init__(self, config: CaMaeConfig) -> None:
        super().__init__()
        dim, hidden = config.dim, int(config.dim * config.mlp_ratio)
        self.heads, self.parts = config.heads, [hidden, dim, dim, dim]
        self.mlp_bias = nn.Parameter(torch.zeros(hidden))
        self.in_norm = nn.LayerNorm(dim, eps=config.eps)
        self.in_proj = nn.Linear(dim, hidden + 3 * dim, bias=False)
        self.q_norm = nn.LayerNorm(dim // config.heads, eps=config.eps)
        self.k_norm = nn.LayerNorm(dim // config.heads, eps=config.eps)
        self.attn_out_proj = nn.Linear(dim, dim)
        self.mlp_out_proj = nn.Linear(hidden, dim)
        self.ls = LayerScale(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens ``(B, L, D)`` to tokens."""
        bias = F.pad(self.mlp_bias, (sum(self.parts[1:]), 0))
        hidden, *attended = F.linear(self.in_norm(x), self.in_proj.weight, bias).split(self.parts, dim=-1)
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in attended)
        query, key = self.q_norm(query).to(value.dtype), self.k_norm(key).to(value.dtype)
        mixed = F.scaled_dot_product_attention(query, key, value)
        attention = self.attn_out_proj(mixed.transpose(1, 2).flatten(2))
        return self.ls(x, attention + self.mlp_out_proj(F.gelu(hidden)))


class ChannelPatchEmbed(nn.Module):
    """One convolution, the same for every channel, turns each patch of pixels into a token."""

    def __init__(self, config: CaMaeConfig) -> None:
        super().__init__()
        self.proj = nn.Conv2d(1, config.dim, config.patch_size, stride=config.patch_size)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels ``(B, M, H, W)`` to tokens ``(B, M, h * w, D)``."""
        tokens = self.proj(pixels.flatten(0, 1)[:, None]).flatten(2).transpose(1, 2)
        return tokens.unflatten(0, pixels.shape[:2])


class CaMae(nn.Module):
    """The encoder's parameters."""

    def __init__(self, config: CaMaeConfig) -> None:
        super().__init__()
        self.config = config
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.patch_embed = ChannelPatchEmbed(config)
        self.blocks = nn.ModuleList(ParallelBlock(config) for _ in range(config.depth))

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised pixels ``(B, M, H, W)`` to tokens ``(B, M, h * w, D)``; there is no final norm."""
        height, width = (side // self.config.patch_size for side in pixels.shape[-2:])
        tokens = self.patch_embed(pixels)
        tokens = tokens + sincos_positions(height, width, self.config.dim).to(tokens)
        # CLS is before the channels, and its position is zero
        x = torch.cat([self.cls_token.expand(len(pixels), -1, -1), tokens.flatten(1, 2)], dim=1)
        for block in self.blocks:
            x = block(x)
        return x[:, 1:].unflatten(1, tokens.shape[1:3])


class OpenPhenomEncoder(Encoder):
    """OpenPhenom, which depends neither on the identity of a channel nor on its place among the others.

    Tokens of all channels attend to each other, and the mean token of each channel is its embedding, as in the KRONOS
    paper's baseline "CA-MAE" (Online Methods, "Evaluation baselines").

    Parameters
    ----------
    card
        Its card.
    config
        Shape of the transformer.
    """

    def __init__(self, card: ModelCard, config: CaMaeConfig) -> None:
        super().__init__()
        self.card, self.options, self.config = card, {}, config
        with torch.device("meta"):  # the weights come next, so none are made up here
            self.backbone = CaMae(config)

    def normalize(self, pixels: Tensor, mean: Tensor, std: Tensor) -> Tensor:  # type: ignore[override]  # its own way
        """Bring pixels from 0 to 1 to the 0 to 255 that `forward` takes; it normalises each window separately."""
        return pixels * 255

    def transformer_blocks(self) -> list[nn.Module]:
        """All of them."""
        return list(self.backbone.blocks)

    def forward(
        self,
        pixels: Tensor,
        markers: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        outputs: Sequence[str] | None = None,
    ) -> EncoderOutput:
        """Encode windows.

        Parameters
        ----------
        pixels
            ``(B, M, H, W)``, from 0 to 255. Each channel of each window is brought to mean 0 and variance 1 here. H and
            W are multiples of 16.
        markers, mask
            Not used.
        outputs
            Outputs that are needed (default: all).

        Returns
        -------
        `patch` ``(B, D)``, the mean of all tokens; `marker` ``(B, M, D)``, the mean of those of each channel; `token`
        ``(B, M, h, w, D)``.

        Raises
        ------
        ModelError
            If the window does not divide into patches.
        """
        wanted = self.wanted(outputs)
        size = self.backbone.config.patch_size
        self.check_pixels(pixels)
        if any(side % size for side in pixels.shape[-2:]):
            raise ModelError(
                f"Model {self.card.name!r}: a window of {pixels.shape[-2]} x {pixels.shape[-1]} pixels does not divide "
                f"into patches of {size} pixels. Pass a window of a multiple of {size}."
            )
        tokens = self.backbone(self_standardized(pixels))
        marker = tokens.mean(2)
        grid = (pixels.shape[-2] // size, pixels.shape[-1] // size)
        return EncoderOutput(
            patch=marker.mean(1) if "patch" in wanted else None,
            marker=marker if "marker" in wanted else None,
            token=tokens.unflatten(2, grid) if "token" in wanted else None,
        )


@register(OPENPHENOM)
def build_openphenom(card: ModelCard, weights: str | os.PathLike | None) -> OpenPhenomEncoder:
    """Build OpenPhenom and fill it.

    Parameters
    ----------
    card, weights
        As `load` passes them.
    """
    saved, config = saved_in(card, weights), CaMaeConfig()
    if saved is not None:
        card, config = saved.model_card(card), saved.config(config)
    encoder = OpenPhenomEncoder(card, config)
    if weights == hub.RANDOM:
        encoder.weights = hub.fill_random(encoder.backbone, card)
    else:
        file = hub.locate(card, weights)
        encoder.weights = hub.fill(encoder.backbone, file, card, encoder_of(hub.read_tensors(file.path)))
    if saved is not None:
        saved.compare(encoder)
        encoder.card = shaped_card(card, encoder)
    return encoder


def _fits(config: CaMaeConfig) -> str | None:
    if config.dim % config.heads or config.dim % 4:
        return f"dim {config.dim} must be a multiple of 4 and of heads {config.heads}"
    if (OPENPHENOM.recipe.window or 0) % config.patch_size:
        return f"patch_size {config.patch_size} must divide {OPENPHENOM.recipe.window}, the side of a cell's window"
    return None


add_family(
    Family(
        configs={OPENPHENOM.name: CaMaeConfig()},
        build=OpenPhenomEncoder,
        initialise=lambda encoder, seed: initial.transformer(encoder.get_submodule("backbone"), seed),
        fits=_fits,
    )
)


def encoder_of(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The encoder's own tensors of a published checkpoint, which also holds the decoder of the pretraining."""
    named = {name.removeprefix(_ENCODER): tensor for name, tensor in tensors.items() if not name.startswith(_DECODER)}
    return {name: tensor for name, tensor in named.items() if name not in _UNUSED}


def self_standardized(pixels: Tensor, eps: float = 1e-5) -> Tensor:
    """Each channel of each window ``(B, M, H, W)``, from 0 to 255, at mean 0 and variance 1 (Kraus et al., section 3).

    Examples
    --------
    >>> pixels = torch.tensor([[[[0.0, 255.0], [255.0, 0.0]]]])
    >>> self_standardized(pixels).flatten().round(decimals=3).tolist()
    [-1.0, 1.0, 1.0, -1.0]
    """
    scaled = pixels.float() / 255
    variance, mean = torch.var_mean(scaled, dim=(-2, -1), correction=0, keepdim=True)
    return (scaled - mean) * (variance + eps).rsqrt()


def sincos_positions(height: int, width: int, dim: int, scale: float = 10000.0) -> Tensor:
    """Positions ``(height * width, dim)``: sine and cosine of the row, then of the column, a quarter of `dim` each.

    Examples
    --------
    >>> sincos_positions(2, 2, 4)[2]  # row 1, column 0
    tensor([0.8415, 0.5403, 0.0000, 1.0000])
    """
    frequency = scale ** -(torch.arange(dim // 4, dtype=torch.float64) / (dim // 4))
    row, column = (torch.arange(side, dtype=torch.float64)[:, None] * frequency for side in (height, width))
    row = torch.cat([row.sin(), row.cos()], dim=1)[:, None].expand(-1, width, -1)
    column = torch.cat([column.sin(), column.cos()], dim=1)[None].expand(height, -1, -1)
    return torch.cat([row, column], dim=-1).flatten(0, 1).float()
