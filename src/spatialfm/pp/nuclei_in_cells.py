"""Nuclei of an image, and the cells that they are in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .measure import LabelGrid, rows_of
from .segment_run import SegmentJob, tile_of
from .segmenters import Levels, mean_of, scaled
from .stitch import numbered, objects_of, overlaps
from .watershed import find_nuclei

HELD = 0.5  # share of a nucleus in one cell, above which it is that cell's
SHARED = 0.25  # share of a nucleus in each of two cells, from which they share it
COVERED = 0.1  # share of a cell that is nucleus, above which it is not without one: nuclei at the edge of a section


@dataclass(frozen=True)
class Nuclei:
    """What cells have of nuclei, one row per cell.

    Attributes
    ----------
    n
        ``(n,)`` nuclei more than half of which the cell holds.
    pixels
        ``(n,)`` pixels of the image that are nucleus.
    shares
        ``(n,)`` whether it shares a nucleus with another cell.
    total, outside
        Nuclei of the image, and those of which no cell has more than half and no two share it.
    """

    n: np.ndarray
    pixels: np.ndarray
    shares: np.ndarray
    total: int
    outside: int


def nuclei_of(job: SegmentJob, levels: Levels, labels_at: LabelGrid, ids: np.ndarray, diameter: float) -> Nuclei:
    """Find the nuclei of an image tile by tile, each once, and count them by cell.

    Parameters
    ----------
    job, levels
        Image and nuclear stain, as for `spatialfm.pp.segment_cells`.
    labels_at
        Cells on the pixels of the image.
    ids
        ``(n,)`` numbers of the cells, ascending.
    diameter
        Of a cell, in pixels.
    """
    held, pixels, shares = np.zeros(ids.size, np.int64), np.zeros(ids.size, np.int64), np.zeros(ids.size, bool)
    total = outside = 0
    for core in job.grid.cores():
        box = job.grid.outer(core)
        tile = tile_of(job, box)
        nuclei = numbered(find_nuclei(mean_of(tile, scaled(tile, levels), job.nuclear), diameter, levels.threshold))
        objects = objects_of(nuclei, (box[0], box[2]))
        y, x = (objects.centre + 0.5).T
        mine = (y >= core[0]) & (y < core[1]) & (x >= core[2]) & (x < core[3])  # its neighbours see it too
        cells = labels_at(box)
        nucleus, cell, shared = overlaps(np.where(np.r_[False, mine][nuclei], nuclei, 0), cells)
        row = rows_of(ids, cell)
        share = shared / objects.area[nucleus - 1]
        held += np.bincount(row[share > HELD], minlength=ids.size)
        pixels += np.bincount(row, shared, ids.size).astype(np.int64)
        parts = share >= SHARED
        several = np.bincount(nucleus[parts], minlength=len(mine) + 1) > 1
        shares[row[parts & several[nucleus]]] = True
        total += int(mine.sum())
        n_nuclei = np.unique(nucleus[(share > HELD) | (parts & several[nucleus])]).size
        outside += int(mine.sum()) - n_nuclei
    return Nuclei(held, pixels, shares, total, outside)
