"""The mask of a sample: one plane of whole numbers, one for each cell."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import dask.array as da
import numpy as np

from .._errors import InputFileError, counted
from ._axes import assign_axes, plane_words
from ._layout import open_tiff
from ._lazy_image import LazyImage
from ._lossy import lossy_codec
from ._mask_arrays import ARRAY_SUFFIXES, open_arrays
from ._mask_file import MaskFile, chosen_plane, decoded
from ._mask_scale import Scaling, find_scaling, scaled
from ._ngff import is_zarr
from ._reader import lazy_levels

# whole numbers above this cannot all be distinguished in a float
_EXACT_BELOW = {2: 2**11, 4: 2**24, 8: 2**53}
_FEW_PIXELS = 16  # by which programs cut, or pad, a field


@dataclass(frozen=True)
class MaskOptions:
    """How the file of a mask is to be read; see `read_tiff`."""

    cast: bool = False
    plane: int | str | None = None
    series: int | None = None
    encoding: str | None = None


class OpenedMask(NamedTuple):
    """A mask before it becomes an element: labels ``(y, x)``, its file, and what the user should hear of it."""

    labels: da.Array
    path: str
    notes: tuple[tuple[str, str], ...] = ()  # kind and text


def read_labels(path: Path, image: LazyImage, options: MaskOptions) -> OpenedMask:
    """Open a mask ``(y, x)`` of the image's size, or of another resolution, which is scaled to it.

    Raises
    ------
    InputFileError
        If it has several planes and none is chosen, another size, or pixels that are not integers.
    """
    if options.encoding not in (None, "rgb", "bgr"):
        raise InputFileError(f"labels_encoding={options.encoding!r} is neither 'rgb' nor 'bgr'.")
    file = _open(path, image, options)
    labels = chosen_plane(file, options.plane) if options.encoding is None else decoded(file, options.encoding)
    scaling = _scaling(labels, path, file, image)
    if options.encoding is None:
        labels = whole_labels(labels, file.stored_dtype or labels.dtype, str(path), cast=options.cast)
    if scaling is None:
        return OpenedMask(labels, file.path)
    text = f"{labels.shape[0]} x {labels.shape[1]} to {scaling.shape[0]} x {scaling.shape[1]}, factor {scaling.factor}"
    return OpenedMask(scaled(labels, scaling), file.path, (("mask_scaled", text),))


def _open(path: Path, image: LazyImage, options: MaskOptions) -> MaskFile:
    """Planes of the largest level: smaller ones would have invented or lost cells."""
    if is_zarr(path):
        from ._zarr_image import open_zarr_mask

        return open_zarr_mask(path, image, options.series)
    if path.is_dir():
        raise InputFileError(
            f"Labels '{path}' are a folder. Pass one TIFF file or OME-Zarr image with the cells of the whole image."
        )
    if str(path.resolve()) == image.path and options.plane is None and options.series is None:
        raise InputFileError(
            f"Image and labels are the same file '{path}'. Pass the mask of the cells; if this file holds both, give "
            "where with labels_series=<number> or labels_plane=<number>."
        )
    if path.suffix.lower() in ARRAY_SUFFIXES:
        if options.series is not None:
            raise InputFileError(f"labels_series= is for TIFF files, and '{path}' is not one. Leave it out.")
        return open_arrays(path, colours=options.encoding is not None)
    layout = open_tiff(path, options.series)
    level = layout.levels[0]
    if codec := lossy_codec(level):
        raise InputFileError(
            f"Labels '{path}' are compressed as {codec}, which changes numbers. Take the mask as the segmentation "
            "wrote it, compressed without loss or not at all."
        )
    is_stack = len(level.stacks) > 1 or any(letter in "TZ" for letter, _ in level.stacks)
    word = plane_words(level.stacks)[0] if is_stack and len(level.dims) == 3 else None
    planes = lazy_levels(layout, assign_axes(level.dims, word, None, f"'{path}'", level.stacks))[0]
    names = tuple(layout.metadata.channel_names or ())
    return MaskFile(planes, layout.state.path, level.stored_dtype, names, layout.metadata.pixel_size)


def _scaling(labels: da.Array, path: Path, file: MaskFile, image: LazyImage) -> Scaling | None:
    """How the mask becomes as large as the image; None where it is.

    Raises
    ------
    InputFileError
        If it does not look like another resolution of the image.
    """
    if labels.shape == image.shape[1:]:
        return None
    sizes = (file.pixel_size, image.pixel_size)
    scaling = find_scaling(labels.shape, image.shape[1:], sizes)
    if scaling is not None:
        return scaling
    swapped = " They look transposed." if labels.shape == image.shape[:0:-1] else ""
    stated = ""
    if None not in sizes and find_scaling(labels.shape, image.shape[1:], (None, None)) is not None:
        stated = f" Their pixels are {sizes[0].x:g} µm by {sizes[0].field} and those of the image {sizes[1].x:g} µm."
    raise InputFileError(
        f"Labels '{path}' are {labels.shape[0]} x {labels.shape[1]} pixels (y, x), image '{image.path}' is "
        f"{image.shape[1]} x {image.shape[2]}, which is not the same field at another resolution.{swapped}{stated} "
        f"Pass the mask of this image{_nearly(labels.shape, image.shape[1:])}; in Python, one of another size can be "
        "added to the SpatialData with its own transformation."
    )


def _nearly(labels: tuple[int, ...], image: tuple[int, ...]) -> str:
    """What to do about a mask with too few or too many rows or columns at its edges; nothing can tell which edge."""
    if max(abs(one - other) for one, other in zip(labels, image, strict=True)) > _FEW_PIXELS:
        return ""
    return (
        ". A few rows or columns are cut off or added: write the mask again from the segmentation for the whole image, "
        "or give it the size of the image where it was cut, in ImageJ by Image > Adjust > Canvas Size, filled with 0"
    )


def whole_labels(labels: da.Array, stored: np.dtype, path: str, *, cast: bool) -> da.Array:
    """Labels as integers; floats only where `cast` and every value is a whole number that the float holds exactly."""
    if stored.kind == "b":
        raise InputFileError(
            f"Labels '{path}' are a yes/no mask, which does not tell cells apart. Pass the segmentation's "
            "own labels. skimage.measure.label(mask) numbers what is connected: cells that touch become one."
        )
    if stored.kind in "ui":
        return labels
    if not cast:
        raise InputFileError(
            f"Labels '{path}' are {stored.name}, but labels are whole numbers, one for each cell. If these are, pass "
            "cast_labels=True: every value is checked, and they become uint32."
        )
    whole = da.isfinite(labels) & (labels == da.floor(labels)) & (labels >= 0)
    n_wrong, largest = da.compute((~whole).sum(), labels.max())
    if n_wrong:
        wrong = counted(int(n_wrong), "pixel is not a whole number", "pixels are not whole numbers")
        raise InputFileError(
            f"cast_labels=True, but {wrong} from 0 up in labels '{path}'. It is not a label image: pass the mask of "
            "the cells."
        )
    limit = min(_EXACT_BELOW[stored.itemsize], 2**32)
    if largest >= limit:
        raise InputFileError(
            f"cast_labels=True, but labels '{path}' go up to {largest:,.0f}; {stored.name} tells whole numbers apart "
            f"only below {limit:,}. Save the mask as integers."
        )
    return labels.astype(np.uint32)
