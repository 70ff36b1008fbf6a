"""Finished blocks on disk, so that a run that was stopped goes on where it was.

A run is known by a fingerprint of everything that decides its numbers. A block is a folder of arrays that is written
beside and renamed: one that exists is whole, whoever wrote it. Nothing here may change the bytes of a block.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from .._errors import RunError

# Of the numbers that this package computes from given pixels, weights and options. To be raised by whoever changes any
# of them: blocks, embeddings and statistics of another version are never taken from the cache.
RECIPE = 4


def fingerprint(identity: Mapping[str, object]) -> str:
    """SHA-256 of what decides the numbers of a run, and of the version of the recipe."""
    digest = hashlib.sha256(f"recipe {RECIPE}".encode())
    for key in sorted(identity):
        digest.update(f"\0{key}\0".encode())
        digest.update(json.dumps(_canonical(identity[key]), sort_keys=True).encode())
    return digest.hexdigest()


def _canonical(value: object) -> object:
    """What JSON can hold, without loss: arrays by all their bytes, of which their text would show a few."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {f"{type(key).__name__} {key}": _canonical(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(part) for part in value]
    if hasattr(value, "detach"):  # a tensor; its own bytes, as numpy knows no bfloat16
        value = value.detach().cpu()
        return [str(value.dtype), *_canonical(value.double().numpy())]
    if isinstance(value, np.ndarray) and value.dtype.kind != "O":
        content = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return [str(value.dtype), list(value.shape), content]
    if isinstance(value, np.ndarray | np.generic):
        return _canonical(value.tolist() if isinstance(value, np.ndarray) else value.item())
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    return f"{type(value).__name__} {value}"


def check_writable(folder: Path) -> None:
    """Refuse a folder that cannot be written to, before any long work.

    Raises
    ------
    RunError
        With the setting to mend.
    """
    probe = Path(folder) / f".probe-{uuid.uuid4().hex}"
    try:
        probe.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise RunError(
            f"Cannot write finished blocks to {folder}: {error.strerror}. "
            "Set sfm.settings.cache_dir to a folder that is writable."
        ) from error


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
        if not resume:
            shutil.rmtree(self.path, ignore_errors=True)
        check_writable(self.path)

    @classmethod
    def at(cls, path: Path) -> BlockStore:
        """The store of a run whose folder exists."""
        return cls(Path(path).parent, Path(path).name)

    def _folder(self, block: int) -> Path:
        return self.path / f"block_{block:06d}"

    def has(self, block: int) -> bool:
        """Whether a block is finished."""
        return self._folder(block).exists()

    def read(self, block: int, name: str) -> np.ndarray:
        """One array of a finished block, mapped: only what is touched comes into memory."""
        return np.load(self._folder(block) / f"{name}.npy", mmap_mode="r")

    def write(self, block: int, **arrays: np.ndarray) -> None:
        """Write a block beside, bring it to disk, then rename it."""
        partial = self.path / f".block_{block:06d}.{uuid.uuid4().hex}.partial"
        try:
            partial.mkdir()
            for name, values in arrays.items():
                with (partial / f"{name}.npy").open("wb") as file:
                    _save(file, np.ascontiguousarray(values))
                    file.flush()
                    os.fsync(file.fileno())
            if not self.has(block):  # the worker of a block that was given out twice may have come first
                os.replace(partial, self._folder(block))
        except OSError as error:
            if not self.has(block):
                raise RunError(
                    f"Cannot write block {block} to {self.path}: {error.strerror}. What is finished is kept: "
                    "make room and repeat the same call."
                ) from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def remove(self) -> None:
        """Forget the run."""
        shutil.rmtree(self.path, ignore_errors=True)


def _save(file: BinaryIO, values: np.ndarray) -> None:
    # np.save writes through C's buffers, and what a full disk does not take there is lost without an error
    np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(values))
    file.write(values.data)
