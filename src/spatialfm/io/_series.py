"""The images of a TIFF file: which there are, which is chosen, and pages that belong to none."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .._errors import InputFileError
from ._tifffile import describing_page, file_of, page_file, plane_shape

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPageSeries

_SHOWN = 8


def choose_series(all_series: Sequence[TiffPageSeries], wanted: int | None, path: str) -> tuple[int, str]:
    """Number of the image to read, and smaller ones like it that are left out, described.

    Thumbnails, slide labels and overviews are images with other channels, pixels or names than the largest. What is
    like it in all of these and has its proportions may be a level of its pyramid, or another image: this is reported.
    What has other proportions is another image.

    Raises
    ------
    InputFileError
        If there is none, or several and `wanted` does not choose one.
    """
    if not all_series:
        raise InputFileError(f"'{path}' contains no image. Copy or export it again.")
    numbered = list(enumerate(all_series))
    if wanted is not None:
        if not 0 <= wanted < len(all_series):
            raise InputFileError(f"'{path}' has no series {wanted}. It holds {_described(numbered)}. Correct series=.")
        return wanted, ""
    # every file of a set may describe the images of all files
    own_series = [(i, series) for i, series in numbered if series.kind != "ome" or _lies_in(series, path)]
    if not own_series:
        raise InputFileError(
            f"'{path}' contains none of the images that its OME-XML describes: {_described(numbered)}. Pass the file "
            "that holds the image."
        )
    _check_first_page(own_series[0][1], path)
    if len(own_series) == 1 or own_series[0][1].name == "Baseline":  # QPTIFF: then thumbnail, macro and slide label
        return own_series[0][0], ""
    index, largest = max(own_series, key=lambda item: _area(item[1]))
    others = [(i, series) for i, series in own_series if i != index]
    alike = [(i, series) for i, series in others if _is_like(series, largest)]
    far_smaller = all(_area(series) <= _area(largest) / 3 for _, series in others)
    if far_smaller and all(_has_proportions(series, largest) for _, series in alike):
        return index, _described(alike)
    raise InputFileError(
        f"'{path}' holds {len(own_series)} images: {_described(own_series)}. Say which with series=<number>, for "
        "labels with labels_series=<number>; a file in a folder of markers must hold one image."
    )


def _check_first_page(series: TiffPageSeries, path: str) -> None:
    """Refuse a QPTIFF whose first pages are something else: those behind them would be taken for its accessories."""
    kind = re.search(r"<ImageType>\s*(\w+)", describing_page(series).description or "")
    if series.name == "Baseline" and kind is not None and kind[1].lower() != "fullresolution":
        raise InputFileError(
            f"'{path}' begins with pages of ImageType {kind[1]}, where a QPTIFF has its image (FullResolution). Export "
            "it again, or save the pages of the image as an OME-TIFF."
        )


def _area(series: TiffPageSeries) -> int:
    _, _, height, width, _ = plane_shape(describing_page(series))
    return height * width


def _is_like(series: TiffPageSeries, largest: TiffPageSeries) -> bool:
    """Whether an image has the channels and pixels of the largest, and is not named like an accessory of an image."""
    if re.search("thumb|label|macro|overview|preview", series.name or "", re.IGNORECASE):
        return False
    likeness, largest_likeness = ((s.axes, s.size // max(_area(s), 1), s.dtype) for s in (series, largest))
    return likeness == largest_likeness


def _has_proportions(series: TiffPageSeries, largest: TiffPageSeries) -> bool:
    large, small = (plane_shape(describing_page(one)) for one in (largest, series))
    down, across = large.height / small.height, large.width / small.width
    return math.isclose(down, across, rel_tol=0.05)


def unused_pages(tif: TiffFile, all_series: Sequence[TiffPageSeries], chosen: TiffPageSeries) -> int:
    """Pages like those of the image that no image of the OME-XML mentions."""
    path = file_of(tif)
    used = {page.index for series in all_series for page in series if page is not None and page_file(page) == path}
    rest = [tif.pages.get(i) for i in range(len(tif.pages)) if i not in used]
    keyframe = describing_page(chosen)
    return sum(plane_shape(page) == plane_shape(keyframe) and page.dtype == keyframe.dtype for page in rest)


def _lies_in(series: TiffPageSeries, path: str) -> bool:
    return any(page is not None and page_file(page) == Path(path) for page in series)


def _described(numbered: Sequence[tuple[int, TiffPageSeries]]) -> str:
    shown = [f"series={i}: {s.name or s.kind} {s.axes} {s.shape}" for i, s in numbered[:_SHOWN]]
    return "; ".join(shown) + (f"; and {len(numbered) - _SHOWN} more" if len(numbered) > _SHOWN else "")
