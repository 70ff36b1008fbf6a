"""The mask of a sample: one plane of whole numbers, one for each cell."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import dask.array as da
import numpy as np

from .._errors import InputFileError, counted
from ._axes import assign_axes, plane_words
from ._layout import TiffLayout, open_tiff
from ._lazy_image import LazyImage
from ._reader import lazy_levels

# whole numbers above this cannot all be distinguished in a float
_EXACT_BELOW = {2: 2**11, 4: 2**24, 8: 2**53}
_JPEG = (6, 7)


@dataclass(frozen=True)
class MaskOptions:
    """How the file of a mask is to be read; see `read_tiff`."""

    cast: bool = False
    plane: int | str | None = None
    series: int | None = None
    encoding: str | None = None


def read_labels(path: Path, image: LazyImage, options: MaskOptions) -> tuple[da.Array, str]:
    """Open a mask ``(y, x)`` of the image's size.

    Raises
    ------
    InputFileError
        If it has several planes and none is chosen, another size, or pixels that are not integers.
    """
    if path.is_dir():
        raise InputFileError(f"Labels '{path}' are a folder. Pass one TIFF file with the cells of the whole image.")
    if options.encoding not in (None, "rgb", "bgr"):
        raise InputFileError(f"labels_encoding={options.encoding!r} is neither 'rgb' nor 'bgr'.")
    if str(path.resolve()) == image.path and options.plane is None and options.series is None:
        raise InputFileError(
            f"Image and labels are the same file '{path}'. Pass the mask of the cells; if this file holds both, give "
            "where with labels_series=<number> or labels_plane=<number>."
        )
    layout = open_tiff(path, options.series)
    level = layout.levels[0]
    if level.compression in _JPEG and level.dtype.itemsize == 1:
        raise InputFileError(
            f"Labels '{path}' are compressed as JPEG, which changes numbers. Take the mask as the segmentation wrote "
            "it, compressed without loss or not at all."
        )
    stack = _planes(layout, path)
    if options.encoding is None:
        labels = _plane(stack, layout, options.plane, path)
    else:
        labels = _decoded(stack, options.encoding, path)
    if labels.shape != image.shape[1:]:
        swapped = " They look transposed." if labels.shape == image.shape[:0:-1] else ""
        raise InputFileError(
            f"Labels '{path}' are {labels.shape[0]} x {labels.shape[1]} pixels (y, x), image '{image.path}' is "
            f"{image.shape[1]} x {image.shape[2]}.{swapped} Pass the mask of this image at its full resolution, or add "
            "one of another size to the SpatialData with its own transformation."
        )
    if options.encoding is not None:
        return labels, layout.state.path
    return check_labels(labels, level.stored_dtype, str(path), cast=options.cast), layout.state.path


def _planes(layout: TiffLayout, path: Path) -> da.Array:
    """All planes ``(n, y, x)`` of the largest level: smaller ones would have invented or lost cells."""
    level = layout.levels[0]
    is_stack = len(level.stacks) > 1 or any(letter in "TZ" for letter, _ in level.stacks)
    word = plane_words(level.stacks)[0] if is_stack and len(level.dims) == 3 else None
    return lazy_levels(layout, assign_axes(level.dims, word, None, f"'{path}'", level.stacks))[0]


def _plane(stack: da.Array, layout: TiffLayout, wanted: int | str | None, path: Path) -> da.Array:
    n, names = stack.shape[0], list(layout.metadata.channel_names or ())
    names = names if len(names) == n else [""] * n
    planes = ", ".join(f"{i}: {name!r}" if name else str(i) for i, name in enumerate(names[:20]))
    if wanted is None:
        if n == 1:
            return stack[0]
        if n in (3, 4) and stack.dtype == np.uint8:
            raise InputFileError(
                f"Labels '{path}' are a colour picture ({n} planes of 8 bits), not numbers; a single colour would "
                "merge cells. If every cell has its own colour and black is background, pass labels_encoding='rgb' "
                "(the number of a cell is R + 256 G + 65,536 B) or 'bgr' (B + 256 G + 65,536 R). If the planes are "
                "numbers, choose one with labels_plane=<number>."
            )
        raise InputFileError(
            f"Labels '{path}' have {n} planes ({planes}); labels are one plane of whole numbers, one for each cell. "
            "Say which one with labels_plane=<number>."
        )
    index = names.index(wanted) if wanted in names else wanted
    if isinstance(index, str) or not 0 <= int(index) < n:
        raise InputFileError(f"Labels '{path}' have no plane {wanted!r}, but {n} ({planes}). Correct labels_plane=.")
    return stack[int(index)]


def _decoded(stack: da.Array, encoding: str, path: Path) -> da.Array:
    """The number that each colour encodes; an alpha channel is ignored."""
    if stack.shape[0] not in (3, 4) or stack.dtype != np.uint8:
        raise InputFileError(
            f"labels_encoding={encoding!r} needs 8-bit red, green and blue; labels '{path}' have "
            f"{counted(stack.shape[0], 'plane')} of {stack.dtype}. Leave it out."
        )
    first, second, third = stack[:3].astype(np.uint32)[:: 1 if encoding == "rgb" else -1]
    return first + 256 * second + 65_536 * third


def check_labels(labels: da.Array, stored: np.dtype, path: str, *, cast: bool) -> da.Array:
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
