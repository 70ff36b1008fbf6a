"""An image on disk with smaller levels, written chunk by chunk beside its place and put there whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import _disk
from ..._errors import RunError
from ..._squares import squares_of

if TYPE_CHECKING:
    import dask.array as da

CHUNK = 512  # pixels to a side of what is written, and held, at a time
SMALLEST = 512  # longer side of the last level, at most

Box = tuple[int, int, int, int]
Read = Callable[[int, Box], np.ndarray]


def write_pyramid(path: Path, shape: tuple[int, int, int], dtype: str, read: Read, *, levels: bool = True) -> None:
    """Write an image ``(c, y, x)`` to a folder: array ``0``, and each level half as large as the one before.

    The same pixels give the same bytes. Nothing is at `path` before all of it is there.

    Parameters
    ----------
    path
        Folder.
    shape, dtype
        Of the largest level.
    read
        Gives pixels ``(h, w)`` of a channel in a box.
    levels
        Whether there are smaller ones, of means of four pixels.

    Raises
    ------
    RunError
        If it cannot be written.
    """
    import zarr

    try:
        with _disk.written_beside(path) as partial:
            partial.mkdir()
            above: Any = None
            for number, size in enumerate(level_shapes(shape) if levels else [shape]):
                array = zarr.create_array(
                    str(partial / str(number)),
                    shape=size,
                    chunks=(1, min(CHUNK, size[1]), min(CHUNK, size[2])),
                    dtype=dtype,
                    fill_value=np.nan if np.dtype(dtype).kind == "f" else 255,  # a chunk that is lost is seen
                )
                for channel, box in _places(size):
                    y0, y1, x0, x1 = box
                    pixels = read(channel, box) if above is None else _halved(above, channel, box)
                    array[channel, y0:y1, x0:x1] = pixels.astype(dtype, copy=False)
                above = array
    except OSError as error:
        raise RunError(
            f"Cannot write the image to {path}: {error.strerror or error}. Finished blocks are kept: make room and "
            "repeat the same call."
        ) from error


def level_shapes(shape: tuple[int, int, int]) -> list[tuple[int, int, int]]:
    """Shapes of all levels; the last one is at most `SMALLEST` pixels long.

    Examples
    --------
    >>> level_shapes((3, 1500, 900))
    [(3, 1500, 900), (3, 750, 450), (3, 375, 225)]
    """
    shapes = [shape]
    while max(shapes[-1][1:]) > SMALLEST:
        c, height, width = shapes[-1]
        shapes.append((c, max(1, height // 2), max(1, width // 2)))
    return shapes


def open_pyramid(path: Path, name: str) -> list[da.Array]:
    """Levels of an image that `write_pyramid` wrote, lazily; `name` tells them from those of other images."""
    import dask.array as da
    import zarr

    levels, number = [], 0
    while (path / str(number)).is_dir():
        array = zarr.open_array(str(path / str(number)), mode="r")
        levels.append(da.from_array(array, chunks=array.chunks, name=f"{name}-{number}", lock=False, fancy=False))
        number += 1
    return levels


def _places(shape: Sequence[int]) -> Iterator[tuple[int, Box]]:
    for channel in range(shape[0]):
        for box in squares_of((shape[1], shape[2]), CHUNK):
            yield channel, box


def _halved(above: Any, channel: int, box: Box) -> np.ndarray:
    """Means of two by two pixels of the level above; a last row or column that has no partner is left out."""
    y0, y1, x0, x1 = box
    height, width = above.shape[1:]
    ys, xs = (2 if size > 1 else 1 for size in (height, width))
    part = np.asarray(above[channel, y0 * ys : y1 * ys, x0 * xs : x1 * xs], np.float32)
    return part.reshape(y1 - y0, ys, x1 - x0, xs).mean(axis=(1, 3))
