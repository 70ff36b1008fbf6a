"""µm per pixel of the images of a run: what the user gives, otherwise what their transformations say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from .._errors import PixelSizeError, counted, listed, warn
from .._keys import ATTRS
from .elements import SampleElements, pixel_size
from .units import PIXEL_SIZES

if TYPE_CHECKING:
    from spatialdata import SpatialData

TOLERANCE = 0.1  # a pixel size off by more than this is another one


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
        given = mpp.get(pair.sample) if isinstance(mpp, Mapping) else mpp
        size = of_image if given is None else float(given)
        if size is None and required:
            raise PixelSizeError(
                f"The pixel size of image {pair.image!r} is unknown (its transformation to {pair.coordinate_system!r} "
                "is the identity). Pass mpp=<µm per pixel>."
            )
        if size is not None and not PIXEL_SIZES[0] <= size <= PIXEL_SIZES[1]:
            raise PixelSizeError(f"{size:g} µm per pixel of image {pair.image!r} cannot be. Pass mpp=<µm per pixel>.")
        if given is None and known.get(pair.sample, {}).get("mpp_source") == "assumed":
            assumed.append(pair.image)
        if given is not None and size is not None and of_image is not None and abs(size / of_image - 1) > TOLERANCE:
            contradicted.append(f"{pair.image} ({of_image:g})")
        sizes.append(size)
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
