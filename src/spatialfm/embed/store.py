"""Finished blocks on disk, so that a run that was stopped goes on where it was.

A run is known by a fingerprint of everything that decides its numbers. Blocks are written beside and renamed: a file
that exists is whole. Nothing here may change the bytes of a block.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .._errors import RunError


def fingerprint(identity: Mapping[str, object]) -> str:
    """SHA-256 of what decides the numbers of a run; values are JSON-able or arrays."""
    digest = hashlib.sha256()
    for key in sorted(identity):
        value = identity[key]
        digest.update(key.encode())
        if isinstance(value, np.ndarray):
            digest.update(f"{value.dtype}{value.shape}".encode())
            digest.update(np.ascontiguousarray(value).tobytes())
        else:
            digest.update(json.dumps(value, sort_keys=True, default=str).encode())
    return digest.hexdigest()


class BlockStore:
    """Blocks of one run in a folder of their own.

    Parameters
    ----------
    folder
        Folder of all runs.
    run
        Fingerprint of the run.
    resume
        Whether blocks that are there are kept.
    """

    def __init__(self, folder: Path, run: str, *, resume: bool = True) -> None:
        self.path = Path(folder) / run[:24]
        try:
            if not resume and self.path.exists():
                shutil.rmtree(self.path)
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(
                f"Cannot write finished blocks to {self.path}: {error.strerror}. "
                "Set sfm.settings.cache_dir to a folder that is writable."
            ) from error

    def _file(self, block: int) -> Path:
        return self.path / f"block_{block:06d}.npz"

    def has(self, block: int) -> bool:
        """Whether a block is finished."""
        return self._file(block).exists()

    def read(self, block: int) -> dict[str, np.ndarray]:
        """The arrays of a finished block."""
        with np.load(self._file(block)) as file:
            return dict(file)

    def write(self, block: int, **arrays: np.ndarray) -> None:
        """Write a block beside, bring it to disk, then rename it."""
        partial = self.path / f".block_{block:06d}.{os.getpid()}.partial"
        try:
            with partial.open("wb") as file:
                np.savez(file, **arrays)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, self._file(block))
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise RunError(
                f"Cannot write block {block} to {self.path}: {error.strerror}. What is finished is kept: "
                "make room and repeat the same call."
            ) from error

    def remove(self) -> None:
        """Forget the run."""
        shutil.rmtree(self.path, ignore_errors=True)
