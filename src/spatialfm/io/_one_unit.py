"""Whether the samples of a cohort are in one unit: pixel sizes, and what the brightest possible pixel is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .._errors import PixelSizeError, counted, listed
from ..pp.arrays import full_resolution
from ..pp.units import intensity_ranges

if TYPE_CHECKING:
    from ._elements import ReadSample


def check_sizes(
    read: Sequence[ReadSample], remedy: str = "Write it into the column of µm per pixel (mpp_column=), or pass"
) -> None:
    """Refuse samples whose pixel size would be assumed beside others whose size is known.

    Raises
    ------
    PixelSizeError
        Names them.
    """
    assumed = [one.sample for one in read if one.record.get("mpp_source") == "assumed"]
    known = [one for one in read if one.record.get("mpp_source") not in ("assumed", None)]
    if assumed and known:
        raise PixelSizeError(
            f"No pixel size is known for {counted(len(assumed), 'sample')} ({listed(assumed)}), while that of "
            f"{listed([one.sample for one in known], 3)} is ({known[0].record['mpp']:g} µm): lengths of one cohort "
            f"would be in two units. {remedy} mpp=<µm per pixel>."
        )


def in_one_unit(read: Sequence[ReadSample], intensity_max: float | Mapping[str, float] | None) -> list[ReadSample]:
    """The samples with intensities in one unit: as they are, or lazily divided by `intensity_max`, float32.

    Raises
    ------
    PanelError
        If images are of different types and the value of a sample is not given.
    """
    dtypes = {one.sample: full_resolution(image).dtype for one in read for image in list(one.images.values())[:1]}
    ranges = intensity_ranges(dtypes, intensity_max, "read them as two cohorts")
    if intensity_max is None:
        return list(read)
    return [
        replace(
            one,
            images={name: _divided(image, ranges[one.sample]) for name, image in one.images.items()},
            record=one.record | {"intensity_max": ranges[one.sample]},
        )
        if one.images
        else one
        for one in read
    ]


def _divided(image: Any, value: float) -> Any:
    """An image element of shares of the brightest possible pixel; of several scales, each."""
    if not hasattr(image, "children"):
        return image.copy(data=image.data.astype(np.float32) / np.float32(value))
    from xarray import DataTree

    levels = {name: node.to_dataset() for name, node in image.children.items()}
    return DataTree.from_dict(
        {name: level.assign(image=_divided(level["image"], value)) for name, level in levels.items()}
    )
