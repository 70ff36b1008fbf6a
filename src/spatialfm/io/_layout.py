"""Layout of the pixels of a TIFF in its file: series, pyramid levels, pages and their strips or tiles.

Everything here reads metadata only. A layout is kept for each file of the process and made again in another process,
so that what refers to it stays small enough to be sent around.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .._errors import InputFileError, counted, listed
from ._declared import check_capacity, check_declared, check_segment, check_sides
from ._ifd import check_ifd_chain
from ._metadata import ImageMetadata, read_metadata
from ._ome import companion_error, external_xml, metadata_file, missing_files
from ._ome_check import check_fields
from ._other_formats import no_tiff
from ._page import Page
from ._series import choose_series, unused_pages
from ._state import FileState, file_state
from ._tifffile import (
    UNCOMPRESSED,
    all_series,
    bytes_are_pixels,
    codec_that_lacks,
    decoder_of,
    describing_page,
    fill_value,
    follows_the_standard,
    full_shape,
    jpeg_header,
    open_file,
    plane_shape,
    segment_shape,
    segments_of,
    start_of_stack,
    stored_dtype,
)

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage, TiffPageSeries


@dataclass(frozen=True)
class Dim:
    """One axis of an image in the file's order.

    Attributes
    ----------
    letter
        tifffile's code: ``Y``, ``X``, ``C``, ``S`` (samples), ``Z``, ``T``, ``I`` (pages), ``Q`` (unknown) ...
    length
        Number of elements.
    source
        What it is in the file: ``n`` (pages), ``s`` (samples of a pixel), ``h`` or ``w`` (rows, columns of a page).
    """

    letter: str
    length: int
    source: str


@dataclass(frozen=True)
class Level:
    """One resolution of an image.

    `shape` counts pages, samples, rows and columns; `segment` is the height and width of a strip or tile; `stacks`
    are the axes along which the pages are arranged, slowest first.
    """

    dims: tuple[Dim, ...]
    stacks: tuple[tuple[str, int], ...]
    shape: tuple[int, int, int, int]
    dtype: np.dtype
    stored_dtype: np.dtype
    pages: tuple[Page, ...]
    segment: tuple[int, int]
    interleaved: bool
    nodata: float
    decode: Callable = field(repr=False)
    compression: int = UNCOMPRESSED
    jpegheader: bytes | None = None

    @property
    def is_raw(self) -> bool:
        """Whether every page is one plain array on disk."""
        return all(page.raw is not None for page in self.pages)


@dataclass(frozen=True)
class TiffLayout:
    """One image of a TIFF file with its pyramid levels; `series` is what was asked for.

    `members` are the further files that hold pages of it, as they were.
    """

    state: FileState
    series: int | None
    levels: tuple[Level, ...]
    metadata: ImageMetadata
    unused_pages: int = 0
    left_out: str = ""  # images that may be levels of this one or others, described
    members: tuple[FileState, ...] = ()

    @property
    def identity(self) -> frozenset[tuple[str, int]]:
        """Where its planes are: two files of a set that lead to the same pixels have the same."""
        return frozenset((page.path, int(page.offsets[0])) for page in self.levels[0].pages)

    @property
    def is_current(self) -> bool:
        """Whether all members are as they were."""
        try:
            return all(FileState.of(Path(member.path)) == member for member in self.members)
        except OSError:
            return False


def open_tiff(path: Path, series: int | None = None) -> TiffLayout:
    """Layout of a TIFF file; no pixel is read.

    Raises
    ------
    InputFileError
        If the file is missing, not a TIFF, truncated, compressed in a way that cannot be read here, or holds several
        images of similar size and `series` does not choose one.
    """
    layout = layout_of(file_state(path), series)
    if not layout.is_current:  # another member than when it was kept
        layout_of.cache_clear()
        layout = layout_of(file_state(path), series)
    return layout


@lru_cache(maxsize=256)
def layout_of(state: FileState, series: int | None) -> TiffLayout:
    """Layout of a file in a known state; kept, because every block that is read asks for it."""
    _check_magic(state)
    path = Path(state.path)
    try:
        with open_file(path) as tif:
            n_pages = check_ifd_chain(state, is_plain=follows_the_standard(tif))
            check_fields(tif.ome_metadata if tif.is_ome and tif.ome_metadata else "", state.path)
            check_declared(tif, n_pages, state)
            xml, described_in = external_xml(tif, path), metadata_file(tif, path)
            if xml is None:
                return _layout(tif, state, series)
        check_fields(xml, str(described_in or path))
        with open_file(path, xml) as tif:
            return _layout(tif, state, series, described_in)
    except InputFileError:
        raise
    except FileNotFoundError as error:
        raise InputFileError(
            f"'{error.filename or path}' is gone while '{path}' was opened. Put it back and read again."
        ) from error
    except Exception as error:  # damaged bytes make tifffile raise any error, MemoryError and OSError too
        raise InputFileError(
            f"'{state.path}' starts like a TIFF file but cannot be read: {error or type(error).__name__}. It is "
            "truncated or damaged; copy or export it again."
        ) from error


def _layout(tif: TiffFile, state: FileState, series: int | None, described_in: Path | None = None) -> TiffLayout:
    images = all_series(tif)
    index, left_out = choose_series(images, series, state.path)
    chosen = images[index]
    metadata = read_metadata(tif, chosen, state.path)  # first: it names the field that misplaces a plane
    missing = missing_files(tif, state.path) if chosen.kind == "ome" else []
    levels = _same_channels(tuple(_level(level, state, missing) for level in chosen.levels))
    unused = unused_pages(tif, images, chosen) if chosen.kind == "ome" else 0
    paths = {page.path for level in levels for page in level.pages} - {state.path}
    paths |= set() if described_in is None else {str(described_in.resolve())}
    members = tuple(FileState.of(Path(path)) for path in sorted(paths))
    return TiffLayout(state, series, levels, metadata, members=members, unused_pages=unused, left_out=left_out)


def _check_magic(state: FileState) -> None:
    with open(state.path, "rb") as file:
        start = file.read(4)
    if state.path.lower().endswith((".companion.ome", ".ome.xml")) and start[:1] in (b"<", b"\xef"):
        raise companion_error(Path(state.path))
    if start[:2] not in (b"II", b"MM") or start[2:4] not in (b"*\0", b"\0*", b"+\0", b"\0+"):
        raise InputFileError(no_tiff(Path(state.path), start))


def _level(series: TiffPageSeries, state: FileState, missing: Sequence[str]) -> Level:
    keyframe = describing_page(series)
    separate, depth, height, width, contiguous = plane_shape(keyframe)
    check_sides(height, width, state)
    if depth > 1:
        raise InputFileError(
            f"'{state.path}' is a volume of {depth} planes in one page. Images are 2-D: save its planes as pages, "
            'which axes="zyx" keeps as channels, or a projection.'
        )
    _check_dtype(keyframe, state)
    samples = separate * contiguous
    n_planes = math.prod(full_shape(series)[1]) // math.prod(plane_shape(keyframe))
    segment = segment_shape(keyframe)
    check_segment(*segment, state)
    dtype = np.dtype(np.uint8) if keyframe.dtype == bool else np.dtype(keyframe.dtype)
    dims, stacks = _dims(series, n_planes, state)
    segment = (min(segment[0], height), min(segment[1], width)) if not keyframe.is_tiled else segment
    n_segments = math.ceil(height / segment[0]) * math.ceil(width / segment[1]) * separate
    pages = _pages(series, n_planes, n_segments, state, missing)
    check_capacity(keyframe, math.prod(segment) * contiguous, pages)
    return Level(
        dims=dims,
        stacks=stacks,
        shape=(n_planes, samples, height, width),
        dtype=dtype.newbyteorder("="),
        stored_dtype=stored_dtype(keyframe),
        pages=pages,
        segment=segment,
        interleaved=contiguous > 1,
        nodata=fill_value(keyframe),
        decode=decoder_of(keyframe, math.prod(segment) * contiguous * dtype.itemsize),
        compression=int(keyframe.compression),
        jpegheader=jpeg_header(keyframe),
    )


def _check_dtype(keyframe: TiffPage, state: FileState) -> None:
    if keyframe.dtype is None or keyframe.dtype.kind not in "buif":
        raise InputFileError(
            f"'{state.path}' holds pixels of type {keyframe.dtype or keyframe.sampleformat}. "
            "Save it as integers or floats."
        )
    if codec := codec_that_lacks(keyframe):
        raise InputFileError(
            f"'{state.path}' is compressed with {codec}, which needs the package imagecodecs. Install it with: "
            "pip install 'spatialfm[imagecodecs]'."
        )


def _dims(
    series: TiffPageSeries, n_planes: int, state: FileState
) -> tuple[tuple[Dim, ...], tuple[tuple[str, int], ...]]:
    """Pair tifffile's axes with pages, samples, rows and columns, from the last to the first; and axes of the pages.

    Pages along several axes, such as the channels of every staining cycle, are one `Dim` with a letter for each.
    """
    separate, _, height, width, contiguous = plane_shape(describing_page(series))
    tail = [("s", separate), ("h", height), ("w", width), ("s", contiguous)]
    tail = [(source, length) for source, length in tail if source != "s" or length > 1]
    axes = list(zip(*full_shape(series), strict=True))
    dims: list[Dim] = []
    for source, length in reversed(tail):
        while axes and axes[-1][1] == 1 and length != 1:
            axes.pop()
        letter, axis_length = axes.pop() if axes else ("", 0)
        if axis_length != length:
            raise InputFileError(
                f"'{state.path}': axes {series.axes} of shape {series.shape} do not fit its pages of "
                f"{height} x {width} pixels. Export it again as an OME-TIFF."
            )
        dims.append(Dim(letter, length, source))
    stacks = tuple((letter, length) for letter, length in axes if length > 1)
    if stacks:
        dims.append(Dim("".join(letter for letter, _ in stacks), n_planes, "n"))
    return tuple(reversed(dims)), stacks


def _pages(
    series: TiffPageSeries, n_planes: int, n_segments: int, state: FileState, missing: Sequence[str]
) -> tuple[Page, ...]:
    keyframe = describing_page(series)
    if len(series) < n_planes:  # one page describes them all: ImageJ's stacks above 4 GB, and tifffile's own
        offset = start_of_stack(series)
        if offset is None:
            raise InputFileError(
                f"'{state.path}' should hold {n_planes} planes but has {counted(len(series), 'page')}. It is truncated "
                "or damaged; copy or export it again."
            )
        pages = [
            Page(state.path, np.array([start]), np.array([keyframe.nbytes]), start)
            for start in range(offset, offset + n_planes * keyframe.nbytes, keyframe.nbytes)
        ]
    else:
        pages = []
        for i, page in enumerate(series):
            if page is None:
                raise InputFileError(
                    f"'{state.path}': plane {i} of {n_planes} is in no file; of those that its OME-XML names, "
                    f"{listed(missing)} are not there. Keep all files of a multi-file OME-TIFF in one folder."
                    if missing
                    else f"'{state.path}': its OME-XML describes {n_planes} planes, but plane {i} is not in the file. "
                    "It is truncated, or its metadata are another image's; copy or export it again."
                )
            pages.append(_page(page, keyframe, n_segments, state))
    for i, page in enumerate(pages):
        _check_complete(page, i, len(pages), state)
    return tuple(pages)


def _page(page: TiffPage, keyframe: TiffPage, n_segments: int, state: FileState) -> Page:
    path, offsets, counts, jpegtables = segments_of(page, keyframe)
    if len(offsets) < n_segments or len(counts) < n_segments:
        raise InputFileError(
            f"'{state.path}' is truncated: a page lists {len(offsets)} of its {n_segments} strips or tiles. "
            "Copy or export it again."
        )
    plain = (
        bytes_are_pixels(keyframe)
        and (offsets[:-1] + counts[:-1] == offsets[1:]).all()
        and (len(offsets) == 1 or counts.sum() == keyframe.nbytes)
        and offsets[0] > 0
    )
    if plain and len(offsets) == 1:
        counts = np.array([keyframe.nbytes])  # some writers state more than they wrote
    return Page(
        path=path,
        offsets=offsets[:n_segments],
        counts=counts[:n_segments],
        raw=int(offsets[0]) if plain else None,
        jpegtables=jpegtables,
    )


def _check_complete(page: Page, number: int, n_pages: int, state: FileState) -> None:
    size = state.size if page.path == state.path else Path(page.path).stat().st_size
    used = page.counts != 0  # empty segments of sparse files have no place in the file
    offsets, counts = page.offsets[used], page.counts[used]
    lowest = int(min(offsets.min(initial=0), counts.min(initial=0)))
    if lowest < 0:
        raise InputFileError(
            f"'{page.path}' is damaged: page {number + 1} of {n_pages} lists a strip or tile at byte, or of a size of, "
            f"{lowest:,}. Copy or export it again."
        )
    end = int(max(offsets.max(initial=0), counts.max(initial=0)))  # each before the sum, which has a largest number
    end = int((offsets + counts).max(initial=0)) if end <= size else end
    if end > size:
        raise InputFileError(
            f"'{page.path}' is truncated: page {number + 1} of {n_pages} ends at byte {end:,}, the file at {size:,}. "
            "Copy or export it again."
        )


def _same_channels(levels: tuple[Level, ...]) -> tuple[Level, ...]:
    """Levels that have the channels of the first, from large to small."""
    kept = [levels[0]]
    for level in levels[1:]:
        smaller = level.shape[2] < kept[-1].shape[2] and level.shape[3] < kept[-1].shape[3]
        if level.shape[:2] == levels[0].shape[:2] and level.dtype == levels[0].dtype and smaller:
            kept.append(level)
    return tuple(kept)
