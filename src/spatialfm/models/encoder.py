"""What every encoder is: a torch module that takes a batch of windows, independent of SpatialData."""

from __future__ import annotations

import hashlib
import inspect
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from .._errors import ModelError
from .._settings import settings
from .card import ModelCard
from .preparation import Preparation
from .recipe import Recipe

_Values = TypeVar("_Values", Tensor, np.ndarray)


@dataclass(frozen=True)
class EncoderOutput:
    """Outputs of one batch; None where the model does not offer one.

    Attributes
    ----------
    patch
        ``(B, D)``, one vector per window.
    marker
        ``(B, M, D)``, one vector per marker.
    token
        ``(B, M, h, w, D)``, one vector per marker and position.
    summary
        ``(B, h, w, D)``, one vector per position.
    attention
        ``(B, M, heads)``, how much each attention head looks at a marker, as the paper of the model scores it.
    """

    patch: Tensor | None = None
    marker: Tensor | None = None
    token: Tensor | None = None
    summary: Tensor | None = None
    attention: Tensor | None = None


@dataclass(frozen=True)
class MarkerEntry:
    """One marker of a model's vocabulary, with the statistics of its pixels (scaled to 0..1) at training.

    Attributes
    ----------
    name
        As the model's files call it.
    id
        Number by which the network knows it.
    mean, std
        Of its pixels.
    """

    name: str
    id: int
    mean: float
    std: float


@dataclass(frozen=True)
class Weights:
    """Where the weights of an encoder came from; goes into every record.

    Attributes
    ----------
    source
        Name of a file, ``"hf://org/repo/file"``, ``"random (untrained)"`` or ``"none"``.
    sha256
        Of the file; empty where there is none.
    adapter
        Name of the adapter that was added to them; empty for none.
    adapter_sha256
        Of its file.
    """

    source: str
    sha256: str = ""
    adapter: str = ""
    adapter_sha256: str = ""


class Encoder(nn.Module, ABC):
    """Base of all encoders.

    A subclass sets `card`, `weights`, `vocabulary` (empty where the model has none) and implements `forward`.

    Parameters
    ----------
    args, kwargs
        Of the subclass; those that `spatialfm.models.load` makes are not made by hand.
    """

    card: ModelCard
    weights: Weights
    vocabulary: tuple[MarkerEntry, ...] = ()
    n_marker_ids: int = 0  # ids run from 0 to n_marker_ids - 1; 0: the model has no ids
    only_known: bool = False  # markers outside of the vocabulary cannot be given to it: they are left out of a panel
    # mean and standard deviation of each channel where `normalize` uses its own instead of those it is given
    own_statistics: tuple[Sequence[float], Sequence[float]] | None = None
    options: dict[str, Any]  # options that change the numbers; go into the record
    nuclear: str | None = None  # protein whose embedding is used for stains of DNA, in models that take proteins
    mpp: float | None = None  # µm per pixel that it was loaded for, if the user may choose it
    adapted: Mapping[str, Any] | None = None  # the card of the adapter that was added to its weights
    trained_recipe: Mapping[str, Any] | None = None  # how pixels were made of images in training here, where it was
    config: Any = None  # shape of the network that the weights belong to

    @abstractmethod
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
            ``(B, M, H, W)``, already normalised.
        markers
            Ids ``(M,)`` or embeddings ``(M, d)`` of the markers; None for models without marker vocabulary.
        mask
            ``(B, H, W)``, True in the cell; only models whose card says `needs_mask` read it.
        outputs
            Outputs that are needed (default: all); others may be None. A model may leave the argument out.
        """

    def normalize(self, pixels: Tensor, mean: Tensor, std: Tensor, recipe: Recipe | None = None) -> Tensor:
        """Normalise pixels ``(B, M, H, W)`` as in the recipe, with ``(M,)`` statistics of each marker.

        Parameters
        ----------
        pixels
            ``(B, M, H, W)``.
        mean, std
            Of each marker, ``(M,)``.
        recipe
            How it is used, where that departs from its card. A model that normalises in its own way may leave the
            argument out; users cannot depart from it then.
        """
        return normalized(pixels, mean, std, self.card.recipe if recipe is None else recipe)

    @property
    def can_reconstruct(self) -> bool:
        """Whether it has a decoder: ``reconstruct(pixels, markers, mask)``, which predicts the pixels of all tokens."""
        return callable(getattr(self, "reconstruct", None))

    def denormalize(self, pixels: Tensor, mean: Tensor, std: Tensor, recipe: Recipe | None = None) -> Tensor:
        """Intensities of normalised pixels ``(B, M, H, W)``: `normalize` and the recipe's preparation undone.

        What a preparation cannot undo (`spatialfm.models.preparation.Preparation.lost`) stays: VirTues clips and blurs.

        Parameters
        ----------
        pixels
            Normalised, ``(B, M, H, W)``.
        mean, std
            Of each marker, ``(M,)``.
        recipe
            That they were normalised by, where it departs from the card.

        Raises
        ------
        ModelError
            If the model normalises in its own way, or its preparation, cannot be undone.
        """
        own = type(self).normalize is not Encoder.normalize
        if own and type(self).denormalize is Encoder.denormalize:
            raise ModelError(
                f"Model {self.card.name!r} normalises pixels in its own way and does not say how that is undone: "
                "predicted pixels stay as they are. Pass space='standardised'."
            )
        recipe = self.card.recipe if recipe is None else recipe
        values = denormalized(pixels, mean, std, recipe)
        return recipe.preparation.undo(values) if isinstance(recipe.preparation, Preparation) else values

    def wanted(self, outputs: Sequence[str] | None) -> set[str]:
        """Outputs that `forward` has to work out: those named, or all.

        Parameters
        ----------
        outputs
            Names of outputs, or one; None: all that the card lists.

        Raises
        ------
        ModelError
            If the model has no such output.
        """
        wanted = set(self.card.outputs if outputs is None else [outputs] if isinstance(outputs, str) else outputs)
        if unknown := wanted - set(self.card.outputs):
            raise ModelError(f"Model {self.card.name!r} has no output {min(unknown)!r}; it has {self.card.outputs}.")
        return wanted

    def check_pixels(self, pixels: Tensor) -> None:
        """Refuse pixels that are not ``(B, M, H, W)``, or have no channel or no pixel.

        Parameters
        ----------
        pixels
            What `forward` was given.

        Raises
        ------
        ModelError
            If they are not.
        """
        if pixels.ndim != 4 or 0 in pixels.shape[1:]:
            raise ModelError(f"Model {self.card.name!r} takes pixels (B, M, H, W), got {tuple(pixels.shape)}.")

    def feature_names(self, markers: Sequence[str]) -> list[str] | None:
        """Names of the columns of `patch`, where columns mean something by themselves.

        Parameters
        ----------
        markers
            Names of the channels, in the order of the pixels.
        """
        return None

    @property
    def token_spacing(self) -> int | None:
        """Distance of one token to the next in pixels; None: there are none."""
        return self.card.patch_size

    def transformer_blocks(self) -> list[nn.Module]:
        """Blocks that `forward` runs, in order; empty where there are none.

        By default the part that the encoder repeats most often and that projects tokens. A model that holds blocks
        which it does not run, or runs in another order, says which.
        """
        return repeated_parts(self)

    def at_pixel_size(self, mpp: float) -> Encoder:
        """The encoder for pixels of `mpp` µm; itself, unless it measures in µm.

        Parameters
        ----------
        mpp
            µm per pixel of the windows that it will be given.
        """
        return self

    @property
    def device(self) -> torch.device:
        """Where the encoder is."""
        for tensor in (*self.parameters(), *self.buffers()):
            return tensor.device
        return torch.device("cpu")


def normalized(pixels: _Values, mean: _Values, std: _Values, recipe: Recipe) -> _Values:
    """Pixels ``(..., M, H, W)`` normalised as a recipe says, with ``(M,)`` statistics of each marker.

    The same bits of tensors and of arrays, which take a third of the time where there are few pixels.
    """
    if recipe.normalization == "marker statistics":
        return (pixels - mean[:, None, None]) / (std[:, None, None] + recipe.epsilon)
    if recipe.normalization == "scale":
        return pixels / (std[:, None, None] + recipe.epsilon)
    return pixels


def denormalized(pixels: Tensor, mean: Tensor, std: Tensor, recipe: Recipe) -> Tensor:
    """The inverse of `normalized`."""
    if recipe.normalization == "marker statistics":
        return pixels * (std[:, None, None] + recipe.epsilon) + mean[:, None, None]
    if recipe.normalization == "scale":
        return pixels * (std[:, None, None] + recipe.epsilon)
    return pixels


def repeated_parts(module: nn.Module) -> list[nn.Module]:
    """Modules of the class that occurs most often in a module, of those that hold two linear layers or more.

    Of classes that occur equally often, the one that holds the others: a block, not its attention.

    Examples
    --------
    >>> layers = [nn.TransformerEncoderLayer(8, 2, 16, batch_first=True) for _ in range(3)]
    >>> [type(part).__name__ for part in repeated_parts(nn.ModuleList(layers))]
    ['TransformerEncoderLayer', 'TransformerEncoderLayer', 'TransformerEncoderLayer']
    """
    by_class: dict[type, list[nn.Module]] = defaultdict(list)
    for part in module.modules():
        if part is not module and not isinstance(part, nn.ModuleList | nn.ModuleDict):
            by_class[type(part)].append(part)
    layers = {kind: min(map(_n_linear, parts)) for kind, parts in by_class.items()}
    kinds = [kind for kind, parts in by_class.items() if len(parts) > 1 and layers[kind] > 1]
    return by_class[max(kinds, key=lambda kind: (len(by_class[kind]), layers[kind]))] if kinds else []


def _n_linear(module: nn.Module) -> int:
    return sum(isinstance(part, nn.Linear) for part in module.modules())


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of named tensors, independent of their file."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def takes_outputs(encoder: Encoder) -> bool:
    """Whether an encoder can be told which outputs are needed."""
    return _has_outputs(getattr(encoder.forward, "__func__", encoder.forward))


def takes_recipe(encoder: Encoder) -> bool:
    """Whether an encoder normalises as in the recipe that it is given."""
    return _has_recipe(getattr(encoder.normalize, "__func__", encoder.normalize))


@lru_cache(maxsize=64)  # asked for every batch
def _has_recipe(normalize: Callable) -> bool:
    return "recipe" in inspect.signature(normalize).parameters


@lru_cache(maxsize=64)  # asked for every batch
def _has_outputs(forward: Callable) -> bool:
    parameters = inspect.signature(forward).parameters
    return "outputs" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def resolve_device(device: str | None) -> torch.device:
    """The torch device meant by ``"auto"`` (cuda, mps, cpu) or named outright."""
    name = str(device or settings.device)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # torch without CUDA raises the latter
        raise ModelError(f"Device {name!r} cannot be used here: {error}. Pass device='cpu' or 'auto'.") from error
