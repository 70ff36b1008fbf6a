"""Names of repositories and files on the hub, checked before they become paths on this machine."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from .._errors import WeightsError
from .._settings import settings

_FORM = re.compile(r"(?P<repo>[^/@]+/[^/@]+)(@(?P<revision>[^/]*))?(/(?P<file>.*))?", re.DOTALL)
_REVISION = re.compile(r"\w[\w.+-]*")
_NOT_IN_A_FILE = re.compile(r"[\\:%\x00-\x1f\x7f]")


@dataclass(frozen=True)
class HubId:
    """A repository on the hub, at a revision, and perhaps a file in it."""

    repo: str
    revision: str | None = None
    file: str | None = None

    @property
    def folder(self) -> Path:
        """Where the repository is kept."""
        at = f"@{self.revision}" if self.revision else ""
        return settings.cache_dir / (self.repo.replace("/", "--") + at)


def parse_hub_id(text: str) -> HubId:
    """Read ``org/repo`` or ``hf://org/repo[@revision][/file]``.

    Raises
    ------
    WeightsError
        If the hub allows no such repository, or the file would be outside of it.

    Examples
    --------
    >>> parse_hub_id("hf://MahmoodLab/kronos@main/kronos_vits16_model.pt").repo
    'MahmoodLab/kronos'
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    match = _FORM.fullmatch(text.removeprefix("hf://"))
    if match is None:
        raise _no_id(text, "it is not org/repo[@revision][/file]")
    try:
        validate_repo_id(match["repo"])
    except HFValidationError as error:
        raise _no_id(text, f"{match['repo']!r} is not a name of a repository") from error
    revision, file = match["revision"], match["file"]
    if revision is not None and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise _no_id(text, f"{revision!r} is not a revision")
    if file is not None:
        if wrong := _NOT_IN_A_FILE.search(file):
            raise _no_id(text, f"the name of a file holds {wrong[0]!r}")
        if any(part.strip() in ("", ".", "..") for part in file.split("/")):
            raise _no_id(text, f"{file!r} is not a path within a repository")
    return HubId(match["repo"], revision, file)


def is_within(path: Path, folder: Path) -> bool:
    """Whether a path, links followed, is in the folder or in the hub client's own cache (to which it may link)."""
    from huggingface_hub.constants import HF_HUB_CACHE

    place = path.resolve()
    return any(place.is_relative_to(Path(root).resolve()) for root in (folder, HF_HUB_CACHE))


def _no_id(text: str, why: str) -> WeightsError:
    return WeightsError(
        f'{text!r} names nothing on the hub: {why}. Pass "org/repo" or "hf://org/repo@revision/file"; a file of this '
        "machine by its path, without hf://."
    )
