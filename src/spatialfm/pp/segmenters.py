"""What segments one tile: a method, the channels that it takes, and all that decides its labels.

Libraries are called as their own documentation calls them (InstanSeg 0.1, Cellpose 4), with pixels that were scaled by
the levels of the whole image: a library that scales each tile by itself finds cells in the noise of an empty one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .._errors import ArgumentError, InputFileError
from .._optional import need
from .._settings import settings
from .._version import version_of
from .segment_instanseg import InstanSegTiles
from .watershed import Watershed

if TYPE_CHECKING:
    import xarray as xr

NETWORK = "virtues"  # the method that is a network with its own encoder, see pp.segment_network
METHODS = ("watershed", "instanseg", "cellpose", NETWORK)
PERCENTILES = {"watershed": (1.0, 99.8), "instanseg": (0.1, 99.9), "cellpose": (1.0, 99.0)}  # as each was published
_MODULES = {"instanseg": "instanseg", "cellpose": "cellpose"}
_HOW_TO_GET = {
    "instanseg": (
        "the TorchScript file instanseg.pt of a released model, for example of fluorescence_nuclei_and_cells "
        "(https://github.com/instanseg/instanseg/releases)"
    ),
    "cellpose": "the file of a model of Cellpose 4, for example cpsam (https://huggingface.co/mouseland/cellpose-sam)",
}


@dataclass(frozen=True)
class Levels:
    """What of a whole image the segmentation of its tiles rests on.

    Attributes
    ----------
    low, high
        ``(c,)`` percentiles of the channels, which become 0 and 1.
    threshold
        Of the smoothed nuclear stain (watershed).
    membrane
        Of the smoothed membrane stain, from which on a pixel has it (watershed).
    """

    low: np.ndarray = field(default_factory=lambda: np.zeros(0))
    high: np.ndarray = field(default_factory=lambda: np.ones(0))
    threshold: float = 0.0
    membrane: float = 1.0


@dataclass(frozen=True)
class SegmentRequest:
    """What the user asked for, in µm; checked.

    Attributes
    ----------
    method
        Name, or a function of the user's.
    diameter, expansion
        µm.
    weights
        File of a model.
    options
        Passed to the library or the function.
    """

    method: str | Callable
    diameter: float
    expansion: float
    weights: Path | None
    options: Mapping[str, object]

    @property
    def name(self) -> str:
        """Of the method, for messages and records."""
        return self.method if isinstance(self.method, str) else getattr(self.method, "__name__", "function")

    def identity(self) -> dict[str, object] | None:
        """All that decides the labels of given pixels; None where that is not known, as of a function."""
        if not isinstance(self.method, str):
            return None
        version = ""
        if self.method in _MODULES:
            version = version_of({"instanseg": "instanseg-torch"}.get(self.method, self.method))
        return {
            "method": self.method,
            "version": version,
            "diameter": self.diameter,
            "expansion": self.expansion,
            "weights": file_digest(self.weights),
            "options": dict(self.options),
        }


def file_digest(path: Path | None) -> str:
    """SHA-256 of a file; empty for none."""
    if path is None:
        return ""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_request(
    method: str | Callable, diameter: float, expansion: float, weights, options: Mapping[str, object] | None
) -> SegmentRequest:
    """What was asked for, or why it cannot be done, before any image is read.

    Raises
    ------
    SpatialfmError
        If a library or weights are missing, or an argument belongs to another method.
    """
    name = method if isinstance(method, str) else "a function"
    if method == NETWORK:  # its weights are a folder, a file or a repository: whoever loads them looks
        return SegmentRequest(method, float(diameter), float(expansion), None, dict(options or {}))
    if method in _MODULES:
        need(_MODULES[method], f"method={method!r}", "method='watershed' needs nothing more.")
        if weights is None:
            raise ArgumentError(
                f"method={method!r} needs the weights of a model, which are not downloaded for you. Pass "
                f"weights=<path>: {_HOW_TO_GET[method]}."
            )
    elif weights is not None:
        raise ArgumentError(
            f"weights= belongs to method='instanseg', 'cellpose' and 'virtues', not to {name}. Leave it out."
        )
    path = None if weights is None else Path(weights).expanduser()
    if path is not None and method == "instanseg" and path.is_dir():
        path /= "instanseg.pt"
    if path is not None and not path.is_file():
        raise InputFileError(f"weights={str(weights)!r} is not a file. Pass {_HOW_TO_GET[str(method)]}.")
    if method == "watershed" and (unknown := [key for key in options or {} if key != "threshold"]):
        raise ArgumentError(
            f"options= of method='watershed' has no {unknown[0]!r}; it takes 'threshold' alone, of the nuclear stain "
            "between the 1st (0) and the 99.8th percentile (1) of the image."
        )
    return SegmentRequest(method, float(diameter), float(expansion), path, dict(options or {}))


@dataclass(frozen=True)
class Segmenter:
    """How tiles are segmented.

    Attributes
    ----------
    labels
        A function of a tile, its nuclear and membrane channels, µm per pixel and levels.
    period
        Pixels from one start of a tile to the next that the method sees alike, of µm per pixel (`Grid`).
    """

    labels: Callable[[xr.DataArray, list[str], list[str], float, Levels], np.ndarray]
    period: Callable[[float], float] = lambda mpp: 1.0


def segmenter(request: SegmentRequest) -> Segmenter:
    """What segments the tiles of a request; a model is loaded once."""
    if not isinstance(request.method, str):
        return Segmenter(lambda tile, nuclear, membrane, mpp, levels: request.method(tile, mpp, **request.options))
    return {"watershed": _watershed, "instanseg": _instanseg, "cellpose": _cellpose}[request.method](request)


def scaled(tile: xr.DataArray, levels: Levels) -> np.ndarray:
    """Channels ``(c, y, x)`` float32, with the low level at 0 and the high one at 1."""
    span = np.where(levels.high > levels.low, levels.high - levels.low, 1)
    low, span = (values.astype(np.float32)[:, None, None] for values in (levels.low, span))
    return (tile.values.astype(np.float32) - low) / span


def mean_of(tile: xr.DataArray, pixels: np.ndarray, channels: list[str]) -> np.ndarray | None:
    """Mean of the channels of these names, clipped at twice the high level; None of none."""
    names = [str(name) for name in tile.coords["c"].values]
    if not channels:
        return None
    return np.clip(pixels[[names.index(name) for name in channels]], 0, 2).mean(axis=0)


def _watershed(request: SegmentRequest):
    def run(tile, nuclear, membrane, mpp, levels):
        pixels = scaled(tile, levels)
        stain = mean_of(tile, pixels, membrane)
        cut = Watershed(request.diameter / mpp, request.expansion / mpp, levels.threshold)
        return cut(mean_of(tile, pixels, nuclear), None if stain is None else stain / levels.membrane)

    return Segmenter(run)


def _instanseg(request: SegmentRequest):
    tiles = InstanSegTiles(str(request.weights), segmenting_device(), request.options)
    return Segmenter(
        lambda tile, nuclear, membrane, mpp, levels: tiles(tile, scaled(tile, levels), mpp), period=tiles.period
    )


def _cellpose(request: SegmentRequest):
    import torch
    from cellpose.models import CellposeModel

    device = torch.device(segmenting_device())
    model = CellposeModel(gpu=device.type != "cpu", pretrained_model=str(request.weights), device=device)

    def run(tile, nuclear, membrane, mpp, levels):
        pixels = scaled(tile, levels)
        # three channels in any order (Cellpose-SAM): cytoplasm or membrane, nucleus, nothing
        planes = [
            plane for plane in (mean_of(tile, pixels, membrane), mean_of(tile, pixels, nuclear)) if plane is not None
        ]
        planes += [np.zeros_like(planes[0])] * (3 - len(planes))
        options = {"diameter": request.diameter / mpp, "normalize": False, **request.options}
        masks, *_ = model.eval(np.stack(planes), channel_axis=0, **options)
        return np.asarray(masks).astype(np.int64)

    return Segmenter(run)


def segmenting_device() -> str:
    """Torch device on which networks segment."""
    import torch

    if settings.device != "auto":
        return str(settings.device)
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
