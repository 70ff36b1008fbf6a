"""Reports of chunks that a store lacks, before anything is measured or encoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from .._errors import counted, listed, warn
from .arrays import channel_names, drawn_kind, full_resolution, image_array, labels_array
from .drawn_cells import cells_data
from .elements import SampleElements, labels_to_image
from .measure import LabelGrid, loaded
from .stored_chunks import StoredChunks, check_readable

if TYPE_CHECKING:
    import xarray as xr
    from spatialdata import SpatialData

_FLUSH = 3  # cells that end at the edge of a missing chunk: one or two may do so by chance
_SHOWN = 5


def report_missing_chunks(sdata: SpatialData, pairs: list[SampleElements]) -> list[SampleElements]:
    """Say which chunks of images and labels are not stored, where that does not look like background.

    The store is walked once in a run: the pairs that are returned carry what was found, and are not looked at again.

    Raises
    ------
    InputFileError
        If a store is gone, or holds chunks that were written in part.
    """
    sentences, seen = [], []
    for pair in pairs:
        stored = {}
        if pair.image not in pair.stored:
            stored[pair.image] = check_readable(image_array(sdata, pair.image).data, f"Image {pair.image!r}")
            sentences += _of_image(sdata, pair, stored[pair.image])
        if pair.labels is not None and pair.labels not in pair.stored:
            drawn = drawn_kind(sdata, pair.labels) is not None
            stored[pair.labels] = None if drawn else _stored_labels(sdata, pair.labels)
            sentences += _of_labels(sdata, pair.labels, stored[pair.labels])
        seen.append(replace(pair, stored={**pair.stored, **stored}))
    _say(sentences)
    return seen


def report_missing_labels(sdata: SpatialData, names: Sequence[str]) -> None:
    """The same for labels alone."""
    names = [name for name in names if drawn_kind(sdata, name) is None]
    _say([text for name in dict.fromkeys(names) for text in _of_labels(sdata, name, _stored_labels(sdata, name))])


def _say(sentences: Sequence[str]) -> None:
    if sentences:
        warn(
            f"Chunks that are not stored are read as zeros: {listed(sentences, _SHOWN, quoted=False)}. Writers leave "
            "out chunks of zeros alone, so this may be intended; if the store was copied, compare it with the original."
        )


def _of_image(sdata: SpatialData, pair: SampleElements, chunks: StoredChunks | None) -> Iterator[str]:
    name = pair.image
    if chunks is None or not chunks.missing.any():
        return
    missing = chunks.missing.reshape(-1, *chunks.grid[-2:])  # files of channels, rows, columns
    somewhere, everywhere = missing.any(axis=0), missing.all(axis=0)
    cells = _cells(sdata, pair, chunks, somewhere) if pair.labels is not None else set()
    lost = _in_smaller_level(sdata.images[name], chunks, missing)
    uneven = pair.labels is None and bool((somewhere != everywhere).any())  # where no cell decides it
    if not (cells or lost or uneven or missing.all()):
        return
    names = channel_names(sdata, name)
    affected = [c for c in range(len(names)) if missing[c // chunks.sizes[0] if len(chunks.shape) == 3 else 0].any()]
    channels = "" if len(affected) == len(names) else f" (channels {listed([names[c] for c in affected])})"
    yield (
        f"{missing.sum():,} of {missing.size:,} chunks of image {name!r}{channels}, {_place(chunks, somewhere)}"
        + (f", where {counted(len(cells), 'cell is', 'cells are')}" if cells else "")
        + (", where smaller levels of its pyramid have pixels" if lost else "")
    )


def _stored_labels(sdata: SpatialData, name: str) -> StoredChunks | None:
    return check_readable(labels_array(sdata, name).data, f"Labels {name!r}")


def _of_labels(sdata: SpatialData, name: str, chunks: StoredChunks | None) -> Iterator[str]:
    if chunks is None or not chunks.missing.any():
        return
    missing = chunks.missing
    cut = _cut_cells(labels_array(sdata, name).data, chunks)
    lost = _in_smaller_level(sdata.labels[name], chunks, missing[None])
    if len(cut) < _FLUSH and not lost and not missing.all():
        return
    yield (
        f"{missing.sum():,} of {missing.size:,} chunks of labels {name!r}, {_place(chunks, missing)}"
        + (f", at whose edges {counted(len(cut), 'cell ends', 'cells end')}" if len(cut) >= _FLUSH else "")
        + (", where smaller levels of its pyramid have cells" if lost else "")
    )


def _cells(sdata: SpatialData, pair: SampleElements, chunks: StoredChunks, places: np.ndarray) -> set[int]:
    """Numbers of cells that have pixels in the chunks of an image."""
    grid = LabelGrid(cells_data(sdata, pair), labels_to_image(sdata, pair).inverse())
    cells: set[int] = set()
    for box in _boxes(chunks, places):
        cells.update(np.unique(grid(box)).tolist())
    return cells - {0}


def _cut_cells(labels: object, chunks: StoredChunks) -> set[int]:
    """Numbers of cells whose pixels end where a chunk of labels is missing, along a line next to it."""
    height, width = chunks.shape
    cells: set[int] = set()
    for y0, y1, x0, x1 in _boxes(chunks, chunks.missing):
        for rows, columns in (
            (slice(y0 - 1, y0), slice(x0, x1)),
            (slice(y1, y1 + 1), slice(x0, x1)),
            (slice(y0, y1), slice(x0 - 1, x0)),
            (slice(y0, y1), slice(x1, x1 + 1)),
        ):
            if rows.start >= 0 and columns.start >= 0 and rows.start < height and columns.start < width:
                cells.update(np.unique(loaded(labels[rows, columns])).tolist())
    return cells - {0}


def _in_smaller_level(element: object, chunks: StoredChunks, missing: np.ndarray) -> bool:
    """Whether the smallest level of a pyramid has anything but zeros where files (of channels, rows, columns) miss."""
    if not hasattr(element, "children"):
        return False
    smallest = next(iter(element[list(element.children)[-1]].ds.values()))
    height, width = full_resolution(element).shape[-2:]
    down, across = smallest.sizes["y"] / height, smallest.sizes["x"] / width
    for layer, places in enumerate(missing):
        part = smallest
        if len(chunks.shape) == 3:
            part = smallest.isel(c=slice(layer * chunks.sizes[0], (layer + 1) * chunks.sizes[0]))
        if any(_shows(part, box, chunks.shape[-2:], down, across) for box in _boxes(chunks, places)):
            return True
    return False


def _shows(
    level: xr.DataArray, box: tuple[int, int, int, int], shape: tuple[int, int], down: float, across: float
) -> bool:
    """Whether a smaller level has anything but zeros below a window of the largest."""
    (y0, y1, x0, x1), (height, width) = box, shape
    # without the outermost pixels, in which the neighbours may show
    rows = slice(int(np.ceil(y0 * down)) + (y0 > 0), int(y1 * down) - (y1 < height))
    columns = slice(int(np.ceil(x0 * across)) + (x0 > 0), int(x1 * across) - (x1 < width))
    if rows.stop <= rows.start or columns.stop <= columns.start:
        return False
    return bool(loaded(level.isel(y=rows, x=columns).data).any())


def _boxes(chunks: StoredChunks, places: np.ndarray) -> Iterator[tuple[int, int, int, int]]:
    """Windows ``(y0, y1, x0, x1)`` of chunks."""
    (tall, wide), (height, width) = chunks.sizes[-2:], chunks.shape[-2:]
    for i, j in zip(*np.nonzero(places), strict=True):
        yield int(i) * tall, min((int(i) + 1) * tall, height), int(j) * wide, min((int(j) + 1) * wide, width)


def _place(chunks: StoredChunks, places: np.ndarray) -> str:
    boxes = np.array(list(_boxes(chunks, places)))
    low, high = boxes.min(axis=0), boxes.max(axis=0)
    return f"in rows {low[0]:,} to {high[1]:,} and columns {low[2]:,} to {high[3]:,}"
