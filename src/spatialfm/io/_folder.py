"""A folder of one TIFF per marker, and the masks among the markers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import dask.array as da
import numpy as np

from .._errors import InputFileError, PixelSizeError, counted, listed
from ..pp.measure import loaded
from ..pp.pieces import scan_pieces
from ._axes import assign_axes
from ._layout import open_tiff
from ._lazy_image import LazyImage, is_same_size, moved_names
from ._names import is_tiff_name, natural_key, resolve_channel_names, stem
from ._reader import lazy_levels

# words of which one alone makes a file a mask, if its pixels do not contradict it
_MASK = re.compile(
    r"(^|_)((cell|nuclei|nuclear|nucleus|tissue)?_?(mask|label|segmentation|segment|instance|outline)s?|"
    r"label_?(map|image)|seg|segmented|whole_?cells?|cell_?pose|deep_?cell|mesmer|stardist|watershed|cp_?masks?)($|_)"
)
# words that occur in names of markers too: masks only if their pixels are label ids
_PERHAPS = re.compile(r"(whole_?)?cells?|nucle(i|us|ar)|tissue|regions?|objects?")
# what file managers add to the name of a copy
_COPY = re.compile(r"( \(\d+\)|[ _-]+(copy|kopie|copie)( ?\(?\d+\)?)?)$|^(copy of|kopie von|copie de) ", re.IGNORECASE)
_CROP = 1024  # pixels to a side that are looked at
_FLAT = 0.9  # share of a mask's pixels that are in even pieces of
_PIECE = 9  # pixels and more


def read_folder(
    folder: Path,
    channel_names: list[str] | dict[str | int, str] | None,
    needs_all_names: bool,
    mask: Path | None = None,
) -> LazyImage:
    """Open a folder of one TIFF per marker.

    Masks among the markers are left out, with a note: the file `mask`, and files that are named like a mask
    and look like one. Whoever names such a file in `channel_names` has it as a marker.
    """
    files = sorted((file for file in folder.iterdir() if is_tiff_name(file)), key=lambda file: natural_key(file.name))
    if not files:
        raise InputFileError(
            f"Folder '{folder}' contains no TIFF file. Pass a folder with one TIFF per marker, or a file."
        )
    files, notes = _without_masks(folder, files, channel_names, mask)
    file_names = [stem(file) for file in files]
    names = resolve_channel_names(file_names, channel_names, len(files), f"folder '{folder}'", needs_all_names)
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
        if not is_same_size(image.pixel_size.x, sized[0].pixel_size.x):
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
        found_names=tuple(file_names),
        unread_size=first.unread_size,
        notes=(*notes, *_of_files(images), *moved_names(file_names, channel_names), *_copies(names)),
        identity=frozenset().union(*(image.identity for image in images)),
    )


def _of_files(images: Sequence[LazyImage]) -> list[tuple[str, str]]:
    """What is odd about single files, once for each kind."""
    texts: dict[str, list[str]] = {}
    for image in images:
        for kind, text in image.notes:
            texts.setdefault(kind, []).append(f"{Path(image.path).name}: {text}")
    return [(kind, listed(lines, 5, quoted=False)) for kind, lines in texts.items()]


def _copies(names: list[str]) -> list[tuple[str, str]]:
    """Markers that seem to be there twice, as a copy of a file or in other letters."""
    seen: dict[str, list[str]] = {}
    for name in names:
        seen.setdefault(_COPY.sub("", name).casefold(), []).append(name)
    twice = [", ".join(map(repr, group)) for group in seen.values() if len(group) > 1]
    return [("copies", "; ".join(twice))] if twice else []


def _read_channel(file: Path) -> LazyImage:
    layout = open_tiff(file)
    sources = assign_axes(layout.levels[0].dims, None, None, f"'{file}'")
    levels = lazy_levels(layout, sources)
    if levels[0].shape[0] != 1:
        raise InputFileError(
            f"'{file}' has {levels[0].shape[0]} channels, but a folder is read as one TIFF per marker. "
            "Pass the file itself, or move it out of the folder."
        )
    return LazyImage(
        levels=tuple(levels),
        channel_names=("",),
        is_named=True,
        pixel_size=layout.metadata.pixel_size,
        other_size=layout.metadata.other_size,
        ignored_size=layout.metadata.ignored_size,
        unread_size=layout.metadata.unread_size,
        notes=tuple(("ome_contradicts", note) for note in layout.metadata.contradictions),
        path=layout.state.path,
        identity=layout.identity,
    )


def _without_masks(
    folder: Path, files: list[Path], channel_names: list[str] | dict[str | int, str] | None, mask: Path | None
) -> tuple[list[Path], list[tuple[str, str]]]:
    """Files without the masks among them, and the notes."""
    known = [file for file in files if mask is not None and file.resolve() == mask.resolve()]
    named = set(channel_names) if isinstance(channel_names, dict) else set()
    rest = [file for file in files if file not in known]
    masks, misnamed = [], []
    for file in rest:
        if stem(file) in named or not (sure := _MASK.search(_words(file))) and not _PERHAPS.fullmatch(_words(file)):
            continue
        looks = _looks_like_labels(file)
        if looks or (looks is None and sure):
            masks.append(file)
        elif sure:
            misnamed.append(file.name)
    if isinstance(channel_names, list) and len(channel_names) == len(rest) and masks:
        return rest, [("mask_kept", ", ".join(file.name for file in masks))]  # one name for each: intended as markers
    if len(masks) == len(rest):
        raise InputFileError(
            f"Folder '{folder}' contains no marker, only {counted(len(files), 'file')} that may be masks: "
            f"{', '.join(file.name for file in files[:5])}. Pass a folder with one TIFF per marker, or name them with "
            "channel_names=."
        )
    notes = [("mask_name", ", ".join(misnamed))] if misnamed else []
    notes += [("mask_left_out", ", ".join(file.name for file in masks))] if masks else []
    return [file for file in rest if file not in masks], notes


def _words(file: Path) -> str:
    """The words of a file's name: ``P1_cellMask-2`` becomes ``p_cell_mask``."""
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", stem(file))
    return "_".join(words).lower()


def _looks_like_labels(file: Path) -> bool | None:
    """Whether pixels in the middle of a file are even pieces of whole numbers; None where all are 0."""
    layout = open_tiff(file)
    pixels = lazy_levels(layout, assign_axes(layout.levels[0].dims, None, None, f"'{file}'"))[0]
    if pixels.shape[0] != 1:
        return False
    window = tuple(slice(max(n // 2 - _CROP // 2, 0), n // 2 + _CROP // 2) for n in pixels.shape[1:])
    crop = loaded(pixels[(0, *window)])
    if not crop.any():
        return None
    pieces = scan_pieces(crop)
    n_pixels = np.count_nonzero(crop)
    return not pieces.n_fractional and bool(pieces.area[pieces.area >= _PIECE].sum() >= _FLAT * n_pixels)
