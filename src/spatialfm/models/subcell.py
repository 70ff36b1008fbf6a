"""SubCell: vision transformers of a protein beside the nucleus, from the Human Protein Atlas (Gupta et al. 2024).

Network, names of parameters and preparation are those of the authors' inference code (CellProfiling/SubCellPortable at
676f0e1, MIT): a vision transformer of two channels, nucleus and protein, and gated attention of two heads over all of
its tokens. It was trained on cultured cells at 0.08 µm per pixel. Here each marker of a panel is the protein in turn.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from .._errors import ModelError, WeightsError, listed
from . import hub
from .card import ModelCard
from .encoder import Encoder, EncoderOutput
from .recipe import Recipe
from .registry import register
from .vit import VisionTransformer, ViTConfig

SUBCELL = ModelCard(
    name="subcell",
    family="subcell",
    title="SubCell ViT-B/16, a protein beside the nucleus",
    license="MIT (code; nothing is stated with the weights)",
    commercial=False,
    gated=False,
    reference="Gupta et al. 2024, SubCell: Proteome-aware vision foundation models for microscopy capture single-cell "
    "biology, doi:10.1101/2024.12.06.627299",
    domains=("fluorescence",),
    trained_on="Human Protein Atlas: confocal images of cultured cells, 13,147 proteins, 0.08 µm per pixel",
    parameters=86_842_114,
    embedding_dim=1536,
    mpp=0.0800885,
    recipe=Recipe(window=448, background="zero"),
    marker_vocabulary="names",
    outputs=("marker",),
    default_output="marker",
    weights_file="DNA-Protein_MAE-CellS-ProtS-Pool.pth",
)
CONFIG = ViTConfig(
    dim=768, depth=12, heads=12, patch_size=16, grid=28, in_channels=2, layer_scale=False, mask_token=False, eps=1e-12,
    resize_offset=0.0,
)  # fmt: skip
WIDTH, HEADS = 512, 2  # of the gated attention
NUCLEAR = ("dapi", "hoechst", "dna", "draq5", "histoneh3", "histone3", "h3")  # stains that are the nucleus by name
AT_ONCE = 16  # images of two channels
SMALLEST = 1e-6  # added to the range of a channel, as in the release


class GatedPooling(nn.Module):
    """Gated attention over tokens; the weighted means of all heads side by side."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.attention_v = nn.Sequential(nn.Linear(dim, WIDTH), nn.Tanh())
        self.attention_u = nn.Sequential(nn.Linear(dim, WIDTH), nn.GELU())
        self.attention = nn.Linear(WIDTH, HEADS)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens ``(N, L, D)`` to ``(N, heads * D)``."""
        weights = self.attention(self.attention_v(x) * self.attention_u(x)).transpose(1, 2).softmax(-1)
        return (weights @ x).flatten(1)


class SubCellNetwork(nn.Module):
    """The parameters of the release."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.backbone = VisionTransformer(config)
        self.pool_model = GatedPooling(config.dim)

    def forward(self, images: Tensor) -> Tensor:
        """Nucleus and protein ``(N, 2, H, W)``, each from 0 to 1, to ``(N, 2 * D)``."""
        return self.pool_model(self.backbone(images))


class SubCellEncoder(Encoder):
    """SubCell, which sees one marker beside the nucleus at a time.

    Parameters
    ----------
    card
        Its card.
    config
        Shape of the transformer.
    reference
        Name of the channel with the nuclei; None: the first whose name is a stain of DNA or histone H3.
    minmax
        What is brought to 0 to 1 in each window: ``"channel"``, each by itself, as the newest release does; or
        ``"image"``, both together, as the release before it did.
    """

    def __init__(
        self,
        card: ModelCard,
        config: ViTConfig = CONFIG,
        *,
        reference: str | None = None,
        minmax: Literal["channel", "image"] = "channel",
    ) -> None:
        super().__init__()
        self.card, self.config = card, config
        self.options = {"reference": reference, "minmax": minmax}
        with torch.device("meta"):  # the weights come next, so none are made up here
            self.network = SubCellNetwork(config)

    def normalize(self, pixels: Tensor, mean: Tensor, std: Tensor) -> Tensor:  # type: ignore[override]  # its own way
        """Leave pixels as they are: `forward` brings each window to 0 to 1, after all but the cell is zero."""
        return pixels

    def transformer_blocks(self) -> list[nn.Module]:
        """All of them."""
        return list(self.network.backbone.block_list())

    def forward(
        self,
        pixels: Tensor,
        markers: Sequence[str] | None = None,  # type: ignore[override]  # it takes names
        *,
        mask: Tensor | None = None,
        outputs: Sequence[str] | None = None,
    ) -> EncoderOutput:
        """Encode windows.

        Parameters
        ----------
        pixels
            ``(B, M, H, W)``, zero outside of the cell; sides are multiples of 16.
        markers
            Names of the channels, by which the nuclei are found.
        mask
            Not used: the cell is masked in the pixels.
        outputs
            Outputs that are needed; there is but one.

        Returns
        -------
        `marker` ``(B, M, 1536)``, that of the nuclear channel with itself as the protein.

        Raises
        ------
        ModelError
            If no channel, or not that of `reference`, is the nucleus, or the window does not divide into patches.
        """
        self.wanted(outputs)
        self.check_pixels(pixels)
        if any(side % self.config.patch_size for side in pixels.shape[-2:]):
            raise ModelError(
                f"Model {self.card.name!r}: a window of {pixels.shape[-2]} x {pixels.shape[-1]} pixels does not divide "
                f"into patches of {self.config.patch_size} pixels; pass sides that are multiples of it."
            )
        place = self._nucleus(markers, pixels.shape[1])
        pixels = pixels.to(self.network.pool_model.attention.weight)
        pairs = torch.stack([pixels[:, [place]].expand_as(pixels), pixels], dim=2).flatten(0, 1)
        vectors = [self.network(scaled(part, self.options["minmax"])) for part in pairs.split(AT_ONCE)]
        return EncoderOutput(marker=torch.cat(vectors).unflatten(0, pixels.shape[:2]))

    def _nucleus(self, markers: Sequence[str] | None, n_channels: int) -> int:
        name, asked = self.card.name, self.options["reference"]
        if markers is None or isinstance(markers, Tensor) or len(markers) != n_channels:
            raise ModelError(f"Model {name!r} takes the names of its {n_channels} channels as markers=.")
        if asked is not None:
            if asked not in markers:
                raise ModelError(f"Model {name!r}: no channel {asked!r} (reference=) among {listed(markers, 12)}.")
            return list(markers).index(asked)
        plain = [re.sub(r"[^a-z0-9]", "", one.casefold()) for one in markers]
        places = [i for i, one in enumerate(plain) if one in NUCLEAR or re.fullmatch(r"(dapi|hoechst|dna)\d*", one)]
        if not places:
            raise ModelError(
                f"Model {name!r} sees each marker beside the nucleus, and none of {listed(markers, 12)} is a stain of "
                "it by its name. Load it with reference=<name of the nuclear channel>."
            )
        return places[0]


def scaled(images: Tensor, minmax: str) -> Tensor:
    """Images ``(N, 2, H, W)`` from 0 to 1, each channel by itself or both together; what is constant becomes 0."""
    axes = (-2, -1) if minmax == "channel" else (-3, -2, -1)
    low, high = images.amin(axes, keepdim=True), images.amax(axes, keepdim=True)
    return (images - low) / (high - low + (SMALLEST if minmax == "image" else torch.finfo(images.dtype).tiny))


@register(SUBCELL)
def build_subcell(
    card: ModelCard,
    weights: str | os.PathLike | None,
    *,
    reference: str | None = None,
    minmax: Literal["channel", "image"] = "channel",
) -> SubCellEncoder:
    """Build SubCell and fill it.

    Parameters
    ----------
    card, weights
        As `load` passes them: a file of nucleus and protein, such as DNA-Protein_MAE-CellS-ProtS-Pool.pth or
        DNA-Protein_ViT-ProtS-Pool.pth of the authors' bucket.
    reference, minmax
        See `SubCellEncoder`.
    """
    encoder = SubCellEncoder(card, reference=reference, minmax=minmax)
    if weights == hub.RANDOM:
        encoder.weights = hub.fill_random(encoder.network, card)
        return encoder
    if weights is None:
        raise WeightsError(
            f"Model {card.name!r} is in no repository that is asked by itself. Take {card.weights_file} from the "
            "authors' bucket (czi-subcell-public, folder models), and pass weights=<file>."
        )
    file = hub.locate(card, weights)
    encoder.weights = hub.fill(encoder.network, file, card, as_named_here(hub.read_tensors(file.path), file))
    return encoder


def as_named_here(tensors: Mapping[str, Tensor], file: hub.WeightsFile) -> dict[str, Tensor]:
    """Tensors of a published file under the names of `SubCellNetwork`: the encoder and its pooling.

    Queries, keys and values become one matrix, and layers of the pooling are counted without their dropout.

    Raises
    ------
    WeightsError
        If the first convolution takes more than two channels.
    """
    kernel = tensors.get("encoder.embeddings.patch_embeddings.projection.weight")
    if kernel is not None and kernel.ndim == 4 and kernel.shape[1] != 2:
        raise WeightsError(
            f"Weights file {file.path} takes {kernel.shape[1]} channels (with microtubules or the endoplasmic "
            "reticulum), and multiplexed panels have nucleus and protein. Pass DNA-Protein_MAE-CellS-ProtS-Pool.pth or "
            "DNA-Protein_ViT-ProtS-Pool.pth."
        )
    named = {
        translated(name): tensor for name, tensor in tensors.items() if name.startswith(("encoder.", "pool_model."))
    }
    for name in [one for one in named if ".query." in one]:
        parts = [named.pop(name.replace(".query.", f".{kind}."), None) for kind in ("query", "key", "value")]
        if all(isinstance(one, Tensor) for one in parts):
            named[name.replace(".query.", ".qkv.")] = torch.cat([one for one in parts if one is not None])
    return named


_NAMES = (
    (r"^encoder\.embeddings\.cls_token$", "backbone.cls_token"),
    (r"^encoder\.embeddings\.position_embeddings$", "backbone.pos_embed"),
    (r"^encoder\.embeddings\.patch_embeddings\.projection\.", "backbone.patch_embed.proj."),
    (r"^encoder\.layernorm\.", "backbone.norm."),
    (r"^encoder\.encoder\.layer\.(\d+)\.attention\.attention\.", r"backbone.blocks.\1.attn."),
    (r"^encoder\.encoder\.layer\.(\d+)\.attention\.output\.dense\.", r"backbone.blocks.\1.attn.proj."),
    (r"^encoder\.encoder\.layer\.(\d+)\.intermediate\.dense\.", r"backbone.blocks.\1.mlp.fc1."),
    (r"^encoder\.encoder\.layer\.(\d+)\.output\.dense\.", r"backbone.blocks.\1.mlp.fc2."),
    (r"^encoder\.encoder\.layer\.(\d+)\.layernorm_before\.", r"backbone.blocks.\1.norm1."),
    (r"^encoder\.encoder\.layer\.(\d+)\.layernorm_after\.", r"backbone.blocks.\1.norm2."),
    (r"^pool_model\.attention_([uv])\.1\.", r"pool_model.attention_\1.0."),
)


def translated(name: str) -> str:
    """The name of a published tensor here.

    Examples
    --------
    >>> translated("encoder.encoder.layer.3.intermediate.dense.bias"), translated("pool_model.attention_v.1.weight")
    ('backbone.blocks.3.mlp.fc1.bias', 'pool_model.attention_v.0.weight')
    """
    for pattern, new in _NAMES:
        if re.match(pattern, name):
            return re.sub(pattern, new, name)
    return name
