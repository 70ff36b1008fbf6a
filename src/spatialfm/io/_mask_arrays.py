"""Masks as arrays of numpy (.npy, .npz) and as PNG: headers now, pixels when they are needed."""

from __future__ import annotations

import struct
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import dask.array as da
import numpy as np
from dask.base import tokenize

from .._errors import InputFileError, listed
from ._mask_file import MaskFile
from ._state import FileState, OfFile, file_state

ARRAY_SUFFIXES = (".npy", ".npz", ".png")

_BLOCK_SIDE = 2048
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# of a PNG's colour types, how many values a pixel has; 3 is a palette
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_COLOURS, _PALETTE = (2, 6), 3
_lock = threading.Lock()


@dataclass(frozen=True)
class ArrayPlane(OfFile):
    """One plane ``(y, x)`` of a file; small, so that it can be sent to other processes.

    Attributes
    ----------
    state
        File; one that changed since is refused.
    member
        Array of an .npz; empty for the other kinds. Of a PNG with a palette, ``"colours"`` where these are wanted.
    axis, index
        Axis of the stored array along which the planes are (None where it has only y and x), and which one this is.
    """

    state: FileState
    member: str
    axis: int | None
    index: int
    shape: tuple[int, int]
    dtype: np.dtype

    def __getitem__(self, key: Any) -> np.ndarray:
        self.state.check_same()
        path = Path(self.state.path)
        if path.suffix.lower() == ".npy":
            stored = np.load(path, mmap_mode="r", allow_pickle=False)
        else:
            with _lock:  # decoded once, whichever block asks first
                stored = _decoded(self.state, self.member)
        plane = stored if self.axis is None else np.take(stored, self.index, axis=self.axis)
        return np.array(plane[key], dtype=self.dtype)


def open_arrays(path: Path, *, colours: bool = False) -> MaskFile:
    """Open a mask that is an array of numpy or a PNG.

    Parameters
    ----------
    path
        File.
    colours
        Whether a PNG with a palette is opened as the colours that its numbers stand for.

    Raises
    ------
    InputFileError
        If it is not what its name says, is pickled or sparse, or cannot be read as whole numbers without loss.
    """
    state = file_state(path)
    try:
        if path.suffix.lower() == ".png":
            return _png(state, colours)
        if path.suffix.lower() == ".npy":
            with open(state.path, "rb") as file:
                shape, dtype = _npy_header(file, state.path)
            return MaskFile(tuple(_planes(state, "", shape, dtype)), state.path)
        return _npz(state)
    except (OSError, ValueError, zipfile.BadZipFile, struct.error) as error:
        if isinstance(error, InputFileError):
            raise
        raise InputFileError(
            f"Labels '{path}' cannot be read as {path.suffix[1:].upper()}: {error}. The file is truncated, damaged or "
            "of another kind; save the mask again."
        ) from error


def _npz(state: FileState) -> MaskFile:
    """Several arrays are planes by their names; one array may have planes itself."""
    with zipfile.ZipFile(state.path) as archive:
        members = [name for name in archive.namelist() if name.endswith(".npy")]
        if not members:
            raise InputFileError(f"Labels '{state.path}' hold no array. Save the mask with numpy.savez_compressed.")
        if {"indices.npy", "indptr.npy", "data.npy"} <= set(members):
            raise InputFileError(
                f"Labels '{state.path}' are a sparse matrix. Save the array: numpy.savez_compressed(path, "
                "mask=scipy.sparse.load_npz(path_of_this_file).toarray())."
            )
        headers = {}
        for name in members:
            with archive.open(name) as file:
                headers[name.removesuffix(".npy")] = _npy_header(file, f"{state.path}: {name}")
    if len(headers) == 1:
        ((name, (shape, dtype)),) = headers.items()
        planes = tuple(_planes(state, name, shape, dtype))
        return MaskFile(planes, state.path, names=(name,) if len(planes) == 1 else ())
    flat = {name: header for name, header in headers.items() if len(header[0]) == 2}
    if not flat:
        raise InputFileError(f"Labels '{state.path}' hold {listed(headers)}, none of which has the axes (y, x).")
    planes = tuple(next(_planes(state, name, *header)) for name, header in flat.items())
    return MaskFile(planes, state.path, names=tuple(flat))


def _npy_header(file: IO[bytes], where: str) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise InputFileError(
            f"Labels '{where}' hold Python objects, which could run code when they are read, as Cellpose's _seg.npy. "
            "Pass the mask that was saved as an image (its _cp_masks.tif or .png), or save the array alone: "
            "numpy.save(path, masks)."
        )
    if dtype.kind not in "buif":
        raise InputFileError(f"Labels '{where}' hold {dtype}, not whole numbers. Save the mask as integers.")
    return shape, dtype


def _planes(state: FileState, member: str, shape: tuple[int, ...], dtype: np.dtype) -> Iterator[da.Array]:
    """Lazy planes of an array ``(y, x)``, or with the planes first or last, whichever axis is the short one."""
    if len(shape) == 2:
        axis, n = None, 1
    elif len(shape) == 3 and 2 * shape[0] < min(shape[1:]):
        axis, n = 0, shape[0]
    elif len(shape) == 3 and 2 * shape[2] < min(shape[:2]):
        axis, n = 2, shape[2]
    else:
        raise InputFileError(
            f"Labels '{state.path}' have the shape {shape}; a mask is (y, x), or (planes, y, x) with few planes. Save "
            "the plane of the cells alone."
        )
    size = tuple(length for i, length in enumerate(shape) if i != axis)
    dtype = dtype.newbyteorder("=")
    for index in range(n):
        plane = ArrayPlane(state, member, axis, index, size, dtype)  # type: ignore[arg-type]  # two lengths are left
        yield da.from_array(
            plane,
            chunks=tuple(min(length, _BLOCK_SIDE) for length in size),
            name=f"mask-{tokenize(state, member, axis, index)}",
            lock=False,
            meta=np.empty((0, 0), dtype=dtype),
        )


@lru_cache(maxsize=2)
def _decoded(state: FileState, member: str) -> np.ndarray:
    """The whole array of a compressed file; kept, because every block that is read asks for it."""
    if Path(state.path).suffix.lower() == ".png":
        from PIL.PngImagePlugin import PngImageFile

        with PngImageFile(state.path) as picture:  # Image.open refuses large pictures, which masks are
            pixels = np.asarray(picture.convert("RGB") if member else picture)
    else:
        with np.load(state.path, allow_pickle=False) as archive:
            pixels = archive[member]
    pixels.setflags(write=False)
    return pixels


def _png(state: FileState, colours: bool) -> MaskFile:
    with open(state.path, "rb") as file:
        start = file.read(26)
    if start[:8] != _SIGNATURE or start[12:16] != b"IHDR":
        raise InputFileError(f"'{state.path}' is not a PNG (it starts with {start[:4]!r}). Pass the mask itself.")
    width, height, bits, kind = struct.unpack(">IIBB", start[16:26])
    is_palette = kind == _PALETTE
    is_colour = kind in _COLOURS or (is_palette and colours)
    if (bits == 16 and kind != 0) or (bits in (2, 4) and not is_palette) or (bits == 1 and kind not in (0, 3)):
        raise InputFileError(
            f"Labels '{state.path}' have {bits} bits {'for each colour' if is_colour else 'a pixel'}, which cannot be "
            "read without loss. Save the mask as PNG with 16 bits of gray, or as TIFF."
        )
    stored = np.dtype(bool) if bits == 1 and kind == 0 else np.dtype(np.uint16 if bits == 16 else np.uint8)
    n = 3 if is_palette and colours else _SAMPLES[kind]
    shape = (height, width) if n == 1 else (height, width, n)
    planes = tuple(_planes(state, "colours" if is_palette and colours else "", shape, stored))
    if kind == 4:
        planes = planes[:1]  # gray, and how opaque it is
    return MaskFile(planes, state.path, is_palette=is_palette and not colours)
