"""LZW codes that would end the process within the decoder are refused before it sees them."""

from __future__ import annotations

import struct

import imagecodecs
import numpy as np
import pytest
import tifffile

import spatialfm as sfm
from spatialfm._errors import InputFileError
from spatialfm.io._lzw import stray_code

CLEAR, END = 256, 257


def packed(codes, *, from_high: bool = True) -> np.ndarray:
    """Codes of 9 bits, one behind the other."""
    bits = "".join(f"{code:09b}" if from_high else f"{code:09b}"[::-1] for code in codes)
    bits += "0" * (-len(bits) % 8)
    parts = [bits[i : i + 8] for i in range(0, len(bits), 8)]
    return np.array([int(part if from_high else part[::-1], 2) for part in parts], np.uint8)


@pytest.mark.parametrize("from_high", [True, False])
def test_the_first_code_after_a_clear_one_is_a_byte(from_high):
    assert stray_code(packed([CLEAR, 65, 66, 258, END], from_high=from_high), 100) == -1
    assert stray_code(packed([CLEAR, 65, CLEAR, 300, END], from_high=from_high), 100) == 3
    assert stray_code(packed([CLEAR, 258, 65, END], from_high=from_high), 100) == 1
    assert stray_code(packed([CLEAR, CLEAR, 65, END], from_high=from_high), 100) == -1
    # what follows the pixels, or the end, is not decoded
    assert stray_code(packed([CLEAR, 65, 66, CLEAR, 300], from_high=from_high), 2) == -1
    assert stray_code(packed([CLEAR, 65, END, CLEAR, 300], from_high=from_high), 100) == -1


@pytest.mark.parametrize("n", [0, 1, 255, 256, 511, 512, 1023, 1024, 2047, 2048, 4093, 4096, 5000, 100_000])
@pytest.mark.parametrize("levels", [1, 3, 256])
def test_whole_streams_pass_through_every_width_of_code(n, levels):
    values = np.random.default_rng(n).integers(0, levels, n).astype(np.uint8)
    stream = np.frombuffer(imagecodecs.lzw_encode(values.tobytes()), np.uint8)
    assert stray_code(stream, n) == -1
    assert stray_code(stream, 10 * n + 10) == -1


def test_a_width_that_is_lost_is_seen():
    """Behind 3,000 bytes of noise (codes of 12 bits) a stray code is found at its number, so widths were followed."""
    values = np.random.default_rng(0).integers(0, 256, 3000).astype(np.uint8)
    stream = np.frombuffer(imagecodecs.lzw_encode(values.tobytes()), np.uint8)
    bits = "".join(f"{byte:08b}" for byte in stream)
    end = bits.rstrip("0")  # ... and the end code, 000100000001 of 12 bits
    assert end.endswith("000100000001")
    longer = end[:-12] + f"{CLEAR:012b}" + f"{300:09b}" + f"{END:09b}"
    longer += "0" * (-len(longer) % 8)
    codes = np.array([int(longer[i : i + 8], 2) for i in range(0, len(longer), 8)], np.uint8)
    assert stray_code(codes, 10_000) > 2500
    assert stray_code(codes, 3000) == -1


def strip_of(path) -> tuple[int, int]:
    with tifffile.TiffFile(path) as tif:
        return tif.pages[0].dataoffsets[0], tif.pages[0].databytecounts[0]


@pytest.mark.parametrize("is_reversed", [False, True])
def test_an_image_with_such_a_strip_is_refused(tmp_path, is_reversed):
    """Without the check this ends the process: a segmentation fault of imagecodecs."""
    path = tmp_path / "a.tif"
    pixels = np.random.default_rng(0).integers(0, 99, (64, 80)).astype(np.uint8)
    tags = [(65000, "H", 1, 2, True)] if is_reversed else []
    tifffile.imwrite(path, pixels, compression="lzw", rowsperstrip=64, metadata=None, extratags=tags)
    offset, count = strip_of(path)
    content = path.read_bytes().replace(struct.pack("<HHI", 65000, 3, 1), struct.pack("<HHI", 266, 3, 1))  # FillOrder
    raw = np.frombuffer(content, np.uint8).copy()
    strip = raw[offset : offset + count]
    if is_reversed:
        strip[:] = [int(f"{byte:08b}"[::-1], 2) for byte in strip]
        path.write_bytes(raw.tobytes())
    np.testing.assert_array_equal(sfm.io.read_tiff(path, mpp=0.5, channel_names=["a"])["image_a"].to_numpy()[0], pixels)
    codes = packed([CLEAR, 300, 65, 66, 300, 301, 302, 303, END])
    strip[: len(codes)] = [int(f"{byte:08b}"[::-1], 2) for byte in codes] if is_reversed else codes
    path.write_bytes(raw.tobytes())
    sdata = sfm.io.read_tiff(path, mpp=0.5, channel_names=["a"])
    with pytest.raises(InputFileError, match=r"a.tif' is damaged: strip 0 .* LZW code 1 follows a cleared table"):
        sdata["image_a"].compute()
