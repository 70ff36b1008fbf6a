"""The page directories of a TIFF file, followed to their end.

tifffile stops quietly where they lead out of the file: a truncated image would be one with fewer channels or levels.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from .._errors import InputFileError

if TYPE_CHECKING:
    from ._state import FileState

_SUB_IFDS = 330
_LISTS = {_SUB_IFDS, 273, 279, 324, 325}  # directories of smaller levels; offsets and sizes of strips and tiles
_TYPE_SIZES = {3: 2, 4: 4, 13: 4, 16: 8, 18: 8}  # SHORT, LONG, IFD, LONG8, IFD8
_TYPE_CODES = {3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}


@dataclass(frozen=True)
class _Format:
    """Byte order, and the widths that differ between TIFF and BigTIFF."""

    order: str
    is_big: bool

    @property
    def offset(self) -> str:
        return self.order + ("Q" if self.is_big else "I")

    @property
    def count(self) -> str:
        return self.order + ("Q" if self.is_big else "H")

    @property
    def tag(self) -> str:
        return self.order + ("HHQ8s" if self.is_big else "HHI4s")


def check_ifd_chain(state: FileState, *, is_plain: bool = True) -> int:
    """Number of directories, those of pyramid levels included.

    Parameters
    ----------
    state
        File, with path and size.
    is_plain
        False for formats that bend the standard (NDPI, LSM, STK), whose directories are not followed.

    Raises
    ------
    InputFileError
        If a directory, or one of its lists of strips or tiles, is outside the file, or they form a circle.
    """
    if not is_plain:
        return 0
    seen: set[int] = set()
    with open(state.path, "rb") as file:
        header = file.read(16)
        order = "<" if header[:2] == b"II" else ">"
        form = _Format(order, struct.unpack(order + "H", header[2:4])[0] == 43)
        start = 8 if form.is_big else 4
        chains = [struct.unpack_from(form.offset, _read(file, start, 8 if form.is_big else 4, state, 1))[0]]
        while chains:
            offset, of_chain = chains.pop(), set()
            while offset and offset not in seen:
                seen.add(offset)
                of_chain.add(offset)
                offset, children = _directory(file, offset, form, state, len(seen))
                chains += children
            if offset in of_chain:
                raise InputFileError(
                    f"'{state.path}' is damaged: its pages lead in a circle, back to byte {offset:,}. "
                    "Copy or export it again."
                )
    return len(seen)


def _directory(file: BinaryIO, offset: int, form: _Format, state: FileState, page: int) -> tuple[int, list[int]]:
    """Offset of the next directory, and of those below this one."""
    count_size, tag_size = struct.calcsize(form.count), struct.calcsize(form.tag)
    (n_tags,) = struct.unpack(form.count, _read(file, offset, count_size, state, page))
    tags = _read(file, offset + count_size, n_tags * tag_size, state, page)
    children: list[int] = []
    for code, kind, count, value in struct.iter_unpack(form.tag, tags):
        if code not in _LISTS or kind not in _TYPE_SIZES:
            continue
        size = count * _TYPE_SIZES[kind]
        if size > len(value):
            at = struct.unpack(form.offset, value)[0]
            if code == _SUB_IFDS:
                value = _read(file, at, size, state, page)
            else:
                _check(at, size, state, page)
        if code == _SUB_IFDS:
            children += struct.unpack(f"{form.order}{count}{_TYPE_CODES[kind]}", value[:size])
    after_tags = offset + count_size + n_tags * tag_size
    (following,) = struct.unpack(form.offset, _read(file, after_tags, struct.calcsize(form.offset), state, page))
    return following, children


def _read(file: BinaryIO, offset: int, size: int, state: FileState, page: int) -> bytes:
    _check(offset, size, state, page)
    file.seek(offset)
    return file.read(size)


def _check(offset: int, size: int, state: FileState, page: int) -> None:
    if offset + size > state.size:
        raise InputFileError(
            f"'{state.path}' is truncated: the directory of page {page} starts at byte {offset:,}, the file ends at "
            f"{state.size:,}. Copy or export it again."
        )
