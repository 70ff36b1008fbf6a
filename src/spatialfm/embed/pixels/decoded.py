"""Pixels decoded last, kept in memory: windows reach over edges of chunks, and several passes see the same pixels."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ...pp.measure import merged

LIMIT = 2**28  # bytes
SIDE = 256  # chunks smaller than this are read several at a time
Load = Callable[[Any], np.ndarray]


class Decoded:
    """The chunks of the images of one run that were used last, of all images together at most `limit` bytes.

    It belongs to a run, and ends with it: later changes of an image's pixels are not seen.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit, self.held = limit, 0
        self._parts: OrderedDict[tuple, np.ndarray] = OrderedDict()
        self._images: dict[int, Any] = {}  # alive, so that no other gets the id of one
        self._lock = threading.Lock()

    def narrow(self, limit: int) -> None:
        """Hold no more than this from now on."""
        with self._lock:
            self.limit = min(self.limit, limit)
            self._forget()

    def __reduce__(self) -> tuple:
        return Decoded, (self.limit,)  # a worker decodes separately

    def region(
        self,
        image: Any,
        channels: Sequence[int],
        box: tuple[int, int, int, int],
        load: Load,
        check: Callable[[tuple[int, int, int, int]], object] | None = None,
    ) -> np.ndarray:
        """Pixels ``(M, y1 - y0, x1 - x0)`` of some channels of an image ``(c, y, x)``, not to be written to.

        Parameters
        ----------
        image
            Dask array, or anything that can be sliced, which counts as one chunk; of a numpy array nothing is kept.
        channels
            Indices along ``c``.
        box
            ``(y0, y1, x0, x1)`` within the image.
        load
            Makes an array of a slice.
        check
            Called with every box that was read, before its pixels are kept.
        """
        y0, y1, x0, x1 = box
        chunks = getattr(image, "chunks", None) or tuple((size,) for size in image.shape)
        per_pixel = len(channels) * np.dtype(image.dtype).itemsize
        too_large = per_pixel * max(chunks[-2]) * max(chunks[-1]) > self.limit
        if isinstance(image, np.ndarray) or y0 >= y1 or x0 >= x1 or too_large:
            whole = load(image[_index(channels), y0:y1, x0:x1])
            if check is not None:
                check(box)
            return whole
        bands, columns = (
            _between(merged(sizes, SIDE), *span) for sizes, span in zip(chunks[-2:], ((y0, y1), (x0, x1)), strict=True)
        )
        out = np.empty((len(channels), y1 - y0, x1 - x0), image.dtype)
        # column by column: what a region shares with the next one, to its right, was then used last
        for left, right in columns:
            across = slice(max(left, x0), min(right, x1))
            for (top, bottom), part in self._parts_of(image, tuple(channels), bands, (left, right), load, check):
                rows = slice(max(top, y0), min(bottom, y1))
                out[:, rows.start - y0 : rows.stop - y0, across.start - x0 : across.stop - x0] = part[
                    :, rows.start - top : rows.stop - top, across.start - left : across.stop - left
                ]
        return out

    def _parts_of(
        self,
        image: Any,
        channels: tuple[int, ...],
        bands: Sequence[tuple[int, int]],
        column: tuple[int, int],
        load: Load,
        check: Callable | None,
    ) -> Iterator[tuple[tuple[int, int], np.ndarray]]:
        """Pixels of each of some bands of rows of a column; neighbours that are not held are asked for together."""
        chosen, (left, right) = _index(channels), column
        waiting: list[tuple[int, int]] = []
        name = id(image)  # dask's names are the user's to give: two images may have the same
        row_bytes = len(channels) * np.dtype(image.dtype).itemsize * (right - left)

        def read() -> Iterator[tuple[tuple[int, int], np.ndarray]]:
            if waiting:
                start = waiting[0][0]
                together = load(image[chosen, start : waiting[-1][1], left:right])
                if check is not None:
                    check((start, waiting[-1][1], left, right))
                for top, bottom in waiting:
                    part = together[:, top - start : bottom - start]
                    if getattr(part.base, "nbytes", 0) > part.nbytes:  # would be kept whole
                        part = part.copy()
                    self._keep(image, (name, channels, top, left), part)
                    yield (top, bottom), part
                waiting.clear()

        for top, bottom in bands:
            part = self._held((name, channels, top, left))
            if part is None:
                if waiting and (bottom - waiting[0][0]) * row_bytes > self.limit // 4:
                    yield from read()
                waiting.append((top, bottom))
                continue
            yield from read()
            yield (top, bottom), part
        yield from read()

    def _held(self, key: tuple) -> np.ndarray | None:
        with self._lock:
            if key in self._parts:
                self._parts.move_to_end(key)
            return self._parts.get(key)

    def _keep(self, image: Any, key: tuple, part: np.ndarray) -> None:
        with self._lock:
            self._images[key[0]] = image
            if key not in self._parts:
                self._parts[key] = part
                self.held += part.nbytes
            self._forget()

    def _forget(self) -> None:
        while self.held > self.limit:
            self.held -= self._parts.popitem(last=False)[1].nbytes


def _between(spans: Sequence[tuple[int, int]], start: int, stop: int) -> list[tuple[int, int]]:
    return [span for span in spans if span[0] < stop and span[1] > start]


def _index(channels: Sequence[int]) -> slice | list[int]:
    """Channels as an index; a slice needs no dask task for each."""
    channels = list(channels)
    if channels and channels == list(range(channels[0], channels[-1] + 1)):
        return slice(channels[0], channels[-1] + 1)
    return channels
