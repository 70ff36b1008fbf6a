"""Intensity of labelled cells, block by block: lazy arrays in, one row per cell out.

A box is ``(y0, y1, x0, x1)`` in pixels, ends excluded. No function here holds more than one block of an image.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from .._errors import InputFileError, SpatialfmError
from .arrays import AxisAffine

Box = tuple[int, int, int, int]
BLOCK_PIXELS = 2**20  # big enough to keep numpy busy, small against memory (some 40 bytes per pixel are needed)
BLOCK_BYTES = 2**26  # of the channels of a block that are read together
READ_BYTES = 2**24  # of chunks of channels that are asked for at once: asking has its price


@dataclass(frozen=True)
class LabelGrid:
    """A label image seen on the pixel grid of an image, by nearest neighbour; 0 where the labels do not reach."""

    labels: object  # (y, x), anything that can be sliced: dask or numpy
    to_labels: AxisAffine  # from image pixels to label pixels

    def __call__(self, box: Box) -> np.ndarray:
        """Labels at the centres of the image's pixels in a box."""
        y0, y1, x0, x1 = box
        rows, inside_y = _nearest(y0, y1, self.to_labels.scale_y, self.to_labels.offset_y, self.labels.shape[0])
        columns, inside_x = _nearest(x0, x1, self.to_labels.scale_x, self.to_labels.offset_x, self.labels.shape[1])
        out = np.zeros((y1 - y0, x1 - x0), dtype=self.labels.dtype)
        if rows.size and columns.size:
            crop = loaded(self.labels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
            out[inside_y, inside_x] = crop[np.ix_(rows - rows[0], columns - columns[0])]
        return out


_reading = threading.local()


def loaded(part) -> np.ndarray:
    """A slice of an image as an array, read by threads of this process.

    Whatever scheduler or cluster the session has made its default, pixels are not sent through it; inside a task of a
    cluster, which would also wait for itself.

    Raises
    ------
    InputFileError
        If the chunks of a store cannot be decoded.
    """
    try:
        return np.asarray(part if isinstance(part, np.ndarray) else _computed(part))
    except (SpatialfmError, MemoryError):
        raise
    except Exception as error:  # damaged bytes make zarr and its decoders raise any error
        raise InputFileError(
            f"Pixels of an image or a mask cannot be read ({type(error).__name__}: {error}). The store or file that "
            "they come from is damaged or gone: copy or export it again."
        ) from error


def _computed(part):
    """What `compute` gives, by dask's protocol of collections, which takes a third of the time for a small block."""
    from dask.base import is_dask_collection
    from dask.local import get_sync
    from dask.threaded import get

    if not is_dask_collection(part):
        return part
    keys = part.__dask_keys__()
    graph = part.__dask_optimize__(part.__dask_graph__(), keys)
    finalize, arguments = part.__dask_postcompute__()
    return finalize((get_sync if getattr(_reading, "alone", False) else get)(graph, keys), *arguments)


@contextmanager
def one_thread() -> Iterator[None]:
    """What `loaded` is asked for here is read by the calling thread alone, and leaves the cores to others.

    It also keeps memory flat: chunks that many threads decode are kept in as many heaps, which grow for hundreds of
    blocks.
    """
    _reading.alone = True
    try:
        yield
    finally:
        _reading.alone = False


def _nearest(start: int, stop: int, scale: float, offset: float, size: int) -> tuple[np.ndarray, slice]:
    # a centre that falls on the edge of two label pixels takes the later one, for any rounding of scale and offset
    index = np.floor((np.arange(start, stop) + 0.5) * scale + offset + 1e-6).astype(np.int64)
    inside = np.flatnonzero((index >= 0) & (index < size))
    if not inside.size:
        return inside, slice(0, 0)
    window = slice(int(inside[0]), int(inside[-1]) + 1)
    return index[window], window


def plan_blocks(array, max_pixels: int | None = None) -> list[Box]:
    """Boxes that cover an array ``(..., y, x)``: whole dask chunks, small ones merged, so that none is read twice."""
    chunks = getattr(array, "chunks", None) or tuple((size,) for size in array.shape)
    per_pixel = np.dtype(array.dtype).itemsize * int(np.prod([max(c) for c in chunks[:-2]], initial=1))
    side = int(np.sqrt(min(max_pixels or BLOCK_PIXELS, BLOCK_BYTES / per_pixel)))
    rows, columns = (merged(sizes, side) for sizes in chunks[-2:])
    return [(*row, *column) for row in rows for column in columns]


def merged(sizes: Sequence[int], side: int) -> list[tuple[int, int]]:
    """Spans of whole chunks along an axis, small ones together up to `side`."""
    edges = [0]
    stop = 0
    for size in sizes:
        if stop > edges[-1] and stop + size - edges[-1] > side:
            edges.append(stop)
        stop += size
    return list(zip(edges, [*edges[1:], stop], strict=True))


def compact(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``np.unique(values, return_inverse=True)`` of integers, without sorting where their range is not huge."""
    if not values.size:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    low, high = int(values.min()), int(values.max())
    if high - low > max(4 * values.size, 2**16):
        ids, local = np.unique(values, return_inverse=True)
        return ids.astype(np.int64), local
    shifted = (values - values.dtype.type(low)).astype(np.int64)
    seen = np.zeros(high - low + 1, dtype=bool)
    seen[shifted] = True
    return np.flatnonzero(seen) + low, (np.cumsum(seen) - 1)[shifted]


def rows_of(ids: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Position of each value in the ascending `ids`, -1 where it is not among them."""
    distinct, local = compact(values)
    if not ids.size:
        return np.full(local.shape, -1)
    position = np.minimum(np.searchsorted(ids, distinct), ids.size - 1)
    return np.where(ids[position] == distinct, position, -1)[local]


def group_boxes(box: np.ndarray, blocks: Sequence[Box]) -> Iterator[tuple[np.ndarray, Box]]:
    """Cells that start in the same block, and one box around them: what needs a cell whole is done a group at a time.

    Parameters
    ----------
    box
        ``(n, 4)`` bounding boxes of the cells.
    blocks
        Boxes of `plan_blocks`.
    """
    row_edges = np.unique([block[0] for block in blocks])
    column_edges = np.unique([block[2] for block in blocks])
    row = np.searchsorted(row_edges, box[:, 0], side="right")
    column = np.searchsorted(column_edges, box[:, 2], side="right")
    key = row * (column_edges.size + 1) + column
    order = np.argsort(key, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(key[order])) + 1):
        if rows.size:
            low, high = box[rows].min(axis=0), box[rows].max(axis=0)
            yield rows, (int(low[0]), int(high[1]), int(low[2]), int(high[3]))


def boxes_on_image(box: np.ndarray, to_image: AxisAffine, shape: tuple[int, int]) -> np.ndarray:
    """Bounding boxes ``(n, 4)`` of label pixels as boxes of image pixels that surely hold them."""
    y, x = to_image(box[:, :2], box[:, 2:])
    low = np.floor(np.stack([y[:, 0], x[:, 0]], axis=1)).astype(np.int64) - 1
    high = np.ceil(np.stack([y[:, 1], x[:, 1]], axis=1)).astype(np.int64) + 1
    low, high = np.clip(low, 0, shape), np.clip(high, 0, shape)
    return np.stack([low[:, 0], high[:, 0], low[:, 1], high[:, 1]], axis=1)


def intensity_sums(
    image, labels_at: Callable[[Box], np.ndarray], ids: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number of pixels and sum of each channel in every cell.

    Parameters
    ----------
    image
        ``(c, y, x)``, lazy.
    labels_at
        Labels of a box of the image's pixels, such as a `LabelGrid`.
    ids
        ``(n,)`` label ids, ascending.

    Returns
    -------
    Pixels of a cell ``(n,)``, sums ``(n, c)`` in float64, and the number of NaN or infinite pixels in cells ``(c,)``.
    """
    counts = np.zeros(ids.size, np.int64)
    sums = np.zeros((ids.size, image.shape[0]))
    invalid = np.zeros(image.shape[0], np.int64)
    for box in plan_blocks(image):
        rows, index = _pixels_of(ids, labels_at(box))
        if not rows.size:
            continue  # blocks without cells are never read
        present, local = compact(rows)
        counts[present] += np.bincount(local)
        for channel, pixels in _channels(image, box):
            values = pixels.take(index).astype(np.float64)
            total = np.bincount(local, weights=values)
            if not np.isfinite(total).all():
                invalid[channel] += np.count_nonzero(~np.isfinite(values))
            sums[present, channel] += total
    return counts, sums, invalid


def cell_quantiles(
    image, labels_at: Callable[[Box], np.ndarray], ids: np.ndarray, boxes: np.ndarray, quantiles: Sequence[float]
) -> np.ndarray:
    """Quantiles ``(n, q, c)`` of the pixels of each cell, as `numpy.quantile` (linear); NaN for a cell without pixels.

    Parameters
    ----------
    image, labels_at, ids
        As in `intensity_sums`.
    boxes
        ``(n, 4)`` boxes of image pixels around the cells.
    quantiles
        ``(q,)`` in 0..1.
    """
    out = np.full((ids.size, len(quantiles), image.shape[0]), np.nan, dtype=np.float32)
    for rows, box in group_boxes(boxes, plan_blocks(image)):
        rows = np.sort(rows)
        local, index = _pixels_of(ids[rows], labels_at(box))
        if not local.size:
            continue
        index = index[np.argsort(local, kind="stable")]
        runs = _Runs.of(np.bincount(local, minlength=rows.size))
        for channel, pixels in _channels(image, box):
            out[rows, :, channel] = runs.quantiles(pixels.take(index), np.asarray(quantiles))
    return out


def _pixels_of(ids: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row of the cell and flat index of every pixel that belongs to one of `ids`."""
    index = np.flatnonzero(labels)
    rows = rows_of(ids, labels.ravel()[index])
    known = rows >= 0
    return rows[known], index[known]


def _channels(image, box: Box) -> Iterator[tuple[int, np.ndarray]]:
    """Every channel of a box, flat; a few chunks of channels are read at a time."""
    y0, y1, x0, x1 = box
    sizes = image.chunks[0] if getattr(image, "chunks", None) else (image.shape[0],)
    per_channel = (y1 - y0) * (x1 - x0) * np.dtype(image.dtype).itemsize
    for start, stop in merged(sizes, max(1, READ_BYTES // per_channel)):
        for channel, pixels in enumerate(loaded(image[start:stop, y0:y1, x0:x1]), start):
            yield channel, pixels.ravel()


@dataclass(frozen=True)
class _Runs:
    """Runs of values of different lengths, in buckets of similar length that can be sorted as one matrix each."""

    n: int
    buckets: tuple[tuple[np.ndarray, np.ndarray, np.ndarray], ...]  # rows, position of each value, length of each run

    @classmethod
    def of(cls, counts: np.ndarray) -> _Runs:
        start = np.cumsum(counts) - counts
        power = np.ceil(np.log2(np.maximum(counts, 1))).astype(int)
        buckets = []
        for value in np.unique(power[counts > 0]):
            rows = np.flatnonzero((power == value) & (counts > 0))
            position = start[rows, None] + np.arange(counts[rows].max())
            buckets.append((rows, position, counts[rows]))
        return cls(counts.size, tuple(buckets))

    def quantiles(self, values: np.ndarray, q: np.ndarray) -> np.ndarray:
        """``(n, q)`` quantiles of the runs that `values` is made of."""
        out = np.full((self.n, q.size), np.nan)
        exact_in_float32 = values.dtype.itemsize <= 2 or values.dtype == np.float32
        for rows, position, counts in self.buckets:
            matrix = values.take(position, mode="clip").astype(np.float32 if exact_in_float32 else np.float64)
            matrix[np.arange(matrix.shape[1]) >= counts[:, None]] = np.inf  # to the end of the sorted row
            matrix.sort(axis=1)
            virtual = q * (counts[:, None] - 1)
            low = np.floor(virtual).astype(np.int64)
            below = np.take_along_axis(matrix, low, axis=1).astype(np.float64)
            above = np.take_along_axis(matrix, np.minimum(low + 1, counts[:, None] - 1), axis=1)
            out[rows] = below + (above - below) * (virtual - low)
        return out
