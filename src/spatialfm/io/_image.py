"""An image or a mask from a file or a folder, as lazy arrays with what is known of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import dask.array as da
import numpy as np

from .._errors import InputFileError, PixelSizeError
from ._axes import assign_axes, plane_names, plane_words
from ._layout import TiffLayout, open_tiff
from ._names import default_channel_names, is_tiff_name, natural_key, resolve_channel_names, stem
from ._pixel_size import MAX_MPP, MIN_MPP, PixelSize
from ._reader import lazy_levels

# pixel sizes closer than this are the same, written with fewer digits
_SAME_SIZE = 0.01
# whole numbers above this cannot all be told apart in a float
_EXACT_BELOW = {2: 2**11, 4: 2**24, 8: 2**53}


@dataclass(frozen=True)
class LazyImage:
    """An image before it becomes an element: levels ``(c, y, x)`` from large to small."""

    levels: tuple[da.Array, ...]
    channel_names: tuple[str, ...]
    is_named: bool  # by the file or by the user, not by us
    pixel_size: PixelSize | None
    other_size: PixelSize | None
    ignored_size: str
    path: str
    notes: tuple[tuple[str, str], ...] = ()  # kind and text
    identity: frozenset[tuple[str, int]] = frozenset()
    found_names: tuple[str, ...] = ()  # before any is renamed

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the largest level."""
        return self.levels[0].shape


def read_image(
    path: Path,
    channel_names: list[str] | dict[str | int, str] | None,
    *,
    axes: str | None = None,
    series: int | None = None,
    needs_all_names: bool = True,
) -> LazyImage:
    """Open a TIFF file, or a folder of one TIFF a marker.

    Without `needs_all_names`, channels that `channel_names` renames may be absent.
    """
    if path.is_dir():
        return _read_folder(path, channel_names, needs_all_names)
    layout = open_tiff(path, series)
    n_names = len(channel_names) if isinstance(channel_names, list) else None
    stacks = layout.levels[0].stacks
    sources = assign_axes(layout.levels[0].dims, axes, n_names, f"'{path}'", stacks)
    levels = lazy_levels(layout, sources)
    found = layout.metadata.channel_names
    if len(stacks) > 1 or (stacks and levels[0].shape[0] > 1):
        if found is not None:
            found = plane_names(found, stacks, axes) or found
        if isinstance(channel_names, list):
            channel_names = plane_names(channel_names, stacks, axes) or channel_names
    names = resolve_channel_names(found, channel_names, levels[0].shape[0], f"'{path}'", needs_all_names)
    if found is None or len(found) != len(names):
        found = default_channel_names(len(names))
    return LazyImage(
        levels=tuple(levels),
        channel_names=tuple(names),
        is_named=layout.metadata.channel_names is not None or isinstance(channel_names, list),
        found_names=tuple(found),
        pixel_size=layout.metadata.pixel_size,
        other_size=layout.metadata.other_size,
        ignored_size=layout.metadata.ignored_size,
        path=layout.state.path,
        notes=tuple(_notes(layout, found, channel_names)),
        identity=layout.identity,
    )


def _notes(layout: TiffLayout, found: Sequence[str], given: object) -> Iterator[tuple[str, str]]:
    """What is odd about a file, as kind and text."""
    if layout.unused_pages:
        yield "unused_pages", f"{layout.unused_pages} of {layout.unused_pages + len(layout.levels[0].pages)} pages"
    if layout.metadata.is_photograph and not isinstance(given, list):
        yield "photograph", ""
    yield from _moved(found, given)


def _moved(found: Sequence[str], given: object) -> Iterator[tuple[str, str]]:
    """Names that the file has elsewhere: most likely a list in another order."""
    if not isinstance(given, list):
        return
    moved = [i for i, name in enumerate(given) if name in found and found[i] != name]
    if moved:
        i = moved[0]
        yield "names_moved", f"{given[i]!r} is channel {list(found).index(given[i])} there and {i} in channel_names"


def _read_folder(
    folder: Path, channel_names: list[str] | dict[str | int, str] | None, needs_all_names: bool
) -> LazyImage:
    files = sorted((file for file in folder.iterdir() if is_tiff_name(file)), key=lambda file: natural_key(file.name))
    if not files:
        raise InputFileError(f"Folder '{folder}' holds no TIFF file. Pass a folder with one TIFF a marker, or a file.")
    found = [stem(file) for file in files]
    names = resolve_channel_names(found, channel_names, len(files), f"folder '{folder}'", needs_all_names)
    images = [_read_channel(file) for file in files]
    first = images[0]
    for file, image in zip(files, images, strict=True):
        for what, here, there in (
            ("size (y, x)", image.shape[1:], first.shape[1:]),
            ("pixel type", image.levels[0].dtype, first.levels[0].dtype),
        ):
            if here != there:
                raise InputFileError(
                    f"Markers of folder '{folder}' differ in {what}: '{file.name}' has {here}, '{files[0].name}' has "
                    f"{there}. Keep only files of one image in the folder, and save them alike."
                )
    sized = [image for image in images if image.pixel_size is not None]
    for image in sized:
        if not _same(image.pixel_size.x, sized[0].pixel_size.x):
            raise PixelSizeError(
                f"Markers of folder '{folder}' differ in pixel size: '{Path(image.path).name}' has "
                f"{image.pixel_size.x:g} µm, '{Path(sized[0].path).name}' {sized[0].pixel_size.x:g} µm. "
                "Keep only files of one image in the folder."
            )
    alike = len({tuple(level.shape for level in image.levels) for image in images}) == 1
    n_levels = len(first.levels) if alike else 1
    return LazyImage(
        levels=tuple(da.concatenate([image.levels[i] for image in images]) for i in range(n_levels)),
        channel_names=tuple(names),
        is_named=True,
        pixel_size=sized[0].pixel_size if sized else None,
        other_size=first.other_size,
        ignored_size=first.ignored_size,
        path=str(folder.resolve()),
        found_names=tuple(found),
        notes=tuple(_moved(found, channel_names)),
        identity=frozenset().union(*(image.identity for image in images)),
    )


def _read_channel(file: Path) -> LazyImage:
    layout = open_tiff(file)
    sources = assign_axes(layout.levels[0].dims, None, None, f"'{file}'")
    levels = lazy_levels(layout, sources)
    if levels[0].shape[0] != 1:
        raise InputFileError(
            f"'{file}' has {levels[0].shape[0]} channels, but a folder is read as one TIFF a marker. "
            "Pass the file itself, or move it out of the folder."
        )
    return LazyImage(
        levels=tuple(levels),
        channel_names=("",),
        is_named=True,
        pixel_size=layout.metadata.pixel_size,
        other_size=layout.metadata.other_size,
        ignored_size=layout.metadata.ignored_size,
        path=layout.state.path,
        identity=layout.identity,
    )


def read_labels(
    path: Path, image: LazyImage, *, cast: bool, plane: int | str | None = None, series: int | None = None
) -> tuple[da.Array, str]:
    """Open a mask ``(y, x)`` of the image's size.

    Raises
    ------
    InputFileError
        If it has several planes and `plane` does not say which, another size, or pixels that are not integers.
    """
    if path.is_dir():
        raise InputFileError(f"Labels '{path}' are a folder. Pass one TIFF file with the cells of the whole image.")
    layout = open_tiff(path, series)
    labels = _plane(layout, plane, path)
    if labels.shape != image.shape[1:]:
        swapped = " They look transposed." if labels.shape == image.shape[:0:-1] else ""
        raise InputFileError(
            f"Labels '{path}' are {labels.shape[0]} x {labels.shape[1]} pixels (y, x), image '{image.path}' is "
            f"{image.shape[1]} x {image.shape[2]}.{swapped} Pass the mask of this image at its full resolution, or add "
            "one of another size to the SpatialData with its own transformation."
        )
    return check_labels(labels, layout.levels[0].stored_dtype, str(path), cast=cast), layout.state.path


def _plane(layout: TiffLayout, wanted: int | str | None, path: Path) -> da.Array:
    """The plane of the cells, of the largest level: smaller ones would have invented or lost cells."""
    level = layout.levels[0]
    if level.interleaved and level.dtype == np.uint8 and level.shape[1] in (3, 4):
        raise InputFileError(
            f"Labels '{path}' are a colour picture, not numbers; a single colour of it would merge cells. Export the "
            "numbers. Where every cell has a colour of its own and black is none, all three make its number: "
            f"(tifffile.imread({str(path)!r})[..., :3].astype('uint32') @ [65536, 256, 1]).astype('uint32')."
        )
    is_stack = len(level.stacks) > 1 or any(letter in "TZ" for letter, _ in level.stacks)
    word = plane_words(level.stacks)[0] if is_stack and len(level.dims) == 3 else None
    stack = lazy_levels(layout, assign_axes(level.dims, word, None, f"'{path}'", level.stacks))[0]
    n, names = stack.shape[0], list(layout.metadata.channel_names or ())
    names = names if len(names) == n else [""] * n
    planes = ", ".join(f"{i}: {name!r}" if name else str(i) for i, name in enumerate(names[:20]))
    if wanted is None:
        if n == 1:
            return stack[0]
        raise InputFileError(
            f"Labels '{path}' have {n} planes ({planes}); labels are one plane of whole numbers, one for each cell. "
            "Say which one with labels_plane=<number>."
        )
    index = names.index(wanted) if wanted in names else wanted
    if isinstance(index, str) or not 0 <= int(index) < n:
        raise InputFileError(f"Labels '{path}' have no plane {wanted!r}, but {n} ({planes}). Mend labels_plane=.")
    return stack[int(index)]


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
        raise InputFileError(
            f"cast_labels=True, but {int(n_wrong):,} pixel(s) of labels '{path}' are no whole number from 0 up. "
            "It is not a label image: pass the mask of the cells."
        )
    limit = min(_EXACT_BELOW[stored.itemsize], 2**32)
    if largest >= limit:
        raise InputFileError(
            f"cast_labels=True, but labels '{path}' go up to {largest:,.0f}; {stored.name} tells whole numbers apart "
            f"only below {limit:,}. Save the mask as integers."
        )
    return labels.astype(np.uint32)


def resolve_mpp(image: LazyImage, given: float | None) -> tuple[float, str, list[tuple[str, str]]]:
    """µm per pixel, where it comes from, and what the user should hear (`kind` and text).

    Raises
    ------
    PixelSizeError
        If the argument is no size, or the file's pixels are not square and no argument says what to take.
    """
    size = image.pixel_size
    if given is not None:
        return _given_mpp(float(given), size)
    if size is None:
        return 1.0, "assumed", [("mpp_assumed", image.ignored_size)]
    if not size.is_plausible:
        raise PixelSizeError(
            f"Pixels of '{image.path}' are {size.x:g} x {size.y:g} µm by {size.field}, which no image of cells has "
            f"({MIN_MPP:g} to {MAX_MPP:g} µm). Pass mpp=<µm per pixel>, {size.x:g} if it is meant."
        )
    if not np.isclose(size.x, size.y, rtol=1e-3):
        raise PixelSizeError(
            f"Pixels of '{image.path}' are not square ({size.x:g} x {size.y:g} µm by {size.field}). Resample the "
            "image, or pass mpp=<µm per pixel> if the metadata are wrong."
        )
    notes = []
    if (other := image.other_size) is not None:
        notes.append(("mpp_disagree", f"{size.x:g} µm by {size.field}, {other.x:g} µm by {other.field}"))
    return size.x, "metadata", notes


def _given_mpp(mpp: float, size: PixelSize | None) -> tuple[float, str, list[tuple[str, str]]]:
    if not (np.isfinite(mpp) and mpp > 0):
        raise PixelSizeError(f"mpp={mpp!r} is not a pixel size. Pass µm per pixel, for example mpp=0.5.")
    if size is not None and _same(size.x, mpp) and _same(size.y, mpp):
        return mpp, "argument", []
    notes = []
    if size is not None:
        notes.append(("mpp_contradicts", f"{size.x:g} µm by {size.field}, mpp={mpp:g}"))
    if not MIN_MPP <= mpp <= MAX_MPP:
        notes.append(("mpp_odd", f"{mpp:g} µm"))
    return mpp, "argument", notes


def _same(a: float, b: float) -> bool:
    return bool(np.isclose(a, b, rtol=_SAME_SIZE, atol=0))
