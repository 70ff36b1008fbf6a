"""Checks the sizes that a file states against what it can hold, before memory is reserved for it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .._errors import InputFileError
from ._ome import ome_images

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

    from ._page import Page
    from ._state import FileState

MAX_SIDE = 10_000_000  # pixels; slides have some 100,000
_SMALL = 2**26  # bytes of a strip or tile that need no question
# the most bytes that one byte can encode: runs of 258 in 2 bits; 4,096 in 12 bits; 128 in 2 bytes; 128 kB in 3 bytes
_DEFLATE, _LZW, _PACKBITS, _ZSTD = 1032, 2731, 64, 43_691
_RATIOS = {8: _DEFLATE, 32946: _DEFLATE, 5: _LZW, 32773: _PACKBITS, 50000: _ZSTD, 34926: _ZSTD}
_OTHER = 50_000  # lzma, JPEG 2000, LERC ...: even planes become next to nothing, but not of more than
_LARGE = 2**30  # bytes


def check_sides(height: object, width: object, state: FileState) -> None:
    """Refuse sides that no image has."""
    if not all(isinstance(side, int) and 0 < side <= MAX_SIDE for side in (height, width)):
        raise InputFileError(
            f"'{state.path}' states a size of {height} x {width} pixels, which is impossible. It is damaged; copy or "
            "export it again."
        )


def check_segment(rows: object, columns: object, state: FileState) -> None:
    """Refuse strips or tiles whose sides are not whole numbers from 1 up, as a tag of another type makes them."""
    for side in (rows, columns):
        if not isinstance(side, int) or side < 1:
            raise InputFileError(
                f"'{state.path}' states that its strips or tiles are {rows} x {columns} pixels, which is impossible. "
                "It is damaged; copy or export it again."
            )


def check_declared(tif: TiffFile, n_pages: int, state: FileState) -> None:
    """Refuse descriptions of more planes than a file, or the files of its set, can hold.

    tifffile reserves an entry for every plane that is described; a wrong digit would ask for all memory.
    """
    if not len(tif.pages):
        return
    if tif.is_ome and tif.ome_metadata:
        for image in ome_images(tif.ome_metadata):
            n_files = max(len({file for file, _ in image.planes}), 1)
            # a page holds at least a byte of a plane, for any number of files
            if image.n_planes > max(64, n_pages or 1, state.size) * n_files:
                _refuse(image.n_planes, "OME-XML", state)
    page = tif.pages.first
    text = page.description or ""
    if stated := re.search(r"^(?:images|slices|frames|channels)=(\d{7,})", text, re.MULTILINE):
        if tif.is_imagej and int(stated[1]) > state.size:
            _refuse(int(stated[1]), "ImageJ", state)
    if text.startswith("{"):
        try:
            shape = json.loads(text).get("shape", [])
            n = math.prod(int(length) for length in shape)
        except (ValueError, TypeError, AttributeError, OverflowError):
            return
        if n > 10**6 and n > state.size * _OTHER:
            _refuse(n, "shape", state)


def _refuse(n: int, what: str, state: FileState) -> None:
    raise InputFileError(
        f"'{state.path}', {state.size:,} bytes, is described ({what}) as {n:,} planes or pixels, more than it can "
        "hold. Its metadata are damaged, or another image's; copy or export it again."
    )


def check_capacity(keyframe: TiffPage, n_values: int, pages: Sequence[Page]) -> None:
    """Refuse strips or tiles with a stated size beyond what their compressed bytes can hold.

    `n_values` are the values of one strip or tile. The bounds are those of the formats, so that no file that was
    written is refused.
    """
    n_bytes = n_values * keyframe.bitspersample // 8
    compression = int(keyframe.compression)
    limit = _RATIOS.get(compression, _OTHER)
    small = _SMALL if compression in _RATIOS or compression == 1 else _LARGE
    if n_bytes <= small or compression == 1:
        return
    for page in pages:
        held = int(page.counts.max(initial=0))
        if held and n_bytes > held * limit:
            raise InputFileError(
                f"'{page.path}' is damaged: a strip or tile of {n_bytes:,} bytes of pixels is stored in {held:,} "
                "bytes, which is not possible. Copy or export it again."
            )
