"""Whether the pixels of a TIFF were compressed with loss: the numbers of a mask would be those of other cells."""

from __future__ import annotations

import struct

from ._jpeg import frame_of
from ._layout import Level

_JPEG = (6, 7, 33007, 34892)
_JPEG_2000 = (33003, 33004, 33005, 34712)
_WEBP = (34927, 50001)
_LERC = 34887
_LOSSLESS_FRAME = 0xC3
_EXACT = 0.5  # largest error of LERC by which whole numbers stay as they are
_LERC_ERROR_AT = {2: 34, 3: 38, 4: 42, 5: 42, 6: 50}  # byte of that error by version


def lossy_codec(level: Level) -> str:
    """Name of the codec by which an image has lost what it held; empty where it has not, or this is not told.

    JPEG XL and JPEG XR do not tell it in their first bytes, nor does the reversible filter of JPEG 2000 where its
    stream was cut.

    Parameters
    ----------
    level
        Of an opened TIFF. Its first strip or tile with pixels is looked at.
    """
    if level.compression not in {*_JPEG, *_JPEG_2000, *_WEBP, _LERC}:
        return ""
    data, tables = _first_segment(level)
    if not data:
        return ""
    if level.compression in _JPEG:
        return "" if frame_of(data, tables) == _LOSSLESS_FRAME else "JPEG"
    if level.compression in _JPEG_2000:
        return "JPEG 2000" if _is_irreversible(data) else ""
    if level.compression in _WEBP:
        return "WebP" if _has_chunk(data, b"VP8 ") else ""
    return "LERC" if _lerc_error(data) > _EXACT else ""


def _first_segment(level: Level) -> tuple[bytes, bytes]:
    """Bytes of the first strip or tile that is in the file, and the tables of JPEG that go before it."""
    for page in level.pages:
        for offset, count in zip(page.offsets, page.counts, strict=True):
            if count > 0:
                with open(page.path, "rb") as file:
                    file.seek(int(offset))
                    data = file.read(int(count))
                return (level.jpegheader or b"") + data, page.jpegtables or b""
    return b"", b""


def _is_irreversible(data: bytes) -> bool:
    """Whether a stream of JPEG 2000 was made with the filter of real numbers (9-7), whose rounding is not undone."""
    at = data.find(b"\xff\x4f\xff\x51") + 2  # start of the stream, and the segment with its size
    while at >= 2 and at + 4 <= len(data):
        marker, length = struct.unpack(">HH", data[at : at + 4])
        if marker == 0xFF52:  # coding style: the filter is the last of its ten bytes
            return data[at + 13 : at + 14] == b"\x00"
        if marker == 0xFF90 or length < 2:  # the first tile
            return False
        at += 2 + length
    return False


def _has_chunk(data: bytes, name: bytes) -> bool:
    """Whether a RIFF file has a chunk of this name."""
    at = 12
    while at + 8 <= len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] == name:
            return True
        at += 8 + length + length % 2
    return False


def _lerc_error(data: bytes) -> float:
    """Largest error that a stream of LERC allows itself; 0 where it does not begin as one of version 2."""
    if not data.startswith(b"Lerc2 ") or len(data) < 10:
        return 0.0
    (version,) = struct.unpack_from("<i", data, 6)
    at = _LERC_ERROR_AT.get(version, 0)
    return struct.unpack_from("<d", data, at)[0] if at and at + 8 <= len(data) else 0.0
