"""VirTues' head for segmentation and phenotypes: a U-Net over tokens of its encoder, and InstanSeg's objects.

Wenckstern et al., Nature 2026, doi:10.1038/s41586-026-10884-y; bunnelab/virtues, ``virtues/modules/segmentation``.
Summary tokens of four layers of the encoder and of its end come in, and for each pixel the logits of an object and of a
phenotype come out. Names of tensors are those of the published file ``segmentation-head.safetensors``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from torch import Tensor, nn

from .._errors import ModelError, WeightsError, counted
from . import hub
from .card import ModelCard
from .encoder import Weights
from .instances import RELEASED, InstanceRule, find_instances
from .virtues import VirTuesEncoder

HEAD_FILE = "segmentation-head.safetensors"
PHENOTYPES = (
    "None", "B cell", "CD4 T cell", "CD8 T cell", "Fibroblasts /Stroma", "Myeloid", "Tumor", "Unknown",
    "Vessel / Endo.",
)  # fmt: skip
NO_ANSWER = ("None", "Unknown")  # are never the phenotype of a cell
_ENCODER = "virtues_model."
WINDOW, STRIDE = 128, 64  # pixels, of the released recipe
SMALLEST = 15  # pixels; smaller cells are left out in the released recipe


@dataclass(frozen=True)
class HeadShape:
    """Widths of the network; `shape_of` reads them from a file.

    Attributes
    ----------
    dim
        Of the tokens.
    skip
        Of what the tokens pass on their way to the pixels.
    bottom
        Of the coarsest level.
    widths
        Of the levels of 64 x 64, 128 x 128 and 128 x 128 pixels.
    spreads
        How many values besides the offsets a pixel is told apart by.
    classifier
        Of the network that is asked whether a pixel is of a seed's object.
    phenotypes
        Number of them; 0: the head has none.
    """

    dim: int = 512
    skip: tuple[int, int] = (512, 256)
    bottom: int = 512
    widths: tuple[int, int, int] = (256, 128, 64)
    spreads: int = 2
    classifier: int = 5
    phenotypes: int = len(PHENOTYPES)


class _Block(nn.Module):
    """A convolution, a norm and a ReLU, under the name of the published file."""

    def __init__(self, layer: nn.Module, width: int) -> None:
        super().__init__()
        self.block = nn.Sequential(layer, nn.BatchNorm2d(width), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


def _same(width_in: int, width: int) -> _Block:
    return _Block(nn.Conv2d(width_in, width, 3, padding=1, bias=False), width)


def _twice(width_in: int, width: int) -> _Block:
    return _Block(nn.ConvTranspose2d(width_in, width, 2, stride=2), width)


class TokenUNet(nn.Module):
    """Tokens of five depths ``(B, D, h, w)`` to logits ``(B, out, 8 h, 8 w)``."""

    def __init__(self, shape: HeadShape, out: int) -> None:
        super().__init__()
        dim, (wide, narrow), bottom, (coarse, middle, fine) = shape.dim, shape.skip, shape.bottom, shape.widths
        self.decoder0 = nn.Sequential(_twice(dim, wide), _twice(wide, narrow), _twice(narrow, fine))
        self.decoder1 = nn.Sequential(_twice(dim, wide), _twice(wide, narrow), _twice(narrow, middle))
        self.decoder2 = nn.Sequential(_twice(dim, wide), _twice(wide, coarse))
        self.decoder3 = nn.Sequential(_twice(dim, bottom))
        self.decoder = nn.ModuleDict(
            {
                "bottleneck_upsampler": nn.ConvTranspose2d(dim, bottom, 2, stride=2),
                "decoder3_upsampler": nn.Sequential(
                    _same(2 * bottom, bottom),
                    _same(bottom, bottom),
                    _same(bottom, bottom),
                    nn.ConvTranspose2d(bottom, coarse, 2, stride=2),
                ),
                "decoder2_upsampler": nn.Sequential(
                    _same(2 * coarse, coarse), _same(coarse, coarse), nn.ConvTranspose2d(coarse, middle, 2, stride=2)
                ),
                "decoder1_upsampler": nn.Sequential(
                    _same(2 * middle, middle), _same(middle, middle), nn.ConvTranspose2d(middle, fine, 1)
                ),
                "decoder0_header": nn.Sequential(_same(2 * fine, fine), _same(fine, fine), nn.Conv2d(fine, out, 1)),
            }
        )

    def forward(self, last: Tensor, layers: Sequence[Tensor]) -> Tensor:
        """Of the tokens at the end of the encoder, and those after four of its blocks, the first block first."""
        up, branch = self.decoder, [self.decoder0, self.decoder1, self.decoder2, self.decoder3]
        x = up["bottleneck_upsampler"](layers[3])
        for level in (3, 2, 1):
            x = up[f"decoder{level}_upsampler"](torch.cat([branch[level](layers[level - 1]), x], dim=1))
        return up["decoder0_header"](torch.cat([self.decoder0(last), x], dim=1))


class PixelClassifier(nn.Module):
    """Whether a pixel is of a seed's object: three layers on differences of offsets and on spreads."""

    def __init__(self, shape: HeadShape) -> None:
        super().__init__()
        self.fc1 = nn.Linear(2 + shape.spreads, shape.classifier)
        self.fc2 = nn.Linear(shape.classifier, shape.classifier)
        self.fc3 = nn.Linear(shape.classifier, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logit ``(..., 1)`` of ``(..., 2 + S)``."""
        return self.fc3(torch.relu(self.fc2(torch.relu(self.fc1(x)))))


class SegmentationHead(nn.Module):
    """What the published file holds."""

    def __init__(self, shape: HeadShape) -> None:
        super().__init__()
        self.shape = shape
        self.decoder = TokenUNet(shape, 3 + shape.spreads)
        if shape.phenotypes:
            self.decoder_phenotypes = TokenUNet(shape, shape.phenotypes)
        self.pixel_classifier = PixelClassifier(shape)

    def forward(self, last: Tensor, layers: Sequence[Tensor]) -> Tensor:
        """Logits ``(B, 3 + S + P, H, W)``: offsets, spreads, depth, phenotypes."""
        out = self.decoder(last, layers)
        if not self.shape.phenotypes:
            return out
        return torch.cat([out, self.decoder_phenotypes(last, layers)], dim=1)


class VirTuesSegmenter(nn.Module):
    """An encoder of VirTues with a head.

    Parameters
    ----------
    encoder
        `VirTuesEncoder` with its weights; its blocks are a multiple of four.
    head
        Head of the encoder's width.
    weights
        Where the head came from.
    phenotypes
        Names of its phenotypes, in its order.

    Raises
    ------
    ModelError
        If encoder, head and names do not fit each other.
    """

    window, stride, smallest = WINDOW, STRIDE, SMALLEST

    def __init__(
        self,
        encoder: VirTuesEncoder,
        head: SegmentationHead,
        weights: Weights,
        phenotypes: Sequence[str] | None = None,
        rule: InstanceRule = RELEASED,
    ) -> None:
        super().__init__()
        depth, dim = len(encoder.transformer_blocks()), encoder.config.dim
        if dim != head.shape.dim:
            raise ModelError(
                f"The head takes tokens of width {head.shape.dim}, and {encoder.card.name!r} has tokens of width "
                f"{dim}. Pass the encoder that the head was trained on, with options={{'encoder': ...}}."
            )
        if depth % 4 or encoder.config.patch_size != 8:
            raise ModelError(
                f"The head takes tokens of the quarters of an encoder with patches of 8 pixels; {encoder.card.name!r} "
                f"has {counted(depth, 'block')} and patches of {encoder.config.patch_size}."
            )
        names = PHENOTYPES if phenotypes is None and head.shape.phenotypes == len(PHENOTYPES) else phenotypes or ()
        if len(names) != head.shape.phenotypes or len(set(names)) != len(names):
            raise ModelError(
                f"The head has {counted(head.shape.phenotypes, 'phenotype')}, and {len(names)} are named. Pass "
                "options={'phenotypes': [...]}, a name for each, in the order of the head."
            )
        self.encoder, self.head, self.head_weights, self.rule = encoder, head, weights, rule
        self.phenotypes = tuple(map(str, names))
        self.layers = tuple(depth * quarter // 4 for quarter in (1, 2, 3, 4))

    @property
    def objects(self) -> int:
        """Logits of a pixel that are about its object; those behind them are about phenotypes."""
        return 3 + self.head.shape.spreads

    @property
    def answers(self) -> tuple[str, ...]:
        """Phenotypes that a cell can have."""
        return tuple(name for name in self.phenotypes if name not in NO_ANSWER)

    def forward(self, pixels: Tensor, markers: Tensor) -> Tensor:
        """Logits ``(B, 3 + S + P, H, W)`` of windows.

        Parameters
        ----------
        pixels
            ``(B, M, H, W)``, prepared and standardised as for embeddings.
        markers
            Protein embeddings ``(M, 640)``.
        """
        return self.head(*self.encoder.summaries(pixels, markers, self.layers))

    def instances(self, logits: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """Objects ``(h, w)`` int32 of logits ``(3 + S, h, w)``, a part of an image of this shape."""
        device = self.head.pixel_classifier.fc1.weight.device
        with torch.inference_mode():
            values = torch.from_numpy(np.ascontiguousarray(logits, np.float32)).to(device)
            return find_instances(values, self.head.pixel_classifier, self.rule, shape=shape)

    def probabilities(self, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities of the answers ``(A, h, w)`` and of none ``(h, w)``, of logits of phenotypes ``(P, h, w)``.

        The former are among the answers alone: they sum to 1.
        """
        values = torch.from_numpy(np.ascontiguousarray(logits, np.float32)).softmax(0).numpy()
        places = [place for place, name in enumerate(self.phenotypes) if name not in NO_ANSWER]
        among = torch.from_numpy(np.ascontiguousarray(logits[places], np.float32)).softmax(0).numpy()
        return among, 1 - values[places].sum(0)


def load_segmenter(
    encoder: VirTuesEncoder, weights: str | os.PathLike, phenotypes: Sequence[str] | None = None
) -> VirTuesSegmenter:
    """A segmenter of an encoder and the head of a file, ready for inference.

    Parameters
    ----------
    weights
        A file; a folder that holds ``segmentation-head.safetensors``; a repository of the hub.
    encoder, phenotypes
        As `VirTuesSegmenter` takes them.

    Raises
    ------
    WeightsError
        If there is no such file, or a tensor is missing, unknown or of another shape.
    ModelError
        If encoder, head and names do not fit each other.
    """
    card = _card_of_head(encoder.card)
    file = hub.locate(card, weights)
    tensors = _of_head(hub.read_tensors(file.path), file, encoder)
    shape = shape_of(tensors, file.path)
    with torch.device("meta"):
        head = SegmentationHead(shape)
    filled = hub.fill(head, file, card, tensors)
    return VirTuesSegmenter(encoder, head, filled, phenotypes).eval().requires_grad_(False)


def shape_of(tensors: Mapping[str, Tensor], path: Path) -> HeadShape:
    """Widths of a head, from the shapes of its tensors.

    Raises
    ------
    WeightsError
        If a tensor that tells one is not there, or does not have as many axes.
    """

    def size(name: str, axis: int, axes: int = 4) -> int:
        tensor = tensors.get(name)
        if tensor is None or tensor.ndim != axes:
            state = "does not have" if tensor is None else f"has with {tensor.ndim} axes instead of {axes}"
            raise WeightsError(
                f"Weights file {path} is not a head of VirTues: it {state} the tensor {name}. Pass {HEAD_FILE} of the "
                "published repository."
            )
        return int(tensor.shape[axis])

    named = "decoder_phenotypes.decoder.decoder0_header.2.weight"
    return HeadShape(
        dim=size("decoder.decoder0.0.block.0.weight", 0),
        skip=(size("decoder.decoder0.0.block.0.weight", 1), size("decoder.decoder0.1.block.0.weight", 1)),
        bottom=size("decoder.decoder3.0.block.0.weight", 1),
        widths=(
            size("decoder.decoder2.1.block.0.weight", 1),
            size("decoder.decoder1.2.block.0.weight", 1),
            size("decoder.decoder0.2.block.0.weight", 1),
        ),
        spreads=max(0, size("pixel_classifier.fc1.weight", 1, 2) - 2),
        classifier=size("pixel_classifier.fc1.weight", 0, 2),
        phenotypes=size(named, 0) if any(name.startswith("decoder_phenotypes.") for name in tensors) else 0,
    )


def _of_head(tensors: Mapping[str, Tensor], file: hub.WeightsFile, encoder: VirTuesEncoder) -> dict[str, Tensor]:
    """Tensors of the head alone: the released code holds the classifier under two names, and the encoder besides."""
    own: dict[str, Tensor] = {}
    of_encoder = encoder.backbone.state_dict()
    for name, tensor in tensors.items():
        if name.startswith(_ENCODER):
            known = of_encoder.get(name.removeprefix(_ENCODER))
            if known is None or known.shape != tensor.shape or not torch.equal(known.cpu(), tensor.to(known.dtype)):
                raise WeightsError(
                    f"Weights file {file.path} holds the encoder that the head was trained on, and its {name} is not "
                    f"that of {encoder.weights.source}. Pass that encoder with options={{'encoder': ...}}."
                )
            continue
        short = name.removeprefix("instance_processor.")
        if short in own and not torch.equal(own[short], tensor):
            raise WeightsError(f"Weights file {file.path} holds {short} under two names, with different values.")
        own[short] = tensor
    return own


def _card_of_head(card: ModelCard) -> ModelCard:
    folder = PurePosixPath(card.weights_file or "").parent
    return replace(card, title=f"the segmentation head of {card.title}", weights_file=str(folder / HEAD_FILE))
