"""The folder of a run: whose it is, and whether a call goes on with what is in it."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from .. import _disk
from .._arguments import shown
from .._errors import RunError, listed, warn
from .._version import __version__
from ..models.adapter import CARD
from .checkpoint import Checkpoints, writing

RUN, CHECKPOINTS = "run.json", "checkpoints"
FORMAT = 1


@dataclass(frozen=True)
class Identity:
    """All that decides the numbers of a run.

    Attributes
    ----------
    parameters
        By the name of the argument that says them; in types of JSON.
    data
        Digest of each part of the data, by what it is about.
    code
        Digest of classes that are not of this package, by what they are: like a version, its change is told, since a
        comment changes it, too.
    """

    parameters: Mapping[str, Any]
    data: Mapping[str, str]
    code: Mapping[str, str] = field(default_factory=dict)


class RunFolder:
    """The folder of one run.

    Parameters
    ----------
    path
        Where it is, or is to be.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = Checkpoints(path / CHECKPOINTS)

    def begin(self, identity: Identity, *, resume: bool) -> dict[str, Any]:
        """Take the folder for a run, or go on with the run that is there; what is written of it.

        Raises
        ------
        RunError
            If other files are there, a run of other data or parameters, or a run that is not to be gone on with.
        """
        record: dict[str, Any]
        if not (self.path / RUN).is_file():
            self._refuse_other_files()
            record = {"format": FORMAT, "parameters": dict(identity.parameters), "data": dict(identity.data)}
            record["versions"] = versions() | dict(identity.code)
            self.write(record)
            return record
        record = self._read()
        if not resume:
            raise RunError(
                f"'{self.path}' holds a run, of {self._progress()}, and resume=False would begin anew over it. Pass "
                "another out=, or delete the folder yourself."
            )
        if differing := _differing(record, identity):
            kinds = listed([kind for kind, _ in differing], quoted=False)
            words = "; ".join(text for _, text in differing)
            raise RunError(
                f"'{self.path}' holds a run of other {kinds}, of {self._progress()}: {words}. Pass what it was begun "
                "with, or another out="
            )
        changed = [f"{name} {was} then, {now} now" for name, now in (versions() | dict(identity.code)).items()
                   if (was := record.get("versions", {}).get(name)) != now]  # fmt: skip
        if changed:
            warn(
                f"The run in '{self.path}' goes on with other versions, so that its numbers may differ from those of a "
                f"run with one: {', '.join(changed)}."
            )
        return record

    def write(self, record: Mapping[str, Any]) -> None:
        """Write what is known of the run."""
        with writing(self.path):
            _disk.write_bytes(self.path / RUN, (json.dumps(record, indent=2) + "\n").encode())

    def _read(self) -> dict[str, Any]:
        try:
            record = json.loads((self.path / RUN).read_text(encoding="utf-8"))
            known = record["format"] == FORMAT and isinstance(record["parameters"], dict)
        except (OSError, ValueError, KeyError, TypeError):
            known = False
        if not known:
            raise RunError(f"'{self.path / RUN}' is not what this version writes of a run. Pass another out=")
        return record

    def _progress(self) -> str:
        steps = self.checkpoints.steps()
        if not steps and (self.path / CARD).is_file():  # of a finished run whose checkpoints were taken away
            return "all of its steps"
        return f"{steps[-1]:,} steps so far" if steps else "no steps yet"

    def _refuse_other_files(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"out='{self.path}' is a file. Pass a folder; it is made where it does not exist.")
        others = (
            sorted(one.name for one in self.path.iterdir() if not one.name.startswith("."))
            if self.path.exists()
            else []
        )
        if others:
            raise RunError(
                f"Folder '{self.path}' already holds {listed(others, 4)}, and nothing says that a run of training "
                "wrote it. Pass another out="
            )

    @contextmanager
    def held(self) -> Iterator[None]:
        """The folder for this process alone.

        Raises
        ------
        RunError
            If another process trains into it, or nothing can be written there.
        """
        is_new, hold = not self.path.exists(), _disk.Hold(self.path)
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            hold.take()
        try:
            if others := hold.others():
                raise RunError(
                    f"'{self.path}' is in use by {others[0]}. Wait for it{_elsewhere(others[0])}, or pass another out="
                )
            yield
        finally:
            hold.release()
            if is_new and self.path.is_dir() and not any(self.path.iterdir()):  # refused before anything was written
                self.path.rmdir()


def _elsewhere(holder: _disk.Holder) -> str:
    """What to do about a process that may have died with its machine, of which nothing is known here."""
    if holder.host == platform.node():
        return ""
    return f"; where it has ended, such as with its node, delete '{holder.path}' and call again"


def versions() -> dict[str, str]:
    """Versions that decide numbers."""
    from lightning_fabric import __version__ as fabric

    return {"spatialfm": __version__, "torch": torch.__version__, "lightning-fabric": fabric}


def _differing(record: Mapping[str, Any], identity: Identity) -> list[tuple[str, str]]:
    """What differs: whether parameters or data, and words for it."""
    then, now = record["parameters"], json.loads(json.dumps(dict(identity.parameters)))
    changed = [name for name in dict.fromkeys([*then, *now]) if then.get(name) != now.get(name)]
    words = "; ".join(_difference(name, then.get(name), now.get(name)) for name in changed)
    differences = [("parameters", words)] if changed else []
    was = record.get("data", {})
    names = [name for name in dict.fromkeys([*was, *identity.data]) if was.get(name) != identity.data.get(name)]
    if names:
        differences.append(("data", f"what differs of the data is {listed(names, 12, quoted=False)}"))
    return differences


def _difference(name: str, then: Any, now: Any) -> str:
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        inner = [key for key in dict.fromkeys([*then, *now]) if then.get(key) != now.get(key)]
        return "; ".join(_difference(f"{name}[{key!r}]", then.get(key), now.get(key)) for key in inner)
    return f"{name} was {shown(then)}, and is {shown(now)}"
