"""Where the image of a reader holds tissue, and how much of a square of it does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..._cache import remembered
from ...pp.tissue_masks import METHOD, SIDE, TissueSource, found_tissue, squares, warn_of_lost_cells
from .reader import SampleReader


def find_tissue(reader: SampleReader) -> tuple[np.ndarray, int]:
    """Mask of the tissue, and how many model pixels one of its pixels spans; found once a run."""
    source = reader.tissue or TissueSource()
    if source.kind == "all":
        return np.ones((1, 1), bool), max(reader.shape)
    if source.kind == "given":
        return source.given(), source.step

    def compute() -> dict[str, np.ndarray]:
        mask, step = tissue_mask(reader)
        return {"mask": mask, "step": np.array(step)}

    stored = remembered("tissue", {"image": reader.fingerprint, "tissue": tissue_identity(reader)}, compute)
    return stored["mask"], int(stored["step"])


def tissue_mask(reader: SampleReader, *, block: int = 1024, side: int = SIDE) -> tuple[np.ndarray, int]:
    """Tissue as it shows on the pixels of a reader; see `spatialfm.pp.glass` for how."""
    source = reader.tissue or TissueSource()
    shape, n = reader.shape, len(reader.channels)
    cells = source.where_cells_are(shape, squares(shape, side))
    return found_tissue(reader.pixels, n, shape, source.size, cells, side=side, block=block)


def tissue_identity(reader: SampleReader) -> str:
    """What decides the tissue of a reader, besides its pixels."""
    source = reader.tissue or TissueSource()
    if not reader.known:
        cells = source.where_cells_are(reader.shape, squares(reader.shape, SIDE)) if source.kind == "auto" else None
        reader.known.append(source.identity(cells))
    return reader.known[0]


def tissue_notes(samples: Sequence[str], readers: Sequence[SampleReader], *, used: bool) -> dict[str, Any]:
    """Entries of the record on the tissue; with a warning if less than half is kept and cells are outside."""
    sources = [reader.tissue or TissueSource() for reader in readers]
    notes: dict[str, Any] = {"tissue": {sample: source.name for sample, source in zip(samples, sources, strict=True)}}
    if not used:
        return notes
    masks = [find_tissue(reader) for reader in readers]
    warn_of_lost_cells(samples, sources, masks)
    notes["tissue_kept"] = {
        sample: round(float(mask.mean()), 6) for sample, (mask, _) in zip(samples, masks, strict=True)
    }
    if any(source.kind == "auto" for source in sources):
        notes["tissue_method"] = METHOD
    if records := {sample: source.made for sample, source in zip(samples, sources, strict=True) if source.made}:
        notes["tissue_made"] = records
    return notes


def share_of_tissue(mask: np.ndarray, step: int, shape: tuple[int, int], corners: np.ndarray, size: int) -> np.ndarray:
    """Share ``(n,)`` of each square that is tissue; what is outside of the image is not.

    Parameters
    ----------
    mask, step
        As `find_tissue` returns them: a pixel of the mask spans ``step x step`` pixels of the image.
    shape
        Height and width of the image.
    corners, size
        First row and column of each square ``(n, 2)``, and their side.
    """
    total = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), np.int64)
    total[1:, 1:] = mask.cumsum(axis=0, dtype=np.int64).cumsum(axis=1)
    padded = np.pad(mask, ((0, 1), (0, 1)))  # an edge of the image may be the edge of a mask pixel
    total = np.pad(total, ((0, 1), (0, 1)), mode="edge")

    def tissue_above_left(y: np.ndarray, x: np.ndarray) -> np.ndarray:
        (row, down), (column, right) = np.divmod(y, step), np.divmod(x, step)
        down, right = down / step, right / step
        here = total[row, column]
        below, beside = total[row + 1, column] - here, total[row, column + 1] - here
        return here + down * below + right * beside + down * right * padded[row, column]

    low = np.clip(corners, 0, shape)
    high = np.clip(corners + size, 0, shape)
    (y0, x0), (y1, x1) = low.T, high.T
    inside = (
        tissue_above_left(y1, x1) - tissue_above_left(y0, x1) - tissue_above_left(y1, x0) + tissue_above_left(y0, x0)
    )
    return inside * step**2 / size**2
