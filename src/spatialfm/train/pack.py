"""Pixels of all windows in one file, so that epochs do not decode images again.

A folder holds ``pixels.bin`` (windows one after the other, ``(M, size, size)`` each), ``index.npz`` (how each channel
of each window is brought back to its units, and checksums) and ``pack.json``, which is written last. Until then, what
is finished is in ``pixels.part`` and ``log.part``: a run that was killed goes on after the last whole window.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from .. import _disk
from .._errors import RunError, listed
from .._logging import logger
from .._progress import progress_bar

try:
    import fcntl
except ImportError:  # Windows: nothing tells processes apart that pack into one folder at once
    fcntl = None  # type: ignore[assignment]

Kind = Literal["uint16", "float16"]
FORMAT = 1
_HIGHEST = np.iinfo(np.uint16).max
_NUMBERS = np.dtype([("low", "<f4"), ("step", "<f4"), ("divisor", "<f4")])  # of each channel of a window
_SUM = np.dtype("<u4")


class Pack:
    """Windows that were packed into a folder.

    Parameters
    ----------
    folder
        Where.
    channels
        Number of channels of each window.
    size
        Side of a window.
    made_of
        What decides the pixels, by part.
    kind
        ``"uint16"``: 65,536 steps from the smallest to the largest value of each channel of a window; the values of 8-
        and 16-bit images that are neither resampled nor prepared are kept exactly. ``"float16"``: 11 bits of each
        value, whatever its size.
    """

    def __init__(
        self, folder: str | os.PathLike[str], channels: Sequence[int], size: int, made_of: Mapping[str, str], kind: Kind
    ) -> None:
        self.folder, self.size, self.kind = Path(folder).expanduser(), size, kind
        self.channels = np.asarray(channels, np.int64)
        self.made_of = {"format": str(FORMAT), "kind": kind, **made_of}
        self._first = np.concatenate([[0], np.cumsum(self.channels)])  # row of the first channel of each window
        self._forget()

    def _forget(self) -> None:
        self._map: np.ndarray | None = None
        self._file: BinaryIO | None = None
        self._numbers = np.zeros(0, _NUMBERS)
        self._sums = np.zeros(0, _SUM)
        self._seen = np.zeros(0, bool)

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        for name in ("_map", "_file", "_numbers", "_sums", "_seen"):  # opened again where it is sent
            del state[name]
        return state

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def __len__(self) -> int:
        return len(self.channels)

    def write(self, read: Callable[[int], np.ndarray], divisor: Callable[[int], float | None]) -> None:
        """Pack all windows that are not packed yet; nothing where all are.

        Parameters
        ----------
        read
            Pixels ``(M, size, size)`` of a window, not standardised.
        divisor
            What pixels of whole numbers were divided by, where that is all that was done to them.

        Raises
        ------
        RunError
            If the folder has other windows, is damaged, or cannot be written to.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with _alone(self.folder):
                if (self.folder / "pack.json").is_file():
                    self._open()
                    return
                self._write(read, divisor)
        except OSError as error:
            raise RunError(
                f"The packed windows cannot be written to {str(self.folder)!r}: {error}. What is packed is kept: "
                "repeat the call to go on."
            ) from error

    def _write(self, read: Callable[[int], np.ndarray], divisor: Callable[[int], float | None]) -> None:
        header = self.folder / "begun.json"
        if header.is_file():
            self._check(self._header("begun.json"))
        else:
            _disk.write_bytes(header, json.dumps(self.made_of).encode())
        if (whole := self.folder / "pixels.bin").is_file() and not (self.folder / "pixels.part").exists():
            os.replace(whole, self.folder / "pixels.part")  # stopped between the two last steps
        with _appending(self.folder / "pixels.part") as pixels, _appending(self.folder / "log.part") as log:
            n_done = self._resumed(pixels, log)
            for index in progress_bar(
                range(n_done, len(self)), initial=n_done, total=len(self), desc="packing windows"
            ):
                stored, numbers = encoded(read(index), self.kind, divisor(index))
                content = stored.tobytes()
                pixels.write(content)
                pixels.flush()  # before the line that says so
                log.write(np.array(zlib.crc32(content), _SUM).tobytes() + numbers.tobytes())
                log.flush()
            for file in (pixels, log):
                os.fsync(file.fileno())
        self._finish()

    def _finish(self) -> None:
        sums, numbers = self._logged((self.folder / "log.part").read_bytes())
        index = io.BytesIO()
        np.savez(index, sums=sums, numbers=numbers)
        _disk.write_bytes(self.folder / "index.npz", index.getvalue())
        os.replace(self.folder / "pixels.part", self.folder / "pixels.bin")
        digest = hashlib.sha256(index.getvalue()).hexdigest()
        _disk.write_bytes(self.folder / "pack.json", json.dumps({**self.made_of, "index": digest}).encode())
        for name in ("log.part", "begun.json"):
            (self.folder / name).unlink(missing_ok=True)

    def _resumed(self, pixels: BinaryIO, log: BinaryIO) -> int:
        """Windows that are whole; what comes after them is cut off."""
        log.seek(0)
        sums, numbers = self._logged(log.read())
        pixels.seek(0)
        n_done = 0
        for index, wanted in enumerate(sums):
            content = pixels.read(self._bytes(index))
            if len(content) < self._bytes(index) or zlib.crc32(content) != wanted:
                break
            n_done = index + 1
        pixels.truncate(sum(self._bytes(index) for index in range(n_done)))
        log.truncate(self._log_bytes(n_done))
        for file in (pixels, log):
            file.seek(0, os.SEEK_END)
        if n_done:
            logger.info("%d of %d windows are packed already in %s", n_done, len(self), self.folder)
        return n_done

    def _bytes(self, index: int) -> int:
        return int(self.channels[index]) * self.size**2 * 2

    def _log_bytes(self, n_windows: int) -> int:
        return n_windows * _SUM.itemsize + int(self._first[n_windows]) * _NUMBERS.itemsize

    def _logged(self, content: bytes) -> tuple[np.ndarray, np.ndarray]:
        """Checksums and numbers of the windows whose lines are whole."""
        sums, numbers, at = [], [], 0
        for n_channels in self.channels:
            length = _SUM.itemsize + int(n_channels) * _NUMBERS.itemsize
            line = content[at : at + length]
            if len(line) < length:
                break
            sums.append(np.frombuffer(line[: _SUM.itemsize], _SUM)[0])
            numbers.append(np.frombuffer(line[_SUM.itemsize :], _NUMBERS))
            at += length
        return np.array(sums, _SUM), np.concatenate(numbers) if numbers else np.zeros(0, _NUMBERS)

    def _header(self, name: str) -> dict[str, str]:
        try:
            header = json.loads((self.folder / name).read_bytes())
            return {str(key): str(value) for key, value in header.items()}
        except (OSError, ValueError, AttributeError) as error:
            raise self._damaged(f"{name} cannot be read ({error})") from error

    def _check(self, header: Mapping[str, str]) -> None:
        other = [name for name, value in self.made_of.items() if header.get(name) != value]
        if other:
            raise RunError(
                f"{str(self.folder)!r} holds packed windows of another run: what differs is "
                f"{listed(other, quoted=False)}. Pass another cache=, or delete that folder."
            )

    def _damaged(self, why: str) -> RunError:
        return RunError(
            f"The packed windows in {str(self.folder)!r} are damaged: {why}. Delete that folder and repeat."
        )

    def _open(self) -> np.ndarray:
        if self._map is not None and self._file is not None:
            self._check_length(self._file)  # beyond the end of a file that is mapped, the system ends the process
            return self._map
        header = self._header("pack.json")
        self._check(header)
        try:
            content = (self.folder / "index.npz").read_bytes()
            file = open(self.folder / "pixels.bin", "rb")  # as long as it is mapped
        except OSError as error:
            raise self._damaged(str(error)) from error
        if hashlib.sha256(content).hexdigest() != header.get("index"):
            raise self._damaged("index.npz is not as it was written")
        self._check_length(file)
        with np.load(io.BytesIO(content)) as arrays:
            self._sums, self._numbers = arrays["sums"], arrays["numbers"]
        self._seen = np.zeros(len(self), bool)
        shape = (int(self._first[-1]), self.size, self.size)
        mapped = np.memmap(file, _type_of(self.kind), "r", shape=shape)
        self._file, self._map = file, mapped.view(np.ndarray)  # cutting out of a `memmap` takes several times as long
        return self._map

    def _check_length(self, file: BinaryIO) -> None:
        n_bytes, whole = os.fstat(file.fileno()).st_size, int(self._first[-1]) * self.size**2 * 2
        if n_bytes != whole:
            raise self._damaged(f"pixels.bin has {n_bytes:,} bytes, not {whole:,}")

    def pixels(self, index: int, chosen: np.ndarray, y: int, x: int, side: int) -> np.ndarray:
        """Pixels ``(m, side, side)`` of some channels of a part of a window, float32.

        Raises
        ------
        RunError
            If the folder is damaged. Each window is checked as a whole when a process first reads it.
        """
        rows = self._open()[self._first[index] : self._first[index + 1]]
        if not self._seen[index]:
            if zlib.crc32(rows.tobytes()) != self._sums[index]:
                raise self._damaged(f"window {index} of pixels.bin is not as it was written")
            self._seen[index] = True
        numbers = self._numbers[self._first[index] : self._first[index + 1]][chosen]
        return decoded(rows[chosen, y : y + side, x : x + side], numbers)


def encoded(pixels: np.ndarray, kind: Kind, divisor: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Pixels ``(M, H, W)`` in two bytes each, and what brings each channel back ``(M,)``."""
    numbers = np.zeros(len(pixels), _NUMBERS)
    numbers["step"], numbers["divisor"] = 1, 1
    if kind == "float16":
        if np.abs(pixels).max(initial=0) > np.finfo(np.float16).max:
            raise RunError(
                f"Pixels of up to {np.abs(pixels).max():g} do not fit into float16. Pass cache_type='uint16'."
            )
        return pixels.astype("<f2"), numbers
    if divisor is not None:
        numbers["divisor"] = divisor
        return np.rint(pixels * np.float32(divisor)).astype("<u2"), numbers
    flat = pixels.reshape(len(pixels), -1)
    numbers["low"] = flat.min(axis=1)
    numbers["step"] = (flat.max(axis=1) - numbers["low"]) / _HIGHEST
    step = np.where(numbers["step"] > 0, numbers["step"], 1)
    whole = np.rint((pixels - numbers["low"][:, None, None]) / step[:, None, None])
    return np.clip(whole, 0, _HIGHEST).astype("<u2"), numbers


def decoded(stored: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Pixels ``(M, H, W)``, float32, of what `encoded` gave."""
    low, step = numbers["low"], numbers["step"]
    values = stored.astype(np.float32)
    if (step != 1).any() or low.any():
        values = low[:, None, None] + values * step[:, None, None]
    return values / numbers["divisor"][:, None, None]


def _type_of(kind: Kind) -> str:
    return "<u2" if kind == "uint16" else "<f2"


@contextmanager
def _appending(path: Path) -> Iterator[BinaryIO]:
    with open(path, "r+b" if path.is_file() else "w+b") as file:
        yield file


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Until another process that packs into the folder has finished, or died, this one waits."""
    if fcntl is None:
        yield
        return
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
