"""How many image pixels make one pixel of the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from ..._types import present
from ...pp.pixel_sizes import TOLERANCE

if TYPE_CHECKING:

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


EXACT = 0.01  # the same where all images of a run are brought to one size


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
