"""Channel names and pixel size, from any metadata that a TIFF file carries."""

from __future__ import annotations

import html
import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from ._ome import OmeImage, image_of, ome_images
from ._ome_check import placement_notes, unfollowed
from ._pixel_size import PRINT_UNITS, PixelSize, clean, micrometers, um_per_unit
from ._tifffile import describing_page, plane_shape

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage, TiffPageSeries

_UM_PER_RESOLUTION_UNIT = {2: 25400.0, 3: 1e4, 4: 1e3, 5: 1.0}  # inch, cm, and tifffile's mm and µm

_SLICE = re.compile(r"^(?:[czt]:\d+/\d+\s*)+-\s*", re.IGNORECASE)  # as Bio-Formats labels slices: c:1/3 - DAPI

_RGB = (2, 6)  # photometric interpretations RGB and YCbCr, which is decoded to RGB


@dataclass(frozen=True)
class ImageMetadata:
    """What a file states about its image; None for what it does not state.

    Attributes
    ----------
    channel_names, pixel_size
        As the file has them.
    ignored_size
        Why a pixel size that the file states is not taken: a sentence, empty where there is none.
    other_size
        A second size in the file that contradicts the first.
    is_photograph
        Whether the channels are the colours of a picture.
    unread_size
        What the metadata have in place of a pixel size.
    contradictions
        Statements of the OME-XML that the pages, or its other fields, contradict.
    unfollowed
        Why pages in their own order cannot be the planes that OME-XML describes; empty where they can.
    """

    channel_names: tuple[str, ...] | None = None
    pixel_size: PixelSize | None = None
    ignored_size: str = ""
    other_size: PixelSize | None = None
    is_photograph: bool = False
    unread_size: str = ""
    contradictions: tuple[str, ...] = ()
    unfollowed: str = ""


def read_metadata(tif: TiffFile, series: TiffPageSeries, path: str) -> ImageMetadata:
    """Metadata of one series of an open file.

    OME-XML goes before ImageJ's description, that before the descriptions and names of single pages (QPTIFF, MIBI,
    PageName), those before the resolution tags.
    """
    page = describing_page(series)
    names, size, ignored, unread, why = None, None, "", "", ""
    notes: list[str] = []
    if tif.is_ome and tif.ome_metadata:
        images = ome_images(tif.ome_metadata)
        image = image_of(series, images, path)
        if image is not None:
            notes = placement_notes(image, series, tif, path)
            why = unfollowed(image, series, tif)
            names, (size, ignored, unread) = image.channel_names, _ome_size(image, page)
        elif not images:
            ignored = "its OME-XML is damaged and cannot be read"
            notes = ["it is damaged and cannot be read"]
        elif len(images) > 1:
            ignored = f"which of the {len(images)} images in its OME-XML this is remains unclear"
            notes = [f"it describes {len(images)} images, and which one this is remains unclear"]
    elif tif.is_imagej:
        names, size, ignored = _imagej(tif, page)
    else:
        names = _page_names(tif, series)
        size = _svs(page)
        if "<OME" in (tif.pages.first.description or "")[:2000]:
            notes = ["it has no end and is not read"]
    is_photograph = _is_photograph(page)
    if names is None and is_photograph:
        names = ["red", "green", "blue", "alpha"][: plane_shape(page).samples]
    other = None
    if not tif.is_imagej:
        by_tags, too_large = _resolution(page)
        if size is None and by_tags is None and not tif.is_ome:
            size = _qptiff_size(page)
            ignored = "" if size is not None else ignored or too_large
        elif size is None:
            size, ignored = by_tags, ignored or too_large
        elif by_tags is not None and not _agree(size, by_tags):
            other = by_tags
    names = None if names is None else tuple(names)
    return ImageMetadata(names, size, ignored, other, is_photograph, unread, tuple(notes), why)


def _ome_size(image: OmeImage, page: TiffPage) -> tuple[PixelSize | None, str, str]:
    """Size by OME-XML, why one that it states is not taken, and what it has in place of one."""
    size, unread = image.pixel_size, image.unread_size
    stated, actual = (image.sizes.get("Y"), image.sizes.get("X")), plane_shape(page)[2:4]
    if size is not None and None not in stated and stated != actual:  # copied along with a resized image
        ignored = (
            f"its OME-XML has {size.x:g} µm for an image of {stated[0]} x {stated[1]} pixels, "
            f"but this one has {actual[0]} x {actual[1]}"
        )
        return None, ignored, unread
    return size, f"its OME-XML states {unread!r}" if unread else "", unread


def _imagej(tif: TiffFile, page: TiffPage) -> tuple[list[str] | None, PixelSize | None, str]:
    metadata = tif.imagej_metadata or {}
    labels = metadata.get("Labels")
    names = None
    if labels:
        labels = [labels] if isinstance(labels, str) else [str(label) for label in labels]
        names = [label.strip() for label in labels]
        bare = [_SLICE.sub("", name) for name in names]
        names = bare if len(set(bare)) == len(bare) else names  # otherwise what follows is the file's name
        names = names if all(names) else None
    unit = str(metadata.get("unit", "")).strip()
    factors = um_per_unit(unit), um_per_unit(metadata.get("yunit") or unit)
    per_unit = _per_unit(page, "XResolution"), _per_unit(page, "YResolution")
    if None in factors or None in per_unit:
        return names, None, ""
    x, y = (clean(factor / n) for factor, n in zip(factors, per_unit, strict=True))
    size = PixelSize(x, y, "ImageJ unit and resolution")
    if not size.is_plausible and unit.lower() in PRINT_UNITS:
        return names, None, f"ImageJ's resolution states {_dots(size)}, which is not plausible"
    return names, size, ""


def _per_unit(page: TiffPage, tag: str) -> float | None:
    value = page.tags.valueof(tag)
    try:
        per_unit = value[0] / value[1] if isinstance(value, tuple) else float(value)
    except (TypeError, ZeroDivisionError, ValueError):
        return None
    return per_unit if math.isfinite(per_unit) and per_unit > 0 else None


def _resolution(page: TiffPage) -> tuple[PixelSize | None, str]:
    """Size by the resolution tags, or why these do not tell it."""
    # the standard's default is inches, but a file without the tag had no unit in mind
    unit = page.tags.valueof("ResolutionUnit")
    factor = _UM_PER_RESOLUTION_UNIT.get(int(unit) if unit is not None else 1)
    x, y = _per_unit(page, "XResolution"), _per_unit(page, "YResolution")
    if factor is None or x is None or y is None:
        return None, ""
    size = PixelSize(clean(factor / x), clean(factor / y), "resolution tags")
    return (
        (size, "") if size.is_plausible else (None, f"its resolution tags state {_dots(size)}, which is not plausible")
    )


def _dots(size: PixelSize) -> str:
    return f"{25400 / size.x:.0f} dots per inch"


def _agree(a: PixelSize, b: PixelSize) -> bool:
    return all(math.isclose(u, v, rel_tol=0.01) for u, v in ((a.x, b.x), (a.y, b.y)))


def _svs(page: TiffPage) -> PixelSize | None:
    stated = re.search(r"\|\s*MPP\s*=\s*([0-9.]+)", page.description or "") if page.is_svs else None
    mpp = micrometers(stated[1], "µm") if stated else None
    return None if mpp is None else PixelSize(mpp, mpp, "MPP of the description")


def _qptiff_size(page: TiffPage) -> PixelSize | None:
    """What the profile of the scan states, which may be nested as XML or JSON; None where it states several sizes."""
    text = html.unescape(page.description or "")
    if "PerkinElmer-QPI" not in text or "<ImageType>Thumbnail" in text or "<ImageType>Overview" in text:
        return None
    stated = re.findall(r"PixelSizeMicrons\"?\s*[>:=]\s*\"?\s*([0-9.]+(?:[eE][-+]?[0-9]+)?)", text)
    sizes = {size for size in (micrometers(value, "µm") for value in stated) if size is not None}
    if len(sizes) != 1:
        return None
    size = PixelSize(*sizes, *sizes, "PixelSizeMicrons of the description")
    return size if size.is_plausible else None


def _page_names(tif: TiffFile, series: TiffPageSeries) -> list[str] | None:
    """Names that every page of the series carries: QPTIFF and MIBI descriptions, PageName tags."""
    if series.kind == "shaped" or _name_of_page(describing_page(series)) is None:
        return None
    names = []
    for item in series:
        if item is None or item.parent is not tif:
            return None
        page = item if hasattr(item, "tags") else tif.pages.get(item.index)  # frames carry no tags
        names.append(_name_of_page(page))
    return names if all(names) else None


def _is_photograph(page: TiffPage) -> bool:
    # three markers are often stored as RGB, but as separate planes or with 16 bits
    return page.photometric in _RGB and plane_shape(page).samples in (3, 4) and page.dtype == "uint8"


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
    texts = {element.tag.rsplit("}", 1)[-1]: (element.text or "").strip() for element in root}
    return texts.get("Biomarker") or texts.get("Name") or None
