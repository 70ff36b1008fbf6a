"""Models that bring their own code: the repository on this machine, what identifies it, and the class in it.

Nothing of that code is part of this package. It is run only where the user asks for it, through `transformers`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from .._errors import ModelError, WeightsError
from .._logging import logger
from .._settings import settings
from . import hub, hub_id

_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".py", ".json", ".csv")


class HasRepository(Protocol):
    """What a card states of the repository."""

    @property
    def name(self) -> str:
        """Name of the model."""
        ...

    @property
    def hub(self) -> str | None:
        """Repository that publishes it."""
        ...

    @property
    def weights_file(self) -> str | None:
        """File that every such repository holds."""
        ...


def ask_for_consent(card: HasRepository, trust_remote_code: bool) -> None:
    """Refuse to go on unless the user lets the repository's code run.

    Raises
    ------
    ModelError
        If `trust_remote_code` is not True.
    """
    if trust_remote_code is not True:
        raise ModelError(
            f"Model {card.name!r} is run by code in its repository ({card.hub}), which may do anything on this "
            "machine. Read that code first; then pass trust_remote_code=True."
        )


def repository(
    card: HasRepository, weights: str | os.PathLike | None, *, ignore: Sequence[str] = ()
) -> tuple[Path, str]:
    """The repository on this machine, fetched if need be, and how the record names it.

    Parameters
    ----------
    weights
        Folder that holds the whole repository, a hub repository (``"org/repo"`` or ``"hf://org/repo@revision"``), or
        None for the published one.
    ignore
        Patterns of files that are not fetched.

    Raises
    ------
    WeightsError
        If the repository is nowhere.
    """
    file = str(card.weights_file)
    path = None if weights is None else Path(weights).expanduser()
    if path is not None and path.is_dir():
        if not (path / file).is_file():
            raise WeightsError(
                f"Folder {path} has no {file} for model {card.name!r}. Pass the folder that holds the "
                f"whole repository {card.hub}."
            )
        return path, path.name
    text = "hf://" + str(weights or card.hub).removeprefix("hf://")
    try:
        named = hub_id.parse_hub_id(text)
    except WeightsError:
        if str(weights).startswith("hf://"):
            raise
        named = None
    if named is None or named.file:
        raise WeightsError(
            f"No folder {str(weights)!r} for model {card.name!r}. Pass weights=<folder with the whole repository>, or "
            'a hub repository ("org/repo" or "hf://org/repo@revision").'
        )
    folder = settings.cache_dir / card.name if weights is None else named.folder
    if not (folder / file).is_file():
        _download(card, named.repo, named.revision, folder, ignore)
    return folder, text


def checksum_of(folder: Path) -> str:
    """SHA-256 over all that decides the numbers: weights, code and tables, by name."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and path.suffix in _SUFFIXES and not any(part.startswith((".", "__")) for part in parts[:-1]):
            digest.update("/".join(parts).encode() + bytes.fromhex(hub.checksum(path)))
    return digest.hexdigest()


def model_in(folder: Path, card: HasRepository, methods: Sequence[str], interface: str) -> Any:
    """The model that the code of a repository builds.

    Parameters
    ----------
    methods
        What the model must have.
    interface
        The same in words.

    Raises
    ------
    ModelError
        If `transformers` or a package of the code is not installed, or the model has another interface.
    WeightsError
        If the code cannot load its weights.
    """
    try:
        from transformers import AutoModel
    except ImportError as error:
        raise ModelError(
            f"Model {card.name!r} needs the package transformers: pip install 'spatialfm[kronos2]'."
        ) from error
    logger.info("%s: running the code in %s", card.name, folder)
    try:
        model = AutoModel.from_pretrained(str(folder), trust_remote_code=True, local_files_only=True)
    except ImportError as error:
        raise ModelError(f"The code of model {card.name!r} needs further packages: {error}") from error
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        first = (str(error).strip().splitlines() or ["no message"])[0]
        raise WeightsError(
            f"transformers cannot load model {card.name!r} from {folder} ({type(error).__name__}: {first}). The folder "
            f"must hold the whole repository {card.hub}: code, config.json and weights."
        ) from error
    if not isinstance(model, nn.Module) or not all(callable(getattr(model, name, None)) for name in methods):
        raise ModelError(
            f"The code in {folder} is not that of model {card.name!r}: it has no {interface}. Pass a folder with the "
            f"repository {card.hub}."
        )
    return model


def _download(card: HasRepository, repo: str, revision: str | None, folder: Path, ignore: Sequence[str]) -> None:
    reason = "downloads are off (sfm.settings.offline)" if settings.offline else ""
    if not reason:
        from huggingface_hub import snapshot_download

        logger.info("Fetching %s into %s", repo, folder)
        try:
            snapshot_download(repo, revision=revision, local_dir=folder, ignore_patterns=list(ignore))
            return
        # what comes up depends on the client's version and its HTTP library
        except Exception as error:
            cause, reason = error, f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
    else:
        cause = None
    raise WeightsError(
        f"No weights for model {card.name!r}: {reason}. Put the whole repository {repo} at {folder}, or pass "
        f"weights=<folder>. The model is gated: ask for access at https://huggingface.co/{repo}, then run "
        "`hf auth login`."
    ) from cause
