"""How many image pixels make one pixel of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from ..._errors import PixelSizeError, counted, listed, warn
from ..._keys import ATTRS
from ..._types import present
from ...pp.elements import SampleElements, pixel_size
from ...pp.units import PIXEL_SIZES

if TYPE_CHECKING:
    from spatialdata import SpatialData

    class HasPixelSize(Protocol):
        """What is asked of a model's card."""

        @property
        def mpp(self) -> float | None:
            """Native µm per pixel; None where any will do."""

        @property
        def mpp_range(self) -> tuple[float, float] | None:
            """µm per pixel inside which images are not resampled."""

        @property
        def mpp_reference(self) -> float | None:
            """µm per pixel that images are brought to where there is no native size."""


TOLERANCE = 0.1  # a pixel size off by more than this is resampled
EXACT = 0.01  # the same where all images of a run are brought to one size


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


def common_pixel_size(card: HasPixelSize, sizes: Sequence[float | None], asked: float | None = None) -> float | None:
    """µm per pixel at which all images of a run are shown to the model; None: each at its own.

    Images of different pixel sizes are brought to the coarsest, as what it lacks cannot be made up for; a model's
    own size or range goes before.

    Parameters
    ----------
    card
        The model.
    sizes
        µm per pixel of each image, None where it is unknown.
    asked
        Size that the recipe asks for, or that the encoder was loaded with.
    """
    known = [size for size in sizes if size is not None]
    if len(known) < len(sizes) or not sizes:
        return None
    if asked is not None:
        return asked
    coarsest, mixed = max(known), max(known) > min(known) * (1 + TOLERANCE)
    if card.mpp is not None:
        low, high = card.mpp_range or (card.mpp, card.mpp)
        targets = [min(max(size, low / (1 + TOLERANCE)), high * (1 + TOLERANCE)) for size in known]
        return min(max(targets), high) if max(targets) > min(targets) * (1 + TOLERANCE) else None
    if card.mpp_reference is not None:
        return coarsest if coarsest >= card.mpp_reference / (1 + TOLERANCE) else card.mpp_reference
    return coarsest if mixed else None


def resampling_ratios(
    card: HasPixelSize, sizes: Sequence[float | None], *, resample: bool, common: float | None = None
) -> list[float]:
    """Image pixels per model pixel.

    With a `common` size every image is brought to it; without one, those that are more than 10 % off what the model
    was trained on are brought to that.
    """
    if not resample or (card.mpp is None and common is None):
        return [1.0] * len(sizes)
    known = [present(size, "the pixel size of an image that is resampled") for size in sizes]
    if common is not None:
        return [1.0 if abs(size / common - 1) <= EXACT else common / size for size in known]
    trained = present(card.mpp, "the pixel size of the model")
    low, high = card.mpp_range or (trained, trained)
    targets = [min(max(size, low), high) for size in known]
    return [
        1.0 if abs(size / target - 1) <= TOLERANCE else target / size
        for size, target in zip(known, targets, strict=True)
    ]
