"""What an .mcd file states of its acquisitions and panoramas, and whether it can hold what it states.

The file is pixel data followed by a schema in XML (https://bodenmillergroup.github.io/readimc); one that was cut off
has lost the schema, and with it all that is known of the pixels.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from .._errors import InputFileError
from .._optional import need
from ._pixel_size import PixelSize
from ._state import FileState, file_state

if TYPE_CHECKING:
    from readimc.data import Acquisition as _Acquisition
    from readimc.data import Panorama as _Panorama

Corners = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
_VALUE_BYTES = 4
_COORDINATES = 3  # X, Y and Z stand before the channels
_HEADER, _TRAILER = 161, 1  # bytes around an embedded picture


@dataclass(frozen=True)
class Acquisition:
    """One region that was ablated.

    Attributes
    ----------
    shape
        ``(c, y, x)``.
    start, n_pixels
        First byte of the pixels, and how many pixels there are.
    corners
        Top left, top right and bottom left in µm of the slide, whose y points up; None where they are not stated.
    problem
        Why pixels cannot be read; empty where they can.
    slide
        Id of the slide, whose µm the corners are in.
    """

    id: int
    description: str
    labels: tuple[str, ...]
    metals: tuple[str, ...]
    shape: tuple[int, int, int]
    pixel_size: PixelSize | None
    start: int
    n_pixels: int
    corners: Corners | None
    problem: str = ""
    slide: int | None = None


@dataclass(frozen=True)
class Picture:
    """A panorama: a picture of the slide, within the file."""

    id: int
    description: str
    start: int
    n_bytes: int
    corners: Corners | None
    slide: int | None = None


@dataclass(frozen=True)
class McdContents:
    """An .mcd file that is open for its metadata."""

    state: FileState
    acquisitions: tuple[Acquisition, ...]
    pictures: tuple[Picture, ...]


def read_contents(path: Path) -> McdContents:
    """Metadata of an .mcd file.

    Raises
    ------
    InputFileError
        If it has no schema, as one that was cut off, or the schema cannot be read.
    """
    need("readimc", "read_mcd of an .mcd file", "The .txt files of the instrument need no package.")
    from readimc import MCDFile

    state = file_state(path)
    try:
        with warnings.catch_warnings(record=True), MCDFile(path) as file:  # of overlaps, which are found below
            slides, schema = list(file.slides), file.schema_xml
    except Exception as error:  # its errors are of many kinds: of the file, of XML, of numbers
        raise InputFileError(
            f"'{path}' is damaged: {' '.join(str(error).split()) or type(error).__name__}. The schema stands at the "
            "end of the file and is lost if the file was not copied whole. Copy it again, or put the .txt files of its "
            "acquisitions beside it."
        ) from error
    acquisitions = [replace(_acquisition(one, state), slide=slide.id) for slide in slides for one in slide.acquisitions]
    acquisitions += _unlinked(schema, {one.id for one in acquisitions})
    pictures = [
        replace(picture, slide=slide.id)
        for slide in slides
        for one in slide.panoramas
        if (picture := _picture(one, state))
    ]
    return McdContents(state, tuple(_without_overlaps(acquisitions)), tuple(pictures))


def _unlinked(schema: str, known: set[int]) -> list[Acquisition]:
    """Acquisitions of no region, which readimc does not give: without a word they would be missing."""
    acquisitions = []
    for element in ElementTree.fromstring(schema):
        if element.tag.rpartition("}")[2] != "Acquisition":
            continue
        stated = {one.tag.rpartition("}")[2]: (one.text or "").strip() for one in element}
        if stated.get("ID", "").isdecimal() and int(stated["ID"]) not in known:
            acquisitions.append(
                Acquisition(
                    id=int(stated["ID"]),
                    description=stated.get("Description", ""),
                    labels=(),
                    metals=(),
                    shape=(0, 0, 0),
                    pixel_size=None,
                    start=0,
                    n_pixels=0,
                    corners=None,
                    problem="it belongs to no region of a slide in the schema of the file",
                )
            )
    return acquisitions


def _acquisition(one: _Acquisition, state: FileState) -> Acquisition:
    stated = one.metadata
    metals, labels = tuple(one.channel_names), tuple(one.channel_labels)
    common: dict[str, Any] = {
        "id": one.id,
        "description": (one.description or "").strip(),
        "labels": labels,
        "metals": metals,
        "corners": _corners(one.roi_points_um or _computed_corners(one)),
    }
    try:
        start, end = int(stated["DataStartOffset"]), int(stated["DataEndOffset"])
        width, height, value_bytes = int(stated["MaxX"]), int(stated["MaxY"]), int(stated["ValueBytes"])
    except (KeyError, TypeError, ValueError) as error:
        problem = f"its metadata are incomplete ({type(error).__name__}: {error})"
        return Acquisition(**common, shape=(len(metals), 0, 0), pixel_size=None, start=0, n_pixels=0, problem=problem)
    size = _pixel_size(one)
    bytes_per_pixel = (len(metals) + _COORDINATES) * _VALUE_BYTES
    n_bytes = end - start
    n_bytes += (n_bytes + 1) % bytes_per_pixel == 0  # some files state the last byte instead of the one after it
    kind = stated.get("SegmentDataFormat", "Float")
    problem = ""
    if value_bytes != _VALUE_BYTES or kind != "Float":
        problem = f"its values are {kind} of {value_bytes} bytes, and only Float of {_VALUE_BYTES} can be read"
    elif not metals:
        problem = "it has no channel"
    elif len(set(metals)) < len(metals):
        problem = "a metal occurs twice among its channels"
    elif width < 1 or height < 1:
        problem = f"it states a size of {width} x {height} pixels"
    elif n_bytes == 0:
        problem = "it has no pixels: nothing was ablated, or nothing was saved"
    elif start < 0 or n_bytes < 0 or start + n_bytes > state.size:
        problem = f"its pixels would be at bytes {start:,} to {end:,} of a file of {state.size:,}"
    elif n_bytes % bytes_per_pixel:
        problem = f"its {n_bytes:,} bytes are not a whole number of pixels of {bytes_per_pixel} bytes"
    elif n_bytes // bytes_per_pixel > width * height:
        problem = f"it holds {n_bytes // bytes_per_pixel:,} pixels and states {width} x {height}"
    shape = (len(metals), height, width)
    n_pixels = 0 if problem else n_bytes // bytes_per_pixel
    return Acquisition(**common, shape=shape, pixel_size=size, start=start, n_pixels=n_pixels, problem=problem)


def _pixel_size(one: _Acquisition) -> PixelSize | None:
    try:
        x, y = one.pixel_size_x_um, one.pixel_size_y_um
    except ValueError:
        return None
    return None if x is None or y is None else PixelSize(x, y, "AblationDistanceBetweenShots")


def _without_overlaps(acquisitions: Sequence[Acquisition]) -> list[Acquisition]:
    """Acquisitions whose pixels are those of another are marked: one of the two offsets is wrong."""

    def end(one: Acquisition) -> int:
        return one.start + one.n_pixels * (len(one.metals) + _COORDINATES) * _VALUE_BYTES

    shared: dict[int, int] = {}
    for a, b in combinations([one for one in acquisitions if not one.problem], 2):
        if a.start < end(b) and b.start < end(a):
            shared |= {a.id: b.id, b.id: a.id}
    return [
        replace(one, problem=f"its pixels are those of acquisition {shared[one.id]} as well")
        if one.id in shared
        else one
        for one in acquisitions
    ]


def _picture(one: _Panorama, state: FileState) -> Picture | None:
    try:
        start, end = int(one.metadata["ImageStartOffset"]), int(one.metadata["ImageEndOffset"])
    except (KeyError, ValueError):
        return None
    start, end = start + _HEADER, end - _TRAILER
    if start >= end or end > state.size:
        return None
    return Picture(one.id, (one.description or "").strip(), start, end - start, _corners(_points(one)))


def _points(one: _Panorama) -> object:
    try:
        return one.points_um
    except ValueError:
        return None


def _computed_corners(one: _Acquisition) -> object:
    """From start and end of the ablation, where the region was not drawn."""
    try:
        return one.roi_coords_um
    except (TypeError, ValueError):
        return None


def _corners(points: Any) -> Corners | None:
    """Top left, top right, bottom left of four points in the order of the file."""
    return None if points is None else (points[0], points[1], points[3])
