"""MorphEm: a vision transformer of single microscopy channels (Agrawal et al. 2026, ICLR, "CHAMMI-75").

The network is DINO's ViT-S/16 with one input channel; names of parameters are those of the published file. Each channel
of a window is an image of its own ("bag of channels"), and the CLS tokens of all channels make up the embedding.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._errors import ModelError, WeightsError
from .._ranges import between
from . import hub
from .card import ModelCard
from .encoder import Encoder, EncoderOutput
from .recipe import Recipe
from .registry import register
from .vit import VisionTransformer, ViTConfig

MORPHEM = ModelCard(
    name="morphem",
    family="morphem",
    title="MorphEm ViT-S/16 (CHAMMI-75)",
    license="MIT",
    commercial=True,
    gated=False,
    reference="Agrawal et al. 2026, CHAMMI-75: Pre-training multi-channel models with heterogeneous microscopy images, "
    "ICLR, arXiv:2512.20833",
    domains=("fluorescence",),
    trained_on="CHAMMI-75: 2.8 million microscopy images of 75 sources and 25 kinds of channels, mostly cultured cells",
    parameters=21_469_056,
    embedding_dim=384,
    # any window is resized to 224 pixels; 64 is the KRONOS paper's for cells, since none is published for tissue
    recipe=Recipe(window=64, background="keep"),
    marker_vocabulary="none",
    outputs=("marker",),
    default_output="marker",
    hub="CaicedoLab/MorphEm",
    weights_file="model.safetensors",
)
SIDE = 224
EPSILON = 1e-7
NOISE = (200.0, 255.0)  # range of what replaces saturated pixels
_IMAGES = 64  # at a time
_CONFIG = ViTConfig(
    dim=384, depth=12, heads=6, patch_size=16, grid=14, in_channels=1, layer_scale=False, mask_token=False
)


class MorphEmEncoder(Encoder):
    """MorphEm, which knows neither which marker a channel is nor what the other channels show.

    Each channel of a window is brought to mean 0 and variance 1 by itself and resized to 224 x 224 pixels.

    Parameters
    ----------
    card
        Its card.
    config
        Shape of the transformer; with three input channels each channel is replicated.
    saturation_noise
        Whether pixels at the top of the intensity range are replaced by uniform noise between 200 and 255 of 255, as
        the release does. There the noise is new in each call; here it depends on `noise_seed` and on the place in the
        window, so that an embedding can be repeated, and does not depend on the batch.
    noise_seed
        Seed of that noise.
    """

    def __init__(
        self, card: ModelCard, config: ViTConfig, *, saturation_noise: bool = True, noise_seed: int = 0
    ) -> None:
        super().__init__()
        self.card, self.config = card, config
        self.options = {"saturation_noise": saturation_noise, "noise_seed": noise_seed}
        with torch.device("meta"):  # the weights come next, so none are made up here
            self.backbone = VisionTransformer(config)

    def normalize(self, pixels: Tensor, mean: Tensor, std: Tensor) -> Tensor:  # type: ignore[override]  # its own way
        """Bring pixels from 0 to 1 to 0 to 255, saturated ones replaced by noise; `forward` does the rest.

        Raises
        ------
        ModelError
            If pixels are above 1: which of them are saturated is then unknown.
        """
        if not self.options["saturation_noise"]:
            return pixels * 255
        if (highest := float(pixels.max())) > 1 + 1e-6:
            raise ModelError(
                f"Model {self.card.name!r} replaces saturated pixels, those that are 1, and there are pixels up to "
                f"{highest:g}. Pass recipe={{'intensity_max': <the largest pixel value>}}, or load the model with "
                "saturation_noise=False."
            )
        noise = _noise(pixels.shape[-2:], self.options["noise_seed"]).to(pixels)
        return torch.where(pixels == 1, noise, pixels * 255)

    def transformer_blocks(self) -> list[nn.Module]:
        """All of them."""
        return list(self.backbone.block_list())

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
            ``(B, M, H, W)``, from 0 to 255.
        markers, mask
            Not used.
        outputs
            Outputs that are needed; there is but one.

        Returns
        -------
        `marker` ``(B, M, 384)``, the CLS token of each channel after the final norm.

        Raises
        ------
        ModelError
            If the pixels have other axes.
        """
        self.wanted(outputs)
        self.check_pixels(pixels)
        # a batch is sized by its windows, and every channel of them is an image here
        cls = torch.cat([self._cls(part) for part in pixels.flatten(0, 1)[:, None].split(_IMAGES)])
        return EncoderOutput(marker=cls.unflatten(0, pixels.shape[:2]))

    def _cls(self, channels: Tensor) -> Tensor:
        """CLS tokens ``(N, 384)`` of images ``(N, 1, H, W)``."""
        images = resized(self_standardized(channels)).expand(-1, self.backbone.config.in_channels, -1, -1)
        grid = self.backbone.token_grid(SIDE, SIDE)
        tokens = self.backbone.patch_embed(images) + self.backbone.positions(*grid)
        return self.backbone.norm(self.backbone.run(self.backbone.assemble(tokens), first_only=True))[:, 0]


def self_standardized(images: Tensor) -> Tensor:
    """Images ``(N, 1, H, W)``, each at mean 0 and variance 1 ("PerImageNormalize" of the release).

    Examples
    --------
    >>> self_standardized(torch.tensor([[[[0.0, 255.0], [255.0, 0.0]]]])).flatten().round(decimals=3).tolist()
    [-1.0, 1.0, 1.0, -1.0]
    """
    variance, mean = torch.var_mean(images.float(), dim=(-2, -1), correction=0, keepdim=True)
    return (images - mean) * (variance + EPSILON).rsqrt()


def resized(images: Tensor) -> Tensor:
    """Images ``(N, 1, H, W)`` at 224 x 224 pixels: linear, antialiased where they become smaller."""
    if images.shape[-2:] == (SIDE, SIDE):
        return images
    return F.interpolate(images, (SIDE, SIDE), mode="bilinear", align_corners=False, antialias=True)


def _noise(shape: Sequence[int], seed: int) -> Tensor:
    """Uniform noise ``(H, W)`` that is the same for every window; made on the CPU, so on all devices."""
    generator = torch.Generator().manual_seed(seed)
    low, high = NOISE
    return low + (high - low) * torch.rand(tuple(shape), generator=generator)


@register(MORPHEM)
def build_morphem(
    card: ModelCard,
    weights: str | os.PathLike | None,
    *,
    saturation_noise: bool = True,
    noise_seed: Annotated[int, between(0, 4294967295)] = 0,
) -> MorphEmEncoder:
    """Build MorphEm and fill it.

    Parameters
    ----------
    card, weights
        As `load` passes them. The first convolution of the file decides between one input channel and three.
    saturation_noise, noise_seed
        See `MorphEmEncoder`.
    """
    config, tensors, file = _CONFIG, {}, None
    if weights != hub.RANDOM:
        file = hub.locate(card, weights)
        tensors = without_heads(hub.read_tensors(file.path))
        config = replace(config, in_channels=_channels(tensors, file))
    if config != _CONFIG:
        more = config.dim * config.patch_size**2 * (config.in_channels - _CONFIG.in_channels)
        card = replace(card, parameters=(card.parameters or 0) + more)
    encoder = MorphEmEncoder(card, config, saturation_noise=saturation_noise, noise_seed=noise_seed)
    if file is None:
        encoder.weights = hub.fill_random(encoder.backbone, card)
    else:
        encoder.weights = hub.fill(encoder.backbone, file, card, tensors)
    return encoder


def without_heads(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The backbone's tensors: no head of the self-distillation, which files of the training have."""
    named = {name.removeprefix("module.").removeprefix("backbone."): tensor for name, tensor in tensors.items()}
    return {name: tensor for name, tensor in named.items() if not name.startswith("head.")}


def _channels(tensors: Mapping[str, Tensor], file: hub.WeightsFile) -> int:
    kernel = tensors.get("patch_embed.proj.weight")
    if kernel is None or kernel.ndim != 4:
        return 1  # what is missing is named when the encoder is filled
    if (channels := kernel.shape[1]) not in (1, 3):
        raise WeightsError(
            f"Weights file {file.path}: its first convolution takes {channels} channels, and MorphEm takes 1, or 3 "
            "that repeat one. Pass the checkpoint of MorphEm (model.safetensors)."
        )
    return channels
