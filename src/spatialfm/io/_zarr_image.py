"""Pixels of an OME-Zarr image or label image, lazily: dask arrays whose blocks are whole chunks."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

import dask.array as da
import numpy as np
from dask.base import tokenize

from .._errors import InputFileError
from ._axes import assign_axes, names_of_planes
from ._layout import Dim
from ._lazy_image import LazyImage, moved_names
from ._mask_file import MaskFile
from ._names import resolved_names
from ._ngff import Ngff, label_groups, read_ngff
from ._state import FileState

_BLOCK = 1024**2  # pixels
_METADATA = ("zarr.json", ".zarray", ".zattrs")


def read_zarr_image(
    path: Path,
    channel_names: list[str] | dict[str | int, str] | None,
    *,
    axes: str | None = None,
    series: int | None = None,
    needs_all_names: bool = True,
) -> LazyImage:
    """Open an OME-Zarr image; no chunk is read.

    Raises
    ------
    InputFileError
        If it is not an image, is a Z stack or a time series and `axes` does not keep its planes, or has no pixels.
    """
    ngff = read_ngff(path, series)
    levels, stacks = _levels(ngff, axes)
    if levels[0].dtype.kind not in "buif":
        raise InputFileError(f"'{ngff.path}' holds pixels of type {levels[0].dtype}. Write it as integers or floats.")
    if not _has_chunk(ngff.path / ngff.levels[0]):
        raise InputFileError(
            f"'{ngff.path}' has metadata but no pixels: no chunk of its array {ngff.levels[0]!r} is there, so that all "
            "of it would be zeros. Copy the store again."
        )
    in_metadata, given = ngff.channel_names, channel_names
    if stacks:
        in_metadata, given = names_of_planes(in_metadata, given, stacks, axes)
    names, in_metadata = resolved_names(in_metadata, given, levels[0].shape[0], f"'{ngff.path}'", needs_all_names)
    return LazyImage(
        levels=tuple(levels),
        channel_names=names,
        is_named=ngff.channel_names is not None or isinstance(channel_names, list),
        found_names=in_metadata,
        pixel_size=ngff.pixel_size,
        other_size=None,
        ignored_size=ngff.ignored_size,
        path=str(ngff.path.resolve()),
        origin=ngff.origin,
        notes=tuple(moved_names(in_metadata, given)),
        identity=frozenset({(str((ngff.path / ngff.levels[0]).resolve()), 0)}),
    )


def open_zarr_mask(path: Path, image: LazyImage, series: int | None) -> MaskFile:
    """Open a label image at its full resolution.

    `path` is a label image, the ``labels`` of an image, or an image with one label image beside its pixels.

    Raises
    ------
    InputFileError
        If there are several label images, none, or one of another place than the image's.
    """
    if Path(image.path).is_relative_to(path.resolve()):  # the image's own store
        path = Path(image.path)
    ngff = read_ngff(find_labels(path), series)
    if str(ngff.path.resolve()) == image.path:
        raise InputFileError(
            f"Image and labels are the same '{path}', which has no label images beside its pixels. Pass the store that "
            "has the mask of the cells."
        )
    if ngff.origin is not None and image.origin is not None and image.pixel_size is not None:
        down, right = (there - here for there, here in zip(ngff.origin, image.origin, strict=True))
        if max(abs(down), abs(right)) > image.pixel_size.x / 2:  # of equal size, it would be of another part of it
            raise InputFileError(
                f"Labels '{ngff.path}' begin {down:g} µm below and {right:g} µm right of image '{image.path}', by "
                "their metadata. Pass the mask of this image."
            )
    levels, _ = _levels(ngff, None, any_planes=True)
    return MaskFile(levels[0], str(ngff.path.resolve()), names=ngff.channel_names or (), pixel_size=ngff.pixel_size)


def find_labels(path: Path, name: str | None = None) -> Path:
    """Group of a label image: the one called `name`, or the only one; `path` itself where there is none below it.

    Raises
    ------
    InputFileError
        If `name` is not there, or there are several and none is named.
    """
    holder = path.parent if path.name == "labels" else path
    names = label_groups(holder)
    if name is not None and name not in names:
        has = f"label images {', '.join(map(repr, names))}" if names else "no label image"
        raise InputFileError(f"'{holder}' has no label image {name!r}; it has {has}. Correct labels=.")
    if name is None and len(names) > 1:
        calls = " or ".join(f"'{holder}/labels/{one}'" for one in names[:4])
        raise InputFileError(f"'{holder}' has {len(names)} label images. Which one are the cells? Pass labels={calls}.")
    return holder / "labels" / (name or names[0]) if names else path


def _levels(
    ngff: Ngff, axes: str | None, *, any_planes: bool = False
) -> tuple[list[da.Array], tuple[tuple[str, int], ...]]:
    """Every level ``(planes, y, x)`` from large to small, and what its planes are arranged along, if not channels."""
    opened = [_open(ngff, name) for name in ngff.levels]
    sizes = [math.prod(array.shape) for array in opened]
    if sizes != sorted(sizes, reverse=True):
        raise InputFileError(
            f"The levels of '{ngff.path}' are not listed from large to small ({sizes} values). Write the image again."
        )
    length = dict(zip(ngff.axes, opened[0].shape, strict=True))
    flat = [axis for axis in ngff.axes if axis not in "yx" and (length[axis] > 1 or axis == "c")]
    long = [axis for axis in flat if axis != "c"]
    stacks = tuple((axis.upper(), length[axis]) for axis in flat if length[axis] > 1) if long else ()
    n_planes = math.prod(length[axis] for axis in flat)
    if not any_planes:
        letter = stacks[0][0] if len(stacks) == 1 else "C"
        dims = [Dim(letter, n_planes, "n"), Dim("Y", length["y"], "h"), Dim("X", length["x"], "w")]
        if axes is not None and not stacks and axes not in ("cyx", "yx"):
            raise InputFileError(
                f"axes={axes!r} does not fit '{ngff.path}', whose metadata state {', '.join(ngff.axes)}. Leave it out."
            )
        assign_axes(dims, None if axes == "yx" else axes, None, f"'{ngff.path}'", stacks)
    for array, name in zip(opened, ngff.levels, strict=True):
        for axis in (axis for axis in ngff.axes if axis not in "yx"):
            if array.shape[ngff.axes.index(axis)] != length[axis]:
                raise InputFileError(
                    f"The levels of '{ngff.path}' differ in more than their size: {name!r} has "
                    f"{array.shape[ngff.axes.index(axis)]} along {axis}, the largest {length[axis]}. Write it again."
                )
    return [_planes(array, ngff.axes, flat) for array in opened], stacks


def _open(ngff: Ngff, name: str) -> da.Array:
    """One array, in blocks of whole chunks of about a million pixels."""
    import zarr

    folder = ngff.path / name
    try:
        array = zarr.open_array(store=str(folder), mode="r")
    except Exception as error:  # each codec and each fault of the JSON has its own
        raise InputFileError(
            f"'{ngff.path}' lists the array {name!r}, which cannot be opened ({type(error).__name__}: {error}). Copy "
            "the store again."
        ) from error
    if array.ndim != len(ngff.axes) or 0 in array.shape:
        raise InputFileError(
            f"Array {name!r} of '{ngff.path}' has the shape {array.shape}, but its metadata state the axes "
            f"{', '.join(ngff.axes)}. Write the image again."
        )
    state = next(FileState.of(folder / file) for file in _METADATA if (folder / file).is_file())
    pixels = da.from_array(
        array,
        chunks=zarr_blocks(array.chunks, array.shape, ngff.axes),
        name=f"zarr-{tokenize(state)}",
        lock=False,
        fancy=False,
        meta=np.empty((0,) * array.ndim, dtype=array.dtype),  # otherwise a window of no pixel would be read
    )
    native = array.dtype.newbyteorder("=")
    return pixels if pixels.dtype == native else pixels.astype(native)


def zarr_blocks(chunks: Sequence[int], shape: Sequence[int], axes: Sequence[str]) -> tuple[int, ...]:
    """Block sizes that cut no chunk, grown along x and y to about a million pixels."""
    sizes = dict(zip(axes, map(min, chunks, shape), strict=True))
    whole = dict(zip(axes, shape, strict=True))
    for axis in "xy":
        factor = max(1, math.isqrt(_BLOCK) // sizes[axis])
        factor = min(factor, max(1, _BLOCK // math.prod(sizes.values())))
        sizes[axis] = min(sizes[axis] * factor, whole[axis])
    return tuple(sizes[axis] for axis in axes)


def _planes(array: da.Array, axes: tuple[str, ...], flat: Sequence[str]) -> da.Array:
    """An array as ``(planes, y, x)``: along the axes `flat` in their order; other axes have length 1."""
    if tuple(axes) == (*flat, "y", "x") and len(flat) == 1:
        return array
    keep = [axis for axis in axes if axis in (*flat, "y", "x")]
    array = array[tuple(slice(None) if axis in keep else 0 for axis in axes)]
    order = [keep.index(axis) for axis in (*flat, "y", "x")]
    array = array if order == sorted(order) else array.transpose(order)
    if len(flat) == 1:
        return array
    if not flat:
        return array[None]
    return array.reshape((-1, *array.shape[-2:]))


def _has_chunk(folder: Path) -> bool:
    return any(name not in _METADATA for _, _, names in os.walk(folder, followlinks=True) for name in names)
