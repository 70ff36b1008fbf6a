"""Pixels and panoramas of an .mcd file on demand: only rows below a window are read."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import dask.array as da
import numpy as np
from dask.base import tokenize

from .._errors import InputFileError
from ._mcd_file import Acquisition, Picture
from ._reader import cut_out, whole_window
from ._state import FileState, OfFile

_BLOCK_VALUES = 2**22
_COORDINATES = 3
_DTYPE = np.dtype("<f4")


@dataclass(frozen=True)
class McdArray(OfFile):
    """One acquisition as an array ``(c, y, x)`` that reads what is asked of it; small enough to be sent to tasks.

    The file holds X, Y, Z and all channels of one pixel after another, in the order of ablation, which is that of rows
    unless the stage moved otherwise. Pixels that were not ablated are 0.

    Attributes
    ----------
    start, n_pixels
        First byte, and number of pixels.
    n_channels
        Channels in the file.
    channels
        Those that the array has, by their number.
    """

    state: FileState
    name: str
    start: int
    n_pixels: int
    n_channels: int
    channels: tuple[int, ...]
    shape: tuple[int, int, int]
    dtype: np.dtype = _DTYPE

    def __getitem__(self, key: Any) -> np.ndarray:
        windows, within = whole_window(key, self.shape)
        (c0, c1), (y0, y1), (x0, x1) = windows
        pixels = self._rows(y0, y1)[c0:c1, :, x0:x1] if y1 > y0 else np.empty((c1 - c0, 0, x1 - x0), _DTYPE)
        return cut_out(pixels, within)

    def _rows(self, y0: int, y1: int) -> np.ndarray:
        """Rows of the image, all columns of it."""
        self.state.check_same()
        values = np.memmap(
            self.state.path, _DTYPE, "r", offset=self.start, shape=(self.n_pixels, self.n_channels + _COORDINATES)
        )
        width = self.shape[2]
        columns = [_COORDINATES + channel for channel in self.channels]
        first, last = y0 * width, y1 * width
        if last <= self.n_pixels and _is_raster(values[first:last, :2], y0, y1, width):
            rows = values[first:last][:, columns]
            return np.ascontiguousarray(rows.T).reshape(len(columns), y1 - y0, width)
        places = _places(self.state, self.name, self.start, self.n_pixels, self.n_channels, self.shape[1:])
        out = np.zeros((len(columns), last - first), _DTYPE)
        mine = np.flatnonzero((places >= first) & (places < last))
        out[:, places[mine] - first] = values[mine][:, columns].T
        return out.reshape(len(columns), y1 - y0, width)


def _is_raster(xy: np.ndarray, y0: int, y1: int, width: int) -> bool:
    """Whether pixels stand in the order of rows."""
    return bool(
        np.array_equal(xy[:, 0], np.tile(np.arange(width, dtype=_DTYPE), y1 - y0))
        and np.array_equal(xy[:, 1], np.repeat(np.arange(y0, y1, dtype=_DTYPE), width))
    )


@lru_cache(maxsize=4)
def _places(
    state: FileState, name: str, start: int, n_pixels: int, n_channels: int, shape: tuple[int, int]
) -> np.ndarray:
    """Place of every pixel of the file in the image, counted along rows."""
    values = np.memmap(state.path, _DTYPE, "r", offset=start, shape=(n_pixels, n_channels + _COORDINATES))
    return places_of(np.array(values[:, :2], dtype=np.float64), shape, f"{name} of '{state.path}'")


def places_of(xy: np.ndarray, shape: tuple[int, int], what: str) -> np.ndarray:
    """Place in the image ``(y, x)`` of pixels by their columns X and Y, counted along rows.

    Raises
    ------
    InputFileError
        If one is outside of the image or occurs twice.
    """
    height, width = shape
    inside = (xy >= 0).all(axis=1) & (xy[:, 0] < width) & (xy[:, 1] < height) & (xy == np.floor(xy)).all(axis=1)
    if not inside.all():
        raise InputFileError(
            f"{what} is damaged: {int((~inside).sum()):,} of {len(xy):,} pixels are outside of its {height} x {width} "
            f"pixels (y, x). Copy or export it again."
        )
    places = (xy[:, 1] * width + xy[:, 0]).astype(np.int64)
    if np.unique(places).size < places.size:
        raise InputFileError(f"{what} is damaged: pixels occur twice. Copy or export it again.")
    return places


def lazy_acquisition(state: FileState, one: Acquisition, channels: tuple[int, ...]) -> da.Array:
    """An acquisition ``(c, y, x)`` in blocks of whole rows; nothing is read."""
    _, height, width = one.shape
    n_channels = len(one.metals)
    array = McdArray(
        state,
        f"acquisition {one.id}",
        one.start,
        one.n_pixels,
        n_channels,
        channels,
        (len(channels), height, width),
    )
    rows = min(height, max(1, _BLOCK_VALUES // (n_channels * width)))
    return da.from_array(
        array,
        chunks=(len(channels), rows, width),
        name=f"mcd-{tokenize(state, one.start, one.n_pixels, channels)}",
        lock=False,
        meta=np.empty((0, 0, 0), _DTYPE),
    )


@dataclass(frozen=True)
class PictureArray(OfFile):
    """A picture within a file as an array ``(c, y, x)`` of red, green and blue, decoded when it is asked for."""

    state: FileState
    start: int
    n_bytes: int
    shape: tuple[int, int, int]
    dtype: np.dtype = np.dtype(np.uint8)

    def __getitem__(self, key: Any) -> np.ndarray:
        from PIL import Image

        self.state.check_same()
        with Image.open(io.BytesIO(_bytes(self.state, self.start, self.n_bytes))) as picture:
            return np.moveaxis(np.asarray(picture.convert("RGB")), -1, 0)[key]


def lazy_picture(state: FileState, one: Picture) -> da.Array | None:
    """A panorama ``(c, y, x)``; None where it is not of a known format. Only the head of the picture is read."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(_bytes(state, one.start, one.n_bytes))) as picture:
            width, height = picture.size
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
        return None
    array = PictureArray(state, one.start, one.n_bytes, (3, height, width))
    return da.from_array(
        array,
        chunks=array.shape,
        name=f"mcd-picture-{tokenize(state, one.start, one.n_bytes)}",
        lock=False,
        meta=np.empty((0, 0, 0), np.uint8),
    )


def _bytes(state: FileState, start: int, n_bytes: int) -> bytes:
    with open(state.path, "rb") as file:
        file.seek(start)
        return file.read(n_bytes)
