"""ResNet-50 of natural images, applied to each marker separately (He et al. 2016); names are those of torchvision.

The stride of a downsampling block sits in its 3 x 3 convolution, as in torchvision ("v1.5").
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import hub
from .card import ModelCard
from .encoder import Encoder, EncoderOutput
from .recipe import Recipe
from .registry import register

RESNET50 = ModelCard(
    name="resnet50",
    family="resnet",
    title="ResNet-50 (ImageNet-1K)",
    license="BSD-3-Clause",
    commercial=True,
    gated=False,
    reference="He et al. 2016, Deep Residual Learning for Image Recognition, CVPR, arXiv:1512.03385",
    domains=("rgb",),
    trained_on="ImageNet-1K: 1.3 million natural RGB images, with their classes; the images have terms of their own",
    parameters=23_508_032,
    embedding_dim=2048,
    # window and number of components are those of VirTues' niches
    recipe=Recipe(window=128, normalization="marker statistics", background="keep", n_components=9),
    marker_vocabulary="rgb",
    outputs=("marker",),
    default_output="marker",
    hub="timm/resnet50.tv_in1k",  # torchvision's weights, with torchvision's names
    weights_file="model.safetensors",
)
_STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))
_EXPANSION = 4
_IMAGES = 64  # at a time


class BatchNorm(nn.Module):
    """Batch norm with the statistics of training, which stay as they are."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the channels of ``(B, C, H, W)``."""
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias)


class Bottleneck(nn.Module):
    """Convolutions of 1, 3 and 1 pixels around a shortcut."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * _EXPANSION
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = BatchNorm(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = BatchNorm(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = BatchNorm(outputs)
        self.downsample: nn.Module
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), BatchNorm(outputs))
        else:
            self.downsample = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Feature maps ``(B, C, H, W)`` to feature maps."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        return F.relu(self.bn3(self.conv3(out)) + self.downsample(x))


class ResNet50(nn.Module):
    """ResNet-50 without its classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False)
        self.bn1 = BatchNorm(64)
        inputs = 64
        for number, (width, depth) in enumerate(_STAGES, start=1):
            stage = []
            for i in range(depth):
                stage.append(Bottleneck(inputs, width, 2 if i == 0 and number > 1 else 1))
                inputs = width * _EXPANSION
            setattr(self, f"layer{number}", nn.Sequential(*stage))

    def forward(self, images: Tensor) -> Tensor:
        """Images ``(B, 3, H, W)`` to global average features ``(B, 2048)``."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(images))), 3, 2, padding=1)
        for number in range(1, len(_STAGES) + 1):
            x = self.get_submodule(f"layer{number}")(x)
        return x.mean((-2, -1))


class ResNet50Encoder(Encoder):
    """ResNet-50, the baseline "ResNet" of VirTues (Wenckstern et al., Methods, "Comparisons and baselines").

    Each marker is replicated to three channels and embedded separately. The paper concatenates the 2,048 features of
    all markers and projects them to their 9 principal components with sparse mini-batch PCA, fitted on the windows of a
    cohort. That step needs all windows, so the encoder does not do it: `spatialfm.tl.embed_cells` does, with plain PCA.

    Parameters
    ----------
    card
        Its card.
    """

    def __init__(self, card: ModelCard) -> None:
        super().__init__()
        self.card, self.options = card, {}
        with torch.device("meta"):  # the weights come next, so none are made up here
            self.backbone = ResNet50()

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
            ``(B, M, H, W)``, standardised by marker.
        markers, mask
            Not used.
        outputs
            Outputs that are needed; there is but one.

        Returns
        -------
        `marker` ``(B, M, 2048)``.

        Raises
        ------
        ModelError
            If the pixels have other axes, or there is no such output.
        """
        self.wanted(outputs)
        self.check_pixels(pixels)
        images = pixels.to(self.backbone.conv1.weight.dtype).flatten(0, 1)[:, None].expand(-1, 3, -1, -1)
        # a batch is sized by its windows, and every marker of them is an image here
        features = torch.cat([self.backbone(part) for part in images.split(_IMAGES)])
        return EncoderOutput(marker=features.unflatten(0, pixels.shape[:2]))


@register(RESNET50)
def build_resnet50(card: ModelCard, weights: str | os.PathLike | None) -> ResNet50Encoder:
    """Build ResNet-50 and fill it.

    Parameters
    ----------
    card, weights
        As `load` passes them; `weights` may be a file of torchvision (``resnet50-0676ba61.pth``, with the recipe of the
        paper above, or ``resnet50-11ad3fa6.pth``, trained longer).
    """
    encoder = ResNet50Encoder(card)
    if weights == hub.RANDOM:
        for module in encoder.backbone.modules():
            if isinstance(module, BatchNorm):  # statistics of pixels that were normalised already
                channels = len(module.weight)
                module.running_mean, module.running_var = torch.zeros(channels), torch.ones(channels)
        encoder.weights = hub.fill_random(encoder.backbone, card)
    else:
        file = hub.locate(card, weights)
        encoder.weights = hub.fill(encoder.backbone, file, card, without_classifier(hub.read_tensors(file.path)))
    return encoder


def without_classifier(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that make features: no classifier, and no counters of batches."""
    return {
        name: tensor
        for name, tensor in tensors.items()
        if not name.startswith("fc.") and not name.endswith("num_batches_tracked")
    }
