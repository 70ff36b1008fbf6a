"""Sizes that a file states against what it can hold."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from spatialfm._errors import InputFileError
from spatialfm.io._declared import check_capacity, check_declared, check_segment, check_sides

STATE = SimpleNamespace(path="a.tif", size=1000)


def file(description="", imagej=False, n_pages=1):
    page = SimpleNamespace(description=description)
    pages = type("Pages", (list,), {"first": page})([page] * n_pages)
    return SimpleNamespace(pages=pages, is_ome=False, ome_metadata=None, is_imagej=imagej)


@pytest.mark.parametrize("sides", [(0, 5), (5, -1), (10_000_001, 5), (5.0, 5), (None, 5)])
def test_sides_that_no_image_has_are_refused(sides):
    with pytest.raises(InputFileError, match="which is impossible"):
        check_sides(*sides, STATE)
    check_sides(10_000_000, 1, STATE)


@pytest.mark.parametrize("sides", [(0, 16), (16, None), (2.5, 16)])
def test_segments_have_whole_sides(sides):
    with pytest.raises(InputFileError, match="strips or tiles are"):
        check_segment(*sides, STATE)
    check_segment(1, 16, STATE)


def test_more_planes_than_bytes_are_refused():
    with pytest.raises(InputFileError, match=r"described \(ImageJ\) as 1,000,001 planes"):
        check_declared(file("ImageJ=1\nimages=1000001", imagej=True), 1, STATE)
    check_declared(file("ImageJ=1\nimages=1000001"), 1, STATE)  # of another program, it means nothing
    check_declared(file("ImageJ=1\nimages=12", imagej=True), 1, STATE)
    check_declared(file(n_pages=0), 0, STATE)


def test_a_shape_beyond_what_compression_can_do_is_refused():
    with pytest.raises(InputFileError, match=r"described \(shape\) as 100,000,000 planes or pixels"):
        check_declared(file('{"shape": [100, 1000, 1000]}'), 1, STATE)
    check_declared(file('{"shape": [7, 1000, 1000]}'), 1, STATE)  # 50,000 times 1,000 bytes are possible
    check_declared(file('{"shape": ["x"]}'), 1, STATE)


@pytest.mark.parametrize(
    ("compression", "ratio"),
    [(8, 1032), (5, 2731), (32773, 64), (50000, 43_691)],  # deflate, LZW, PackBits, Zstandard
)
def test_compressed_bytes_hold_at_most_what_their_format_can(compression, ratio):
    keyframe = SimpleNamespace(bitspersample=16, compression=compression)
    n_values = 2**26  # 128 MiB
    least = 2 * n_values / ratio
    page = SimpleNamespace(counts=np.array([int(np.ceil(least))]), path="a.tif")
    check_capacity(keyframe, n_values, [page])
    page.counts = np.array([int(least) - 1])
    with pytest.raises(InputFileError, match="a strip or tile of 134,217,728 bytes"):
        check_capacity(keyframe, n_values, [page])
    page.counts = np.array([0])
    check_capacity(keyframe, n_values, [page])  # empty segments of sparse files


def test_plain_and_small_strips_need_no_question():
    page = SimpleNamespace(counts=np.array([1]), path="a.tif")
    check_capacity(SimpleNamespace(bitspersample=8, compression=1), 2**30, [page])
    check_capacity(SimpleNamespace(bitspersample=8, compression=8), 2**26, [page])
