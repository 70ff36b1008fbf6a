"""Checks the OME-XML of an image against its pages: misplaced planes are refused, other contradictions are noted."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np

from .._errors import InputFileError
from ._tifffile import describing_page, plane_shape

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPageSeries

    from ._ome import OmeImage

_ORDERS = {"XY" + "".join(rest) for rest in itertools.permutations("CZT")}
_TYPES = {"float": "float32", "double": "float64", "bit": "bool"}
_NUMBERS = ("IFD", "PlaneCount", "NumPlanes", "FirstC", "FirstZ", "FirstT")


def check_fields(xml: str, path: str) -> None:
    """Refuse fields of which no plane could be placed, or that would count pages from the end.

    Raises
    ------
    InputFileError
        If an order of dimensions, a length or a number of a page is not valid.
    """
    from ._ome import parse_root

    root = parse_root(xml)
    for pixels in [] if root is None else root.iter():
        if _tag(pixels) != "Pixels":
            continue
        if (order := pixels.get("DimensionOrder")) not in _ORDERS:
            raise _error(path, f"DimensionOrder={order!r}, which is not one of {', '.join(sorted(_ORDERS))}")
        for axis in "XYCZT":
            if (_whole(pixels.get(f"Size{axis}")) or 0) < 1:
                raise _error(path, f"Size{axis}={pixels.get(f'Size{axis}')!r}, which is not a length")
        for element in pixels:
            names = {"TiffData": _NUMBERS, "Channel": ("SamplesPerPixel",)}.get(_tag(element), ())
            for name in names:
                if element.get(name) is not None and _whole(element.get(name)) is None:
                    what = "number of a plane or page" if _tag(element) == "TiffData" else "number of samples"
                    raise _error(path, f"{_tag(element)} {name}={element.get(name)!r}, which is not a {what}")


def placement_notes(image: OmeImage, series: TiffPageSeries, tif: TiffFile, path: str) -> list[str]:
    """Statements of the XML that the pages or other fields contradict; pixels are read as the pages have them.

    Raises
    ------
    InputFileError
        If one page is given for several planes, or several pages for one.
    """
    pixels, page = image.pixels, describing_page(series)
    if pixels is None:
        return []
    notes = []
    stated, actual = _TYPES.get(pixels.get("Type", ""), pixels.get("Type", "")), np.dtype(page.dtype).name
    if stated and stated != actual:
        notes.append(f"Type={pixels.get('Type')!r}, but the pages hold {actual}")
    sizes, (height, width) = image.sizes, plane_shape(page)[2:4]
    if (sizes["Y"], sizes["X"]) != (height, width):
        notes.append(f"SizeY x SizeX is {sizes['Y']} x {sizes['X']}, but the pages are {height} x {width}")
    n_channels = sum(samples_of(channel) for channel in pixels if _tag(channel) == "Channel")
    if n_channels and n_channels != sizes["C"]:
        notes.append(f"SizeC={sizes['C']}, but channels of {n_channels} samples are listed")
    return notes + list(_misplaced(image, tif, path))


def unfollowed(image: OmeImage, series: TiffPageSeries, tif: TiffFile) -> str:
    """Why pages in their own order cannot be what an XML that could not be followed describes; empty if they can."""
    pixels, sizes = image.pixels, image.sizes
    if pixels is None or series.kind in ("ome", "imagej"):
        return ""
    separate, _, _, _, contiguous = plane_shape(describing_page(series))
    described, n_pages = image.n_planes, len(series) * separate * contiguous
    stacked = [f"Size{axis}={sizes[axis]}" for axis in "ZT" if sizes[axis] > 1]
    if stacked:
        return f"{' and '.join(stacked)}: pages are not channels"
    if described != n_pages:
        return f"SizeC={sizes['C']}, but there are {n_pages} planes"
    places = list(_places(image, tif))
    if any(plane != page for plane, (_, page) in places) or len({file for _, (file, _) in places}) > 1:
        return "TiffData gives the planes another order than that of the pages"
    return ""


def samples_of(channel: ElementTree.Element) -> int:
    """Samples of a pixel of a channel."""
    return max(_whole(channel.get("SamplesPerPixel")) or 1, 1)


def _misplaced(image: OmeImage, tif: TiffFile, path: str) -> Iterator[str]:
    page_of: dict[int, tuple[str, int]] = {}
    plane_of: dict[tuple[str, int], int] = {}
    n = image.n_planes // _samples(image)
    for plane, page in _places(image, tif):
        other = plane_of.setdefault(page, plane)
        if other != plane:
            where = f" of '{page[0]}'" if page[0] else ""
            raise _error(path, f"TiffData IFD={page[1]}{where} for plane {other} and for plane {plane}")
        before = page_of.setdefault(plane, page)
        if before != page:
            raise _error(path, f"TiffData IFD={before[1]} and IFD={page[1]}, both for plane {plane}")
    for data, first, count in _blocks(image):
        outside = [f"First{axis}={data.get(f'First{axis}')}" for axis in "CZT" if data.get(f"First{axis}")]
        if first is None:
            yield f"TiffData {', '.join(outside)} is outside of its SizeC x SizeZ x SizeT"
        elif count and first + count > n:
            yield f"TiffData PlaneCount={count} from plane {first}, but its sizes make {n} planes"


def _places(image: OmeImage, tif: TiffFile) -> Iterator[tuple[int, tuple[str, int]]]:
    """Number of each plane that the XML places, with file (empty: its own) and number of its page."""
    n = image.n_planes // _samples(image)
    own = tif.filename.lower()
    for data, first, count in _blocks(image):
        uuid = next((child for child in data if _tag(child) == "UUID"), None)
        file = "" if uuid is None else uuid.get("FileName", "").lower() or (uuid.text or "")
        file = "" if file == own or (uuid is not None and uuid.text == image.own_uuid) else file
        start = int(data.get("IFD", 0))
        if first is None:
            continue
        if not count:  # all pages of that file, and only of this one is it known how many these are
            count = len(tif.pages) if not file else 1
        for i in range(min(count, n - first)):
            yield first + i, (file, start + i)


def _blocks(image: OmeImage) -> Iterator[tuple[ElementTree.Element, int | None, int]]:
    """Blocks of planes with the number of the first one (None: outside) and how many these are (0: all pages)."""
    axes = [axis for axis in reversed(image.pixels.get("DimensionOrder", "")) if axis in "CZT"]
    shape = [image.sizes[axis] // (_samples(image) if axis == "C" else 1) for axis in axes]
    for data in image.pixels:
        if _tag(data) != "TiffData":
            continue
        at = [int(data.get(f"First{axis}", 0)) for axis in axes]
        inside = all(i < length for i, length in zip(at, shape, strict=True))
        count = int(data.get("NumPlanes", 1 if "IFD" in data.attrib else 0))
        yield data, int(np.ravel_multi_index(at, shape)) if inside else None, int(data.get("PlaneCount", count))


def _samples(image: OmeImage) -> int:
    channels = [channel for channel in image.pixels if _tag(channel) == "Channel"]
    samples = samples_of(channels[0]) if channels else 1
    return samples if image.sizes["C"] % samples == 0 else 1


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.strip().isascii() and text.strip().isdigit() else None


def _error(path: str, what: str) -> InputFileError:
    return InputFileError(
        f"The OME-XML of '{path}' states {what}. Its metadata are damaged, or another image's; export the image again."
    )


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rsplit("}", 1)[-1]
