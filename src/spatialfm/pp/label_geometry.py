"""Where the cells of a label image are: counts, centroids and bounding boxes, read block by block."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._errors import ElementError


@dataclass(frozen=True)
class LabelGeometry:
    """Cells of one label image, by ascending label.

    Attributes
    ----------
    labels
        ``(n,)``, int64, without 0.
    counts
        Pixels of each cell, ``(n,)``.
    centroids
        (y, x) in label pixels, ``(n, 2)``; the centre of pixel 0 is 0.5.
    boxes
        (y0, x0, y1, x1) in label pixels, end exclusive, ``(n, 4)``.
    """

    labels: np.ndarray
    counts: np.ndarray
    centroids: np.ndarray
    boxes: np.ndarray


def label_geometry(labels) -> LabelGeometry:
    """Scan a label image block by block.

    All sums are of integers, so that the result does not depend on the blocks.

    Parameters
    ----------
    labels
        Dask or numpy array ``(y, x)`` of integers; 0 is background.

    Examples
    --------
    >>> import numpy as np
    >>> label_geometry(np.array([[0, 7], [0, 7]])).centroids
    array([[1. , 1.5]])
    """
    if not np.issubdtype(labels.dtype, np.integer):
        raise ElementError(
            f"Labels hold {labels.dtype}, not integers. Convert them, for example with .astype('uint32')."
        )
    parts = [_scan(np.asarray(labels[y0:y1, x0:x1]), y0, x0) for y0, y1, x0, x1 in _blocks(labels)]
    ids = np.concatenate([part[0] for part in parts])
    unique, place = np.unique(ids, return_inverse=True)
    totals = np.zeros((len(unique), 3), np.int64)
    boxes = np.empty((len(unique), 4), np.int64)
    boxes[:, :2], boxes[:, 2:] = np.iinfo(np.int64).max, 0
    np.add.at(totals, place, np.concatenate([part[1] for part in parts]))
    found = np.concatenate([part[2] for part in parts])
    np.minimum.at(boxes[:, :2], place, found[:, :2])
    np.maximum.at(boxes[:, 2:], place, found[:, 2:])
    centroids = totals[:, 1:] / totals[:, :1] + 0.5
    return LabelGeometry(unique, totals[:, 0], centroids, boxes)


def _scan(block: np.ndarray, y0: int, x0: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels of a block, (count, sum of y, sum of x) and (y0, x0, y1, x1) of each."""
    rows, columns = np.nonzero(block)
    ids, place = np.unique(block[rows, columns].astype(np.int64), return_inverse=True)
    rows, columns = rows.astype(np.int64) + y0, columns.astype(np.int64) + x0
    totals = np.zeros((len(ids), 3), np.int64)
    boxes = np.empty((len(ids), 4), np.int64)
    # bincount adds in float64: exact for sums of pixel positions below 2**53
    totals[:, 0] = np.bincount(place, minlength=len(ids))
    totals[:, 1] = np.bincount(place, weights=rows, minlength=len(ids))
    totals[:, 2] = np.bincount(place, weights=columns, minlength=len(ids))
    order = np.argsort(place, kind="stable")
    first = np.searchsorted(place[order], np.arange(len(ids)))
    for axis, values in enumerate((rows[order], columns[order])):
        if len(ids):
            boxes[:, axis] = np.minimum.reduceat(values, first)
            boxes[:, axis + 2] = np.maximum.reduceat(values, first) + 1
    return ids, totals, boxes


def _blocks(labels):
    """Chunks of a dask array, or 2048-pixel squares of anything else."""
    chunks = getattr(labels, "chunks", None)
    if chunks is None:
        chunks = tuple((2048,) * (size // 2048) + ((size % 2048,) if size % 2048 else ()) for size in labels.shape)
    ends = [np.cumsum((0, *sizes)) for sizes in chunks]
    for y0, y1 in zip(ends[0][:-1], ends[0][1:], strict=True):
        for x0, x1 in zip(ends[1][:-1], ends[1][1:], strict=True):
            yield int(y0), int(y1), int(x0), int(x1)
