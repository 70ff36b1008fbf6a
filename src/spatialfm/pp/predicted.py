"""Pixels of a marker as a model predicted them beside the measured ones, on the grid of the prediction."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .._errors import ElementError, PanelError, listed
from .._keys import ATTRS, IMPUTED, image_name
from .arrays import channel_names, image_array
from .panel import match_markers

if TYPE_CHECKING:
    from spatialdata import SpatialData

HIDDEN = "_hidden"  # behind the name of a predicted image: which of its pixels were hidden
INTENSITY = "intensity"


@dataclass(frozen=True)
class PredictedImage:
    """An image that was predicted.

    Attributes
    ----------
    element
        Its name.
    of
        Image that it was predicted from.
    space
        ``"intensity"`` or ``"standardised"``.
    """

    element: str
    of: str
    space: str


@dataclass(frozen=True)
class Pair:
    """One marker of one image ``(y, x)``, measured and predicted.

    Attributes
    ----------
    hidden
        Which pixels were hidden; None: the marker as a whole.
    """

    measured: np.ndarray
    predicted: np.ndarray
    hidden: np.ndarray | None


def predicted_name(sample: str, key: str) -> str:
    """Name of the predicted image of a sample."""
    return f"{image_name(sample)}_{key}"


def predicted_elements(sdata: SpatialData) -> dict[str, dict[str, Any]]:
    """Records of images that were predicted or painted, and so are not samples, by their names."""
    return dict(sdata.attrs.get(ATTRS, {}).get(IMPUTED, {}))


def add_predicted(
    sdata: SpatialData, name: str, image: Any, *, of: str, sample: str, holds: str, record: Mapping[str, Any]
) -> None:
    """Put an image into `sdata`, in the place of one of an earlier call, and record that it was not measured."""
    remove_predicted(sdata, name)
    sdata.images[name] = image
    text = json.dumps(record, default=lambda other: other.tolist() if hasattr(other, "tolist") else str(other))
    records = sdata.attrs.setdefault(ATTRS, {}).setdefault(IMPUTED, {})
    records[name] = {"of": of, "sample": sample, "holds": holds, "record": text}


def remove_predicted(sdata: SpatialData, *names: str) -> None:
    """Take images of an earlier call out of `sdata`, with their records."""
    for name in names:
        sdata.images.pop(name, None)
        sdata.attrs.get(ATTRS, {}).get(IMPUTED, {}).pop(name, None)


def find_predicted(sdata: SpatialData, key: str) -> dict[str, PredictedImage]:
    """Predicted images whose names end in `key`, by sample; there may be none."""
    by_sample = {}
    for element, notes in predicted_elements(sdata).items():
        sample = str(notes["sample"])
        pixels = notes.get("holds", "values") == "values"  # not one number per cell
        if element == predicted_name(sample, key) and element in sdata.images and pixels:
            record: Any = json.loads(notes["record"]) if isinstance(notes["record"], str) else notes["record"]
            by_sample[sample] = PredictedImage(element, str(notes["of"]), str(record.get("space")))
    return by_sample


def predicted_images(sdata: SpatialData, key: str) -> dict[str, PredictedImage]:
    """The same, of which there is at least one.

    Raises
    ------
    ElementError
        If there is none.
    """
    images = find_predicted(sdata, key)
    if not images:
        records = predicted_elements(sdata)
        raise ElementError(
            f"No image that a model predicted ends in {key!r} (key=); there are {listed(records)}. Make them with "
            "sfm.tl.reconstruct(sdata, model, space='intensity')."
        )
    return images


def channel_of(sdata: SpatialData, image: str, marker: str) -> int | None:
    """Channel of a marker in an image, by its name or what both are known as; None if there is none."""
    channels = channel_names(sdata, image)
    if marker in channels:
        return channels.index(marker)
    *known, own = (str(name) for name in match_markers([*channels, marker])["marker"])
    asked = own if own in known and own not in ("", "nan", "None") else marker
    return known.index(asked) if asked in known else None


def paired_pixels(sdata: SpatialData, image: PredictedImage, marker: str, most: int) -> Pair:
    """Both on the grid of the prediction, which is averaged down to about `most` pixels a side if it is larger.

    Raises
    ------
    ElementError
        If pixels were predicted in other units than those of the image.
    PanelError
        If the marker was not predicted, or not measured.
    """
    if image.space != INTENSITY:
        raise ElementError(
            f"Image {image.element!r} is {image.space}: it has no difference to an image in intensities. Call "
            "sfm.tl.reconstruct(sdata, model, space='intensity')."
        )
    predicted = channel_of(sdata, image.element, marker)
    if predicted is None:
        raise PanelError(
            f"Marker {marker!r} was not predicted in {image.element!r}; found "
            f"{listed(channel_names(sdata, image.element), 60)}."
        )
    channel = channel_of(sdata, image.of, marker)
    if channel is None:
        raise PanelError(
            f"Marker {marker!r} was not measured in {image.of!r}, so that there is nothing to compare with; it has "
            f"{listed(channel_names(sdata, image.of), 60)}."
        )
    values = _pixels(sdata, image.element, predicted, most)
    measured = _averaged(_pixels(sdata, image.of, channel, most), values.shape)
    hidden = None
    if f"{image.element}{HIDDEN}" in sdata.images:
        masks = _pixels(sdata, f"{image.element}{HIDDEN}", predicted, most)
        hidden = _averaged(masks, values.shape) > 0.5
    return Pair(measured, values, hidden)


def _pixels(sdata: SpatialData, element: str, channel: int, most: int) -> np.ndarray:
    """One channel, averaged by a whole number while it is read where it is large."""
    import dask.array as da

    image = da.asarray(image_array(sdata, element).data)[channel].astype(np.float32)
    step = max(1, max(image.shape) // most)
    if step > 1:
        image = da.coarsen(np.mean, image, {0: step, 1: step}, trim_excess=True)
    return np.asarray(image)


def _averaged(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The same on a grid of another size, each pixel the mean of what lies in it."""
    from skimage.transform import resize_local_mean

    return image if image.shape == shape else resize_local_mean(image, shape, preserve_range=True)
