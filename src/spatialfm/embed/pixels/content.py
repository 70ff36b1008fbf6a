"""What an array holds: a digest of all its values, remembered for files at rest.

Of each plane ``(y, x)`` the bytes are taken row by row, so that a digest depends neither on chunks nor on how much is
read at a time. One that was taken is kept in ``settings.cache_dir / "digests"`` where every byte comes from files that
are known, and is used again as long as their path, size, times and inodes stay the same.
"""

from __future__ import annotations

import hashlib
import inspect
import operator
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dask.array.chunk as dask_chunk
import dask.array.core as dask_core
import numpy as np

from ... import _disk
from ..._logging import logger
from ..._progress import progress_bar
from ..._settings import settings
from ...pp.measure import loaded, one_thread
from ...pp.stored_chunks import zarr_folder

BAND_BYTES = 2**26  # of the bands that are held at a time
BAR_BYTES = 2**30  # from which on a bar is shown
AT_REST = 60.0  # seconds: a clock may not distinguish a file written later than this from one written since

# functions in dask's graphs that change no value
_PASSED_ON = (
    dask_core.getter,
    dask_core.getter_nofancy,
    dask_core.concatenate3,
    getattr(dask_core, "concatenate_shaped", dask_core.concatenate3),
    dask_chunk.getitem,
    operator.getitem,
)
_PLAIN = (str, bytes, int, float, bool, slice, type(None), type(Ellipsis), np.integer, np.dtype)
_Load = Callable[[Any], np.ndarray]
_See = Callable[[int, np.ndarray], object]


class _Unknown(Exception):
    """The values may come from somewhere that cannot be seen."""


def content_digest(
    array: Any,
    planes: Sequence[int] | None = None,
    *,
    name: str = "",
    load: _Load = loaded,
    see: _See | None = None,
    anew: bool = False,
) -> str:
    """SHA-256 of all values of an array.

    Parameters
    ----------
    array
        ``(c, y, x)`` or ``(y, x)``: dask, numpy, or anything that can be sliced.
    planes
        Indices along ``c``, in the order that counts (default: all).
    name
        For the bar.
    load
        Reads a slice.
    see
        Called with the index of a plane and each band of it ``(rows, x)``, where these are read.
    anew
        Whether they are read though the digest is known.
    """
    key = _file_key(array, planes)
    path = settings.cache_dir / "digests" / key if key else None
    if path is not None and not anew and (known := _read(path)):
        return known
    started = time.time()
    digest = _digest(array, planes, name, load, see)
    # neither files that changed meanwhile, nor those that could change again within one tick of their clock
    if path is not None and _newest(array) < started - AT_REST and _file_key(array, planes) == key:
        _write(path, digest)
    return digest


def _digest(array: Any, planes: Sequence[int] | None, name: str, load: _Load, see: _See | None = None) -> str:
    *lead, height, width = array.shape
    planes = list(range(lead[0] if lead else 1)) if planes is None else list(planes)
    item = np.dtype(array.dtype).itemsize
    groups = _groups(array, planes)
    n_threads = max(1, min(4, os.cpu_count() or 1, len(groups)))

    def of_group(group: list[int]) -> dict[int, bytes]:
        hashes = {plane: hashlib.sha256() for plane in group}
        together = group == list(range(group[0], group[-1] + 1))  # a slice needs no dask task for each
        chosen = slice(group[0], group[-1] + 1) if together else group
        with one_thread():
            for y0, y1 in _bands(array, len(group) * width * item, BAND_BYTES // n_threads):
                part = load(array[chosen, y0:y1]) if lead else load(array[y0:y1])[None]
                for plane, values in zip(group, part, strict=True):
                    hashes[plane].update(np.ascontiguousarray(values).data.cast("B") if values.size else b"")
                    if see is not None:
                        see(plane, values)
                    bar.update(values.nbytes)
        return {plane: digest.digest() for plane, digest in hashes.items()}

    total = len(set(planes)) * height * width * item
    with (
        progress_bar(
            total=total, desc=f"comparing {name}".strip(), unit="B", unit_scale=True, hidden=total < BAR_BYTES
        ) as bar,
        ThreadPoolExecutor(n_threads, thread_name_prefix="spatialfm-digest") as pool,
    ):
        of_plane = {plane: digest for part in pool.map(of_group, groups) for plane, digest in part.items()}
    whole = hashlib.sha256(f"{np.dtype(array.dtype).str} {height} {width} {len(planes)} {bool(lead)}".encode())
    for plane in planes:
        whole.update(of_plane[plane])
    return whole.hexdigest()


def _groups(array: Any, planes: Sequence[int]) -> list[list[int]]:
    """Planes in one chunk, which are decoded together."""
    chunks = getattr(array, "chunks", None)
    if array.ndim == 2 or not chunks:
        return [sorted(set(planes))]
    chunk_of = np.repeat(np.arange(len(chunks[0])), chunks[0])
    wanted = np.unique(np.asarray(planes, dtype=int))
    return [wanted[chunk_of[wanted] == chunk].tolist() for chunk in np.unique(chunk_of[wanted])]


def _bands(array: Any, row_bytes: int, limit: int) -> Iterator[tuple[int, int]]:
    """Ranges of rows of about `limit` bytes, of whole chunks where these are not larger."""
    chunks = getattr(array, "chunks", None)
    sizes = chunks[-2] if chunks else (array.shape[-2],)
    n_columns = max(chunks[-1], default=1) if chunks else array.shape[-1]
    # a chunk that is larger is decoded whole in any case: to cut it would decode it again for each part
    share = n_columns / max(array.shape[-1], 1)
    limit = max(limit, int(max(sizes, default=1) * row_bytes * share) if chunks else limit)
    most = max(1, limit // max(row_bytes, 1))
    start = stop = 0
    for size in sizes:
        if stop > start and stop + size - start > most:
            yield start, stop
            start = stop
        stop += size
        while stop - start > most:
            yield start, start + most
            start += most
    if stop > start:
        yield start, stop


def _file_key(array: Any, planes: Sequence[int] | None) -> str | None:
    """Name of what is kept: how the array is put together, and the state of all files below; None if not all known."""
    try:
        text, files = _sources(array)
        states = [_state(file) for file in files]
    except (_Unknown, OSError):
        return None
    planes = None if planes is None else list(map(int, planes))
    return hashlib.sha256(f"1 {planes} {text} {states}".encode()).hexdigest()


def made_from(array: Any) -> tuple[str, list[str]] | None:
    """How an array is put together, as text with the state of its files, and these; None where that is not known."""
    try:
        return _sources(array)
    except (_Unknown, OSError):
        return None


def _newest(array: Any) -> float:
    return max(max(Path(file).stat().st_mtime, Path(file).stat().st_ctime) for file in _sources(array)[1])


def _state(path: str) -> tuple[str, int, int, int, int, int]:
    stat = os.stat(path)
    return path, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, stat.st_dev


def _sources(array: Any) -> tuple[str, list[str]]:
    """How a dask array is put together as text, and the files that its values come from."""
    graph = getattr(array, "__dask_graph__", None)
    if graph is None:
        raise _Unknown
    files: set[str] = set()
    parts = [f"{key!r}: {_described(value, files)}" for key, value in dict(graph()).items()]
    if not files:
        raise _Unknown
    return "\n".join([array.name, str(array.chunks), *sorted(parts)]), sorted(files)


def _described(value: Any, files: set[str]) -> str:
    """A task or a part of it as text; its files are added to `files`."""
    if isinstance(value, _PLAIN):
        return repr(value)
    if type(value).__module__.startswith("spatialfm.") and hasattr(value, "source_files"):
        files.update(value.source_files)
        return repr(value)
    if (folder := zarr_folder(value)) is not None:
        inside = [os.path.join(at, file) for at, _, names in os.walk(folder, followlinks=True) for file in names]
        if not inside:
            raise _Unknown
        files.update(inside)
        return f"zarr {folder} {value.shape} {value.dtype}"
    if isinstance(value, (list, tuple)):
        if isinstance(value, tuple) and value and inspect.isroutine(value[0]):  # a task as dask wrote it before 2024.12
            _check_passes_on(value[0])
            return f"{value[0].__name__}{_described(list(value[1:]), files)}"
        return f"[{', '.join(_described(part, files) for part in value)}]"
    if isinstance(value, dict):
        return _described([list(item) for item in value.items()], files)
    if type(value).__module__ == "dask._task_spec":
        return _described_node(value, files)
    raise _Unknown


def _described_node(node: Any, files: set[str]) -> str:
    """A node of dask's graphs, by the names that its classes have had since they exist."""
    if hasattr(node, "klass"):  # a list, tuple or dict of others
        return f"{node.klass.__name__}{_described(list(node.args), files)}"
    if hasattr(node, "func"):
        _check_passes_on(node.func)
        return f"{node.func.__name__}{_described([list(node.args), dict(node.kwargs or {})], files)}"
    for attribute in ("target", "value", "key"):  # Alias, DataNode, TaskRef
        if hasattr(node, attribute):
            part = getattr(node, attribute)
            return f"{type(node).__name__} {part!r}" if attribute != "value" else _described(part, files)
    raise _Unknown


def _check_passes_on(function: Any) -> None:
    if not any(function is known for known in _PASSED_ON):
        raise _Unknown


def _read(path: Path) -> str | None:
    """The digest that is kept in a file, if the file is as it was written, and in its place."""
    try:
        digest, seal = path.read_text().split()
    except (OSError, ValueError):
        return None
    return digest if seal == _seal(path, digest) else None


def _write(path: Path, digest: str) -> None:
    try:
        _disk.write_bytes(path, f"{digest} {_seal(path, digest)}".encode())
    except OSError as error:  # a run can do without
        logger.debug("%s cannot be written: %s", path, error)


def _seal(path: Path, digest: str) -> str:
    return hashlib.sha256(f"{path.name} {digest}".encode()).hexdigest()[:32]
