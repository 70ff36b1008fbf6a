"""The parts of tifffile that `io` rests on: in one file, each as it is used, in versions that were tried."""

from __future__ import annotations

import ast
import itertools
import logging
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
import pytest
import tifffile
from packaging.version import Version

import spatialfm.io
from spatialfm.io import _tifffile as parts

IO = Path(spatialfm.io.__file__).parent
INNER = {  # attributes of tifffile's pages, series and files that its documentation does not promise
    "keyframe", "shaped", "dataoffset", "dataoffsets", "databytecounts", "filehandle", "get_shape", "get_axes",
    "is_subsampled", "rowsperstrip", "tilelength", "tilewidth", "imagelength", "imagewidth", "fillorder", "byteorder",
    "predictor", "is_ndpi", "is_lsm", "is_stk", "DECOMPRESSORS", "UNPREDICTORS", "IMAGE_COMPRESSIONS",
}  # fmt: skip


def was_tried(version: str) -> str:
    """What to do where a version of tifffile was not tried; empty where it was."""
    first, last = map(Version, parts.TRIED)
    if first <= Version(version) <= last:
        return ""
    return (
        f"tifffile {version} is installed, and io/_tifffile.py was tried with {first} to {last}. Run tests/io with it; "
        "if all of them pass, write the version into TRIED there, otherwise adapt that file."
    )


def test_the_installed_version_was_tried():
    assert not (said := was_tried(tifffile.__version__)), said


@pytest.mark.parametrize(("version", "tried"), [("2024.8.30", True), ("2024.8.28", False), ("2099.1.1", False)])
def test_a_version_that_was_not_tried_is_named(version, tried):
    assert bool(was_tried(version)) != tried
    assert tried or f"tifffile {version} is installed" in was_tried(version)


def test_no_other_file_opens_a_tiff_or_knows_its_inner_parts():
    for path in IO.glob("*.py"):
        if path.name == "_tifffile.py":
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for_types = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node)]
        allowed = {id(inner) for node in for_types for inner in ast.walk(node)}
        for node in ast.walk(tree):
            if id(node) in allowed:
                continue
            imported = [alias.name for alias in getattr(node, "names", [])] if isinstance(node, ast.Import) else []
            imported += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            assert "tifffile" not in imported, f"{path.name}:{node.lineno} imports tifffile"
            if isinstance(node, ast.Attribute):
                assert node.attr not in INNER, f"{path.name}:{node.lineno} uses .{node.attr}"


@pytest.fixture
def written(tmp_path):
    """`written(pixels, **options)`: an open file of them, and the page that describes it."""
    with ExitStack() as opened:
        numbers = itertools.count()

        def write(pixels, **options):
            path = tmp_path / f"{next(numbers)}.tif"
            tifffile.imwrite(path, pixels, **options)
            tif = opened.enter_context(parts.open_file(path))
            return tif, parts.describing_page(parts.all_series(tif)[0])

        yield write


PIXELS = np.arange(2 * 30 * 50, dtype=np.uint16).reshape(2, 30, 50)


def test_lengths_of_pages_and_images(written):
    tif, page = written(PIXELS, photometric="minisblack", metadata={"axes": "CYX"}, ome=True)
    assert parts.plane_shape(page) == (1, 1, 30, 50, 1)
    assert parts.follows_the_standard(tif)
    (series,) = parts.all_series(tif)
    axes, shape = parts.full_shape(series)
    assert len(axes) == len(shape)
    assert {a: n for a, n in zip(axes, shape, strict=True) if n > 1} == {"C": 2, "Y": 30, "X": 50}
    assert len(series) == 2
    _, page = written(np.zeros((30, 50, 3), np.uint8), photometric="rgb")
    assert parts.plane_shape(page) == (1, 1, 30, 50, 3)
    _, page = written(np.zeros((3, 30, 50), np.uint8), photometric="rgb", planarconfig="separate")
    assert parts.plane_shape(page) == (3, 1, 30, 50, 1)


def test_plain_pages_are_found_in_the_file(written, tmp_path):
    """The bytes at the place that a page names are the pixels; of either byte order."""
    for order in "<>":
        tif, page = written(PIXELS, photometric="minisblack", byteorder=order, metadata=None)
        assert parts.bytes_are_pixels(page)
        assert parts.stored_dtype(page) == np.dtype(f"{order}u2")
        assert parts.file_of(tif) == parts.page_file(page)
        (series, *_) = parts.all_series(tif)
        for number, one in enumerate(series):
            path, offsets, counts, tables = parts.segments_of(one, page)
            assert tables is None
            assert path == str(parts.file_of(tif).resolve())
            stored = Path(path).read_bytes()
            found = b"".join(stored[at : at + n] for at, n in zip(offsets, counts, strict=True))
            np.testing.assert_array_equal(np.frombuffer(found, f"{order}u2").reshape(30, 50), PIXELS[number])


def test_planes_that_one_page_describes(written):
    tif, page = written(PIXELS, imagej=True)
    (series,) = parts.all_series(tif)
    start = parts.start_of_stack(series)
    stored = parts.file_of(tif).read_bytes()[start : start + PIXELS.nbytes]
    np.testing.assert_array_equal(np.frombuffer(stored, parts.stored_dtype(page)).reshape(PIXELS.shape), PIXELS)


@pytest.mark.parametrize(
    ("options", "segment", "edge"),
    [
        ({"rowsperstrip": 16}, (16, 50), 14),
        ({"rowsperstrip": 16, "compression": "zlib", "predictor": True}, (16, 50), 14),
        ({"rowsperstrip": 16, "compression": "lzw"}, (16, 50), 14),
        ({"tile": (16, 32), "compression": "zlib"}, (16, 32), 16),
    ],
)
def test_segments_are_decoded(written, options, segment, edge):
    """First and last strip or tile of a page: pixels, and the shape of what the page has of them."""
    tif, page = written(PIXELS[0], metadata=None, **options)
    assert parts.segment_shape(page) == segment
    assert parts.bytes_are_pixels(page) == ("compression" not in options)
    assert parts.codec_that_lacks(page) == ""
    path, offsets, counts, tables = parts.segments_of(page, page)
    decode = parts.decoder_of(page, segment[0] * segment[1] * 2)
    stored = Path(path).read_bytes()
    for index, rows in ((0, slice(0, segment[0])), (len(offsets) - 1, slice(16, 30))):
        data = stored[offsets[index] : offsets[index] + counts[index]]
        pixels = decode(data, index, jpegtables=tables, jpegheader=parts.jpeg_header(page))[0]
        columns = slice(0, segment[1]) if index == 0 else slice(50 - (50 % segment[1] or 50), 50)
        wanted = PIXELS[0][rows, columns]
        assert pixels.shape[0] == pixels.ndim - 3 == 1
        np.testing.assert_array_equal(pixels[0, : wanted.shape[0], : wanted.shape[1], 0], wanted)
    assert pixels.shape[1] in (edge, segment[0])


def test_pixels_that_a_sparse_file_lacks(written):
    _, page = written(np.zeros((30, 50), np.float32), metadata=None, extratags=[(42113, "s", 0, "-7", True)])
    assert parts.fill_value(page) == -7
    _, page = written(np.zeros((30, 50), np.float32), metadata=None)
    assert parts.fill_value(page) == 0


def test_a_codec_that_is_not_there_is_named(written, monkeypatch):
    class NoCodec:
        def __getitem__(self, code):
            raise KeyError(code)

    _, page = written(PIXELS[0], compression="zlib", predictor=True)
    with monkeypatch.context() as patch:
        patch.setattr(tifffile.TIFF, "UNPREDICTORS", NoCodec())
        assert parts.codec_that_lacks(page) == "HORIZONTAL"
        patch.setattr(tifffile.TIFF, "DECOMPRESSORS", NoCodec())
        assert "DEFLATE" in parts.codec_that_lacks(page)
    assert parts.codec_that_lacks(page) == ""


def test_another_description_is_taken(written):
    tif, _ = written(PIXELS, photometric="minisblack", metadata={"axes": "CYX"}, ome=True)
    other = tif.ome_metadata.replace('SizeC="2"', 'SizeC="1"').replace('SizeZ="1"', 'SizeZ="2"')
    assert other != tif.ome_metadata
    with parts.open_file(parts.file_of(tif), other) as again:
        (series,) = parts.all_series(again)
        axes, shape = parts.full_shape(series)
        assert dict(zip(axes, shape, strict=True))["Z"] == 2


def test_what_tifffile_logs_is_passed_on_of_files_that_are_read_alone(tmp_path, caplog):
    def opened(fails: bool) -> list[str]:
        caplog.clear()
        with suppress(KeyError), parts.open_file(path):
            logging.getLogger("tifffile").warning("odd tag")
            if fails:
                raise KeyError
        return [record.message for record in caplog.records]

    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PIXELS)
    assert opened(fails=False) == ["odd tag"]
    assert opened(fails=True) == []
    logging.getLogger("tifffile").warning("later")
    assert caplog.records[-1].message == "later"
