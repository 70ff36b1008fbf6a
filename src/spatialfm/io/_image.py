"""An image or a mask from a file or a folder, as lazy arrays with what is known of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .._errors import InputFileError, PanelError, PixelSizeError
from ._axes import assign_axes, is_plane_of, names_of_planes
from ._layout import TiffLayout, open_tiff
from ._lazy_image import LazyImage, is_same_size, moved_names
from ._names import resolved_names
from ._ngff import is_zarr
from ._panel_file import PanelNames
from ._pixel_size import MAX_MPP, MIN_MPP, PixelSize, positive_mpp
from ._reader import lazy_levels


def read_image(
    path: Path,
    channel_names: list[str] | dict[str | int, str] | None,
    *,
    axes: str | None = None,
    series: int | None = None,
    needs_all_names: bool = True,
    mask: Path | None = None,
) -> LazyImage:
    """Open a TIFF file, an OME-Zarr image, or a folder of one TIFF per marker, in which `mask` is not a marker.

    Without `needs_all_names`, channels that `channel_names` renames may be absent. Of a panel, the channels that it
    leaves out are not in the image; the file may have them or not.
    """
    if isinstance(channel_names, PanelNames):
        options: dict[str, Any] = {"axes": axes, "series": series, "needs_all_names": needs_all_names, "mask": mask}
        return of_panel(channel_names, lambda names: read_image(path, names, **options))
    if is_zarr(path):
        from ._zarr_image import read_zarr_image

        return read_zarr_image(path, channel_names, axes=axes, series=series, needs_all_names=needs_all_names)
    if path.is_dir():
        from ._folder import read_folder

        if series is not None:
            raise InputFileError(
                f"series={series} is the number of an image in one file, but '{path}' is a folder of one TIFF a "
                "marker. Leave series= out, or pass the file."
            )
        return read_folder(path, channel_names, needs_all_names, mask)
    layout = open_tiff(path, series)
    if axes is None and layout.metadata.unfollowed:
        raise InputFileError(
            f"The OME-XML of '{path}' cannot be followed: {layout.metadata.unfollowed}. Export the image again; if its "
            'pages are channels in the order of the names, pass axes="cyx".'
        )
    n_names = len(channel_names) if isinstance(channel_names, list) else None
    stacks = layout.levels[0].stacks
    sources = assign_axes(layout.levels[0].dims, axes, n_names, f"'{path}'", stacks)
    levels = lazy_levels(layout, sources)
    n_planes = levels[0].shape[0]
    file_names, given = layout.metadata.channel_names, channel_names
    if len(stacks) > 1 or (stacks and n_planes > 1):
        file_names, given = names_of_planes(file_names, given, stacks, axes)
    names, file_names = resolved_names(file_names, given, n_planes, f"'{path}'", needs_all_names)
    return LazyImage(
        levels=tuple(levels),
        channel_names=names,
        is_named=layout.metadata.channel_names is not None or isinstance(channel_names, list),
        found_names=file_names,
        pixel_size=layout.metadata.pixel_size,
        other_size=layout.metadata.other_size,
        ignored_size=layout.metadata.ignored_size,
        unread_size=layout.metadata.unread_size,
        path=layout.state.path,
        notes=tuple(_notes(layout, file_names, given)),
        identity=layout.identity,
    )


def of_panel(panel: PanelNames, opened: Callable[[list[str]], LazyImage]) -> LazyImage:
    """The image without the channels that a panel leaves out, some programs having left them out already.

    `opened` opens it with a name for each of its channels.
    """
    try:
        image = opened(list(panel))
    except PanelError as error:
        if not panel.left_out:
            raise
        try:
            return opened(panel.kept)
        except PanelError:
            raise error from None
    names = image.channel_names
    if len(names) == len(panel):
        out = list(panel.left_out)
    else:  # planes of a stack
        out = [i for i, name in enumerate(names) if any(is_plane_of(name, panel[place]) for place in panel.left_out)]
    kept = image.of_channels([i for i in range(len(names)) if i not in out])
    return replace(kept, left_out=tuple(image.found_names[i] for i in out))


def _notes(layout: TiffLayout, file_names: Sequence[str], given: object) -> Iterator[tuple[str, str]]:
    """What is odd about a file, as kind and text."""
    if layout.left_out:
        yield "left_out", layout.left_out
    if layout.unused_pages:
        yield "unused_pages", f"{layout.unused_pages} of {layout.unused_pages + len(layout.levels[0].pages)} pages"
    if layout.metadata.contradictions:
        yield "ome_contradicts", "; ".join(layout.metadata.contradictions)
    if layout.metadata.is_photograph and not isinstance(given, list):
        yield "photograph", ""
    yield from moved_names(file_names, given)


def resolve_mpp(image: LazyImage, given: float | None) -> tuple[float, str, list[tuple[str, str]]]:
    """µm per pixel, where it comes from, and what the user should hear (`kind` and text).

    Raises
    ------
    PixelSizeError
        If the argument is not a size, or the file's pixels are not square and no argument gives the size to use.
    """
    size = image.pixel_size
    if given is not None:
        mpp, source, notes = _given_mpp(float(given), size)
        if image.unread_size and size is None:
            notes.append(("mpp_unread", f"{image.unread_size!r}, mpp={mpp:g} is used"))
        return mpp, source, notes
    if size is None:
        return 1.0, "assumed", [("mpp_assumed", image.ignored_size)]
    if not size.is_plausible:
        raise PixelSizeError(
            f"Pixels of '{image.path}' are {size.x:g} x {size.y:g} µm by {size.field}, which no image of cells has "
            f"({MIN_MPP:g} to {MAX_MPP:g} µm). Pass mpp=<µm per pixel>, {size.x:g} if that is right."
        )
    if not np.isclose(size.x, size.y, rtol=1e-3):
        raise PixelSizeError(
            f"Pixels of '{image.path}' are not square ({size.x:g} x {size.y:g} µm by {size.field}). Resample the "
            "image, or pass mpp=<µm per pixel> if the metadata are wrong."
        )
    notes = []
    if image.unread_size:
        notes.append(("mpp_unread", f"{image.unread_size!r}, {size.x:g} µm by {size.field} is used"))
    if (other := image.other_size) is not None:
        notes.append(("mpp_disagree", f"{size.x:g} µm by {size.field}, {other.x:g} µm by {other.field}"))
    return size.x, "metadata", notes


def _given_mpp(mpp: float, size: PixelSize | None) -> tuple[float, str, list[tuple[str, str]]]:
    positive_mpp(mpp)
    if size is not None and is_same_size(size.x, mpp) and is_same_size(size.y, mpp):
        return mpp, "argument", []
    notes = []
    if size is not None:
        notes.append(("mpp_contradicts", f"{size.x:g} µm by {size.field}, mpp={mpp:g}"))
    if not MIN_MPP <= mpp <= MAX_MPP:
        notes.append(("mpp_odd", f"{mpp:g} µm"))
    return mpp, "argument", notes
