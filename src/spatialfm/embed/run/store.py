"""Finished blocks on disk, so that a run that was stopped goes on where it was.

A run is known by a fingerprint of everything that decides its numbers. A block is a folder of arrays that is written
under another name and renamed, with a note of its run, its number, and the size and checksum of each array: what the
note does not match counts as absent, for any reason, and is encoded again. Nothing here may change the bytes
of a block.
"""

from __future__ import annotations

import errno
import io
import json
import os
import re
import uuid
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ... import _disk
from ..._errors import RunError, counted
from ..._logging import logger

NOTE = "block.json"
_RUN = re.compile(r"[0-9a-f]{24}(-[0-9a-f]{8})?")


class BlockLost(RunError):
    """A finished block is gone or damaged: it has to be encoded again."""


def check_writable(folder: Path) -> None:
    """Refuse a folder that cannot be written to, before any long work.

    Raises
    ------
    RunError
        With the setting to change.
    """
    probe = Path(folder) / _disk.name_beside()
    try:
        probe.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(folder: Path, error: OSError) -> RunError:
    return RunError(
        f"Cannot write finished blocks to {folder}: {error.strerror or error}. "
        "Make room there, or set sfm.settings.cache_dir to a folder that is writable, and repeat the same call."
    )


def clear_finished(folder: Path, run: str) -> None:
    """Remove what is left of a run whose result is there, if no process is at it."""
    _disk.sweep(folder)
    for path in [Path(folder) / run[:24], *Path(folder).glob(f"{run[:24]}-*")]:
        if not _disk.holders(path):
            _disk.discard(path)


class BlockStore:
    """Blocks of one run in a separate folder.

    Several processes may work on a run at once: each takes the blocks that the others have finished, and the last one
    removes the folder.

    Parameters
    ----------
    folder
        Folder of all runs.
    run
        Fingerprint of the run.
    resume
        Whether blocks that are there are kept. If not, and another process is at the same run, this one gets a folder
        of its own.
    names
        Of each block what decides its bytes, where blocks of other runs may be taken; None: they may not.
    """

    def __init__(self, folder: Path, run: str, *, resume: bool = True, names: Sequence[str] | None = None) -> None:
        self.run, self.path, self.names = run[:24], Path(folder) / run[:24], names
        _disk.sweep(folder)
        self._clear_abandoned()
        holders = [] if resume else _disk.holders(self.path)
        if holders:
            logger.warning(
                "resume=False, and the same call is at work (%s): this one has a separate folder. If that process is "
                "no more, delete %s",
                holders[0],
                holders[0].path,
            )
            self.path = Path(folder) / f"{self.run}-{uuid.uuid4().hex[:8]}"
        self.hold: _disk.Hold | None = _disk.Hold(self.path)
        try:
            self.hold.take()  # before the folder is there, so that no process treats it as abandoned
        except OSError as error:
            raise _unwritable(self.path, error) from error
        try:
            if not resume or os.path.lexists(self.path) and not self.path.is_dir():
                _disk.discard(self.path)
            check_writable(self.path)
        except BaseException:
            self.hold.release()
            raise
        _disk.sweep(self.path)

    @classmethod
    def at(cls, path: Path, names: Sequence[str] | None = None) -> BlockStore:
        """The store of a run that another process holds; nothing is made or removed."""
        store = cls.__new__(cls)
        store.run, store.path, store.names, store.hold = Path(path).name[:24], Path(path), names, None
        return store

    def other_runs(self) -> list[Path]:
        """Folders of other runs beside this one at which no process is, the latest first."""
        runs = [path for path in self.path.parent.iterdir() if _RUN.fullmatch(path.name) and path != self.path]
        return sorted((path for path in runs if not _disk.holders(path)), key=lambda path: -path.stat().st_mtime_ns)

    def take_from(self, runs: Sequence[Path]) -> None:
        """Move blocks of other runs here that have the name of one that is not there; their bytes are checked later."""
        wanted: dict[str | None, list[int]] = {}  # of copies of an image there are several
        for number, name in enumerate(self.names or ()):
            if not self.has(number):
                wanted.setdefault(name, []).append(number)
        for folder in (one for path in runs for one in sorted(path.glob("block_*"))):
            numbers = wanted.get(_name_in(folder))
            if not numbers:
                continue
            _disk.discard(self._folder(numbers[-1]))
            try:
                os.replace(folder, self._folder(numbers[-1]))
            except OSError:  # another process was first, or the folder is not ours to change: encoded again
                continue
            if self.has(numbers[-1]):
                numbers.pop()

    def keep(self) -> None:
        """Leave the blocks to later runs; what is left of others that no process is at is removed."""
        for path in self.other_runs():
            _disk.discard(path)
        self.__exit__()

    def _clear_abandoned(self) -> None:
        """Remove separate folders of processes at this run that are not held any more."""
        for path in self.path.parent.glob(f"{self.run}-*"):
            if not _disk.holders(path):
                _disk.discard(path)

    def others(self) -> list[_disk.Holder]:
        """Who else is at the same run."""
        return self.hold.others() if self.hold else []

    def _folder(self, block: int) -> Path:
        return self.path / f"block_{block:06d}"

    def has(self, block: int) -> bool:
        """Whether a block of this run is there, with all its arrays in their full size."""
        return self._note(block) is not None

    def is_sound(self, block: int) -> bool:
        """Whether it is there, and every byte is as it was written."""
        arrays = self._note(block)
        if arrays is None:
            return False
        try:
            return all(_crc(self._folder(block) / name) == part["crc32"] for name, part in arrays.items())
        except (OSError, KeyError, TypeError):
            return False

    def unfinished(self, n_blocks: int) -> list[int]:
        """Numbers of the blocks that are not there, or not as they were written."""
        left, damaged = [], 0
        for block in range(n_blocks):
            if not self.is_sound(block):
                left.append(block)
                damaged += os.path.lexists(self._folder(block))
                _disk.discard(self._folder(block))
        if damaged:
            logger.warning(
                "%s in %s: not as written by this version, encoded again", counted(damaged, "block"), self.path
            )
        return left

    def _note(self, block: int) -> dict[str, dict[str, int]] | None:
        """Files of a block with size and checksum; None where the block is not there or damaged."""
        folder = self._folder(block)
        try:
            note = json.loads((folder / NOTE).read_bytes())
            if self.names is not None and note["name"] != self.names[block]:
                return None
            if self.names is None and (note["run"], note["block"]) != (self.run, block) or not note["arrays"]:
                return None
            sizes = {name: (folder / name).stat().st_size for name in note["arrays"]}
            whole = all(sizes[name] == part["bytes"] for name, part in note["arrays"].items())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # for any content
            return None
        return note["arrays"] if whole else None

    def read(self, block: int, name: str) -> np.ndarray:
        """One array of a finished block, mapped: only what is touched comes into memory.

        Raises
        ------
        BlockLost
            If it is gone or damaged.
        """
        try:
            return np.load(self._folder(block) / f"{name}.npy", mmap_mode="r")
        except (OSError, ValueError, EOFError) as error:
            raise BlockLost(
                f"Block {block} is gone from {self.path} or damaged ({error}). Repeat the same call: it is encoded "
                "again, and what else is finished is used."
            ) from error

    def write(self, block: int, **arrays: np.ndarray) -> None:
        """Write a block under another name, bring it to disk, then rename it.

        Raises
        ------
        RunError
            If it cannot be written.
        BlockLost
            If the folder is removed meanwhile.
        """
        if self.hold is not None and not (self.hold.path.exists() and self.path.is_dir()):
            self.come_back()
        try:
            self._write_beside(block, arrays)
        except OSError as error:
            if self.has(block):
                return
            if isinstance(error, FileNotFoundError):  # a removal may go on for a while: no second try here
                raise BlockLost(
                    f"Block {block} was removed from {self.path} while it was written. Repeat the same call: it is "
                    "encoded again, and what else is finished is used."
                ) from error
            raise RunError(
                f"Cannot write block {block} to {self.path}: {error.strerror or error}. What is finished is kept: "
                "make room and repeat the same call."
            ) from error

    def _write_beside(self, block: int, arrays: dict[str, np.ndarray]) -> None:
        if self.hold is None and not self.path.is_dir():  # whoever holds the run makes its folder again
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        note = {}
        # the worker of a block that was given out twice may have come first
        with _disk.written_beside(self._folder(block), unless=lambda: self.is_sound(block)) as partial:
            partial.mkdir()
            for name, values in arrays.items():
                note[f"{name}.npy"] = _save(partial / f"{name}.npy", np.ascontiguousarray(values))
            named = {} if self.names is None else {"name": self.names[block]}
            text = json.dumps({"run": self.run, "block": block, **named, "arrays": note})
            _write(partial / NOTE, [text.encode()])

    def come_back(self) -> None:
        """Make the folder and the mark again, if they were removed."""
        if not self.path.is_dir():
            logger.warning("%s was removed while the run goes on: what it held is encoded again", self.path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if self.hold is not None:
                self.hold.take()
        except OSError:  # the write itself raises the reason
            return

    def remove(self) -> None:
        """Forget the run, unless another process is at it."""
        if self.hold is not None:
            self.hold.release()
        if others := self.others():
            logger.warning(
                "the blocks in %s are left to %s, which is at the same call. If that process has ended, delete the "
                "folder",
                self.path,
                others[0],
            )
            return
        _disk.discard(self.path)

    def __enter__(self) -> BlockStore:
        return self

    def __exit__(self, *_: object) -> None:
        """Hold the folder no longer; what is finished is left to the next call."""
        if self.hold is not None:
            self.hold.release()


def _name_in(folder: Path) -> str | None:
    """What decides the bytes of a block, by its note."""
    try:
        return json.loads((folder / NOTE).read_bytes())["name"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _save(path: Path, values: np.ndarray) -> dict[str, int]:
    """Write an array and bring it to disk; its size and checksum in the file."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(values))
    return _write(path, [header.getvalue(), values.data.cast("B") if values.size else b""])


def _write(path: Path, parts: list[bytes | memoryview]) -> dict[str, int]:
    size = crc = 0
    # not np.save: it writes through C's buffers, and what a full disk does not take there is lost without an error
    with path.open("wb") as file:
        for part in parts:
            file.write(part)
            size, crc = size + len(part), zlib.crc32(part, crc)
        file.flush()
        os.fsync(file.fileno())
    return {"bytes": size, "crc32": crc}


def _crc(path: Path) -> int:
    crc = 0
    with path.open("rb") as file:
        for part in _pieces(file):
            crc = zlib.crc32(part, crc)
    return crc


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while part := file.read(2**22):
        yield part
