"""Ways in which a file comes to be damaged, each decided by a random generator."""

from __future__ import annotations

import re
import struct

import numpy as np

_NUMBERS = (0, 1, 2, 3, 7, 8, 16, 255, 256, 65_535, 65_536, 2**31 - 1, 2**31, 2**32 - 1)
_TEXTS = (
    "",
    "0",
    "-1",
    "1e309",
    "nan",
    "999999999999",
    "4294967296",
    "0.0",
    "x",
    "é",
    "\0",
    "\ufeff",
    '"',
    "\n",
    "'",
    ";",
)
_TAGS = (256, 257, 258, 259, 262, 270, 273, 277, 278, 279, 282, 284, 296, 317, 322, 323, 324, 325, 330, 339, 347)


def mutate(content: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    """One to four damages, one after the other; `other` is a second file to take bytes from."""
    for _ in range(int(rng.choice([1, 1, 1, 2, 4]))):
        is_tiff = content[:2] in (b"II", b"MM") and len(content) > 16
        is_text = not is_tiff and b"\0" not in content[:64]
        kinds = [_flip, _number, _truncate, _delete, _repeat, _splice]
        kinds += [_tag, _tag, _tag, _description] if is_tiff else []
        kinds += [_text, _text, _text, _line] if is_text else []
        content = kinds[rng.integers(len(kinds))](content, rng, other) or b"\0"
    return content


def _flip(content: bytes, rng, other: bytes) -> bytes:
    raw = bytearray(content)
    for at in rng.integers(0, len(raw), rng.integers(1, 9)):
        raw[at] ^= 1 << int(rng.integers(8))
    return bytes(raw)


def _number(content: bytes, rng, other: bytes) -> bytes:
    value, size = int(rng.choice(_NUMBERS)), int(rng.choice([1, 2, 4, 8]))
    at = int(rng.integers(0, len(content)))
    packed = (value % 256**size).to_bytes(size, "little" if rng.random() < 0.7 else "big")
    return content[:at] + packed + content[at + size :]


def _truncate(content: bytes, rng, other: bytes) -> bytes:
    return content[: int(rng.integers(0, len(content)))]


def _delete(content: bytes, rng, other: bytes) -> bytes:
    at, n = int(rng.integers(0, len(content))), int(rng.integers(1, 65))
    return content[:at] + content[at + n :]


def _repeat(content: bytes, rng, other: bytes) -> bytes:
    at, n = int(rng.integers(0, len(content))), int(rng.integers(1, 257))
    return content[: at + n] + content[at : at + n] * int(rng.integers(1, 20)) + content[at + n :]


def _splice(content: bytes, rng, other: bytes) -> bytes:
    at, there = int(rng.integers(0, len(content))), int(rng.integers(0, len(other)))
    n = int(rng.integers(1, 257))
    return content[:at] + other[there : there + n] + content[at + n * int(rng.integers(2)) :]


def _tag(content: bytes, rng, other: bytes) -> bytes:
    """Another type, count or value in a directory of a TIFF."""
    found = _entries(content)
    if not found:
        return _flip(content, rng, other)
    wanted = [entry for entry in found if entry[3] == int(rng.choice(_TAGS))] or found
    at, order, big, _ = wanted[int(rng.integers(len(wanted)))]
    field = int(rng.integers(4))
    number = int(rng.choice(_NUMBERS + (len(content), len(content) - 1)))
    raw = bytearray(content)
    if field == 0:
        struct.pack_into(order + "H", raw, at + 2, int(rng.choice([0, 1, 2, 3, 4, 5, 11, 12, 13, 16, 99])))
    elif field == 1:
        struct.pack_into(order + ("Q" if big else "I"), raw, at + 4, number)
    elif field == 2:
        struct.pack_into(order + "H", raw, at, int(rng.choice(_TAGS)))
    else:
        struct.pack_into(order + "I", raw, at + (12 if big else 8), number)
    return bytes(raw)


def _entries(content: bytes) -> list[tuple[int, str, bool, int]]:
    """Place, byte order, width and code of every tag of the directories that can be followed."""
    order = "<" if content[:2] == b"II" else ">"
    found: list[tuple[int, str, bool, int]] = []
    try:
        big = struct.unpack_from(order + "H", content, 2)[0] == 43
        offset = struct.unpack_from(order + ("Q" if big else "I"), content, 8 if big else 4)[0]
        for _ in range(20):  # a damaged chain may lead in a circle
            n = struct.unpack_from(order + ("Q" if big else "H"), content, offset)[0]
            first, size = offset + (8 if big else 2), 20 if big else 12
            for i in range(min(n, 60)):
                at = first + i * size
                if at + size > len(content):
                    return found
                found.append((at, order, big, struct.unpack_from(order + "H", content, at)[0]))
            offset = struct.unpack_from(order + ("Q" if big else "I"), content, first + n * size)[0]
            if not offset:
                break
    except (struct.error, OverflowError):
        pass
    return found


def _description(content: bytes, rng, other: bytes) -> bytes:
    """Another number of the same length in the text within a TIFF (OME-XML, ImageJ, JSON), or other letters."""
    places = list(re.finditer(rb'(?<=["=:\[ ])\d+(?:\.\d+)?', content))
    if not places:
        return _flip(content, rng, other)
    place = places[int(rng.integers(len(places)))]
    n = place.end() - place.start()
    text = rng.choice(["9" * n, "0" * n, "-" + "1" * (n - 1), "x" * n, "1" + "0" * (n - 1), "99999999999"])
    return content[: place.start()] + str(text).encode() + content[place.end() :]


def _text(content: bytes, rng, other: bytes) -> bytes:
    places = list(re.finditer(rb"[\w.-]+", content)) or list(re.finditer(rb".", content))
    if not places:
        return content
    place = places[int(rng.integers(len(places)))]
    encoding = str(rng.choice(["utf-8", "utf-8", "utf-16-le", "cp1252"]))
    return content[: place.start()] + str(rng.choice(_TEXTS)).encode(encoding, "replace") + content[place.end() :]


def _line(content: bytes, rng, other: bytes) -> bytes:
    lines = content.split(b"\n")
    i, j = rng.integers(0, len(lines), 2)
    if rng.random() < 0.5:
        lines[i], lines[j] = lines[j], lines[i]
    else:
        lines[i] = lines[i] * int(rng.integers(0, 200))
    return b"\n".join(lines)
