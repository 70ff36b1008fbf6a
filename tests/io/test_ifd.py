"""Directories of TIFF files, written byte by byte and cut at each place."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import tifffile

from spatialfm._errors import InputFileError
from spatialfm.io._ifd import check_ifd_chain
from spatialfm.io._state import FileState

FORMATS = {"tiff": ("H", "HHI4s", "I", 42), "bigtiff": ("Q", "HHQ8s", "Q", 43)}


def written(path, *, kind="tiff", order="<", tags=((256, 3, 1, 8),), chain=1, last=0):
    """A file of `chain` directories one behind the other; `last` is where the last one leads."""
    count, tag, offset, magic = FORMATS[kind]
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "H", magic)
    head += struct.pack(order + "HH", 8, 0) if kind == "bigtiff" else b""
    first = len(head) + struct.calcsize(order + offset)
    size = struct.calcsize(order + count) + len(tags) * struct.calcsize(order + tag) + struct.calcsize(order + offset)
    data = head + struct.pack(order + offset, first)
    for number in range(chain):
        data += struct.pack(order + count, len(tags))
        for code, type_, n, value in tags:
            data += struct.pack(order + tag, code, type_, n, struct.pack(order + offset, value))
        following = last if number == chain - 1 else first + (number + 1) * size
        data += struct.pack(order + offset, following)
    path.write_bytes(data)
    return path


def n_directories(path):
    return check_ifd_chain(FileState.of(path))


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("chain", [1, 3])
def test_directories_are_counted(tmp_path, kind, order, chain):
    assert n_directories(written(tmp_path / "a.tif", kind=kind, order=order, chain=chain)) == chain


def test_pages_and_levels_of_a_pyramid_are_counted(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        for _ in range(2):
            tif.write(np.zeros((64, 64), np.uint8), subifds=2)
            tif.write(np.zeros((32, 32), np.uint8), subfiletype=1)
            tif.write(np.zeros((16, 16), np.uint8), subfiletype=1)
    assert n_directories(tmp_path / "a.tif") == 6


@pytest.mark.parametrize("kind", FORMATS)
def test_a_directory_that_runs_over_the_files_end_is_refused(tmp_path, kind):
    """At every length: the file ends within the directory, after the place where it begins."""
    path = written(tmp_path / "a.tif", kind=kind)
    whole = path.read_bytes()
    for length in range(8 if kind == "tiff" else 16, len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(InputFileError, match="is truncated: the directory of page 1"):
            n_directories(path)
    path.write_bytes(whole)
    assert n_directories(path) == 1


@pytest.mark.parametrize(("n", "whole"), [(2, True), (3, False)])
def test_lists_of_strips_must_lie_in_the_file(tmp_path, n, whole):
    """A list of n offsets of 4 bytes that begins 8 bytes before the end."""
    path = written(tmp_path / "a.tif")
    end = path.stat().st_size
    written(path, tags=((273, 4, n, end),))
    path.write_bytes(path.read_bytes() + bytes(8))
    if whole:
        assert n_directories(path) == 1
    else:
        with pytest.raises(InputFileError, match="is truncated"):
            n_directories(path)


def test_pages_in_a_circle_are_refused(tmp_path):
    with pytest.raises(InputFileError, match="lead in a circle, back to byte 8"):
        n_directories(written(tmp_path / "a.tif", chain=2, last=8))


def test_formats_that_bend_the_standard_are_not_followed(tmp_path):
    path = written(tmp_path / "a.tif", last=10**6)
    assert check_ifd_chain(FileState.of(path), is_plain=False) == 0
    with pytest.raises(InputFileError, match="is truncated"):
        n_directories(path)
