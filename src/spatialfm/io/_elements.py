"""Lazy arrays to elements of a SpatialData, in the sample's coordinate system."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spatialdata.models import Image2DModel, Labels2DModel
from spatialdata.transformations import Scale

from .._keys import cells_name, image_name
from ..pp.maps import multiscale_image
from ._image import read_image, resolve_mpp
from ._lazy_image import LazyImage
from ._mask import MaskOptions, read_labels
from ._pixel_size import PixelSize

if TYPE_CHECKING:
    import dask.array as da
    import pandas as pd
    from xarray import DataArray, DataTree


@dataclass(frozen=True)
class ReadSample:
    """Elements of one sample, what the SpatialData records of it, and what the user should hear."""

    sample: str
    images: dict[str, Any]
    labels: dict[str, Any]
    channel_names: tuple[str, ...]
    record: dict[str, Any]
    identity: frozenset[tuple[str, int]] = frozenset()  # where the pixels are
    found_names: tuple[str, ...] = ()  # of the channels, before any is renamed
    notes: list[tuple[str, str, str]] = field(default_factory=list)  # kind, file, text
    shapes: dict[str, Any] = field(default_factory=dict)
    points: dict[str, Any] = field(default_factory=dict)
    columns: pd.DataFrame | None = None  # of its cells, by id, as another program states them


def read_sample(
    sample: str,
    image: Path,
    labels: Path | None,
    *,
    channel_names: list[str] | dict[str | int, str] | None,
    mpp: float | None,
    axes: str | None,
    series: int | None,
    mask_options: MaskOptions,
    needs_all_names: bool = True,
) -> ReadSample:
    """Open image and labels of a sample and place both in the coordinate system `sample`, in µm."""
    opened = read_image(image, channel_names, axes=axes, series=series, needs_all_names=needs_all_names, mask=labels)
    return place_sample(sample, opened, image, labels, mpp=mpp, mask_options=mask_options)


def place_sample(
    sample: str,
    opened: LazyImage,
    image: Path,
    labels: Path | None = None,
    *,
    mpp: float | None = None,
    mask_options: MaskOptions | None = None,
) -> ReadSample:
    """A sample of an image that is open, and of the labels in another file, in the coordinate system `sample`."""
    mask = None if labels is None else read_labels(labels, opened, mask_options or MaskOptions())
    size, source, notes = resolve_mpp(opened, mpp)
    notes = [*notes, *opened.notes]
    if not opened.is_named:
        notes = [*notes, ("unnamed", f"{opened.channel_names[0]} to {opened.channel_names[-1]}")]
    record = {"mpp": size, "mpp_source": source, "image": opened.path, "labels": None if mask is None else mask.path}
    if opened.left_out:
        record["channels_left_out"] = list(opened.left_out)
    if source == "metadata" and opened.pixel_size is not None:
        record["mpp_field"] = opened.pixel_size.field
    return ReadSample(
        sample=sample,
        images={image_name(sample): image_element(opened, sample, size)},
        labels={} if mask is None else {cells_name(sample): labels_element(mask.labels, sample, size)},
        channel_names=opened.channel_names,
        record=record,
        identity=opened.identity,
        found_names=opened.found_names,
        notes=[(kind, str(image), text) for kind, text in notes]
        + [(kind, str(labels), text) for kind, text in (mask.notes if mask else ())],
    )


def sample_without_image(
    sample: str, file: str, mpp: float | None, source: str = "argument", *, stated: PixelSize | None = None
) -> ReadSample:
    """A sample of cells alone, whose elements follow.

    Parameters
    ----------
    file
        Of the cells, for messages.
    mpp, source
        µm per pixel, and where they are from. Default: those `stated`, otherwise 1 µm, with a note.
    stated
        Pixel size that a file states; checked as that of an image is.
    """
    notes: list[tuple[str, str]] = []
    if stated is not None:
        mpp, source, notes = resolve_mpp(LazyImage((), (), True, stated, None, "", file), mpp)
    elif mpp is None:
        mpp, source, notes = 1.0, "assumed", [("mpp_assumed", "")]
    record = {"mpp": mpp, "mpp_source": source, "image": None, "labels": None}
    return ReadSample(sample, {}, {}, (), record, notes=[(kind, file, text) for kind, text in notes])


def image_element(image: LazyImage, sample: str, mpp: float) -> DataArray | DataTree:
    """Image element; of several scales where the file has a pyramid, each with the file's own pixels."""
    transformations = {sample: Scale([mpp, mpp], axes=("x", "y"))}
    names = list(image.channel_names)
    if len(image.levels) == 1:
        return Image2DModel.parse(
            image.levels[0], dims=("c", "y", "x"), c_coords=names, transformations=transformations
        )
    return multiscale_image(image.levels, names, transformations)


def labels_element(labels: da.Array, sample: str, mpp: float) -> DataArray:
    """Labels element."""
    return Labels2DModel.parse(labels, dims=("y", "x"), transformations={sample: Scale([mpp, mpp], axes=("x", "y"))})


# what is said of files, by the kind of note
_SAID = {
    "mpp_assumed": (
        "No pixel size in the metadata of {files}: 1 µm per pixel is assumed. Pass mpp=<µm per pixel> if it is another."
    ),
    "mpp_contradicts": "The pixel size in the metadata contradicts the one given: {files}. The one given is used.",
    "names_moved": (
        "channel_names has names of the file at other positions: {files}. The given ones are used, in the "
        "file's order; to keep those of the file, leave channel_names out."
    ),
    "mpp_disagree": (
        "Two pixel sizes in the metadata of {files}: the first is used. Pass mpp=<µm per pixel> to give the right one."
    ),
    "mpp_unread": (
        "PhysicalSizeX or PhysicalSizeY of the OME-XML is not a size in {files}. Check it, and pass "
        "mpp=<µm per pixel> if it is another."
    ),
    "ome_contradicts": (
        "The OME-XML contradicts itself or the pages of {files}. Pixels are taken as the pages have them; "
        "check that the metadata belong to this image."
    ),
    "mpp_odd": "mpp= is far from what images of cells have: {files}. Check that it is in µm per pixel, not in nm.",
    "photograph": (
        "Colour pictures (8-bit red, green and blue) instead of markers: {files}. If the three channels "
        "are markers, pass channel_names=[...] with their names."
    ),
    "tissue_left_out": (
        "Tissue maps contradict the tissue categories of the cells, and are left out: {files}. Check that "
        "map and table are of one run of inForm."
    ),
    "cells_without_row": (
        "Cells of a mask have no row in the table of measurements, and none in sdata['table']: {files}."
    ),
    "polygons_left_out": (
        "Polygons without a row in the table of measurements are left out: {files}. Export both again from "
        "the same objects to have them."
    ),
    "mask_scaled": (
        "Masks of another resolution than their image are scaled to it by nearest neighbour: {files}. "
        "Check that they are masks of these images; where the image has fewer pixels, small cells are lost."
    ),
    "mask_left_out": (
        "Masks among the markers are left out: {files}. If one is a marker, name it with "
        "channel_names={<name of the file without its suffix>: <marker>}."
    ),
    "copies": ("Markers that seem to be there twice: {files}. Move the copies out of the folder, if they are copies."),
    "mask_kept": (
        "Masks, by names and pixels, are among the markers and kept, because channel_names= has them: {files}."
    ),
    "mask_name": "Files named like masks are read as markers, because their pixels are not label ids: {files}.",
    "left_out": (
        "Smaller images like the one that is read are left out, as levels of its pyramid: {files}. If one "
        "is a separate image, read it with series=<number>."
    ),
    "unused_pages": (
        "Pages that the OME-XML does not mention are left out: {files}. If they are channels of the image, "
        "export it again with metadata for all of them."
    ),
    "unnamed": (
        "No channel names in the metadata of {files}: channels are named by their number. Pass "
        "channel_names=[...], one for each channel, in the file's order."
    ),
}


def describe(kind: str, notes: Sequence[tuple[str, str]]) -> str:
    """One warning for all files that it concerns.

    Parameters
    ----------
    kind
        Of `resolve_mpp` and `read_image`.
    notes
        Pairs of file and text.
    """
    files = ", ".join(f"'{file}'" + (f" ({text})" if text else "") for file, text in notes[:3])
    if len(notes) > 3:
        files += f" and {len(notes) - 3} more"
    return _SAID[kind].replace("{files}", files)
