"""JPEG headers that would lead to the unsafe decoder of imagecodecs are refused before it sees them."""

from __future__ import annotations

import io
import struct
from contextlib import suppress

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

import spatialfm as sfm
from spatialfm._errors import InputFileError
from spatialfm.io._jpeg import check_jpeg

RGB = np.random.default_rng(0).integers(0, 256, (32, 40, 3)).astype(np.uint8)
GREY, DEEP = RGB[..., 0].copy(), RGB[..., 0].astype(np.uint16) * 16
HUFFMAN = b"\xff\xc4"


def by_pillow(pixels: np.ndarray, mode: str, **options) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(stream, "JPEG", **options)
    return stream.getvalue()


STREAMS = {
    "colours": (imagecodecs.jpeg8_encode(RGB), 3),
    "grey": (imagecodecs.jpeg8_encode(GREY), 1),
    "12 bits": (imagecodecs.jpeg8_encode(DEEP, bitspersample=12), 1),
    "lossless": (imagecodecs.jpeg8_encode(DEEP, bitspersample=16, lossless=True), 1),
    "lossless, tables first": (imagecodecs.ljpeg_encode(DEEP), 1),
    "progressive": (by_pillow(RGB, "RGB", progressive=True), 3),
    "own tables": (by_pillow(RGB, "RGB", optimize=True, subsampling=2), 3),
    "restarts": (by_pillow(RGB, "RGB", restart_marker_blocks=1), 3),
    "CMYK": (by_pillow(RGB, "CMYK"), 4),
}
# as tifffile asks for them, by the number of samples
COLOURS = {1: [(None, None)], 3: [(None, None), ("YCBCR", "RGB"), ("RGB", "RGB")], 4: [(None, None), ("CMYK", "CMYK")]}


@pytest.mark.parametrize("name", STREAMS)
def test_whole_streams_pass(name):
    check_jpeg(*STREAMS[name])


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Some bytes changed, most in the headers, or a piece left out or doubled."""
    out = bytearray(data)
    for _ in range(rng.integers(1, 6)):
        out[rng.integers(2, len(out) if rng.random() < 0.3 else min(700, len(out)))] = rng.integers(0, 256)
    if rng.random() < 0.3:
        start, n = rng.integers(2, len(out)), rng.integers(1, 60)
        out[start : start + n] = b"" if rng.random() < 0.5 else out[start : start + n] * 2
    return bytes(out)


def test_what_passes_never_leads_to_the_other_decoder(monkeypatch):
    """Of damaged streams that pass none is one for which imagecodecs turns from libjpeg to its own lossless decoder."""
    asked = []

    def lossless(*_args, **_options):
        asked.append(True)
        raise ValueError("asked")

    monkeypatch.setattr(imagecodecs, "ljpeg_decode", lossless)
    passed, turned = 0, 0
    for seed in range(1500):
        rng = np.random.default_rng(seed)
        whole, n_samples = STREAMS[list(STREAMS)[seed % len(STREAMS)]]
        data = damaged(whole, rng)
        asked.clear()
        colours = COLOURS[n_samples][rng.integers(len(COLOURS[n_samples]))]
        with suppress(Exception):  # of libjpeg, which ends no process
            imagecodecs.jpeg_decode(data, colorspace=colours[0], outcolorspace=colours[1])
        turned += bool(asked)
        try:
            check_jpeg(data, n_samples)
        except ValueError:
            continue
        passed += 1
        assert not asked, seed
    assert passed > 300
    assert turned > 100


def changed(data: bytes, table: int, **bytes_of: int) -> bytes:
    """A stream with other bytes behind the marker and length of a Huffman table."""
    at = -1
    for _ in range(table + 1):
        at = data.index(HUFFMAN, at + 1)
    out = bytearray(data)
    for place, value in bytes_of.items():
        out[at + 4 + int(place[1:])] = value
    return bytes(out)


def test_reasons():
    whole = STREAMS["grey"][0]
    frame = whole.index(b"\xff\xc0")
    with pytest.raises(ValueError, match="too many Huffman codes of 1 bits"):
        check_jpeg(changed(whole, 0, _1=2, _3=0), 1)
    with pytest.raises(ValueError, match="has 267 Huffman codes"):
        check_jpeg(changed(whole, 0, _16=255), 1)
    with pytest.raises(ValueError, match="a difference of 200 bits"):
        check_jpeg(changed(whole, 0, _17=200), 1)
    with pytest.raises(ValueError, match="a difference of 16 bits"):
        check_jpeg(changed(whole, 0, _17=16), 1)
    check_jpeg(changed(STREAMS["lossless"][0], 0, _17=16), 1)
    with pytest.raises(ValueError, match="has 1 samples a pixel, the page 3"):
        check_jpeg(whole, 3)
    with pytest.raises(ValueError, match="states 9 bits a sample"):
        check_jpeg(whole[: frame + 4] + b"\x09" + whole[frame + 5 :], 1)
    with pytest.raises(ValueError, match="process C7 is not read"):
        check_jpeg(whole[: frame + 1] + b"\xc7" + whole[frame + 2 :], 1)
    with pytest.raises(ValueError, match="marker C0 is longer than the data"):
        check_jpeg(whole[: frame + 12], 1)


def parted(data: bytes) -> tuple[bytes, bytes]:
    """A stream without its first Huffman table, and that table as a stream."""
    at = data.index(HUFFMAN)
    end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return data[:at] + data[end:], b"\xff\xd8" + data[at:end] + b"\xff\xd9"


def test_tables_of_a_page_are_right_for_the_process_of_its_tiles():
    """Lossless ones may have a difference of 16 bits, as between 0 and 32768."""
    pixels = np.random.default_rng(0).choice(np.array([0, 1, 32768], np.uint16), (32, 40))
    data, tables = parted(imagecodecs.jpeg8_encode(pixels, bitspersample=16, lossless=True))
    assert 16 in tables[23:-2]
    np.testing.assert_array_equal(imagecodecs.jpeg8_decode(data, tables=tables), pixels)
    check_jpeg(data, 1, tables)
    data, tables = parted(STREAMS["grey"][0])
    check_jpeg(data, 1, tables)
    with pytest.raises(ValueError, match="a difference of 16 bits"):
        check_jpeg(data, 1, changed(tables, 0, _17=16))


@pytest.mark.parametrize("shared", [False, True])
def test_an_image_with_such_a_tile_is_refused(tmp_path, shared):
    """Without the check this writes beyond memory, which ends the process now or later."""
    path = tmp_path / "a.tif"
    tables = struct.pack(">HHHB", 0xFFD8, 0xFFC4, 19, 0) + bytes(15) + b"\x00\xff\xd9"  # a table without codes
    tags = [(347, 7, len(tables), tables, True)] if shared else []
    tifffile.imwrite(path, RGB, compression="jpeg", photometric="rgb", tile=(16, 16), metadata=None, extratags=tags)
    read = sfm.io.read_tiff(path, mpp=0.5, channel_names=["r", "g", "b"])["image_a"].to_numpy()
    with tifffile.TiffFile(path) as tif:
        offset, count = tif.pages[0].dataoffsets[0], tif.pages[0].databytecounts[0]
    content = path.read_bytes()
    stream = content[offset : offset + count]
    np.testing.assert_array_equal(read[:, :16, :16].transpose(1, 2, 0), imagecodecs.jpeg8_decode(stream))
    if shared:
        path.write_bytes(content.replace(tables, changed(tables, 0, _1=3)))
    else:
        path.write_bytes(content[:offset] + changed(stream, 0, _1=2, _3=0) + content[offset + count :])
    sdata = sfm.io.read_tiff(path, mpp=0.5, channel_names=["r", "g", "b"])
    with pytest.raises(InputFileError, match=r"a.tif' is damaged: tile 0 .* JPEG table has"):
        sdata["image_a"].compute()
