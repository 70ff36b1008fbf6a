"""Channel names and pixel size, from whatever metadata a TIFF file carries."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree import ElementTree

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage, TiffPageSeries

_UM_PER_UNIT = {
    "µm": 1.0,  # micro sign
    "μm": 1.0,  # Greek mu
    "um": 1.0,
    "\\u00b5m": 1.0,  # as ImageJ escapes it
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "micrometre": 1.0,
    "pm": 1e-6,
    "å": 1e-4,
    "angstrom": 1e-4,
    "nm": 1e-3,
    "nanometer": 1e-3,
    "mm": 1e3,
    "millimeter": 1e3,
    "cm": 1e4,
    "centimeter": 1e4,
    "m": 1e6,
    "meter": 1e6,
    "in": 25400.0,
    "inch": 25400.0,
}
_UM_PER_RESOLUTION_UNIT = {2: 25400.0, 3: 1e4, 4: 1e3, 5: 1.0}  # inch, cm, and tifffile's mm and µm

_RGB = (2, 6)  # photometric interpretations RGB and YCbCr, which is decoded to RGB

# Programs that know no pixel size write a printer's or a screen's: 72 to 2,400 dots per inch, 353 to 10.6 µm.
MAX_TAG_MPP = 10.0


@dataclass(frozen=True)
class PixelSize:
    """Size of a pixel in µm, and the field of the file that says so."""

    x: float
    y: float
    field: str


@dataclass(frozen=True)
class ImageMetadata:
    """What a file says of its image; None where it says nothing."""

    channel_names: tuple[str, ...] | None = None
    pixel_size: PixelSize | None = None
    ignored_resolution: float | None = None  # µm a pixel by resolution tags that cannot be meant


def read_metadata(tif: TiffFile, series: TiffPageSeries, index: int) -> ImageMetadata:
    """Metadata of one series of an open file.

    OME-XML goes before ImageJ's description, that before the descriptions and names of single pages (QPTIFF, MIBI,
    PageName), those before the resolution tags.
    """
    page = series.keyframe
    names, size = None, None
    if tif.is_ome and tif.ome_metadata:
        names, size = parse_ome(tif.ome_metadata, index)
    elif tif.is_imagej:
        names, size = _imagej(tif, page)
    else:
        names = _page_names(tif, series)
    if names is None and _is_photograph(page):
        names = ["red", "green", "blue", "alpha"][: page.shaped[4]]
    ignored = None
    if size is None and not tif.is_imagej:
        size = _resolution(page)
        if size is not None and max(size.x, size.y) > MAX_TAG_MPP:
            size, ignored = None, size.x
    return ImageMetadata(None if names is None else tuple(names), size, ignored)


def parse_ome(xml: str, index: int = 0) -> tuple[list[str] | None, PixelSize | None]:
    """Channel names and pixel size of image number `index` in OME-XML.

    A channel without name takes its fluorophore's; one of several samples (RGB) gives as many names.

    Examples
    --------
    >>> pixels = '<Pixels PhysicalSizeX="500" PhysicalSizeXUnit="nm"><Channel Name="DAPI"/></Pixels>'
    >>> parse_ome(f"<OME><Image>{pixels}</Image></OME>")
    (['DAPI'], PixelSize(x=0.5, y=0.5, field='OME-XML PhysicalSizeX'))
    """
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return None, None
    images = [element for element in root.iter() if _tag(element) == "Image"]
    pixels = None
    if index < len(images):
        pixels = next((element for element in images[index] if _tag(element) == "Pixels"), None)
    if pixels is None:
        return None, None
    sizes = [_ome_size(pixels, axis) for axis in "XY"]
    x, y = sizes[0] or sizes[1], sizes[1] or sizes[0]
    size = PixelSize(x, y, "OME-XML PhysicalSizeX") if x and y else None
    return _ome_names([element for element in pixels if _tag(element) == "Channel"]), size


def _ome_names(channels: Sequence[ElementTree.Element]) -> list[str] | None:
    names: list[str] = []
    named = False
    for channel in channels:
        name = (channel.get("Name") or channel.get("Fluor") or "").strip()
        named |= bool(name)
        n_samples = int(channel.get("SamplesPerPixel") or 1)
        base = name or f"channel_{len(names)}"
        names += [base] if n_samples == 1 else [f"{base}_{i}" for i in range(n_samples)]
    return names if named else None


def _ome_size(pixels: ElementTree.Element, axis: str) -> float | None:
    unit = pixels.get(f"PhysicalSize{axis}Unit", "µm")
    return _micrometers(pixels.get(f"PhysicalSize{axis}"), unit)


def _micrometers(value: object, unit: object) -> float | None:
    factor = _UM_PER_UNIT.get(str(unit).strip().lower())
    try:
        size = float(value) * factor  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return _clean(size) if math.isfinite(size) and size > 0 else None


def _clean(size: float) -> float:
    # 1e4 / 20112.0 px per cm should read as what was meant, not as float32 noise of a rational tag
    return float(f"{size:.9g}")


def _imagej(tif: TiffFile, page: TiffPage) -> tuple[list[str] | None, PixelSize | None]:
    metadata = tif.imagej_metadata or {}
    labels = metadata.get("Labels")
    names = None
    if labels:
        labels = [labels] if isinstance(labels, str) else [str(label) for label in labels]
        names = [label.strip() for label in labels]
        names = names if all(names) else None
    factor = _UM_PER_UNIT.get(str(metadata.get("unit", "")).strip().lower())
    x, y = _per_unit(page, "XResolution"), _per_unit(page, "YResolution")
    if factor is None or x is None or y is None:
        return names, None
    return names, PixelSize(_clean(factor / x), _clean(factor / y), "ImageJ unit and resolution")


def _per_unit(page: TiffPage, tag: str) -> float | None:
    value = page.tags.valueof(tag)
    try:
        per_unit = value[0] / value[1] if isinstance(value, tuple) else float(value)
    except (TypeError, ZeroDivisionError, ValueError):
        return None
    return per_unit if math.isfinite(per_unit) and per_unit > 0 else None


def _resolution(page: TiffPage) -> PixelSize | None:
    # without the tag the standard says inches, but then nobody meant a unit
    unit = page.tags.valueof("ResolutionUnit")
    factor = _UM_PER_RESOLUTION_UNIT.get(int(unit) if unit is not None else 1)
    x, y = _per_unit(page, "XResolution"), _per_unit(page, "YResolution")
    if factor is None or x is None or y is None:
        return None
    return PixelSize(_clean(factor / x), _clean(factor / y), "resolution tags")


def _page_names(tif: TiffFile, series: TiffPageSeries) -> list[str] | None:
    """Names that every page of the series carries for itself: QPTIFF and MIBI descriptions, PageName tags."""
    if series.kind == "shaped" or _name_of_page(series.keyframe) is None:
        return None
    names = []
    for item in series:
        if item is None or item.parent is not tif:
            return None
        page = item if hasattr(item, "tags") else tif.pages.get(item.index)  # frames carry no tags
        names.append(_name_of_page(page))
    return names if all(names) else None


def _is_photograph(page: TiffPage) -> bool:
    # three markers are often stored as RGB, but as planes of their own or with 16 bits
    return page.photometric in _RGB and page.shaped[4] in (3, 4) and page.dtype == "uint8"


def _name_of_page(page: TiffPage) -> str | None:
    text = (page.description or "").strip()
    if text.startswith("<") and "PerkinElmer-QPI" in text:
        return _qptiff_name(text)
    if text.startswith("{"):
        try:
            target = json.loads(text).get("channel.target")
        except (ValueError, AttributeError):
            target = None
        if target:
            return str(target).strip()
    name = page.tags.valueof("PageName")
    return re.sub(r"\s+", " ", str(name)).strip(" \0") or None if name else None


def _qptiff_name(xml: str) -> str | None:
    try:
        root = ElementTree.fromstring(re.sub(r"^<\?xml[^>]*\?>", "", xml))
    except ElementTree.ParseError:
        return None
    texts = {_tag(element): (element.text or "").strip() for element in root}
    return texts.get("Biomarker") or texts.get("Name") or None


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rsplit("}", 1)[-1]
