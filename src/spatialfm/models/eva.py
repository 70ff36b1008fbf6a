"""Eva: a masked autoencoder of spatial proteomics and H&E (Liu et al. 2025, bioRxiv 2025.12.10.693553).

Its encoder alone: tokens of all markers of a position are mixed into one, and positions into features. Names of
parameters are those of the published checkpoint. It holds no vectors of genes, which are GenePT's, from a user's file.
`eva_markers.csv` holds the 197 names that the model knows with their genes, of its repository (Apache-2.0).
"""

from __future__ import annotations

import csv
import os
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._errors import ModelError, WeightsError
from . import hub
from .card import ModelCard
from .encoder import Encoder, EncoderOutput, MarkerEntry
from .openphenom import sincos_positions
from .recipe import Recipe
from .registry import register
from .vit import PatchEmbed, TransformerBlock, ViTConfig

EVA = ModelCard(
    name="eva",
    family="eva",
    title="Eva (masked autoencoder of spatial proteomics)",
    license="none stated for the weights (code: Apache-2.0)",
    commercial=False,
    gated=True,
    reference="Liu et al. 2025, Modeling patient tissues at molecular resolution with Eva, bioRxiv, "
    "doi:10.64898/2025.12.10.693553",
    domains=("fluorescence",),
    trained_on="multiplexed immunofluorescence and matched H&E of patients, 224-pixel patches",
    parameters=94_852_160,
    embedding_dim=768,
    # any window is resized to 224 pixels; 64 is the KRONOS paper's for cells, since none is published for Eva
    recipe=Recipe(window=64, background="keep"),
    marker_vocabulary="ids",
    outputs=("patch",),
    default_output="patch",
    hub="yandrewl/Eva",
    weights_file="Eva_model.ckpt",
)
GENEPT = "GenePT_gene_protein_embedding_model_3_text.pickle"
_VECTORS = "marker_embed.unknown_marker_embeddings."
_UNUSED = ("decoder_", "enc_proj.", "mask_token", "marker_embed._device_tracker")


@dataclass(frozen=True, kw_only=True)
class EvaConfig:
    """Shape of the encoder.

    Attributes
    ----------
    size, token
        Sides of an image and of a token, in pixels.
    channel_dim, channel_depth, channel_heads
        Width, blocks and heads that mix the markers of a position.
    dim, depth, heads
        Width, blocks and heads that mix positions.
    marker_dim
        Width of a gene's vector.
    """

    size: int = 224
    token: int = 8
    channel_dim: int = 512
    channel_depth: int = 2
    channel_heads: int = 4
    dim: int = 768
    depth: int = 12
    heads: int = 12
    marker_dim: int = 3072


class EvaNetwork(nn.Module):
    """The encoder's parameters."""

    enc_pos_embed: Tensor

    def __init__(self, config: EvaConfig) -> None:
        super().__init__()
        pixels, narrow, wide = config.token**2, config.channel_dim, config.dim
        self.patch_embed = _patches(config)
        self.channel_proj = _projection(pixels, 2 * narrow, narrow)
        self.marker_proj = nn.Sequential(nn.Linear(config.marker_dim, narrow), nn.LayerNorm(narrow))
        self.marker_cls_token = nn.Parameter(torch.zeros(1, 1, narrow))
        self.channel_enc_blocks = _blocks(narrow, config.channel_depth, config.channel_heads)
        self.channel_norm = nn.LayerNorm(narrow)
        self.linker_proj = _projection(narrow, 2 * narrow, wide)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, wide))
        self.patch_enc_blocks = _blocks(wide, config.depth, config.heads)
        self.enc_norm = nn.LayerNorm(wide)
        with torch.device("cpu"):  # computed, not learned: it holds its values before weights come
            self.register_buffer("enc_pos_embed", position_table(config.size // config.token, wide))

    def forward(self, images: Tensor, vectors: Tensor, *, cls_last: bool) -> Tensor:
        """Images ``(B, M, size, size)``, vectors of the markers ``(M, marker_dim)`` to tokens ``(B, N + 1, dim)``."""
        n_images, n_markers = images.shape[:2]
        tokens = self.channel_proj(self.patch_embed(images.flatten(0, 1)[:, None])).unflatten(0, (n_images, n_markers))
        tokens = tokens + self.marker_proj(vectors)[:, None]
        x = tokens.transpose(1, 2).flatten(0, 1)  # the markers of a position are a sequence
        x = torch.cat([self.marker_cls_token.expand(len(x), -1, -1), x], dim=1)
        for block in self.channel_enc_blocks:
            x = block(x)
        mixed = self.linker_proj(self.channel_norm(x[:, 0])).unflatten(0, (n_images, -1))
        cls = self.cls_token.expand(n_images, -1, -1)
        x = torch.cat([mixed, cls] if cls_last else [cls, mixed], dim=1) + self.enc_pos_embed
        for block in self.patch_enc_blocks:
            x = block(x)
        return self.enc_norm(x)


class EvaEncoder(Encoder):
    """Eva's encoder.

    Parameters
    ----------
    card
        Its card.
    config
        Shape of the network.
    vectors
        Vector of each marker of `names`, ``(len(names), marker_dim)``; NaN where there is none.
    names
        Markers that the model knows.
    cls_position
        Where the class token stands among the tokens of positions. ``"last"``: as in the first published code
        (repository YAndrewL/Eva, 1460631), whose table of positions nevertheless begins with the row of the class
        token, so that every position has the row of the position before it. ``"first"``: as in the code of August 2026
        (6f97e81), where each has its own. Which of them the published weights were trained with is not stated.
    features
        ``"average"``: mean of all tokens but the first, as both versions have it; ``"cls"``: the first token. With
        ``cls_position="last"`` the first is that of the top left position, and the mean has the class token in it and
        that position not; this is what the first code returns, and is kept.
    """

    only_known = True
    vectors: Tensor

    def __init__(
        self,
        card: ModelCard,
        config: EvaConfig,
        vectors: Tensor,
        names: Sequence[str],
        *,
        cls_position: Literal["last", "first"] = "last",
        features: Literal["average", "cls"] = "average",
    ) -> None:
        super().__init__()
        self.card, self.config = card, config
        self.options = {"cls_position": cls_position, "features": features}
        known = ~vectors.isnan().any(dim=1)
        self.vocabulary = tuple(
            MarkerEntry(name, number, 0.0, 1.0) for number, name in enumerate(names) if bool(known[number])
        )
        self.n_marker_ids = len(names)
        self.register_buffer("vectors", vectors)
        with torch.device("meta"):  # the weights come next, so none are made up here
            self.backbone = EvaNetwork(config)

    def transformer_blocks(self) -> list[nn.Module]:
        """Those of positions."""
        return list(self.backbone.patch_enc_blocks)

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
            ``(B, M, H, W)``, from 0 to 1; resized to 224 x 224 pixels here, and neither standardised nor clipped.
        markers
            Ids ``(M,)`` of the markers.
        mask
            Not used.
        outputs
            Outputs that are needed; there is but one.

        Returns
        -------
        `patch` ``(B, 768)``.

        Raises
        ------
        ModelError
            If pixels have other axes, or a marker has no vector.
        """
        self.wanted(outputs)
        self.check_pixels(pixels)
        if markers is None or markers.shape != pixels.shape[1:2]:
            raise ModelError(f"Model {self.card.name!r} takes the ids of {pixels.shape[1]} markers, got {markers!r}.")
        vectors = self.vectors[markers.to(self.vectors.device)]
        if (without := vectors.isnan().any(dim=1)).any():
            number = int(markers[without.nonzero()[0]])
            raise ModelError(f"Model {self.card.name!r} has no vector for marker {number}. Pass genept=<{GENEPT}>.")
        size = self.config.size
        images = pixels.float()
        if images.shape[-2:] != (size, size):
            images = F.interpolate(images, (size, size), mode="bilinear", align_corners=False)
        last = self.options["cls_position"] == "last"
        tokens = self.backbone(images, vectors.to(images), cls_last=last)
        average = self.options["features"] == "average"
        return EncoderOutput(patch=tokens[:, 1:].mean(1) if average else tokens[:, 0])


def _patches(config: EvaConfig) -> PatchEmbed:
    """One convolution, the same for every marker."""
    dim, grid = config.token**2, config.size // config.token
    return PatchEmbed(ViTConfig(dim=dim, depth=0, heads=1, patch_size=config.token, grid=grid, in_channels=1))


def _blocks(dim: int, depth: int, heads: int) -> nn.ModuleList:
    shape = ViTConfig(dim=dim, depth=depth, heads=heads, patch_size=1, grid=1, layer_scale=False, eps=1e-5)
    return nn.ModuleList(TransformerBlock(shape) for _ in range(depth))


def _projection(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.LayerNorm(hidden), nn.GELU(), nn.Linear(hidden, outputs), nn.LayerNorm(outputs)
    )


def position_table(side: int, dim: int) -> Tensor:
    """Rows ``(1, 1 + side**2, dim)``: zeros, then of each position the column's sine and cosine before the row's."""
    row_first = sincos_positions(side, side, dim)
    table = torch.cat([row_first[:, dim // 2 :], row_first[:, : dim // 2]], dim=1)
    return torch.cat([torch.zeros(1, dim), table])[None]


def known_markers() -> dict[str, str]:
    """The markers that Eva knows, with the gene of each."""
    with (Path(__file__).parent / "eva_markers.csv").open(encoding="utf-8", newline="") as file:
        return {row["marker"]: row["gene"] for row in csv.DictReader(file)}


@register(EVA)
def build_eva(
    card: ModelCard,
    weights: str | os.PathLike | None,
    *,
    genept: str | os.PathLike | None = None,
    cls_position: Literal["last", "first"] = "last",
    features: Literal["average", "cls"] = "average",
) -> EvaEncoder:
    """Build Eva's encoder and fill it.

    Parameters
    ----------
    card, weights
        As `load` passes them.
    genept
        GenePT's vectors of genes (Zenodo 10833191, ``GenePT_gene_protein_embedding_model_3_text.pickle``), which no
        code is run from. Without them only markers whose vectors are in the checkpoint can be used. Markers outside of
        the 197 that the model knows are left out of a panel, with a warning.
    cls_position, features
        See `EvaEncoder`.
    """
    genes, config = known_markers(), EvaConfig()
    options: dict[str, Any] = {"cls_position": cls_position, "features": features}
    if weights == hub.RANDOM:
        generator = torch.Generator().manual_seed(0)
        vectors = torch.randn(len(genes), config.marker_dim, generator=generator)
        encoder = EvaEncoder(card, config, vectors, list(genes), **options)
        encoder.weights = hub.fill_random(encoder.backbone, card)
        return encoder
    file = hub.locate(card, weights)
    tensors, learned = split_checkpoint(hub.read_tensors(file.path))
    own = tensors.pop("vectors", None)  # of an encoder whose state was saved here
    given = {} if genept is None else read_genept(genept)
    vectors = marker_vectors(genes, learned, given, config.marker_dim) if own is None else own
    encoder = EvaEncoder(card, config, vectors, list(genes), **options)
    if not encoder.vocabulary:
        raise ModelError(
            f"Model {card.name!r} needs GenePT's vectors of genes (Zenodo 10833191). Pass genept=<{GENEPT}>."
        )
    encoder.weights = hub.fill(encoder.backbone, file, card, tensors)
    return encoder


def split_checkpoint(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The encoder's tensors of a published checkpoint, and the vectors of markers that it learned; no decoder."""
    named = {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
    learned = {
        name.removeprefix(_VECTORS).removesuffix(".weight"): tensor.flatten()
        for name, tensor in named.items()
        if name.startswith(_VECTORS)
    }
    rest = {name: tensor for name, tensor in named.items() if not name.startswith((*_UNUSED, _VECTORS))}
    return rest, learned


def marker_vectors(
    genes: Mapping[str, str], learned: Mapping[str, Tensor], genept: Mapping[str, Sequence[float]], dim: int
) -> Tensor:
    """Vector of each marker ``(len(genes), dim)``: GenePT's of its gene, otherwise that of the checkpoint, or NaN.

    Raises
    ------
    WeightsError
        If a vector has another width.
    """
    vectors = torch.full((len(genes), dim), torch.nan)
    for number, (marker, gene) in enumerate(genes.items()):
        if gene not in genept and marker not in learned:
            continue
        vector = torch.as_tensor(genept[gene] if gene in genept else learned[marker], dtype=torch.float32)
        if vector.shape != (dim,):
            raise WeightsError(
                f"The vector of {marker!r} has the shape {tuple(vector.shape)}, and Eva takes {dim} numbers. Pass "
                f"genept=<{GENEPT}>."
            )
        vectors[number] = vector
    return vectors


class _Numbers(pickle.Unpickler):
    """Reads numbers, lists and arrays; whatever else a pickle may name is refused, not run."""

    def find_class(self, module: str, name: str) -> Any:
        if (module.split(".")[0], name) in {("numpy", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")}:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def read_genept(path: str | os.PathLike) -> dict[str, Any]:
    """Vectors by gene of GenePT's pickle; nothing in it is run.

    Raises
    ------
    WeightsError
        If there is no such file, or it holds anything but vectors by name.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise WeightsError(f"No file {str(file)!r} with GenePT's vectors. Pass genept=<{GENEPT}> (Zenodo 10833191).")
    try:
        with file.open("rb") as stream:
            content = _Numbers(stream).load()
    except Exception as error:  # a damaged pickle raises any error
        raise WeightsError(
            f"{file} cannot be read as GenePT's vectors, and nothing in it was run ({type(error).__name__}: {error}). "
            f"Download {GENEPT} again."
        ) from error
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise WeightsError(f"{file} does not hold vectors by gene. Pass genept=<{GENEPT}>.")
    return content
