"""Chunks of a zarr store that are not there: by the format's rule they read as zeros, without a word.

Writers leave out chunks of nothing but zeros, so that one that is missing may be background; or a copy ended early, or
somebody removed the store. Told apart without reading an image: cells in that place, other channels that are
stored at the same place, smaller levels of the pyramid that have something there, cells that end at its edge.
"""

from __future__ import annotations

import itertools
import math
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .._errors import InputFileError, RunError, counted

_BLOSC_HEADER = 16  # bytes; the last four are the size of the whole


@dataclass(frozen=True)
class StoredChunks:
    """The files of one array of a store on this machine's disks.

    Attributes
    ----------
    folder
        Of the array.
    shape, sizes
        Of the array, and of the content of one file: a chunk, or a shard.
    metadata
        Of zarr, which names the files.
    axes
        Which of the stored axes these are, where others of length 1 are left out; None for all.
    """

    folder: str
    shape: tuple[int, ...]
    sizes: tuple[int, ...]
    metadata: object = field(repr=False)
    axes: tuple[int, ...] | None = None

    @property
    def grid(self) -> tuple[int, ...]:
        """Number of files along each axis."""
        return tuple(math.ceil(n / size) for n, size in zip(self.shape, self.sizes, strict=True))

    @cached_property
    def missing(self) -> np.ndarray:
        """Which files of the `grid` were not there when this was first asked."""
        stored = {
            os.path.relpath(os.path.join(at, name), self.folder).replace(os.sep, "/")
            for at, _, names in os.walk(self.folder, followlinks=True)
            for name in names
        }
        keys = (self._key(at) for at in itertools.product(*map(range, self.grid)))
        return np.array([key not in stored for key in keys], bool).reshape(self.grid)

    def _key(self, at: Sequence[int]) -> str:
        """Name of a file of the `grid`."""
        if self.axes is None:
            return self.metadata.encode_chunk_key(tuple(int(i) for i in at))
        place = [0] * len(self.metadata.shape)
        for axis, i in zip(self.axes, at, strict=True):
            place[axis] = int(i)
        return self.metadata.encode_chunk_key(tuple(place))

    def look(self) -> None:
        """Ask now what is there, so that what goes later is noticed."""
        _ = self.missing

    @property
    def exists(self) -> bool:
        """Whether the array itself is still there."""
        return any((Path(self.folder) / name).is_file() for name in ("zarr.json", ".zarray"))

    def cut_short(self) -> Iterator[tuple[str, int, int]]:
        """Files that were written in part, with the bytes that they have and should have.

        Blosc reads on behind the end of such a file and turns the bytes there into numbers; other codecs refuse it.
        """
        if not _is_blosc(self.metadata):
            return
        for at in zip(*np.nonzero(~self.missing), strict=True):
            key = self._key(at)
            with open(os.path.join(self.folder, key), "rb") as file:
                header = file.read(_BLOSC_HEADER)
                size = os.fstat(file.fileno()).st_size
            wanted = struct.unpack("<I", header[12:])[0] if len(header) == _BLOSC_HEADER else _BLOSC_HEADER
            if size < wanted:
                yield key, size, wanted

    def check_still_there(self, name: str, box: tuple[int, int, int, int], channels: Sequence[int] = ()) -> None:
        """Refuse what was read from a window ``(y0, y1, x0, x1)`` if files below it have gone since the start.

        Raises
        ------
        RunError
            If there are such files.
        """
        spans = [
            range(start // size, math.ceil(stop / size))
            for start, stop, size in zip(box[::2], box[1::2], self.sizes[-2:], strict=True)
        ]
        lead = [sorted({channel // self.sizes[0] for channel in channels})] if len(self.shape) == 3 else []
        for at in itertools.product(*lead, *spans):
            if not self.missing[at] and not os.path.exists(os.path.join(self.folder, self._key(at))):
                raise RunError(
                    f"Pixels of {name!r} in '{self.folder}' were removed while they were read. Finished blocks are "
                    "kept: put the store back and repeat the call."
                )


def stored_chunks(array: object) -> StoredChunks | None:
    """The files below a dask array of the shape of one zarr array, but for axes of length 1; otherwise None."""
    arrays = _stored_arrays(array)
    return _fitting([_chunks_of(*one) for one in arrays.items()], array)


def _fitting(stored: Sequence[StoredChunks], array: Any) -> StoredChunks | None:
    if len(stored) != 1 or not 2 <= len(array.shape) <= 3:
        return None
    (chunks,), shape = stored, tuple(map(int, array.shape))
    if chunks.shape == shape:
        return chunks
    # as OME-Zarr has them, (t, c, z, y, x): the axes that are left, in their order
    one = [axis for axis, n in enumerate(chunks.shape) if n == 1]
    axes = [axis for axis in range(len(chunks.shape)) if axis not in one]
    axes = sorted(axes + one[: max(len(shape) - len(axes), 0)])
    if tuple(chunks.shape[axis] for axis in axes) != shape:
        return None
    sizes = tuple(chunks.sizes[axis] for axis in axes)
    fitting = StoredChunks(chunks.folder, shape, sizes, chunks.metadata, tuple(axes))
    if "missing" in vars(chunks):  # it was looked at: the store is walked once
        vars(fitting)["missing"] = chunks.missing.reshape(fitting.grid)
    return fitting


def _stored_arrays(array: object) -> dict[str, Any]:
    """The zarr arrays that a dask array is made of, by their folder."""
    graph = getattr(array, "__dask_graph__", None)
    values = [] if graph is None else list(_leaves(dict(graph()).values()))
    return {folder: value for value in values if (folder := zarr_folder(value)) is not None}


def _chunks_of(folder: str, value: Any) -> StoredChunks:
    sizes = getattr(value, "shards", None) or value.chunks
    return StoredChunks(folder, tuple(map(int, value.shape)), tuple(map(int, sizes)), value.metadata)


def zarr_folder(value: object) -> str | None:
    """Folder of a zarr array on this machine's disks."""
    store = getattr(value, "store", None)
    if type(value).__module__.partition(".")[0] != "zarr" or store is None:
        return None
    root = None
    if type(store).__name__ == "LocalStore":
        root = store.root
    elif (
        type(store).__name__ == "FsspecStore"
        and type(getattr(store.fs, "sync_fs", store.fs)).__name__ == "LocalFileSystem"
    ):
        root = store.path
    return None if root is None else os.path.join(os.path.realpath(root), value.path)


def check_readable(array: object, what: str) -> StoredChunks | None:
    """The files below an array of `stored_chunks`, unless a store is gone or holds files that were written in part.

    Raises
    ------
    InputFileError
        If it is, or does.
    """
    stored = [_chunks_of(*one) for one in _stored_arrays(array).items()]
    for chunks in stored:
        _check(chunks, what)
    return _fitting(stored, array)


def _check(chunks: StoredChunks, what: str) -> None:
    if not chunks.exists:
        raise InputFileError(
            f"{what} was read from '{chunks.folder}', which is gone: all of it would be zeros. Put the store back, or "
            "read it from where it is now: sdata = spatialdata.read_zarr('path/to/store.zarr'), or the reader that was "
            "used if it is not a SpatialData."
        )
    chunks.look()
    try:
        short = list(chunks.cut_short())
    except OSError as error:
        raise InputFileError(
            f"{what} cannot be read from '{chunks.folder}': {error}. Repair or copy the store."
        ) from error
    if short:
        key, size, wanted = short[0]
        raise InputFileError(
            f"{what}: {counted(len(short), 'file')} in '{chunks.folder}' {'is' if len(short) == 1 else 'are'} cut "
            f"short ('{key}' has {size:,} of {wanted:,} bytes). Copy the store again."
        )


def _leaves(values) -> Iterator[object]:
    """What the tasks of a graph hold directly: arrays that chunks are taken from."""
    for value in values:
        if getattr(value, "store", None) is not None:
            yield value
        elif hasattr(value, "value"):  # a data node of dask
            yield value.value
        else:
            yield from (part for part in getattr(value, "args", ()) if getattr(part, "store", None) is not None)
            if isinstance(value, tuple):
                yield from (part for part in value if getattr(part, "store", None) is not None)


def _is_blosc(metadata: object) -> bool:
    codecs = getattr(metadata, "codecs", None)
    last = codecs[-1] if codecs else getattr(metadata, "compressor", None)
    return "blosc" in type(last).__name__.lower()
