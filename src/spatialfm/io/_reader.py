"""Pixels of a TIFF on demand: only the strips or tiles below a window are read and decoded."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
from dask.base import tokenize

from .._errors import InputFileError
from ._layout import Level, TiffLayout, layout_of
from ._page import Page
from ._state import FileState, OfFile

_SMALL_SIDE = 2048  # planes up to this side are one block
_BLOCK_SIDE = 1024


@dataclass(frozen=True)
class TiffArray(OfFile):
    """One level of a TIFF as an array ``(c, y, x)`` that reads what is asked of it.

    Small enough to be pickled into every task: it holds the path of the file, not its pages. Reading needs no lock.

    Attributes
    ----------
    state
        File; a file that changed since is refused.
    series, level
        Image and resolution in the file.
    sources
        What ``c``, ``y``, ``x`` are in the file (see `Dim`); an absent ``c`` has the empty text.
    shape, dtype
        Of the array.
    members
        Further files that hold pages of it; one that changed since is refused.
    """

    state: FileState
    series: int | None
    level: int
    sources: tuple[str, str, str]
    shape: tuple[int, int, int]
    dtype: np.dtype
    members: tuple[FileState, ...] = ()

    @property
    def source_files(self) -> tuple[str, ...]:
        """Every file that its values come from."""
        return tuple(state.path for state in (self.state, *self.members))

    def __getitem__(self, key: Any) -> np.ndarray:
        windows, within = whole_window(key, self.shape)
        pixels = self._read(windows) if all(stop > start for start, stop in windows) else self._empty(windows)
        return cut_out(pixels, within)

    def _empty(self, windows: tuple[tuple[int, int], ...]) -> np.ndarray:
        return np.empty([stop - start for start, stop in windows], self.dtype)

    def _read(self, windows: tuple[tuple[int, int], ...]) -> np.ndarray:
        self.state.check_same()
        level = layout_of(self.state, self.series).levels[self.level]
        wanted = {source: window for source, window in zip(self.sources, windows, strict=True) if source}
        n, s, h, w = (wanted.get(source, (0, 1)) for source in "nshw")
        pages = level.pages[slice(*n)]
        members = {member.path: member for member in self.members}
        for path in {page.path for page in pages} - {self.state.path}:
            members[path].check_same()
        pixels = np.stack([read_page(level, page, s, h, w) for page in pages])
        order = ["nshw".index(source) for source in self.sources if source]
        rest = [axis for axis in range(4) if axis not in order]  # of length 1: an absent c, and what is not an axis
        pixels = pixels.transpose(rest + order)
        return np.ascontiguousarray(pixels.reshape([stop - start for start, stop in windows]), dtype=self.dtype)


def lazy_levels(layout: TiffLayout, sources: dict[str, str | None]) -> list[da.Array]:
    """Every level of an image as a dask array ``(c, y, x)``; nothing is read."""
    arrays = []
    for i, level in enumerate(layout.levels):
        length = dict(zip("nshw", level.shape, strict=True))
        ordered = tuple(sources[axis] or "" for axis in "cyx")
        shape = tuple(length[source] if source else 1 for source in ordered)
        array = TiffArray(layout.state, layout.series, i, ordered, shape, level.dtype, layout.members)
        arrays.append(
            da.from_array(
                array,
                chunks=plan_chunks(level, ordered, shape),
                name=f"tiff-{tokenize(layout.state, layout.members, layout.series, i, ordered)}",
                lock=False,
                meta=np.empty((0, 0, 0), dtype=level.dtype),
            )
        )
    return arrays


def plan_chunks(level: Level, sources: tuple[str, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    """Block sizes ``(c, y, x)`` that cut no strip or tile, so that none is decoded twice.

    Planes up to 2048 x 2048 are one block; larger ones are cut into about a million pixels. Channels are blocks of
    their own unless the file interleaves them.
    """
    _, samples, height, width = level.shape
    rows, columns = level.segment
    if level.is_raw:
        rows = columns = 1
    if max(height, width) <= _SMALL_SIDE:
        size = {"h": height, "w": width}
    elif columns >= width:  # strips
        size = {"h": rows * max(1, _BLOCK_SIDE**2 // (rows * width)), "w": width}
    else:
        size = {"h": rows * math.ceil(_BLOCK_SIDE / rows), "w": columns * math.ceil(_BLOCK_SIDE / columns)}
    size["n"] = 1 if sources[0] == "n" else max(1, _BLOCK_SIDE**2 // max(height * width, 1))
    size["s"] = samples if level.interleaved else 1
    if sources[0] in ("h", "w"):
        size[sources[0]] = shape[0]
    return tuple(min(size[source], length) if source else 1 for source, length in zip(sources, shape, strict=True))


def read_page(
    level: Level, page: Page, samples: tuple[int, int], rows: tuple[int, int], columns: tuple[int, int]
) -> np.ndarray:
    """Window ``(samples, rows, columns)`` of one page."""
    if page.raw is not None:
        return _read_raw(level, page, samples, rows, columns)
    out = np.full([stop - start for start, stop in (samples, rows, columns)], level.nodata, dtype=level.dtype)
    tall, wide = level.segment
    tables = {"jpegtables": page.jpegtables, "jpegheader": level.jpegheader}
    with open(page.path, "rb") as file:
        for index, plane, i, j in _segments_below(level, samples, rows, columns):
            if page.counts[index] == 0:  # a sparse file
                continue
            file.seek(page.offsets[index])
            try:
                segment = level.decode(file.read(page.counts[index]), index, **tables)[0]
            except MemoryError as error:
                n_bytes = tall * wide * level.shape[1] * level.dtype.itemsize
                raise InputFileError(
                    f"'{page.path}': a strip or tile of {tall} x {wide} pixels ({n_bytes / 2**30:.1f} GiB) does not "
                    "fit into memory, and cannot be decoded in parts. Export the image with tiles."
                ) from error
            except Exception as error:  # each codec has its own
                what = "tile" if wide < level.shape[3] or tall < level.shape[2] else "strip"
                raise InputFileError(
                    f"'{page.path}' is damaged: {what} {index} of a page, {page.counts[index]:,} bytes at byte "
                    f"{page.offsets[index]:,}, cannot be decoded ({error}). Copy or export it again."
                ) from error
            if segment is None:
                continue
            pixels = np.moveaxis(segment[0], -1, 0)  # (samples, rows, columns)
            if level.interleaved:
                into, pixels = out, pixels[slice(*samples)]
            else:
                into = out[plane - samples[0]][None]
            _paste(into, pixels, (i * tall - rows[0], j * wide - columns[0]))
    return out


def _segments_below(level: Level, samples, rows, columns) -> Iterator[tuple[int, int, int, int]]:
    """Number, plane, and place in the grid of all strips or tiles that a window touches."""
    _, _, height, width = level.shape
    tall, wide = level.segment
    down, across = math.ceil(height / tall), math.ceil(width / wide)
    for plane in [0] if level.interleaved else range(*samples):
        for i in range(rows[0] // tall, math.ceil(rows[1] / tall)):
            for j in range(columns[0] // wide, math.ceil(columns[1] / wide)):
                yield (plane * down + i) * across + j, plane, i, j


def _read_raw(level, page, samples, rows, columns) -> np.ndarray:
    _, n_samples, height, width = level.shape
    shape = (height, width, n_samples) if level.interleaved else (n_samples, height, width)
    stored = np.memmap(page.path, dtype=level.stored_dtype, mode="r", offset=page.raw, shape=shape)
    if level.interleaved:
        window = np.moveaxis(stored[slice(*rows), slice(*columns), slice(*samples)], -1, 0)
    else:
        window = stored[slice(*samples), slice(*rows), slice(*columns)]
    return np.array(window, dtype=level.dtype)


def _paste(out: np.ndarray, pixels: np.ndarray, at: tuple[int, int]) -> None:
    """Copy what of `pixels` falls into `out` when its corner is put at row and column `at`."""
    target, source = [slice(None)], [slice(None)]
    for start, length, room in zip(at, pixels.shape[1:], out.shape[1:], strict=True):
        low, high = max(start, 0), min(start + length, room)
        if high <= low:
            return
        target.append(slice(low, high))
        source.append(slice(low - start, high - start))
    out[tuple(target)] = pixels[tuple(source)]


def whole_window(key: Any, shape: tuple[int, ...]) -> tuple[tuple[tuple[int, int], ...], tuple[Any, ...]]:
    """Range along each axis that holds what is asked for, and what of that range is."""
    key = key if isinstance(key, tuple) else (key,)
    key = key + (slice(None),) * (len(shape) - len(key))
    windows, within = zip(*(_window(k, n) for k, n in zip(key, shape, strict=True)), strict=True)
    return windows, within


def cut_out(pixels: np.ndarray, within: tuple[Any, ...]) -> np.ndarray:
    """What of a window `whole_window` says is asked for."""
    for axis in reversed(range(len(within))):  # one by one: each axis is indexed separately, as dask does
        pixels = pixels[(slice(None),) * axis + (within[axis],)]
    return pixels


def _window(key: Any, length: int) -> tuple[tuple[int, int], Any]:
    """Smallest range that holds an index, slice or list of indices, and the index within that range."""
    if isinstance(key, slice):
        indices = range(*key.indices(length))
        if not indices:
            return (0, 0), slice(None)
        return (min(indices[0], indices[-1]), max(indices[0], indices[-1]) + 1), slice(None, None, indices.step)
    indices = np.asarray(key)
    indices = np.flatnonzero(indices) if indices.dtype == bool else np.where(indices < 0, indices + length, indices)
    if indices.size == 0:
        return (0, 0), slice(None)
    low, high = int(indices.min()), int(indices.max())
    if low < 0 or high >= length:
        raise IndexError(f"index {key} is out of bounds for an axis of length {length}")
    return (low, high + 1), int(indices) - low if indices.ndim == 0 else indices - low
