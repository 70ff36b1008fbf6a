"""The .txt that an imaging mass cytometer writes of each acquisition: one line per pixel, one column per channel."""

from __future__ import annotations

import os
import re
import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import dask.array as da
import numpy as np
import pandas as pd
from dask.base import tokenize

from .._errors import InputFileError, listed
from ._mcd_array import places_of
from ._reader import cut_out, whole_window
from ._state import FileState, OfFile, file_state

_FIRST = ("Start_push", "End_push", "Pushes_duration", "X", "Y", "Z")
_CHANNEL = re.compile(r"(?P<label>.*)\((?P<metal>[a-zA-Z]+)(?P<mass>[0-9]+)[^0-9]*\)")
_TAIL = 2**16  # bytes, in which the last line is
_lock = threading.Lock()


@dataclass(frozen=True)
class ImcText:
    """A .txt file of which header, first row and last line were read."""

    state: FileState
    labels: tuple[str, ...]
    metals: tuple[str, ...]
    shape: tuple[int, int, int]


def is_imc_text(path: Path) -> bool:
    """Whether a file begins as the instrument's do."""
    with open(path, "rb") as file:
        return file.read(40).lstrip(b"\xef\xbb\xbf").startswith(_FIRST[0].encode())


def open_text(path: Path) -> ImcText:
    """Channels and size of a .txt file; pixels are not read.

    The last line has the last pixel of the last row, from which the size follows; the first row has to be as long.

    Raises
    ------
    InputFileError
        If it is not such a file, or ends within a row or a line.
    """
    state = file_state(path)
    with open(path, "rb") as file:
        labels, metals = _channels(file.readline(), path)
        n_columns = len(_FIRST) + len(metals)
        fast, length = _first_row(file, n_columns, path)
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - _TAIL))
        tail = file.read().rstrip(b"\r\n \t\0").rsplit(b"\n", 1)[-1]
    last = _xy(tail, n_columns)
    if last is None or last[fast] != length - 1:
        where = "within a line" if last is None else f"at x = {last[0]}, y = {last[1]}, within a row of {length}"
        raise InputFileError(
            f"'{path}' ends {where}: it was not copied whole, or the acquisition was stopped. Copy it again."
        )
    return ImcText(state, labels, metals, (len(metals), last[1] + 1, last[0] + 1))


def _channels(line: bytes, path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    try:
        header = line.decode("utf-8-sig")
    except UnicodeDecodeError:
        header = line.decode("cp1252", errors="replace")
    columns = header.rstrip("\r\n").split("\t")
    if tuple(columns[: len(_FIRST)]) != _FIRST:
        raise InputFileError(
            f"'{path}' is not a text file of an imaging mass cytometer: it begins with {listed(columns[:3])}, not with "
            f"{listed(_FIRST, 3)}."
        )
    matched = [_CHANNEL.fullmatch(column) for column in columns[len(_FIRST) :]]
    if odd := [column for column, one in zip(columns[len(_FIRST) :], matched, strict=True) if one is None]:
        raise InputFileError(f"'{path}' has columns that name no metal: {listed(odd)}. Export it again.")
    matches = [one for one in matched if one is not None]
    metals = tuple(one["metal"] + one["mass"] for one in matches)
    if not metals or len(set(metals)) < len(metals):
        raise InputFileError(f"'{path}' has {'a metal twice' if metals else 'no channel'}. Export it again.")
    return tuple(one["label"] for one in matches), metals


def _first_row(file: BinaryIO, n_columns: int, path: Path) -> tuple[int, int]:
    """The axis (0 for x, 1 for y) along which pixels follow each other, and how many there are."""
    places = [_xy(file.readline(), n_columns), _xy(file.readline(), n_columns)]
    if places[0] != (0, 0) or places[1] not in ((1, 0), (0, 1), None):
        raise InputFileError(f"'{path}' does not begin with pixels 0, 0 and its neighbour. Export it again.")
    fast = 1 if places[1] == (0, 1) else 0
    length = 1 if places[1] is None else 2
    while places[1] is not None and (place := _xy(file.readline(), n_columns)) is not None and place[1 - fast] == 0:
        length += 1
    return fast, length


def _xy(line: bytes, n_columns: int) -> tuple[int, int] | None:
    """Place of a pixel; None where the line is not whole."""
    values = line.split(b"\t")
    try:
        return (int(float(values[3])), int(float(values[4]))) if len(values) == n_columns else None
    except ValueError:
        return None


@dataclass(frozen=True)
class TextArray(OfFile):
    """A .txt file as an array ``(c, y, x)``, parsed when it is first asked for."""

    state: FileState
    n_channels: int
    channels: tuple[int, ...]
    shape: tuple[int, int, int]
    dtype: np.dtype = np.dtype(np.float32)

    def __getitem__(self, key: Any) -> np.ndarray:
        self.state.check_same()
        ((c0, c1), rows, columns), within = whole_window(key, self.shape)
        with _lock:  # parsed once, whichever block asks first
            pixels = parse_text(self.state, self.n_channels, self.shape[1:])
        window = pixels[:, slice(*rows), slice(*columns)][list(self.channels[c0:c1])]  # a copy of this part alone
        return cut_out(window, within)


@lru_cache(maxsize=1)  # an acquisition may have 1 GB
def parse_text(state: FileState, n_channels: int, shape: tuple[int, int]) -> np.ndarray:
    """All pixels ``(c, y, x)``.

    Raises
    ------
    InputFileError
        If a value is not a number, or pixels are missing or occur twice.
    """
    try:
        values = pd.read_csv(
            state.path, sep="\t", header=None, skiprows=1, dtype=np.float32, encoding="latin-1"
        ).to_numpy()
    except (ValueError, pd.errors.ParserError) as error:
        raise InputFileError(f"'{state.path}' is damaged: {error}. Copy or export it again.") from error
    height, width = shape
    if values.shape != (height * width, len(_FIRST) + n_channels) or not np.isfinite(values).all():
        raise InputFileError(
            f"'{state.path}' is damaged: it has {len(values):,} pixels instead of {height} x {width}, or values that "
            "are missing. Copy or export it again."
        )
    pixels = np.empty((n_channels, height * width), np.float32)
    pixels[:, places_of(values[:, 3:5].astype(np.float64), shape, f"'{state.path}'")] = values[:, len(_FIRST) :].T
    return pixels.reshape(n_channels, height, width)


def lazy_text(text: ImcText, channels: tuple[int, ...]) -> da.Array:
    """A .txt file as one block ``(c, y, x)``; nothing is parsed."""
    n_channels, height, width = text.shape
    array = TextArray(text.state, n_channels, channels, (len(channels), height, width))
    return da.from_array(
        array,
        chunks=array.shape,
        name=f"imc-text-{tokenize(text.state, channels)}",
        lock=False,
        meta=np.empty((0, 0, 0), np.float32),
    )
