"""VirTues-M2: spatial proteomics and H&E in one transformer (bunnelab/virtues-m2, code MIT; von Querfurth et al. 2026).

A tokenizer mixes the markers of each position into one token; these tokens and those of the H&E image, which share one
table of positions, go through a ViT-L/14 of the DINOv2 family. A modality that is not there is filled by a learned
token. Names of parameters are those of the published backbone, without the heads for segmentation and staining.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._errors import ModelError
from . import hub
from .card import ModelCard
from .dinov2 import center_crop
from .encoder import Encoder, EncoderOutput
from .recipe import Recipe
from .registry import register
from .virtues_m2_pixels import ClipScaleBlur
from .vit import PatchEmbed, TransformerBlock, ViTConfig, resized_positions

HE_MEAN = (0.7068, 0.5755, 0.722)  # of the H&E images, for pixels from 0 to 1 (spora's statistics "hibou")
HE_STD = (0.195, 0.2316, 0.1816)


VIRTUES_M2 = ModelCard(
    name="virtues-m2",
    family="virtues-m2",
    title="VirTues-M2 sp37",
    license="CC-BY-NC-4.0",
    commercial=False,
    gated=False,
    reference="von Querfurth, Klein et al. 2026, VirTues-M2: A multimodal foundation model for tissue proteomics and "
    "morphology in cancer, repository bunnelab/virtues-m2",
    domains=("fluorescence", "ion"),
    trained_on="37 spatial proteomics data sets, part of them with H&E (model table of its repository)",
    parameters=321_585_408,
    embedding_dim=1024,
    mpp=1.0,
    patch_size=14,
    marker_vocabulary="protein embedding",
    recipe=Recipe(  # of its notebooks
        mode="tile",
        window=224,
        stride=42,
        padding=0,
        background="keep",
        scaling="raw",
        preparation=ClipScaleBlur("virtues-m2", blurred_statistics=False),
    ),
    outputs=("patch", "summary"),
    default_output="summary",
    hub="bunnelab/virtues-m2",
    weights_file="model.safetensors",
)


@dataclass(frozen=True, kw_only=True)
class M2Config:
    """Shape of the network; `grid` is the side of the table of positions, in tokens."""

    dim: int = 1024
    depth: int = 24
    heads: int = 16
    patch_size: int = 14
    grid: int = 16
    registers: int = 4
    marker_dim: int = 640
    marker_heads: int = 8
    marker_hidden: int = 2048
    marker_layers: int = 2


class MarkerAttention(nn.Module):
    """Attention among the markers of a position."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.W_q, self.W_k, self.W_v, self.W_o = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """Tokens ``(N, M + 1, D)``."""
        parts = (weight(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for weight in (self.W_q, self.W_k, self.W_v))
        return self.W_o(F.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2))


class MarkerLayer(nn.Module):
    """Pre-norm layer among the markers of a position."""

    def __init__(self, config: M2Config) -> None:
        super().__init__()
        self.multi_head_attention = MarkerAttention(config.dim, config.marker_heads)
        # the published names count a dropout
        self.feedforward = nn.Sequential(
            nn.Linear(config.dim, config.marker_hidden),
            nn.GELU(),
            nn.Identity(),
            nn.Linear(config.marker_hidden, config.dim),
        )
        self.layernorm1, self.layernorm2 = nn.LayerNorm(config.dim), nn.LayerNorm(config.dim)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens ``(N, M + 1, D)`` to tokens."""
        x = x + self.multi_head_attention(self.layernorm1(x))
        return x + self.feedforward(self.layernorm2(x))


class Tokenizer(nn.Module):
    """Markers of each position to one token."""

    def __init__(self, config: M2Config) -> None:
        super().__init__()
        self.size = config.patch_size
        self.patch_summary_token = nn.Parameter(torch.zeros(config.dim))
        self.protein_encoder = nn.Linear(config.marker_dim, config.dim)
        self.multiplex_patch_encoder = nn.Linear(config.patch_size**2, config.dim)
        layers = nn.ModuleList(MarkerLayer(config) for _ in range(config.marker_layers))
        self.encoder = nn.ModuleList([nn.ModuleDict({"encoder_layer": nn.ModuleDict({"layers": layers})})])
        self.layer_norm = nn.LayerNorm(config.dim)

    def forward(self, pixels: Tensor, proteins: Tensor) -> Tensor:
        """Pixels ``(B, M, H, W)`` and embeddings ``(M, marker_dim)`` to tokens ``(B, h * w, D)``."""
        patches = pixels.unflatten(-1, (-1, self.size)).unflatten(-3, (-1, self.size)).transpose(-3, -2)
        tokens = self.multiplex_patch_encoder(patches.flatten(-2).flatten(2, 3))
        # the release keeps the embeddings in half precision
        tokens = tokens + self.protein_encoder(proteins.half().to(tokens))[:, None]
        x = tokens.transpose(1, 2)
        x = torch.cat([self.patch_summary_token.expand(*x.shape[:2], 1, -1), x], dim=2).flatten(0, 1)
        for layer in self.encoder[0]["encoder_layer"]["layers"]:  # type: ignore[index]  # named as published
            x = layer(x)
        return self.layer_norm(x[:, 0]).unflatten(0, (len(pixels), -1))


class HeEmbed(PatchEmbed):
    """Patches of an RGB image to tokens, followed by a norm."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__(config)
        self.norm = nn.LayerNorm(config.dim, eps=config.eps)

    def forward(self, images: Tensor) -> Tensor:
        """Images ``(B, 3, H, W)`` to tokens ``(B, h * w, D)``."""
        return self.norm(super().forward(images))


class M2Network(nn.Module):
    """The backbone's parameters."""

    def __init__(self, config: M2Config) -> None:
        super().__init__()
        self.config = config
        n = config.grid**2
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.pos_embed_aligned = nn.Parameter(torch.zeros(1, 1 + n, config.dim))
        self.pos_embed_unaligned = nn.Parameter(torch.zeros(1, n, config.dim))  # of training alone
        self.register_tokens = nn.Parameter(torch.zeros(1, config.registers, config.dim))
        self.mx_mask_token = nn.Parameter(torch.zeros(1, config.dim))
        self.he_mask_token = nn.Parameter(torch.zeros(1, config.dim))
        shape = ViTConfig(
            dim=config.dim,
            depth=config.depth,
            heads=config.heads,
            patch_size=config.patch_size,
            grid=config.grid,
            ffn="swiglu",
        )
        self.mx_embed_layer = Tokenizer(config)
        self.he_embed_layer = HeEmbed(shape)
        self.blocks = nn.ModuleList(TransformerBlock(shape) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.dim, eps=1e-6)

    def positions(self, height: int, width: int) -> Tensor:
        """Rows ``(1, 1 + height * width, D)``; another grid is resized as DINOv2 does it."""
        side, table = self.config.grid, self.pos_embed_aligned
        if (height, width) == (side, side):
            return table
        return torch.cat([table[:, :1], resized_positions(table[:, 1:], (height, width)).to(table)], dim=1)

    def tokens(self, multiplex: Tensor | None, proteins: Tensor | None, he: Tensor | None) -> Tensor:
        """Tokens with their positions, ``(B, 1 + registers + 2 * h * w, D)``: class, registers, multiplex, H&E."""
        images = [image for image in (multiplex, he) if image is not None]
        height, width = (side // self.config.patch_size for side in images[0].shape[-2:])
        shape = (len(images[0]), height * width, -1)
        mx = self.mx_mask_token.expand(shape) if multiplex is None else self.mx_embed_layer(multiplex, proteins)
        tissue = self.he_mask_token.expand(shape) if he is None else self.he_embed_layer(he)
        table = self.positions(height, width)
        parts = [self.cls_token + table[:, :1], self.register_tokens, mx + table[:, 1:], tissue + table[:, 1:]]
        return torch.cat([part.expand(len(images[0]), -1, -1) for part in parts], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens of `tokens` through all blocks and the final norm."""
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class VirTuesM2Encoder(Encoder):
    """VirTues-M2's backbone.

    ``sfm.tl.embed_cells`` gives it the multiplex image alone: the H&E tokens are then the learned ones, as in the
    release. `pair` takes both images of the same tissue, or either.

    Parameters
    ----------
    card
        Its card.
    config
        Shape of the network.
    nuclear
        ``"histone"``: stains of DNA take the embedding of histone H3 (P68431), as its notebooks do. None: they are left
        out, for they have no protein.
    tokens
        ``"output"``: of the last block, after the final norm. ``"input"``: of the tokenizer with their positions, which
        the release averages over cells although it has run the transformer.
    """

    def __init__(
        self,
        card: ModelCard,
        config: M2Config,
        *,
        nuclear: Literal["histone"] | None = "histone",
        tokens: Literal["output", "input"] = "output",
    ) -> None:
        super().__init__()
        self.card, self.config, self.nuclear = card, config, nuclear
        self.options = {"nuclear": nuclear, "tokens": tokens}
        with torch.device("meta"):  # the weights come next, so none are made up here
            self.backbone = M2Network(config)

    @property
    def marker_dim(self) -> int:
        """Width of a protein embedding."""
        return self.config.marker_dim

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
        """Encode multiplex windows.

        Parameters
        ----------
        pixels
            ``(B, M, H, W)``, from 0 to 1. Sides that are not multiples of 14 are cropped to their centre.
        markers
            Protein embeddings ``(M, 640)``.
        mask
            Not used.
        outputs
            Outputs that are needed (default: both).

        Returns
        -------
        `patch` ``(B, 1024)``, the class token; `summary` ``(B, h, w, 1024)``, the token of each position.

        Raises
        ------
        ModelError
            If pixels or embeddings have other axes.
        """
        wanted = self.wanted(outputs)
        self.check_pixels(pixels)
        out = self.pair(pixels, markers)
        return EncoderOutput(
            patch=out["patch"] if "patch" in wanted else None,
            summary=out["multiplex"] if "summary" in wanted else None,
        )

    def pair(
        self, multiplex: Tensor | None, markers: Tensor | None = None, he: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Encode multiplex and H&E windows of the same places, or either.

        Parameters
        ----------
        multiplex
            ``(B, M, H, W)``, prepared as in the recipe; None: there is none.
        markers
            Protein embeddings ``(M, 640)`` of the markers.
        he
            ``(B, 3, H, W)``, from 0 to 1; standardised here. None: there is none.

        Returns
        -------
        ``patch`` ``(B, 1024)``, ``multiplex`` and ``he`` ``(B, h, w, 1024)``; of a modality that is not there, what the
        transformer makes of the other.

        Raises
        ------
        ModelError
            If there is neither, they are not of one size, or embeddings do not fit.
        """
        multiplex, he = (None if image is None else self._windows(image) for image in (multiplex, he))
        images = [image for image in (multiplex, he) if image is not None]
        if not images or len({(len(image), *image.shape[-2:]) for image in images}) > 1:
            raise ModelError(f"Model {self.card.name!r} takes multiplex and H&E windows of one size, or either.")
        if multiplex is not None and (markers is None or markers.shape != (multiplex.shape[1], self.marker_dim)):
            raise ModelError(
                f"Model {self.card.name!r} takes an embedding of {self.marker_dim} numbers for each of "
                f"{multiplex.shape[1]} markers, got {None if markers is None else tuple(markers.shape)}."
            )
        if he is not None:
            mean, std = (he.new_tensor(values)[:, None, None] for values in (HE_MEAN, HE_STD))
            he = (he - mean) / std
        grid = [side // self.config.patch_size for side in images[0].shape[-2:]]
        first = self.backbone.tokens(multiplex, markers, he)
        last = self.backbone(first)
        places = (last if self.options["tokens"] == "output" else first)[:, 1 + self.config.registers :]
        mx, tissue = (part.unflatten(1, grid) for part in places.chunk(2, dim=1))
        return {"patch": last[:, 0], "multiplex": mx, "he": tissue}

    def _windows(self, image: Tensor) -> Tensor:
        if min(image.shape[-2:]) < self.config.patch_size:
            raise ModelError(f"Model {self.card.name!r} takes windows of {self.config.patch_size} pixels or more.")
        return center_crop(image, self.config.patch_size).to(self.backbone.cls_token.dtype)


@register(VIRTUES_M2)
def build_virtues_m2(
    card: ModelCard,
    weights: str | os.PathLike | None,
    *,
    nuclear: Literal["histone"] | None = "histone",
    tokens: Literal["output", "input"] = "output",
) -> VirTuesM2Encoder:
    """Build VirTues-M2's backbone and fill it.

    Parameters
    ----------
    card, weights
        As `load` passes them. The published file lies in the branch ``v2``:
        ``weights="hf://bunnelab/virtues-m2@v2/model.safetensors"``.
    nuclear, tokens
        See `VirTuesM2Encoder`.
    """
    encoder = VirTuesM2Encoder(card, M2Config(), nuclear=nuclear, tokens=tokens)
    if weights == hub.RANDOM:
        encoder.weights = hub.fill_random(encoder.backbone, card)
        return encoder
    file = hub.locate(card, f"hf://{card.hub}@v2/{card.weights_file}" if weights is None else weights)
    encoder.weights = hub.fill(encoder.backbone, file, card, plain(hub.read_tensors(file.path)))
    return encoder


def plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names without the prefix of the file; those after it are as published."""
    return {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
