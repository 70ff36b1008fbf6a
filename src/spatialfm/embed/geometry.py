"""How many image pixels make one pixel of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from .._errors import PixelSizeError, listed, warn
from .._keys import ATTRS
from ..pp.elements import SampleElements, pixel_size

if TYPE_CHECKING:
    from spatialdata import SpatialData

    from ..models.card import ModelCard

TOLERANCE = 0.1  # a pixel size off by more than this is resampled


def image_pixel_sizes(
    sdata: SpatialData, pairs: Sequence[SampleElements], mpp: float | Mapping[str, float] | None, *, required: bool
) -> list[float | None]:
    """µm per pixel of each image: what the user says, else what its transformation says.

    Raises
    ------
    PixelSizeError
        If a size is needed and unknown, or is no size of a microscope's pixel.
    """
    known = sdata.attrs.get(ATTRS, {}).get("samples", {})
    sizes, assumed, contradicted = [], [], []
    for pair in pairs:
        of_image = pixel_size(sdata, pair)
        given = mpp.get(pair.sample) if isinstance(mpp, Mapping) else mpp
        size = of_image if given is None else float(given)
        if size is None and required:
            raise PixelSizeError(
                f"The pixel size of image {pair.image!r} is unknown (its transformation to "
                f"{pair.coordinate_system!r} is "
                "the identity). Pass mpp=<µm per pixel>."
            )
        if size is not None and not 0.01 <= size <= 50:
            raise PixelSizeError(f"{size:g} µm per pixel of image {pair.image!r} cannot be. Pass mpp=<µm per pixel>.")
        if given is None and known.get(pair.sample, {}).get("mpp_source") == "assumed":
            assumed.append(pair.image)
        if given is not None and of_image is not None and abs(size / of_image - 1) > TOLERANCE:
            contradicted.append(f"{pair.image} ({of_image:g})")
        sizes.append(size)
    if assumed and required:
        warn(
            f"No file told the pixel size of {len(assumed)} image(s) ({listed(assumed, 5, quoted=False)}): "
            "1 µm was assumed when they were read. Pass mpp=<µm per pixel> here or to the reader."
        )
    if contradicted:
        warn(f"mpp={mpp} contradicts the transformation of {listed(contradicted, 5, quoted=False)}; mpp= is used.")
    return sizes


def resampling_ratios(card: ModelCard, sizes: Sequence[float | None], *, resample: bool) -> list[float]:
    """Image pixels per model pixel; 1 where the image is within 10 % of what the model was trained on."""
    if card.mpp is None or not resample:
        return [1.0] * len(sizes)
    low, high = card.mpp_range or (card.mpp, card.mpp)
    targets = [min(max(size, low), high) for size in sizes]
    return [
        1.0 if abs(size / target - 1) <= TOLERANCE else target / size
        for size, target in zip(sizes, targets, strict=True)
    ]
