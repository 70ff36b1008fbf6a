"""Layouts of TIFF files: axes, pages, pyramids, and files that end too early."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tifffile

from spatialfm._errors import InputFileError
from spatialfm.io._layout import _same_channels, open_tiff

PIXELS = np.arange(2 * 40 * 50, dtype=np.uint16).reshape(2, 40, 50)


def write(path, pixels=PIXELS, **kwargs):
    tifffile.imwrite(path, pixels, **{"photometric": "minisblack"} | kwargs)
    return path


def dims(layout):
    return [(one.letter, one.length, one.source) for one in layout.levels[0].dims]


def test_pages_rows_and_columns_are_told_apart(tmp_path):
    layout = open_tiff(write(tmp_path / "a.ome.tif", metadata={"axes": "CYX"}))
    assert dims(layout) == [("C", 2, "n"), ("Y", 40, "h"), ("X", 50, "w")]
    level = layout.levels[0]
    assert (level.shape, level.dtype, level.is_raw) == ((2, 1, 40, 50), np.uint16, True)


def test_samples_of_a_pixel_are_no_pages(tmp_path):
    rgb = np.zeros((40, 50, 3), np.uint8)
    level = open_tiff(write(tmp_path / "a.tif", rgb, photometric="rgb")).levels[0]
    assert (level.shape, level.interleaved) == ((1, 3, 40, 50), True)
    planar = open_tiff(write(tmp_path / "b.tif", np.moveaxis(rgb, -1, 0), photometric="rgb", planarconfig="separate"))
    assert (planar.levels[0].shape, planar.levels[0].interleaved) == ((1, 3, 40, 50), False)


def test_pages_along_two_axes_are_one_dimension_with_both(tmp_path):
    stack = np.zeros((3, 2, 40, 50), np.uint8)
    layout = open_tiff(write(tmp_path / "a.ome.tif", stack, metadata={"axes": "TCYX"}))
    assert dims(layout)[0] == ("TC", 6, "n")
    assert layout.levels[0].stacks == (("T", 3), ("C", 2))


def test_tiles_and_strips_have_their_size(tmp_path):
    tiled = open_tiff(write(tmp_path / "a.tif", PIXELS[0], tile=(16, 32), compression="zlib")).levels[0]
    assert (tiled.segment, tiled.is_raw) == ((16, 32), False)
    assert len(tiled.pages[0].offsets) == 3 * 2
    strips = open_tiff(write(tmp_path / "b.tif", PIXELS[0], rowsperstrip=16, compression="zlib")).levels[0]
    assert strips.segment == (16, 50)


def test_a_pyramid_has_its_levels_from_large_to_small(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as tif:
        tif.write(PIXELS, subifds=1, photometric="minisblack", metadata={"axes": "CYX"})
        tif.write(PIXELS[:, ::2, ::2], subfiletype=1, photometric="minisblack")
    assert [one.shape[2:] for one in open_tiff(tmp_path / "a.ome.tif").levels] == [(40, 50), (20, 25)]


def test_levels_of_other_channels_or_types_are_none_of_it():
    def level(shape, dtype="u2"):
        return SimpleNamespace(shape=shape, dtype=np.dtype(dtype))

    first = level((2, 1, 40, 40))
    levels = (first, level((1, 1, 20, 20)), level((2, 1, 20, 20), "u1"), level((2, 1, 40, 20)), level((2, 1, 10, 10)))
    assert _same_channels(levels) == (first, levels[4])


@pytest.mark.parametrize("cut", [1, 1000])
def test_a_file_that_ends_too_early_is_refused(tmp_path, cut):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as tif:
        for page in PIXELS:
            tif.write(page, photometric="minisblack", metadata=None)
    data = path.read_bytes()
    path.write_bytes(data[:-cut])
    with pytest.raises(InputFileError, match="truncated|damaged"):
        open_tiff(path)


def test_what_is_no_tiff_is_refused(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"\x89PNG\r\n\x1a\n" * 9)
    with pytest.raises(InputFileError, match="is not a TIFF file"):
        open_tiff(tmp_path / "a.tif")
    (tmp_path / "b.tif").write_bytes(b"II*\0" + b"\xff" * 40)
    with pytest.raises(InputFileError, match="b.tif"):
        open_tiff(tmp_path / "b.tif")
    write(tmp_path / "c.tif", np.zeros((8, 8), np.complex64))
    with pytest.raises(InputFileError, match="holds pixels of type complex64"):
        open_tiff(tmp_path / "c.tif")
    with pytest.raises(InputFileError):
        open_tiff(tmp_path / "absent.tif")


def test_a_file_that_was_written_anew_is_read_anew(tmp_path):
    path = write(tmp_path / "a.tif", PIXELS[0])
    assert open_tiff(path).levels[0].shape == (1, 1, 40, 50)
    write(path, PIXELS[0, :20])
    assert open_tiff(path).levels[0].shape == (1, 1, 20, 50)


def test_bits_are_read_as_bytes_and_byte_orders_as_this_machines(tmp_path):
    level = open_tiff(write(tmp_path / "a.tif", PIXELS[0], byteorder=">")).levels[0]
    assert level.dtype == np.dtype("=u2")
    assert level.stored_dtype == np.dtype(">u2")
    bits = open_tiff(write(tmp_path / "b.tif", PIXELS[0] > 9)).levels[0]
    assert bits.dtype == np.uint8
