"""Strips and tiles of JPEG whose headers libjpeg refuses, found before it is asked to.

Where libjpeg refuses tables of Huffman codes, the precision, the process or the colours, imagecodecs turns to its
decoder of lossless JPEG. That one takes the lengths in the file as they are and writes beyond its own memory: the
process may end, then or later. libjpeg reads lossless JPEG itself, so nothing is lost where the second decoder is
never reached.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

_MARKER = re.compile(rb"\xff[\x01-\xfe]")  # FF 00 is a byte of coded pixels
_ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length
_END, _HUFFMAN, _LOSSLESS = 0xD9, 0xC4, 0xC3
_FRAMES = {0xC0, 0xC1, 0xC2, _LOSSLESS, 0xC9, 0xCA}
_NOT_READ = {*range(0xC5, 0xC9), 0xCB, *range(0xCD, 0xD0)}  # hierarchical processes and others that nobody writes


def jpeg_checked(decode: Callable, n_samples: int) -> Callable:
    """A segment decoder that refuses what libjpeg would refuse.

    Parameters
    ----------
    decode
        Of tifffile, called with the bytes and the number of a segment.
    n_samples
        Of a pixel of a segment.
    """

    def checked(data: bytes, index: int, **options: Any) -> tuple:
        header, tables = options.get("jpegheader") or b"", options.get("jpegtables") or b""
        check_jpeg(header + data, n_samples, tables)
        return decode(data, index, **options)

    return checked


def check_jpeg(data: bytes, n_samples: int, tables: bytes = b"") -> None:
    """Look at all markers of a JPEG stream.

    Parameters
    ----------
    data
        The stream.
    n_samples
        Of a pixel.
    tables
        Stream of the tables that all streams of a page share, if any; whether one is right depends on the process.

    Raises
    ------
    ValueError
        If libjpeg would refuse it for its tables, precision, process or number of samples.
    """
    frame, largest = 0, 0
    for marker, content in chain(_segments(tables), _segments(data)):
        if marker in _NOT_READ:
            raise ValueError(f"its JPEG process {marker:02X} is not read")
        if marker == _HUFFMAN:
            largest = max(largest, _largest_of_tables(content))
        elif marker in _FRAMES:
            frame = marker
            precisions = range(2, 17) if frame == _LOSSLESS else (8, 12)
            if len(content) < 6 or content[0] not in precisions:
                raise ValueError(f"its JPEG frame states {content[0] if content else 0} bits a sample")
            if content[5] != n_samples:
                raise ValueError(f"its JPEG frame has {content[5]} samples a pixel, the page {n_samples}")
    if largest > (16 if frame == _LOSSLESS else 15):
        raise ValueError(f"its JPEG table has a difference of {largest} bits")


def frame_of(data: bytes, tables: bytes = b"") -> int:
    """Marker of the first frame of a JPEG stream, which names its process; 0 where it has none.

    Parameters
    ----------
    data
        The stream.
    tables
        Stream that goes before it, if any.
    """
    try:
        return next((marker for marker, _ in chain(_segments(tables), _segments(data)) if marker in _FRAMES), 0)
    except ValueError:  # damaged
        return 0


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Markers that have a length, with what they hold, to the end of the image."""
    at = 0
    while place := _MARKER.search(data, at):
        at, marker = place.end(), place.group()[-1]
        if marker == _END:
            return
        if marker in _ALONE:
            continue
        length = int.from_bytes(data[at : at + 2], "big")
        if length < 2 or at + length > len(data):
            raise ValueError(f"its JPEG marker {marker:02X} is longer than the data")
        yield marker, data[at + 2 : at + length]
        at += length


def _largest_of_tables(content: bytes) -> int:
    """Largest symbol of the tables for differences; tables of Huffman codes are checked on the way."""
    largest = 0
    while len(content) > 16:
        counts, n = content[1:17], sum(content[1:17])
        if n > min(256, len(content) - 17):
            raise ValueError(f"its JPEG table has {n} Huffman codes")
        code = 0
        for length, count in enumerate(counts, 1):
            code = 2 * code + count
            if count and code >= 1 << length:  # the code of ones alone is never used
                raise ValueError(f"its JPEG table has too many Huffman codes of {length} bits")
        if content[0] < 16:
            largest = max(largest, *content[17 : 17 + n], 0)
        content = content[17 + n :]
    return largest
