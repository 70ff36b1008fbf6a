"""What is used of tifffile beyond its documented interface: pages as it keeps them, its decoders, its codecs.

These parts may change with any version. No other file of the package opens a TIFF with tifffile or reads them, and
`tests/io/test_tifffile.py` holds each against files whose content is known, and the installed version against `TRIED`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import tifffile

from ._jpeg import jpeg_checked

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage, TiffPageSeries

TRIED = ("2024.8.30", "2026.11.8")  # the first and the last version that all tests of `io` were run with

UNCOMPRESSED, LZW = 1, 5
_JPEG = (6, 7, 33007, 34892)


class PlaneShape(NamedTuple):
    """Five lengths that every page has; `separate` and `samples` are samples of a pixel, apart or adjacent."""

    separate: int
    depth: int
    height: int
    width: int
    samples: int


class Segments(NamedTuple):
    """Where the strips or tiles of a page are, and the tables that JPEG needs to decode them."""

    path: str
    offsets: np.ndarray
    counts: np.ndarray
    jpegtables: bytes | None


@contextmanager
def open_file(path: Path, omexml: str | None = None) -> Iterator[TiffFile]:
    """A file, described by its own OME-XML or by another.

    What tifffile logs of a file is passed on when the file was read: of one that is refused, the error says what is
    wrong, once and in words.
    """
    said: list[logging.LogRecord] = []
    logger, thread = logging.getLogger("tifffile"), threading.get_ident()

    def hold(record: logging.LogRecord) -> bool:
        if record.thread != thread:
            return True
        said.append(record)
        return False

    logger.addFilter(hold)
    try:
        with tifffile.TiffFile(path) if omexml is None else tifffile.TiffFile(path, omexml=omexml) as tif:
            yield tif
    finally:
        logger.removeFilter(hold)
    for record in said:
        logger.handle(record)


def follows_the_standard(tif: TiffFile) -> bool:
    """Whether directories are chained as in any TIFF; NDPI, LSM and STK bend that."""
    return not (tif.is_ndpi or tif.is_lsm or tif.is_stk)


def all_series(tif: TiffFile) -> Sequence[TiffPageSeries]:
    """The images of a file, with axes of length 1 if tifffile can still identify them."""
    # from tifffile 2026.5.2 on, squeezing is set here and not for each series
    return tif.series(squeeze=False) if callable(tif.series) else tif.series


def full_shape(series: TiffPageSeries) -> tuple[str, tuple[int, ...]]:
    """Axes and shape of an image, those of length 1 included."""
    if hasattr(series, "get_shape"):
        return series.get_axes(False), series.get_shape(False)
    return series.axes, series.shape


def describing_page(series: TiffPageSeries) -> TiffPage:
    """The page whose tags hold for all pages of an image."""
    return series.keyframe


def plane_shape(page: TiffPage) -> PlaneShape:
    """Lengths of a page; a damaged tag may give a value that is not whole."""
    return PlaneShape(*page.shaped)


def page_file(page: TiffPage) -> Path:
    """File that holds a page."""
    return Path(page.parent.filehandle.path)


def file_of(tif: TiffFile) -> Path:
    """File that is open."""
    return Path(tif.filehandle.path)


def segment_shape(page: TiffPage) -> tuple[int, int]:
    """Rows and columns of a strip or tile, as the tags have them."""
    return (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)


def stored_dtype(page: TiffPage) -> np.dtype:
    """Type of the pixels on disk, in the byte order of the file."""
    return np.dtype(page.parent.byteorder + page.dtype.char)


def segments_of(page: TiffPage, described_by: TiffPage) -> Segments:
    """Places of the strips or tiles of a page; `described_by` has its tags."""
    return Segments(
        path=str(page_file(page).resolve()),
        offsets=np.asarray(page.dataoffsets, dtype=np.int64),
        counts=np.asarray(page.databytecounts, dtype=np.int64),
        jpegtables=page.jpegtables if described_by.compression in _JPEG else None,
    )


def start_of_stack(series: TiffPageSeries) -> int | None:
    """Byte at which the planes of an image begin that one page describes; None if they are not a plain stack."""
    return series.dataoffset


def bytes_are_pixels(page: TiffPage) -> bool:
    """Whether the strips of a page hold its pixels as they are in memory, but for the byte order."""
    return (
        page.compression == UNCOMPRESSED
        and page.predictor == 1
        and page.fillorder == 1
        and not page.is_tiled
        and not page.is_subsampled
        and page.dtype.kind != "b"
        and page.bitspersample == page.dtype.itemsize * 8
    )


def fill_value(page: TiffPage) -> float:
    """Value of pixels that a sparse file does not hold."""
    return page.nodata


def jpeg_header(page: TiffPage) -> bytes | None:
    """Header that JPEG segments of some scanners lack."""
    return page.jpegheader if page.compression in _JPEG else None


def decoder_of(page: TiffPage, n_bytes: int) -> Callable:
    """What decodes a strip or tile: ``decode(data, index, jpegtables=, jpegheader=)`` gives pixels, place and shape.

    `n_bytes` are those of a decoded segment.
    """
    if page.compression in _JPEG:
        return jpeg_checked(page.decode, page.samplesperpixel if page.planarconfig == 1 else 1)
    if page.compression != LZW:
        return page.decode
    from ._lzw import lzw_checked

    return lzw_checked(page.decode, n_bytes, is_reversed=page.fillorder == 2)


def codec_that_lacks(page: TiffPage) -> str:
    """Name of the codec or predictor of a page that is not installed; empty where all are."""
    codecs = []
    if page.compression != UNCOMPRESSED:
        codecs.append((tifffile.TIFF.DECOMPRESSORS, page.compression))
    if page.predictor != 1 and page.compression not in tifffile.TIFF.IMAGE_COMPRESSIONS:
        codecs.append((tifffile.TIFF.UNPREDICTORS, page.predictor))
    for known, code in codecs:
        try:
            known[code]
        except KeyError:
            return getattr(code, "name", str(code))
    return ""
