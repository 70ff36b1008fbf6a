"""Nimbus (Rumberger et al. 2025): a U-Net that says of each pixel whether the cell below it expresses a marker.

Two channels go in: one marker, divided by its normaliser and clipped to [0, 1], and a binary mask of the interiors of
cells. One probability per pixel comes out. It is not an encoder, so `list_models` does not list it;
`spatialfm.tl.marker_positivity` uses it. Names of tensors are those of the published code (angelolab/Nimbus-Inference).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .._errors import WeightsError
from .._keys import UNTRAINED
from .._logging import logger
from .._settings import settings
from .card import ModelCard
from .encoder import Weights
from .hub import RANDOM, REPOSITORY, WeightsFile, fill, locate, read_tensors
from .hub_id import parse_hub_id

CARD = ModelCard(
    name="nimbus",
    family="nimbus",
    title="Nimbus, probability that a cell is positive for a marker",
    license="MIT",
    commercial=True,
    gated=False,
    reference="Rumberger et al. 2025, Automated classification of cellular expression in multiplexed imaging data with "
    "Nimbus, Nature Methods, doi:10.1038/s41592-025-02826-9",
    trained_on="Pan-Multiplex: CODEX, MIBI and Vectra images of five studies",
    domains=("fluorescence", "ion"),
    mpp=1.0,
    hub="JLrumberger/Nimbus-Inference",
    weights_file="V1.pt",
)
DEPTH, WIDTH = 5, 64
MAGNIFICATION = 10  # at which the network sees images
POOLED = 2 ** (DEPTH - 1)  # pixels that are one pixel at the bottom
Padding = Literal["reflect", "valid"]
_VERSION = re.compile(r"V(\d+)\.pt")


class ConvBlock(nn.Module):
    """Two convolutions of 3 x 3 around a residual, which is a convolution of 1 x 1."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv2d_0 = nn.Conv2d(channels, width, 1)
        self.conv2d_1 = nn.Conv2d(width, width, 3)
        self.bn_1 = nn.BatchNorm2d(width)
        self.conv2d_2 = nn.Conv2d(width, width, 3)
        self.bn_2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor, padding: Padding) -> Tensor:
        """Of ``(B, C, H, W)``; without padding, two pixels are lost on each side."""
        residual = x = self.conv2d_0(x)
        for convolution, norm in ((self.conv2d_1, self.bn_1), (self.conv2d_2, self.bn_2)):
            x = F.pad(x, (1, 1, 1, 1), mode="reflect") if padding == "reflect" else x
            x = F.relu(norm(convolution(x)))
        return x + (residual if padding == "reflect" else residual[..., 2:-2, 2:-2])


class UpBlock(nn.Module):
    """Twice as many pixels of half as many channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.upconv = nn.ConvTranspose2d(width, width // 2, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Of ``(B, C, H, W)``: ``(B, C / 2, 2 H, 2 W)``."""
        return F.relu(self.upconv(x))


class Nimbus(nn.Module):
    """The network.

    Parameters
    ----------
    width
        Channels of the first block; twice as many on each level below. The published weights have 64.
    """

    card: ModelCard = CARD
    weights: Weights

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(DEPTH)]
        down: list[nn.Module] = []
        for before, here in zip([2, *widths[:-2]], widths[:-1], strict=True):
            down += [ConvBlock(before, here), nn.MaxPool2d(2)]
        up: list[nn.Module] = []
        for here in reversed(widths[1:]):  # the place between is where the released code joins both paths
            up += [UpBlock(here), nn.Identity(), ConvBlock(here, here // 2)]
        self.contracting_layers = nn.ModuleList(down)
        self.bottle_neck = ConvBlock(widths[-2], widths[-1])
        self.expanding_layers = nn.ModuleList(up)
        self.final_conv = nn.Conv2d(width, 1, 1)
        self.options: dict[str, Any] = {"width": width}
        self.weights = Weights("none")

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.final_conv.weight.device

    def forward(self, x: Tensor, padding: Padding = "reflect") -> Tensor:
        """Probability of each pixel.

        Parameters
        ----------
        x
            ``(B, 2, H, W)``: the marker in [0, 1], and 1 in the interior of cells.
        padding
            ``"reflect"``: for whole images, whose sides are multiples of 16. ``"valid"``: for tiles, of which the
            middle comes out. Where a level has an odd side, what comes from below is a pixel off there (see
            `spatialfm.models.nimbus_tiles`).

        Returns
        -------
        ``(B, H, W)`` or, without padding, fewer.
        """
        skips: list[Tensor] = []
        for block, pool in zip(self.contracting_layers[::2], self.contracting_layers[1::2], strict=True):
            skips.append(block(x, padding))
            x = pool(skips[-1])
        x = self.bottle_neck(x, padding)
        for up, block in zip(self.expanding_layers[::3], self.expanding_layers[2::3], strict=True):
            x, skip = up(x), skips.pop()
            top, left = ((skip.shape[axis] - x.shape[axis]) // 2 for axis in (-2, -1))
            skip = skip[..., top : top + x.shape[-2], left : left + x.shape[-1]]
            x = block(torch.cat([skip, x], dim=1), padding)
        return torch.sigmoid(self.final_conv(x))[:, 0]


def load_nimbus(weights: str | os.PathLike | None = None) -> Nimbus:
    """The network with its weights, on the CPU, ready for inference.

    Parameters
    ----------
    weights
        A file; a folder or a hub repository, of which the ``V<n>.pt`` with the highest ``n`` is taken;
        ``"hf://org/repo[@revision]/file"``; ``"random"`` for an untrained network (smoke tests). None: the published
        repository, ``JLrumberger/Nimbus-Inference``, kept below ``sfm.settings.cache_dir``.

    Raises
    ------
    WeightsError
        If there is no such file, or a tensor in it is missing, unknown or of another shape.
    """
    if weights == RANDOM:
        logger.warning("nimbus: random, untrained weights; its calls mean nothing")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = Nimbus()
        network.weights = Weights(UNTRAINED)
        return network.eval().requires_grad_(False)
    file = _find(weights)
    tensors = read_tensors(file.path)
    first = tensors.get("contracting_layers.0.conv2d_0.weight")
    with torch.device("meta"):
        network = Nimbus(WIDTH if first is None or not first.ndim else max(1, len(first)))
    network.weights = fill(network, file, CARD, tensors)
    return network.eval().requires_grad_(False)


def newest(names: Iterable[str]) -> str | None:
    """The ``V<n>.pt`` with the highest number; None where there is none.

    Examples
    --------
    >>> newest(["README.md", "V2.pt", "V10.pt"])
    'V10.pt'
    """
    versions = {int(matched[1]): name for name in names if (matched := _VERSION.fullmatch(name))}
    return versions[max(versions)] if versions else None


def _find(weights: str | os.PathLike | None) -> WeightsFile:
    """File of the weights, of the highest version where several are there."""
    if weights is None:
        folder = settings.cache_dir / CARD.name
        local = newest(path.name for path in folder.glob("V*.pt"))
        return locate(replace(CARD, weights_file=_on_hub(str(CARD.hub), None, local) or CARD.weights_file), None)
    text, path = os.fspath(weights), Path(weights).expanduser()
    if path.is_dir():
        local = newest(one.name for one in path.iterdir())
        return locate(CARD if local is None else replace(CARD, weights_file=local), path)
    named = text if text.startswith("hf://") or (not path.exists() and REPOSITORY.fullmatch(text)) else None
    if named is not None and not text.endswith((".pt", ".safetensors")):
        hub = parse_hub_id(named)
        local = newest(one.name for one in hub.folder.glob("V*.pt"))
        return locate(replace(CARD, weights_file=_on_hub(hub.repo, hub.revision, local) or CARD.weights_file), weights)
    return locate(CARD, weights)


def _on_hub(repo: str, revision: str | None, local: str | None) -> str | None:
    """The newest version that the hub lists; the newest that is here where it cannot be asked."""
    if settings.offline:
        return local
    from huggingface_hub import list_repo_files

    try:
        listed = newest(list_repo_files(repo, revision=revision))
    except Exception as error:  # what comes up depends on the client's version and its HTTP library
        logger.info("the hub cannot be asked for versions of %s (%s)", repo, type(error).__name__)
        return local
    if listed is None:
        raise WeightsError(f"{repo} holds no V<n>.pt. Pass weights=<file>.")
    return newest([listed, *([] if local is None else [local])])
