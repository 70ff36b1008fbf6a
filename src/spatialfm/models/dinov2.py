"""DINOv2 and its descendants: vision transformers of RGB images, applied to each marker separately.

Oquab et al. 2024 (DINOv2), Chen et al. 2024 (UNI), Koch et al. 2024 (DinoBloom). As baselines of KRONOS: Shaban et al.
2025, arXiv:2506.03373, Online Methods, "Evaluation baselines".
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .._errors import ModelError
from . import hub, initial
from .card import ModelCard
from .encoder import Encoder, EncoderOutput
from .family import Family, add_family, shaped_card
from .kronos import read_marker_metadata
from .recipe import Recipe
from .registry import register
from .saved import saved_in
from .vit import TrainingTokens, VisionTransformer, ViTConfig
from .vit_checkpoints import fit, translate

# of the images that all of these were trained on, for pixels from 0 to 1
RGB_MEAN = (0.485, 0.456, 0.406)
RGB_STD = (0.229, 0.224, 0.225)

_CELLS = Recipe(window=64, normalization="marker statistics")  # of the KRONOS paper
_COMMON: dict[str, Any] = {
    "domains": ("rgb",),
    "marker_vocabulary": "rgb",
    "outputs": ("marker", "token"),
    "default_output": "marker",
}
_DINOV2: dict[str, Any] = {
    "family": "dinov2",
    "license": "Apache-2.0",
    "commercial": True,
    "gated": False,
    "reference": "Oquab et al. 2024, DINOv2: Learning Robust Visual Features without Supervision, TMLR, "
    "arXiv:2304.07193",
    "trained_on": "LVD-142M: 142 million natural RGB images",
    "patch_size": 14,
    "recipe": _CELLS.replace(window=56),  # the KRONOS paper's 64 pixels, cropped to a multiple of 14
    "weights_file": "model.safetensors",
    **_COMMON,
}
_DINOBLOOM: dict[str, Any] = {
    "family": "dinobloom",
    "license": "Apache-2.0",
    "commercial": True,
    "gated": False,
    "reference": "Koch et al. 2024, DinoBloom: A Foundation Model for Generalizable Cell Embeddings in Hematology, "
    "MICCAI, arXiv:2404.05022",
    "trained_on": "DINOv2, then 380,000 RGB images of single white blood cells from 13 data sets",
    "patch_size": 14,
    "recipe": _CELLS.replace(window=56),
    "hub": "MarrLab/DinoBloom",
    **_COMMON,
}
UNI = ModelCard(
    name="uni",
    family="uni",
    title="UNI ViT-L/16",
    license="CC-BY-NC-ND-4.0",
    commercial=False,
    gated=True,
    reference="Chen et al. 2024, Towards a general-purpose foundation model for computational pathology, Nature "
    "Medicine 30, 850-862",
    trained_on="Mass-100K: 100 million RGB patches of 100,426 H&E slides at 20x (0.5 µm per pixel)",
    parameters=303_350_784,
    embedding_dim=1024,
    mpp=0.5,
    patch_size=16,
    recipe=_CELLS,
    hub="MahmoodLab/UNI",
    weights_file="pytorch_model.bin",
    **_COMMON,
)


def _config(dim: int, depth: int, heads: int, **changes: Any) -> ViTConfig:
    known: dict[str, Any] = {"dim": dim, "depth": depth, "heads": heads, "patch_size": 14, "grid": 37}
    return ViTConfig(**known | changes)


_SIZES = {
    "s": ("small", "S", _config(384, 12, 6)),
    "b": ("base", "B", _config(768, 12, 12)),
    "l": ("large", "L", _config(1024, 24, 16)),
    "g": ("giant", "g", _config(1536, 40, 24, ffn="swiglu")),
}
_PARAMETERS = {"s": 22_056_576, "b": 86_580_480, "l": 304_368_640, "g": 1_136_480_768}
_CONFIGS = {
    # timm resizes positions to the exact grid, antialiased
    "uni": _config(1024, 24, 16, patch_size=16, grid=14, mask_token=False, resize_offset=0.0, resize_antialias=True),
}
_CARDS = [UNI]
for _size, (_word, _letter, _shape) in _SIZES.items():
    _CONFIGS[f"dinov2-{_size}"] = _shape
    _CONFIGS[f"dinobloom-{_size}"] = replace(_shape, grid=16)
    _CARDS += [
        ModelCard(
            name=f"dinov2-{_size}",
            title=f"DINOv2 ViT-{_letter}/14",
            parameters=_PARAMETERS[_size],
            embedding_dim=_shape.dim,
            hub=f"facebook/dinov2-{_word}",
            **_DINOV2,
        ),
        ModelCard(
            name=f"dinobloom-{_size}",
            title=f"DinoBloom-{_letter.upper()} ViT-{_letter}/14",
            parameters=_PARAMETERS[_size] - (37**2 - 16**2) * _shape.dim,
            embedding_dim=_shape.dim,
            weights_file=f"pytorch_model_{_size}.bin",
            **_DINOBLOOM,
        ),
    ]


class Dinov2Encoder(Encoder):
    """A vision transformer of RGB images.

    Each marker is replicated to three channels and encoded separately, as the KRONOS paper does for its baselines
    (Online Methods, "Evaluation baselines"): no marker sees another, and the CLS tokens of all markers make up the
    embedding. Windows whose sides are not a multiple of the patch size are cropped to their centre.

    Parameters
    ----------
    card
        Its card.
    config
        Shape of the transformer.
    rgb
        Take images of three channels as they are: outputs are then `patch` and `summary`, and `normalize` uses the
        mean and standard deviation of the RGB images that the model was trained on.
    """

    def __init__(self, card: ModelCard, config: ViTConfig, *, rgb: bool = False) -> None:
        super().__init__()
        if rgb:
            card = replace(
                card,
                outputs=("patch", "summary"),
                default_output="patch",
                recipe=card.recipe.replace(normalization="none"),
            )
            self.own_statistics = RGB_MEAN, RGB_STD
        self.card, self.options, self.config = card, {"rgb": rgb}, config
        with torch.device("meta"):  # the weights come next, so none are made up here
            self.backbone = VisionTransformer(config)

    def normalize(self, pixels: Tensor, mean: Tensor, std: Tensor, recipe: Recipe | None = None) -> Tensor:
        """Normalise pixels ``(B, M, H, W)`` by marker, or RGB pixels from 0 to 1 by the statistics of RGB images."""
        if not self.options["rgb"]:
            return super().normalize(pixels, mean, std, recipe)
        if recipe is not None and recipe.normalization != self.card.recipe.normalization:
            raise ModelError(f"{self.card.name} takes RGB images by their own statistics. Leave normalization= out.")
        self._check(pixels)
        rgb_mean, rgb_std = (pixels.new_tensor(values)[:, None, None] for values in (RGB_MEAN, RGB_STD))
        return (pixels - rgb_mean) / rgb_std

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
            ``(B, M, H, W)``, standardised by marker; with `rgb` ``(B, 3, H, W)``.
        markers, mask
            Not used: the model takes no markers, and the cell is masked in the pixels.
        outputs
            Outputs that are needed (default: all). Without tokens the last block works for CLS alone.

        Returns
        -------
        `marker` ``(B, M, D)``, the CLS token of each marker, and `token` ``(B, M, h, w, D)``; with `rgb` `patch`
        ``(B, D)``, the CLS token, and `summary` ``(B, h, w, D)``, the tokens. All after the final norm.

        Raises
        ------
        ModelError
            If the window is smaller than a patch, or an RGB image has other than three channels.
        """
        self._check(pixels)
        wanted = self.wanted(outputs)
        pixels = center_crop(pixels, self.backbone.config.patch_size)
        leading = pixels.shape[:1] if self.options["rgb"] else pixels.shape[:2]
        images = pixels if self.options["rgb"] else pixels.flatten(0, 1)[:, None].expand(-1, 3, -1, -1)
        first, tokens = self.card.outputs

        grid = self.backbone.token_grid(*images.shape[-2:])
        x = self.backbone.assemble(self.backbone.patch_embed(images) + self.backbone.positions(*grid))
        x = self.backbone.norm(self.backbone.run(x, first_only=tokens not in wanted))
        out = {}
        if first in wanted:
            out[first] = x[:, 0].unflatten(0, leading)
        if tokens in wanted:
            out[tokens] = x[:, self.backbone.n_prefix :].unflatten(1, grid).unflatten(0, leading)
        return EncoderOutput(**out)

    def features(
        self,
        pixels: Tensor,
        markers: Tensor | None = None,
        *,
        hidden: Tensor | None = None,
        gains: Tensor | None = None,
    ) -> TrainingTokens:
        """What self-distillation takes; each marker of a window is an image of its own, with the window's mask.

        Parameters
        ----------
        pixels, markers
            As in `forward`.
        hidden
            ``(B, h * w)``, True at positions where the mask token replaces the pixels.
        gains
            ``(B, depth, 2)``, see `spatialfm.models.vit.VisionTransformer.run`.
        """
        self._check(pixels)
        times = 1 if self.options["rgb"] else pixels.shape[1]
        images = pixels if self.options["rgb"] else pixels.flatten(0, 1)[:, None].expand(-1, 3, -1, -1)
        tokens = self.backbone.patch_embed(images)
        if hidden is not None:
            hidden = hidden.repeat_interleave(times, 0)
            tokens = torch.where(hidden[..., None], self.backbone.mask_token.to(tokens.dtype), tokens)
        x = self.backbone.assemble(tokens + self.backbone.positions(*self.backbone.token_grid(*images.shape[-2:])))
        x = self.backbone.run(x, gains=None if gains is None else gains.repeat_interleave(times, 0))
        x = self.backbone.norm(x)
        return TrainingTokens(x[:, 0], x[:, self.backbone.n_prefix :], hidden)

    def _check(self, pixels: Tensor) -> None:
        size, rgb = self.backbone.config.patch_size, self.options["rgb"]
        if pixels.ndim != 4 or 0 in pixels.shape[1:] or (rgb and pixels.shape[1] != 3):
            takes = "RGB pixels (B, 3, H, W)" if rgb else "pixels (B, M, H, W)"
            remedy = " Load it without rgb=True for images of markers." if rgb else ""
            raise ModelError(f"Model {self.card.name!r} takes {takes}, got {tuple(pixels.shape)}.{remedy}")
        if min(pixels.shape[-2:]) < size:
            raise ModelError(
                f"Model {self.card.name!r} takes windows of {size} x {size} pixels or more, got "
                f"{pixels.shape[-2]} x {pixels.shape[-1]}. Pass a larger window."
            )


def center_crop(pixels: Tensor, multiple: int) -> Tensor:
    """Cut the last two axes to the largest multiples of a number of pixels, around the centre.

    Examples
    --------
    >>> center_crop(torch.arange(64).expand(1, 1, 64, 64), 14)[0, 0, 0, [0, -1]]
    tensor([ 4, 59])
    """
    height, width = (side // multiple * multiple for side in pixels.shape[-2:])
    top, left = (pixels.shape[-2] - height) // 2, (pixels.shape[-1] - width) // 2
    return pixels[..., top : top + height, left : left + width]


def build_dinov2(
    card: ModelCard,
    weights: str | os.PathLike | None,
    *,
    rgb: bool = False,
    marker_metadata: str | os.PathLike | None = None,
) -> Dinov2Encoder:
    """Build an encoder of the DINOv2 family and fill it.

    Besides the published file, `weights` may be any checkpoint of that size in the layout of DINOv2's release, of its
    training code (``{"teacher": {"backbone.…": …}}``), of `timm` or of `transformers`: position table, patch size and
    registers are read off it. The terms on the card are those of the published weights.

    Parameters
    ----------
    card, weights
        As `load` passes them.
    rgb
        See `Dinov2Encoder`.
    marker_metadata
        Table of marker statistics, as KRONOS publishes it: the KRONOS paper normalises the input of its baselines with
        the statistics of its own training data. Default: those of the cohort.
    """
    saved, config = saved_in(card, weights), _CONFIGS[card.name]
    if saved is not None:
        card, config = saved.model_card(card), saved.config(config)
    file = None if weights == hub.RANDOM else hub.locate(card, weights)
    tensors = {} if file is None else translate(hub.read_tensors(file.path))
    if file is not None and saved is None and (fitted := fit(config, tensors)) != config:
        config = fitted
        card = replace(card, patch_size=config.patch_size, parameters=sum(map(Tensor.numel, tensors.values())))
    encoder = Dinov2Encoder(card, config, rgb=rgb)
    if file is None:
        encoder.weights = hub.fill_random(encoder.backbone, card)
    else:
        encoder.weights = hub.fill(encoder.backbone, file, card, tensors)
    if saved is not None:
        saved.compare(encoder)
        encoder.card = shaped_card(encoder.card, encoder)
    if marker_metadata is not None:
        table = Path(marker_metadata).expanduser()
        if not table.is_file():
            raise ModelError(f"No marker table {table}. Pass marker_metadata=<a table of marker statistics>.")
        encoder.vocabulary = read_marker_metadata(table)
    return encoder


def _fits(config: ViTConfig) -> str | None:
    if config.dim % config.heads:
        return f"dim {config.dim} must be a multiple of heads {config.heads}"
    if config.in_channels != 3 or config.chunks or config.stride is not None:
        return "it takes RGB images, in patches without overlap, and its blocks are named without chunks"
    return None


for _card in _CARDS:
    register(_card)(build_dinov2)
add_family(
    Family(
        configs=_CONFIGS,
        build=Dinov2Encoder,
        initialise=lambda encoder, seed: initial.transformer(encoder.get_submodule("backbone"), seed),
        fits=_fits,
        options=("rgb",),
        objective="distill",
    )
)
