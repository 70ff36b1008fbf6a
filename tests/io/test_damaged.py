"""Files that say of themselves what cannot be: refused before memory is asked for, with file and reason."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import tifffile

import spatialfm as sfm
from spatialfm._errors import InputFileError, PanelError, SpatialfmError


def place_of_tag(content: bytes, code: int) -> int:
    """Where the value of a tag of the first page of a classic little-endian TIFF stands."""
    (offset,) = struct.unpack_from("<I", content, 4)
    (n,) = struct.unpack_from("<H", content, offset)
    for i in range(n):
        at = offset + 2 + 12 * i
        if struct.unpack_from("<H", content, at)[0] == code:
            return at + 8
    raise AssertionError(f"no tag {code}")


def with_tag(path, code: int, value: int) -> None:
    raw = bytearray(path.read_bytes())
    at = place_of_tag(raw, code)
    struct.pack_into("<H", raw, at - 6, 4)  # LONG
    struct.pack_into("<I", raw, at, value)
    path.write_bytes(raw)


@pytest.fixture
def compressed(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((64, 80), np.uint16), compression="deflate", metadata=None)
    return path


def test_pages_that_lead_in_a_circle(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((3, 16, 16), np.uint16), metadata=None, photometric="minisblack")
    raw = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tif:
        first, last = tif.pages[0].offset, tif.pages[2].offset
    (n,) = struct.unpack_from("<H", raw, last)
    struct.pack_into("<I", raw, last + 2 + 12 * n, first)
    path.write_bytes(raw)
    with pytest.raises(InputFileError, match="circle"):
        sfm.io.read_tiff(path, mpp=0.5)


@pytest.mark.parametrize(("code", "value"), [(256, 2**31), (257, 2**32 - 1), (256, 0)])
def test_sides_that_no_image_has(compressed, code, value):
    with_tag(compressed, code, value)
    with pytest.raises(InputFileError, match="a.tif"):
        sfm.io.read_tiff(compressed, mpp=0.5)


def test_a_strip_that_cannot_hold_what_it_says(compressed):
    """One byte of Deflate stands for at most 1,032: 9,000,000 rows of 80 are more than the strip can hold."""
    with_tag(compressed, 257, 9_000_000)
    with_tag(compressed, 278, 9_000_000)
    with pytest.raises(InputFileError, match="not possible"):
        sfm.io.read_tiff(compressed, mpp=0.5)


def test_an_even_image_is_no_lie(tmp_path):
    """80 MB of zeros in one strip of some 80 kB is what Deflate makes of them."""
    path = tmp_path / "even.tif"
    tifffile.imwrite(path, np.zeros((6400, 6400), np.uint16), compression="deflate", rowsperstrip=6400, metadata=None)
    assert path.stat().st_size < 120_000
    assert sfm.io.read_tiff(path, mpp=0.5)["image_even"].shape == (1, 6400, 6400)


def test_more_planes_described_than_a_file_can_hold(tmp_path):
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, np.zeros((3, 16, 16), np.uint16), metadata={"axes": "CYX"})
    raw = path.read_bytes()
    assert raw.count(b'SizeZ="1" SizeT="1"') == 1
    path.write_bytes(raw.replace(b'SizeZ="1" SizeT="1"', b'SizeZ="9999999"    '))
    with pytest.raises(InputFileError, match="more than it can hold"):
        sfm.io.read_tiff(path, mpp=0.5)


def test_fewer_strips_than_rows_need(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((64, 80), np.uint16), compression="lzw", rowsperstrip=64, metadata=None)
    with_tag(path, 278, 32)
    with pytest.raises(InputFileError, match="a.tif"):
        sfm.io.read_tiff(path, mpp=0.5)["image_a"].compute()


def test_damaged_ome_xml_is_said(tmp_path):
    path = tmp_path / "a.ome.tif"
    metadata = {"axes": "CYX", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25, "Channel": {"Name": ["a", "b", "c"]}}
    tifffile.imwrite(path, np.zeros((3, 16, 16), np.uint16), metadata=metadata)
    path.write_bytes(path.read_bytes().replace(b"<Pixels ", b"<Pixels<"))
    with pytest.warns(UserWarning, match="OME-XML is damaged"):
        sfm.io.read_tiff(path)


@pytest.mark.parametrize("text", ['{"name": ["DAPI", "CD3", "CD8"]}', '["DAPI", "CD3", "CD8"]', "<OME></OME>"])
def test_json_and_xml_are_no_list_of_names(tmp_path, text):
    image, names = tmp_path / "a.tif", tmp_path / "names.txt"
    tifffile.imwrite(image, np.zeros((3, 16, 16), np.uint16), photometric="minisblack")
    names.write_text(text)
    with pytest.raises(PanelError, match="no list of channel names"):
        sfm.io.read_tiff(image, mpp=0.5, channel_names=names)


@pytest.mark.parametrize("name", ["a" * 5000, "a\0b", "~nobody_of_this_name/a.tif", "x/" * 3000])
def test_paths_that_cannot_be(name):
    with pytest.raises(SpatialfmError, match="No file|image must be a path"):
        sfm.io.read_tiff(name, mpp=0.5)


def test_a_block_that_does_not_fit_into_memory_is_named(compressed, monkeypatch):
    def full(*_, **__):
        raise MemoryError

    monkeypatch.setattr("tifffile.TiffPage.decode", property(lambda page: full))
    with pytest.raises(InputFileError, match="does not fit into memory"):
        sfm.io.read_tiff(compressed, mpp=0.5)["image_a"].compute()
