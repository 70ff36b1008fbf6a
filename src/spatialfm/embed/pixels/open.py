"""From the elements of samples to their readers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import dask.array as da
import numpy as np

from ...pp.arrays import AxisAffine, channel_names, image_array
from ...pp.drawn_cells import cells_data
from ...pp.elements import SampleElements, labels_to_image
from ...pp.tissue_sources import Tissue, tissue_sources
from .decoded import Decoded
from .reader import SampleReader

if TYPE_CHECKING:
    from spatialdata import SpatialData


def open_readers(
    sdata: SpatialData,
    pairs: Sequence[SampleElements],
    channels: Sequence[Sequence[int]],
    ratios: Sequence[float],
    used: Sequence[float | None],
    *,
    ranges: Mapping[str, float],
    tissue: Tissue,
    on_nan: str,
    area: bool,
) -> list[SampleReader]:
    """Reader of each sample; see `SampleReader` for the arguments. Without labels all is background.

    Parameters
    ----------
    channels, ratios, used
        Of each sample: channels that are read, image pixels per pixel that is read, and µm of one of these.
    ranges
        Pixel value that becomes 1, by sample.
    tissue
        As `spatialfm.pp.tissue_sources.tissue_sources` takes it.
    """
    decoded = Decoded()
    readers = [
        _open(sdata, pair, read, ratio, intensity_max=ranges[pair.sample], on_nan=on_nan, area=area, decoded=decoded)
        for pair, read, ratio in zip(pairs, channels, ratios, strict=True)
    ]
    sources = tissue_sources(sdata, pairs, tissue, [reader.shape for reader in readers], ratios, used)
    return [replace(reader, tissue=source) for reader, source in zip(readers, sources, strict=True)]


def _open(
    sdata: SpatialData,
    pair: SampleElements,
    channels: Sequence[int],
    ratio: float,
    *,
    intensity_max: float,
    on_nan: str,
    area: bool,
    decoded: Decoded,
) -> SampleReader:
    image = image_array(sdata, pair.image)
    if pair.labels is None:
        labels, image_to_labels = da.zeros(image.shape[-2:], dtype=np.uint8), AxisAffine()
    else:
        labels, image_to_labels = cells_data(sdata, pair), labels_to_image(sdata, pair).inverse()
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
