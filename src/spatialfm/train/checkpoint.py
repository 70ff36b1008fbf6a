"""Checkpoints: written beside and renamed, checked by a hash, the last two kept."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from .. import _disk
from .._errors import RunError, warn
from ..models.hub import checksum

KEPT = 2
STATE, CHECKSUM = "state.pt", "checksum.json"
_NAME = re.compile(r"step-(\d{8,})")


class Checkpoints:
    """The checkpoints of one run.

    Each is a folder with a state and its SHA-256, which appears under its name when both are on the disk. So a process
    that is killed at any moment leaves whole checkpoints, and one that was damaged later is seen and passed over.

    Parameters
    ----------
    folder
        Where they are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def steps(self) -> list[int]:
        """Steps after which there is one, in order."""
        if not self.folder.is_dir():
            return []
        return sorted(int(match[1]) for path in self.folder.iterdir() if (match := _NAME.fullmatch(path.name)))

    def path(self, step: int) -> Path:
        """Folder of the one after a step."""
        return self.folder / f"step-{step:08d}"

    def write(self, step: int, save: Callable[[Path], None]) -> None:
        """Write the one after a step with `save`, and take away all but the last two.

        Raises
        ------
        RunError
            If it cannot be written; those that were there are kept.
        """
        try:
            with _disk.written_beside(self.path(step)) as partial:
                partial.mkdir(parents=True)
                save(partial / STATE)
                mark = {"step": step, "sha256": checksum(partial / STATE)}
                _disk.write_bytes(partial / CHECKSUM, json.dumps(mark).encode())
        except (OSError, RuntimeError) as error:  # torch reports a full disk as the latter
            steps = self.steps()
            kept = f"The one after step {steps[-1]:,} is kept" if steps else "There is none before it"
            raise RunError(
                f"The checkpoint after step {step:,} could not be written to '{self.folder}': {_reason(error)}. "
                f"{kept}; make space and call again: the run goes on from there."
            ) from error
        for old in self.steps()[:-KEPT]:
            _disk.discard(self.path(old))

    def newest(self) -> int | None:
        """The step of the newest whole one; damaged ones are warned of and passed over.

        Raises
        ------
        RunError
            If there are some, and all are damaged.
        """
        _disk.sweep(self.folder)
        steps = self.steps()
        for step in reversed(steps):
            if problem := self._problem(step):
                warn(f"Checkpoint '{self.path(step)}' {problem}. It is passed over, and steps after the one before it "
                     "are done again.")  # fmt: skip
            else:
                return step
        if steps:
            raise RunError(
                f"All checkpoints in '{self.folder}' are damaged: step {', '.join(map(str, steps))}. Restore them from "
                "a copy, or pass another out="
            )
        return None

    def read(self, step: int) -> dict[str, Any]:
        """State of one; tensors are on the CPU."""
        return torch.load(self.path(step) / STATE, map_location="cpu", weights_only=True)

    def _problem(self, step: int) -> str:
        try:
            mark = json.loads((self.path(step) / CHECKSUM).read_text())
            same = mark["sha256"] == checksum(self.path(step) / STATE)
        except (OSError, ValueError, KeyError, TypeError) as error:
            return f"cannot be read ({_reason(error)})"
        return "" if same else "is damaged: its SHA-256 is not what was written"


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Files of a run other than checkpoints.

    Raises
    ------
    RunError
        If the system cannot write one.
    """
    try:
        yield
    except OSError as error:
        raise RunError(
            f"Files of the run in '{folder}' could not be written: {_reason(error)}. Make space, or see to the rights "
            "of the folder, and call again"
        ) from error


def save_state(state: dict[str, Any], path: Path) -> None:
    """Write a state, and bring it to disk."""
    with path.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())


def _reason(error: BaseException) -> str:
    cause: BaseException | None = error
    while cause is not None:  # torch hides the reason of the system behind its own
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return str(error).splitlines()[0] if str(error) else type(error).__name__
