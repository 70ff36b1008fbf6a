"""Pixels of a TIFF on demand: only the strips or tiles below a window are read and decoded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
from dask.base import tokenize

from .._errors import InputFileError
from ._layout import FileState, Level, Page, TiffLayout, layout_of

_SMALL_SIDE = 2048  # planes up to this side are one block
_BLOCK_SIDE = 1024


@dataclass(frozen=True)
class TiffArray:
    """One level of a TIFF as an array ``(c, y, x)`` that reads what is asked of it.

    Small enough to be pickled into every task: it knows the file, not its pages. Reading needs no lock.

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
    """

    state: FileState
    series: int | None
    level: int
    sources: tuple[str, str, str]
    shape: tuple[int, int, int]
    dtype: np.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return 3

    def __getitem__(self, key: Any) -> np.ndarray:
        key = key if isinstance(key, tuple) else (key,)
        if Ellipsis in key:
            at = key.index(Ellipsis)
            key = key[:at] + (slice(None),) * (4 - len(key)) + key[at + 1 :]
        key = key + (slice(None),) * (3 - len(key))
        windows, within = zip(*(_window(k, n) for k, n in zip(key, self.shape, strict=True)), strict=True)
        if any(stop <= start for start, stop in windows):
            return np.empty([max(stop - start, 0) for start, stop in windows], self.dtype)[within]
        return self._read(windows)[within]

    def _read(self, windows: tuple[tuple[int, int], ...]) -> np.ndarray:
        path = Path(self.state.path)
        try:
            stat = path.stat()
        except FileNotFoundError:
            raise InputFileError(
                f"'{path}' is gone; its pixels were to be read now. Put it back or read again."
            ) from None
        if (stat.st_size, stat.st_mtime_ns) != (self.state.size, self.state.mtime_ns):
            raise InputFileError(f"'{path}' changed since it was opened. Read it again with sfm.io.read_tiff.")
        level = layout_of(self.state, self.series).levels[self.level]
        wanted = {source: window for source, window in zip(self.sources, windows, strict=True) if source}
        n, s, h, w = (wanted.get(source, (0, 1)) for source in "nshw")
        pixels = np.stack([read_page(level, page, s, h, w) for page in level.pages[slice(*n)]])
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
        array = TiffArray(layout.state, layout.series, i, ordered, shape, level.dtype)
        arrays.append(
            da.from_array(
                array,
                chunks=plan_chunks(level, ordered, shape),
                name=f"tiff-{tokenize(layout.state, layout.series, i, ordered)}",
                lock=False,
                fancy=False,
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
    _, _, height, width = level.shape
    tall, wide = level.segment
    down, across = math.ceil(height / tall), math.ceil(width / wide)
    options = {} if level.jpegheader is None and page.jpegtables is None else {"jpegheader": level.jpegheader}
    if page.jpegtables is not None:
        options["jpegtables"] = page.jpegtables
    planes = [0] if level.interleaved else range(*samples)
    with open(page.path, "rb") as file:
        for plane in planes:
            for i in range(rows[0] // tall, -(-rows[1] // tall)):
                for j in range(columns[0] // wide, -(-columns[1] // wide)):
                    index = (plane * down + i) * across + j
                    if page.counts[index] == 0:
                        continue
                    file.seek(page.offsets[index])
                    segment = level.decode(file.read(page.counts[index]), index, **options)[0]
                    if segment is None:
                        continue
                    pixels = np.moveaxis(segment[0], -1, 0)  # (samples, rows, columns)
                    pixels = pixels[slice(*samples)] if level.interleaved else pixels
                    at = slice(None) if level.interleaved else slice(plane - samples[0], plane - samples[0] + 1)
                    _paste(out[at], pixels, (i * tall - rows[0], j * wide - columns[0]))
    return out


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


def _window(key: Any, length: int) -> tuple[tuple[int, int], Any]:
    """Smallest range that holds an index or slice, and the index within that range."""
    if isinstance(key, slice):
        indices = range(*key.indices(length))
        if not indices:
            return (0, 0), slice(None)
        low = min(indices[0], indices[-1])
        high = max(indices[0], indices[-1]) + 1
        return (low, high), slice(None, None, indices.step)
    index = int(key) + (length if key < 0 else 0)
    if not 0 <= index < length:
        raise IndexError(f"index {key} is out of bounds for an axis of length {length}")
    return (index, index + 1), 0
