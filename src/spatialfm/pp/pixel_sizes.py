"""µm per pixel of the images of a run: what the user gives, otherwise what their transformations say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from spatialdata.transformations import get_transformation

from .._errors import CoordinateError, PixelSizeError, counted, listed, warn
from .._keys import ATTRS
from .arrays import cells_element
from .elements import SampleElements, pixel_size
from .units import of_microscope

if TYPE_CHECKING:
    from spatialdata import SpatialData

TOLERANCE = 0.1  # a pixel size off by more than this is another one


def other_pixel_sizes(sdata: SpatialData, pair: SampleElements) -> dict[str, float]:
    """Other sizes of an image's pixels, in coordinate systems that it and its labels are in and that are not used.

    An object may have its pixels in several systems: in µm, in pixels of another slide, downscaled. The one that is
    named after the sample is taken, otherwise the first, and nothing in the others says what their unit is.
    """
    used = pixel_size(sdata, pair)
    element = None if pair.labels is None else cells_element(sdata, pair.labels)
    of_labels = None if element is None else set(get_transformation(element, get_all=True))
    others = {}
    for name in get_transformation(sdata.images[pair.image], get_all=True):
        if name == pair.coordinate_system or (of_labels is not None and name not in of_labels):
            continue
        try:
            size = pixel_size(sdata, replace(pair, coordinate_system=name))
        except CoordinateError:  # rotated, or pixels that are not square there
            continue
        if size is not None and (used is None or abs(size / used - 1) > TOLERANCE):
            others[str(name)] = size
    return others


def in_other_systems(sdata: SpatialData, pair: SampleElements) -> str:
    """What sizes an image's pixels have in systems that are not used, and how one of them becomes that in µm."""
    others = other_pixel_sizes(sdata, pair)
    if not others:
        return ""
    name, size = next(iter(others.items()))
    sizes = ", ".join(f"{other:g} in {one!r}" for one, other in others.items())
    calls = [
        f"spatialdata.transformations.set_transformation(sdata[{element!r}], spatialdata.transformations."
        f"get_transformation(sdata[{element!r}], {name!r}), {pair.sample!r})"
        for element in (pair.image, pair.labels)
        if element is not None
    ]
    return (
        f"Coordinate system {pair.coordinate_system!r} is used, and pixels of {pair.image!r} are {sizes}. If those of "
        f"{name!r} are in µm, name this system after the sample: {'; '.join(calls)}."
    )


def say_systems(sdata: SpatialData, pairs: Sequence[SampleElements]) -> None:
    """Warn of images whose pixels have another size in a coordinate system that is not used."""
    concerned = [pair for pair in pairs if other_pixel_sizes(sdata, pair)]
    if concerned:
        size = pixel_size(sdata, concerned[0])
        warn(
            f"{counted(len(concerned), 'image has', 'images have')} pixels of different sizes in different coordinate "
            f"systems ({listed([pair.image for pair in concerned], 5, quoted=False)}): "
            f"{'an unknown size' if size is None else f'{size:g} µm'} is taken for {concerned[0].image!r}. "
            f"{in_other_systems(sdata, concerned[0])}"
        )


def image_pixel_sizes(
    sdata: SpatialData,
    pairs: Sequence[SampleElements],
    mpp: float | Mapping[str, float] | None,
    *,
    required: bool,
    common: bool = False,
) -> list[float | None]:
    """µm per pixel of each image: what the user gives, otherwise that of its transformation.

    Parameters
    ----------
    sdata, pairs
        Images.
    mpp
        What the user gives.
    required
        Whether an unknown size is an error.
    common
        Whether it is one where the size of another image of the run is known.

    Raises
    ------
    PixelSizeError
        If a size is needed and unknown, or is not a size of a microscope's pixel.
    """
    known = sdata.attrs.get(ATTRS, {}).get("samples", {})
    sizes, assumed, contradicted = [], [], []
    for pair in pairs:
        of_image = pixel_size(sdata, pair)
        given = _given(mpp, pair)
        size = of_image if given is None else float(given)
        if size is None and required:
            raise PixelSizeError(
                f"The pixel size of image {pair.image!r} is unknown (its transformation to {pair.coordinate_system!r} "
                f"is the identity). Pass mpp=<µm per pixel>. {in_other_systems(sdata, pair)}".rstrip()
            )
        if size is not None and not of_microscope(size):
            raise PixelSizeError(f"{size:g} µm per pixel of image {pair.image!r} cannot be. Pass mpp=<µm per pixel>.")
        if given is None and known.get(pair.sample, {}).get("mpp_source") == "assumed":
            assumed.append(pair.image)
        if given is not None and size is not None and of_image is not None and abs(size / of_image - 1) > TOLERANCE:
            contradicted.append(f"{pair.image} ({of_image:g})")
        sizes.append(size)
    say_systems(sdata, [pair for pair in pairs if _given(mpp, pair) is None])
    unknown = [pair.image for pair, size in zip(pairs, sizes, strict=True) if size is None]
    if common and 0 < len(unknown) < len(sizes):
        known = next(pair.image for pair, size in zip(pairs, sizes, strict=True) if size is not None)
        raise PixelSizeError(
            f"The pixel size of {len(unknown)} of {counted(len(sizes), 'image')} is unknown ({listed(unknown, 5)}), "
            f"that of {known!r} is known: the two would come out in different units. Pass mpp={{<sample>: <µm per "
            "pixel>} for these, or embed them by themselves with samples=."
        )
    if assumed and (required or common):
        warn(
            f"No file states the pixel size of {counted(len(assumed), 'image')} ({listed(assumed, 5, quoted=False)}): "
            "1 µm was assumed when they were read. Pass mpp=<µm per pixel> here or to the reader."
        )
    if contradicted:
        warn(f"mpp={mpp} contradicts the transformation of {listed(contradicted, 5, quoted=False)}; mpp= is used.")
    return sizes


def _given(mpp: float | Mapping[str, float] | None, pair: SampleElements) -> float | None:
    return mpp.get(pair.sample) if isinstance(mpp, Mapping) else mpp
