"""OME-XML: which pages of which file hold each image, and its channels and pixel size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from .._errors import InputFileError, listed
from ._pixel_size import PixelSize, micrometers
from ._tifffile import describing_page, open_file, page_file, plane_shape

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPageSeries

_MOST_CHANNELS = 100_000


@dataclass(frozen=True)
class OmeImage:
    """One image of an OME-XML.

    Attributes
    ----------
    name
        Of the image; empty where it has none.
    channel_names, pixel_size
        None if nothing is stated.
    sizes
        Lengths by axis (``X``, ``Y``, ``C``, ``Z``, ``T``).
    planes
        File name (lower case; empty: the file that holds the XML) and directory of the first plane of each block.
    unread_size
        A pixel size that does not convert to µm, as it is written.
    pixels, own_uuid
        The element that describes all this, and the identifier of the file that the XML belongs to.
    """

    name: str
    channel_names: tuple[str, ...] | None
    pixel_size: PixelSize | None
    sizes: dict[str, int]
    planes: frozenset[tuple[str, int]]
    unread_size: str = ""
    pixels: ElementTree.Element | None = field(default=None, compare=False, repr=False)
    own_uuid: str | None = None

    @property
    def n_planes(self) -> int:
        """Planes of one channel, one Z and one time point."""
        n = 1
        for axis in "CZT":
            n *= self.sizes.get(axis, 1)
        return n


def parse_root(xml: str) -> ElementTree.Element | None:
    """Root element; None if the text is not XML."""
    try:
        return ElementTree.fromstring(xml)
    except (ElementTree.ParseError, ValueError):
        return None


def ome_images(xml: str) -> list[OmeImage]:
    """Every image of an OME-XML, in its order.

    A channel without name takes its fluorophore's; one of several samples (RGB) gives as many names.

    Examples
    --------
    >>> pixels = '<Pixels PhysicalSizeX="500" PhysicalSizeXUnit="nm"><Channel Name="DAPI"/></Pixels>'
    >>> (image,) = ome_images(f"<OME><Image>{pixels}</Image></OME>")
    >>> image.channel_names, image.pixel_size
    (('DAPI',), PixelSize(x=0.5, y=0.5, field='OME-XML PhysicalSizeX'))
    """
    root = parse_root(xml)
    return [] if root is None else [_image(element, root.get("UUID")) for element in root if _tag(element) == "Image"]


def image_of(series: TiffPageSeries, images: Sequence[OmeImage], path: str) -> OmeImage | None:
    """The image of the XML whose pixels a series holds; None if that is undecidable.

    Its number would not do: tifffile leaves out images without pixels, so that series and images are counted apart.
    """
    own = Path(path).name.lower()
    pages = {(page_file(page).name.lower(), page.index) for page in series if page is not None}
    if series.kind == "ome":
        candidates = [image for image in images if {(file or own, ifd) for file, ifd in image.planes} & pages]
    elif len(images) == 1:
        return images[0]
    else:  # tifffile could not follow the XML
        separate, _, height, width, samples = plane_shape(describing_page(series))
        candidates = [image for image in images if (image.sizes.get("Y"), image.sizes.get("X")) == (height, width)]
        exact = [image for image in candidates if image.n_planes in (len(series), len(series) * separate * samples)]
        candidates = exact or candidates
    if len(candidates) > 1:
        candidates = [image for image in candidates if image.name == series.name] or candidates
    descriptions = {(image.channel_names, image.pixel_size) for image in candidates}
    return candidates[0] if len(descriptions) == 1 else None


def external_xml(tif: TiffFile, path: Path) -> str | None:
    """OME-XML that replaces that of the file itself, or None.

    A member of a set may hold no more than the name of the file with the metadata (``BinaryOnly``). A file that was
    renamed names its own pages by the old name.

    Raises
    ------
    InputFileError
        If the metadata of the set are not there, or the XML ties all pixels to another file that is.
    """
    if not tif.is_ome or not tif.ome_metadata:
        return None
    root = parse_root(tif.ome_metadata)
    if root is None:
        return None
    binary_only = next((element for element in root if _tag(element) == "BinaryOnly"), None)
    if binary_only is not None:
        return _companion(path, binary_only.get("MetadataFile", ""), root.get("UUID") or binary_only.get("UUID"))
    return _as_own(root, path)


def metadata_file(tif: TiffFile, path: Path) -> Path | None:
    """The other file that holds the metadata of a member of a set, if that is how it is."""
    root = parse_root(tif.ome_metadata) if tif.is_ome and tif.ome_metadata else None
    named = next((element for element in root if _tag(element) == "BinaryOnly"), None) if root is not None else None
    return None if named is None else path.parent / named.get("MetadataFile", "")


def companion_error(path: Path) -> InputFileError:
    """Message for the metadata file of a set that is passed as the image."""
    root = parse_root(path.read_text(encoding="utf-8-sig", errors="replace"))
    files = [] if root is None else list(dict.fromkeys(_file_names(root)))
    return InputFileError(
        f"'{path}' holds the metadata of a set of files and no pixels. Pass the TIFF that holds the image; it names "
        f"{listed(files)}."
    )


def missing_files(tif: TiffFile, path: str) -> list[str]:
    """Files that the XML names and that are not in the folder of the file."""
    root = parse_root(tif.ome_metadata or "") if tif.is_ome else None
    names = [] if root is None else list(dict.fromkeys(_file_names(root)))
    return [name for name in names if not (Path(path).parent / name).is_file()]


def _image(element: ElementTree.Element, own_uuid: str | None) -> OmeImage:
    pixels = next((child for child in element if _tag(child) == "Pixels"), None)
    if pixels is None:
        return OmeImage(element.get("Name", ""), None, None, {}, frozenset())
    lengths = [_size(pixels, axis) for axis in "XY"]
    x, y = lengths[0] or lengths[1], lengths[1] or lengths[0]
    written = {axis: pixels.get(f"Size{axis}") or "" for axis in "XYCZT"}
    unread = [
        f"{pixels.get(f'PhysicalSize{axis}')} {pixels.get(f'PhysicalSize{axis}Unit', 'µm')}"
        for axis, length in zip("XY", lengths, strict=True)
        if pixels.get(f"PhysicalSize{axis}") is not None and not length
    ]
    return OmeImage(
        name=element.get("Name", ""),
        channel_names=_channel_names([child for child in pixels if _tag(child) == "Channel"]),
        pixel_size=PixelSize(x, y, "OME-XML PhysicalSizeX") if x and y else None,
        sizes={axis: int(length) for axis, length in written.items() if length.strip().isdigit()},
        planes=frozenset(_planes(pixels, own_uuid)),
        unread_size=" x ".join(dict.fromkeys(unread)),
        pixels=pixels,
        own_uuid=own_uuid,
    )


def _planes(pixels: ElementTree.Element, own_uuid: str | None) -> Iterator[tuple[str, int]]:
    for data in pixels:
        if _tag(data) != "TiffData":
            continue
        uuid = next((child for child in data if _tag(child) == "UUID"), None)
        is_own = uuid is None or (own_uuid is not None and uuid.text == own_uuid)
        yield "" if is_own else uuid.get("FileName", "").lower(), int(data.get("IFD", 0))


def _channel_names(channels: Sequence[ElementTree.Element]) -> tuple[str, ...] | None:
    names: list[str] = []
    named = False
    if sum(max(int(channel.get("SamplesPerPixel") or 1), 1) for channel in channels) > _MOST_CHANNELS:
        return None  # a damaged number: to count the names out would take all memory
    for channel in channels:
        name = (channel.get("Name") or channel.get("Fluor") or "").strip()
        named |= bool(name)
        n_samples = int(channel.get("SamplesPerPixel") or 1)
        base = name or f"channel_{len(names)}"
        names += [base] if n_samples == 1 else [f"{base}_{i}" for i in range(n_samples)]
    return tuple(names) if named else None


def _size(pixels: ElementTree.Element, axis: str) -> float | None:
    return micrometers(pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm"))


def _companion(path: Path, name: str, own_uuid: str | None) -> str:
    """Metadata of the set to which a file without own metadata belongs."""
    companion = path.parent / name
    if not name or not companion.is_file():
        raise InputFileError(
            f"'{path}' is one file of a set whose metadata are in '{name}', which is not in its folder. Put all files "
            "of the set in one folder, or export the image as one OME-TIFF."
        )
    if name.lower().endswith(".ome") or name.lower().endswith(".xml"):
        xml = companion.read_text(encoding="utf-8-sig", errors="replace")
    else:
        with open_file(companion) as tif:
            xml = tif.ome_metadata or ""
    root = parse_root(xml.strip())
    if root is None:
        raise InputFileError(
            f"'{companion}', which holds the metadata of '{path}', cannot be read as OME-XML. "
            "Copy or export the set again."
        )
    # pages are found by the identifier of the file that is open: this one, not the one with the metadata
    root.attrib.pop("UUID", None)
    if own_uuid:
        root.set("UUID", own_uuid)
    return ElementTree.tostring(root, encoding="unicode")


def _as_own(root: ElementTree.Element, path: Path) -> str | None:
    """XML of a renamed file, that names the file itself as the place of its pages; None if it already does."""
    own, own_uuid = path.name.lower(), root.get("UUID")
    elsewhere = []
    for element in root.iter():
        if _tag(element) != "TiffData":
            continue
        uuid = next((child for child in element if _tag(child) == "UUID"), None)
        if uuid is None or uuid.get("FileName", "").lower() == own or (own_uuid and uuid.text == own_uuid):
            return None
        elsewhere.append(uuid.get("FileName", ""))
    files = list(dict.fromkeys(elsewhere))
    if not files:
        return None
    if present := [name for name in files if (path.parent / name).is_file()]:
        raise InputFileError(
            f"The OME-XML of '{path}' states that its pixels are in {listed(files)}, which is another file. If "
            f"{listed(present[:1])} is the image, pass that one; if not, this file's OME-XML was copied from it: "
            "export the image again."
        )
    if len(files) > 1:
        raise InputFileError(
            f"'{path}' is one file of a set ({listed(files)}) and was renamed, so that it is unclear which. Give "
            "it its old name, or export the image as one OME-TIFF."
        )
    for element in root.iter():
        if _tag(element) == "TiffData":
            for uuid in [child for child in element if _tag(child) == "UUID"]:
                element.remove(uuid)
    return ElementTree.tostring(root, encoding="unicode")


def _file_names(root: ElementTree.Element) -> Iterator[str]:
    for element in root.iter():
        if _tag(element) == "UUID" and element.get("FileName"):
            yield element.get("FileName", "")


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rsplit("}", 1)[-1]
