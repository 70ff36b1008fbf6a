"""Weights of a model: where they are (file, folder, hub), how they are read, and whether they fit."""

from __future__ import annotations

import hashlib
import os
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor, nn

from .._errors import WeightsError
from .._keys import UNTRAINED
from .._logging import logger
from .._settings import settings
from .._types import present
from .card import ModelCard
from .encoder import Weights
from .hub_id import HubId, is_within, parse_hub_id

RANDOM = "random"
_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class WeightsFile:
    """A weights file on this machine.

    Attributes
    ----------
    path
        The file.
    source
        How the record names it: its name, or ``hf://org/repo[@revision]/file``.
    companions
        Further files of the model that were found next to it.
    """

    path: Path
    source: str
    companions: Mapping[str, Path] = field(default_factory=dict)


def locate(card: ModelCard, weights: str | os.PathLike | None, companions: Sequence[str] = ()) -> WeightsFile:
    """Find the weights of a model on this machine, or fetch them.

    Parameters
    ----------
    card
        Model whose weights are looked for.
    weights
        A file; a folder that holds it; a hub repository ``"org/repo"``; ``"hf://org/repo[@revision][/file]"``; None for
        the card's own repository, kept in ``sfm.settings.cache_dir / card.name``.
    companions
        Further files of the model: taken from the folder of the weights, or fetched from the same repository, if there.

    Raises
    ------
    WeightsError
        If the file is nowhere, or the hub allows no such name; the message names its place.
    """
    if weights is None:
        folder = settings.cache_dir / card.name
        if card.hub is None and not (folder / file_of(card)).is_file():
            reason = "this package has no repository that publishes them"
            raise WeightsError(_where_to_put(card, folder, reason, companions=companions))
        return _from_hub(card, card.hub, None, file_of(card), folder, companions)
    text = os.fspath(weights)
    if isinstance(weights, str) and text.startswith("hf://"):
        return _named_on_hub(card, parse_hub_id(text), companions)
    path = Path(weights).expanduser()
    if path.is_dir():
        path = _file_in(card, path)
    if path.is_file():
        return WeightsFile(path, path.name, _beside(path.parent, companions))
    if isinstance(weights, str) and REPOSITORY.fullmatch(text) and not text.endswith(_SUFFIXES):
        return _named_on_hub(card, parse_hub_id(text), companions)
    raise WeightsError(
        f"No weights file {text!r} for model {card.name!r}. Pass weights=<file or folder>, a hub repository "
        f'("org/repo" or "hf://org/repo@revision/file"), or weights="random" for a smoke test.'
    )


def file_of(card: ModelCard) -> str:
    """Name of the file of a model that needs weights."""
    return present(card.weights_file, f"weights_file of model {card.name!r}")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a checkpoint without running any code from it.

    A file ``{"teacher": {...}}`` gives its teacher, ``{"state_dict": {...}}`` its state dict; heads of the
    self-distillation (``dino_head``, ``ibot_head``) are dropped, and a leading ``backbone.`` is cut off the names.

    Raises
    ------
    WeightsError
        If the file is damaged, holds anything but named tensors, or needs code to be read.
    """
    content = _read(path)
    for part in ("teacher", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(part), Mapping):
            content = content[part]
            break
    entries = content.items() if isinstance(content, Mapping) else [(f"a {type(content).__name__}", None)]
    if strangers := [name for name, value in entries if not (isinstance(name, str) and isinstance(value, Tensor))]:
        raise WeightsError(
            f"Weights file {path} holds {str(strangers[0])!r}, which is not a named tensor; expected a state dict, "
            "bare or under 'teacher'. Save it with torch.save(model.state_dict(), file)."
        )
    heads = ("dino_head", "ibot_head")
    return {
        name.removeprefix("backbone."): tensor
        for name, tensor in content.items()
        if not any(head in name for head in heads)
    }


def fill(module: nn.Module, file: WeightsFile, card: ModelCard, tensors: Mapping[str, Tensor] | None = None) -> Weights:
    """Fill a module on the meta device with the tensors of a file; returns the entries of the record.

    `tensors` are those of the file where its names had to be translated first (default: as they are in the file).

    Buffers that are not on the meta device are constants (position tables): the module keeps its own, and a file that
    stores them must agree.

    Raises
    ------
    WeightsError
        If a tensor is missing, unknown or of another shape, or a constant has another value.
    """
    tensors = read_tensors(file.path) if tensors is None else tensors
    constants = constants_of(module)
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    missing = [name for name in expected if name not in tensors and name not in constants]
    unexpected = [name for name in tensors if name not in expected]
    reshaped = [
        f"{name} is {tuple(tensors[name].shape)} instead of {shape}"
        for name, shape in expected.items()
        if name in tensors and tuple(tensors[name].shape) != shape
    ]
    if missing or unexpected or reshaped:
        faults = [
            f"{len(names)} {what} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
            for names, what in ((missing, "missing"), (unexpected, "unexpected"), (reshaped, "of another shape"))
            if names
        ]
        raise WeightsError(
            f"Weights file {file.path} does not fit model {card.name!r}: of {len(expected)} tensors, "
            f"{'; '.join(faults)}. Pass the checkpoint of {card.title}"
            + (f" ({card.weights_file})." if card.weights_file else ".")
        )
    for name, constant in constants.items():
        # wide enough for tables that were computed in another order or stored in half precision
        if name in tensors and not torch.allclose(tensors[name].float(), constant, rtol=0, atol=1e-2):
            raise WeightsError(
                f"Weights file {file.path} does not fit model {card.name!r}: its table {name} is not the one that the "
                f"model computes. Pass the checkpoint of {card.title}."
            )
    module.load_state_dict({name: tensor.float() for name, tensor in tensors.items()} | constants, assign=True)
    return Weights(file.source, checksum(file.path))


def fill_random(module: nn.Module, card: ModelCard, seed: int = 0) -> Weights:
    """Fill a module on the meta device with untrained weights; the same seed gives the same weights.

    Matrices, positions and tokens are normal with standard deviation 0.02, biases 0, and gains 1: unlike the 1e-5 that
    training starts LayerScale from, so that the untrained model's CLS token depends on the image.
    """
    logger.warning("%s: random, untrained weights; its embeddings are a floor, not a result", card.name)
    generator = torch.Generator().manual_seed(seed)
    tensors = constants_of(module)
    for name, parameter in module.named_parameters():
        if name.endswith(".gamma") or (name.endswith(".weight") and parameter.ndim == 1):
            tensors[name] = torch.ones(parameter.shape)
        elif name.endswith(".bias"):
            tensors[name] = torch.zeros(parameter.shape)
        else:
            tensors[name] = torch.empty(parameter.shape).normal_(0, 0.02, generator=generator)
    module.load_state_dict(tensors, assign=True)
    return Weights(UNTRAINED)


def checksum(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def constants_of(module: nn.Module) -> dict[str, Tensor]:
    """Buffers of a module on the meta device that hold their values already, such as tables of positions."""
    stored = module.state_dict()
    return {name: buffer for name, buffer in module.named_buffers() if name in stored and not buffer.is_meta}


def _read(path: Path) -> Any:
    # some repositories name a file of torch.save "model.safetensors"
    if path.suffix == ".safetensors" and not zipfile.is_zipfile(path):
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise WeightsError(damaged(path, error)) from error
    try:
        with path.open("rb") as stream:  # by its name, torch would take the file for one of safetensors
            return torch.load(stream, map_location="cpu", weights_only=True)
    # a damaged zip, a truncated pickle and a missing record each surface as another exception of torch or pickle
    except Exception as error:
        if "Unsupported" in str(error) and "GLOBAL" in str(error):
            raise WeightsError(
                f"Weights file {path} would run code to be read, and was not: it holds Python objects besides tensors. "
                "Save its tensors alone with torch.save(model.state_dict(), file), or as .safetensors."
            ) from error
        raise WeightsError(damaged(path, error)) from error


def damaged(path: Path, error: Exception) -> str:
    """What is said of a file that cannot be read."""
    # torch's text before this advises to read the file without the protection
    text = str(error).rpartition("WeightsUnpickler error:")[2].strip()
    reason = (text.splitlines() or ["no message"])[0][:200]
    return (
        f"Weights file {path} ({path.stat().st_size:,} bytes) is truncated or not a checkpoint "
        f"({type(error).__name__}: {reason}). Download it again."
    )


def _file_in(card: ModelCard, folder: Path) -> Path:
    if card.weights_file:
        for name in (card.weights_file, PurePosixPath(card.weights_file).name):
            if (folder / name).is_file():
                return folder / name
    files = sorted(file for file in folder.iterdir() if file.suffix in _SUFFIXES)
    if len(files) == 1:
        return files[0]
    file_names = ", ".join(file.name for file in files[:5]) or "none"
    raise WeightsError(
        f"Folder {folder} has no {card.weights_file} for model {card.name!r}; weights files there: {file_names}. "
        "Pass weights=<file>."
    )


def _beside(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    return {name: folder / name for name in names if (folder / name).is_file()}


def _named_on_hub(card: ModelCard, hub: HubId, companions: Sequence[str]) -> WeightsFile:
    file = hub.file or file_of(card)
    fetched = _from_hub(card, hub.repo, hub.revision, file, hub.folder, companions)
    if not is_within(fetched.path, hub.folder):
        raise WeightsError(
            f"{fetched.path} is a link to {fetched.path.resolve()}, which is not a file of {hub.repo}. Remove the "
            f"link, or pass weights={str(fetched.path.resolve())!r} if that file is meant."
        )
    return fetched


def _from_hub(
    card: ModelCard, repo: str | None, revision: str | None, file: str, folder: Path, companions: Sequence[str]
) -> WeightsFile:
    path = folder / file
    if repo is not None and not path.is_file():
        _download(card, repo, revision, file, folder, companions)
    fetched = (folder / ".cache" / "huggingface").is_dir()  # what the client leaves next to its downloads
    if repo is not None and fetched and not settings.offline:
        for name in companions:
            if not (path.parent / name).is_file():
                _download_companion(repo, revision, str(PurePosixPath(file).with_name(name)), folder)
    at = f"@{revision}" if revision else ""
    from_there = fetched and is_within(path, folder)  # the user may have put a link to a file of another place
    return WeightsFile(path, f"hf://{repo}{at}/{file}" if from_there else path.name, _beside(path.parent, companions))


def _download(
    card: ModelCard, repo: str, revision: str | None, file: str, folder: Path, companions: Sequence[str]
) -> None:
    def failed(reason: str) -> WeightsError:
        return WeightsError(_where_to_put(card, folder, reason, repo, file, companions))

    if settings.offline:
        raise failed("downloads are off (sfm.settings.offline)")
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

    logger.info("Fetching %s of %s into %s", file, repo, folder)
    try:
        hf_hub_download(repo, file, revision=revision, local_dir=folder)
    except LocalEntryNotFoundError as error:
        raise failed("the hub cannot be reached") from error
    except (GatedRepoError, RepositoryNotFoundError) as error:
        raise failed(f"{repo} does not exist or has not granted access to this account") from error
    # what else comes up depends on the client's version and its HTTP library
    except Exception as error:
        raise failed(f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}") from error


def _download_companion(repo: str, revision: str | None, name: str, folder: Path) -> None:
    from huggingface_hub import hf_hub_download

    try:
        hf_hub_download(repo, name, revision=revision, local_dir=folder)
    except Exception as error:  # the model works without it, and its own file describes what is lost
        logger.info("No %s from %s (%s)", name, repo, type(error).__name__)


def _where_to_put(
    card: ModelCard,
    folder: Path,
    reason: str,
    repo: str | None = None,
    file: str | None = None,
    companions: Sequence[str] = (),
) -> str:
    path = folder / (file or file_of(card))
    together = f" (and {', '.join(companions)} next to it)" if companions else ""
    text = (
        f"No weights for model {card.name!r}: {reason}. Put {path.name} at {path}{together}, "
        "or pass weights=<file or folder>."
    )
    if repo and card.gated:
        text += f" The model is gated: ask for access at https://huggingface.co/{repo}, then run `hf auth login`."
    return text + ' For a smoke test without them: weights="random".'
