"""Strips and tiles of LZW codes that no decoder can follow, found before one is asked to.

After a code that clears the table the next one has to be a byte. The decoder of imagecodecs takes it for a byte unseen,
and later copies from wherever that entry of its table led last, or never led: the process may end on the spot.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .._compiled import compiled

_CLEAR, _END, _FIRST = 256, 257, 258
_ENTRIES = 5120  # of the decoder's table
_REVERSED = np.array([int(f"{byte:08b}"[::-1], 2) for byte in range(256)], np.uint8)


def lzw_checked(decode: Callable, n_bytes: int, *, is_reversed: bool) -> Callable:
    """A segment decoder that refuses what the LZW decoder would not survive.

    Parameters
    ----------
    decode
        Of tifffile, called with the bytes and the number of a segment.
    n_bytes
        Of a decoded segment: what follows is not decoded.
    is_reversed
        Whether bits are filled in from the lowest (``FillOrder`` 2).
    """

    def checked(data: bytes, index: int, **options: Any) -> tuple:
        codes = np.frombuffer(data, np.uint8)
        wrong = stray_code(_REVERSED[codes] if is_reversed else codes, n_bytes)
        if wrong >= 0:
            raise ValueError(f"its LZW code {wrong:,} follows a cleared table and is not a byte")
        return decode(data, index, **options)

    return checked


@compiled
def stray_code(data, n_bytes):
    """Number of the first code after a clear one that is not a byte; -1 if there is none in `n_bytes` decoded bytes.

    Widths follow the table as in TIFF: from the highest bit, one code early; or, in files of old, from the lowest.
    """
    lengths = np.ones(_ENTRIES, np.int64)
    from_high = not (data.size > 1 and data[0] == 0 and data[1] & 1)
    early = 1 if from_high else 0
    width, size, at, before, decoded, number = 9, _FIRST, 0, -1, 0, 0
    while decoded < n_bytes and at + width <= 8 * data.size:
        code = 0
        first = at >> 3
        for i in range(3):  # 12 bits extend over at most three bytes
            byte = np.int64(data[first + i]) if first + i < data.size else 0
            code |= byte << (16 - 8 * i if from_high else 8 * i)
        shift = 24 - width - (at & 7) if from_high else at & 7
        code = (code >> shift) & ((1 << width) - 1)
        at += width
        if code == _END:
            return -1
        if code == _CLEAR:
            width, size, before = 9, _FIRST, -1
        elif before < 0:
            if code >= _CLEAR:
                return number
            decoded, before = decoded + 1, code
        else:
            if code > size or size >= _ENTRIES:  # the decoder raises for this itself
                return -1
            lengths[size] = lengths[before] + 1
            decoded += lengths[code]
            size, before = size + 1, code
            if size + early in (512, 1024, 2048):
                width += 1
        number += 1
    return -1
