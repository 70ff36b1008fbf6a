"""The chain of page directories of a TIFF file, followed to its end.

tifffile stops quietly where the chain leads out of the file: a truncated file would be an image with fewer channels.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

from .._errors import InputFileError


def check_ifd_chain(state, *, is_plain: bool = True) -> int:
    """Number of pages in the main chain.

    Parameters
    ----------
    state
        File, with path and size.
    is_plain
        False for formats that bend the standard (NDPI, LSM, STK), whose chain is not followed.

    Raises
    ------
    InputFileError
        If a directory lies outside the file.
    """
    if not is_plain:
        return 0
    with open(state.path, "rb") as file:
        header = file.read(16)
        order = "<" if header[:2] == b"II" else ">"
        is_big = struct.unpack(order + "H", header[2:4])[0] == 43
        offset_format, count_format, tag_size = (
            (order + "Q", order + "Q", 20) if is_big else (order + "I", order + "H", 12)
        )
        offset_size, count_size = struct.calcsize(offset_format), struct.calcsize(count_format)
        start = 8 if is_big else 4
        (offset,) = struct.unpack(offset_format, header[start : start + offset_size])
        seen: set[int] = set()
        while offset and offset not in seen:
            seen.add(offset)
            (n_tags,) = struct.unpack(count_format, _read(file, offset, count_size, state, len(seen)))
            after_tags = offset + count_size + n_tags * tag_size
            (offset,) = struct.unpack(offset_format, _read(file, after_tags, offset_size, state, len(seen)))
    return len(seen)


def _read(file: BinaryIO, offset: int, size: int, state, page: int) -> bytes:
    if offset + size > state.size:
        raise InputFileError(
            f"'{state.path}' is truncated: the directory of page {page} lies at byte {offset:,}, the file ends at "
            f"{state.size:,}. Copy or export it again."
        )
    file.seek(offset)
    return file.read(size)
