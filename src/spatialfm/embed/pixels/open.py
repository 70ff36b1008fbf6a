"""From the elements of a sample to its reader."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import dask.array as da
import numpy as np

from ...pp.arrays import AxisAffine, channel_names, image_array, labels_array
from ...pp.elements import SampleElements, labels_to_image
from .decoded import Decoded
from .reader import SampleReader

if TYPE_CHECKING:
    from spatialdata import SpatialData


def open_reader(
    sdata: SpatialData,
    pair: SampleElements,
    channels: Sequence[int],
    *,
    ratio: float,
    intensity_max: float,
    on_nan: str,
    area: bool,
    decoded: Decoded,
) -> SampleReader:
    """Reader of one sample; see `SampleReader` for the arguments. Without labels all is background."""
    image = image_array(sdata, pair.image)
    if pair.labels is None:
        labels, image_to_labels = da.zeros(image.shape[-2:], dtype=np.uint8), AxisAffine()
    else:
        labels, image_to_labels = labels_array(sdata, pair.labels).data, labels_to_image(sdata, pair).inverse()
    names = channel_names(sdata, pair.image)
    return SampleReader(
        name=pair.image,
        labels_name=pair.labels or "",
        image=image.data,
        labels=labels,
        channels=tuple(channels),
        channel_names=tuple(names[channel] for channel in channels),
        intensity_max=intensity_max,
        ratio=ratio,
        image_to_labels=image_to_labels,
        on_nan=on_nan,
        area=area,
        chunks=(pair.stored.get(pair.image), pair.stored.get(pair.labels or "")),
        decoded=decoded,
    )
