"""Where an image holds tissue: its averaged pixels, and the mask that was found on them or given."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from .._errors import counted, listed, warn
from .._squares import squares_of
from .arrays import image_array
from .elements import SampleElements
from .glass import (
    ASSUMED_MPP,
    MAX_HOLE,
    MIN_CONTRAST,
    MIN_GAIN,
    MIN_GLASS,
    MIN_LEVEL,
    MIN_SEPARATION,
    RADIUS,
    find_tissue_mask,
)
from .measure import LabelGrid, loaded
from .pieces import scan_labels

if TYPE_CHECKING:
    from spatialdata import SpatialData

SIDE = 512  # largest side of the averaged image that tissue is found on
METHOD = {
    "radius_um": RADIUS,
    "assumed_mpp": ASSUMED_MPP,
    "side": SIDE,
    "min_gain": MIN_GAIN,
    "min_separation": MIN_SEPARATION,
    "min_level": MIN_LEVEL,
    "min_contrast": MIN_CONTRAST,
    "min_glass_um2": MIN_GLASS,
    "max_hole_um2": MAX_HOLE,
}
_CELLS = 0.25  # share of an averaged pixel that is cells, from which it is

Read = Callable[[int, int, int, int], np.ndarray]


@dataclass(frozen=True)
class TissueSource:
    """What decides where one image holds tissue.

    Attributes
    ----------
    kind
        ``"auto"``: found on the image; ``"all"``; ``"given"``: a mask.
    name
        Of the element, or what kind of thing was passed.
    size
        µm per pixel of the grid, None if unknown.
    cells
        Segmented cells on the grid: they are tissue at any brightness.
    step, shape, packed
        A mask that was given: pixels of the grid that one of its own spans, its shape, its bits.
    made
        What `spatialfm.pp.tissue` noted of an element that it wrote.
    """

    kind: str = "auto"
    name: str = "auto"
    size: float | None = None
    cells: LabelGrid | None = None
    step: int = 1
    shape: tuple[int, int] = (0, 0)
    packed: bytes = b""
    made: Mapping[str, object] = field(default_factory=dict, compare=False)

    def given(self) -> np.ndarray:
        """The mask that was given."""
        bits = np.frombuffer(zlib.decompress(self.packed), np.uint8)
        return np.unpackbits(bits, count=self.shape[0] * self.shape[1]).reshape(self.shape).astype(bool)

    def where_cells_are(self, shape: tuple[int, int], step: int) -> np.ndarray | None:
        """Cells on the averaged grid."""
        if self.cells is None:
            return None
        covered = averaged(lambda *box: (self.cells((box[0], box[1], box[2], box[3])) > 0)[None], 1, shape, step)[0]
        return covered >= _CELLS

    def identity(self, cells: np.ndarray | None) -> str:
        """SHA-256 of all that decides, besides the image."""
        digest = hashlib.sha256(f"{self.kind} {self.size} {self.step} {self.shape} {sorted(METHOD.items())}".encode())
        digest.update(self.packed)
        digest.update(b"" if cells is None else np.packbits(cells).tobytes())
        return digest.hexdigest()


def squares(shape: tuple[int, int], side: int) -> int:
    """Pixels that one pixel of an image averaged down to at most `side` spans."""
    return max(1, -(-max(shape) // side))


def averaged(read: Read, n_channels: int, shape: tuple[int, int], step: int, block: int = 1024) -> np.ndarray:
    """Means of squares of ``step x step`` pixels, float32 ``(c, h, w)``; squares at the edge may be smaller.

    Parameters
    ----------
    read
        Pixels ``(c, y1 - y0, x1 - x0)`` of a region ``y0, y1, x0, x1``.
    """
    height, width = shape
    # blocks begin at multiples of `step`, so that no averaged pixel is cut by a block
    block = max(1, block // step) * step
    small = np.zeros((n_channels, -(-height // step), -(-width // step)), np.float32)
    for y0, y1, x0, x1 in squares_of(shape, block):
        place = (slice(y0 // step, -(-y1 // step)), slice(x0 // step, -(-x1 // step)))
        rows, columns = np.arange(0, y1 - y0, step), np.arange(0, x1 - x0, step)
        n_pixels = np.outer(np.diff(rows, append=y1 - y0), np.diff(columns, append=x1 - x0))
        for target, values in zip(small, read(y0, y1, x0, x1), strict=True):
            sums = np.add.reduceat(np.add.reduceat(values, rows, axis=0, dtype=np.float64), columns, axis=1)
            target[place] = sums / n_pixels
    return small


def found_tissue(
    read: Read,
    n_channels: int,
    shape: tuple[int, int],
    size: float | None,
    cells: np.ndarray | None = None,
    *,
    side: int = SIDE,
    block: int = 1024,
) -> tuple[np.ndarray, int]:
    """Tissue of an image, as `spatialfm.pp.glass` finds it on its averaged pixels.

    Returns
    -------
    Boolean mask, and how many pixels one of its pixels spans.
    """
    step = squares(shape, side)
    small = averaged(read, n_channels, shape, step, block)
    return find_tissue_mask(small, (ASSUMED_MPP if size is None else size) * step, cells), step


def tissue_below(mask: np.ndarray, step: int, rows: tuple[int, int], columns: tuple[int, int]) -> np.ndarray:
    """Tissue of a window of an image, pixel by pixel; one pixel of the mask spans ``step x step`` of them."""
    return mask[np.ix_(np.arange(*rows) // step, np.arange(*columns) // step)]


def tissue_of_images(
    sdata: SpatialData, pairs: Sequence[SampleElements], sources: Sequence[TissueSource]
) -> Iterator[tuple[np.ndarray, int]]:
    """Mask of each image in turn, on its own pixels, and how many of them one pixel of the mask spans."""
    for pair, source in zip(pairs, sources, strict=True):
        image = image_array(sdata, pair.image).data
        if source.kind == "all":
            yield np.ones((1, 1), bool), max(image.shape[-2:])
        elif source.kind == "given":
            yield source.given(), source.step
        else:
            shape = image.shape[-2:]
            cells = source.where_cells_are(shape, squares(shape, SIDE))
            yield found_tissue(pixels_of(image), image.shape[0], shape, source.size, cells)


def pixels_of(image: object) -> Read:
    """Pixels as embeddings take them: those that are negative, NaN or infinite count as 0."""

    def read(y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        block = loaded(image[:, y0:y1, x0:x1])
        if block.dtype.kind == "f":
            block = np.nan_to_num(block, nan=0.0, posinf=0.0, neginf=0.0)
        return np.maximum(block, 0) if block.dtype.kind in "if" else block

    return read


def warn_of_lost_cells(
    samples: Sequence[str], sources: Sequence[TissueSource], masks: Sequence[tuple[np.ndarray, int]]
) -> None:
    """One warning for all images of which less than half is tissue, with cells outside of it."""
    sentences = []
    for sample, source, (mask, step) in zip(samples, sources, masks, strict=True):
        if mask.mean() >= 0.5 or source.cells is None:
            continue
        y, x = source.cells.to_labels.inverse()(*(scan_labels(source.cells.labels).centroid + 0.5).T)
        row, column = (np.floor(at / step).astype(int) for at in (y, x))
        known = (row >= 0) & (column >= 0) & (row < mask.shape[0]) & (column < mask.shape[1])
        outside = int((~mask[row[known], column[known]]).sum())
        if outside:
            sentences.append(f"{sample}: {mask.mean():.0%} of the pixels, {outside} of {known.sum()} cells outside")
    if sentences:
        warn(
            f"Less than half of {counted(len(sentences), 'image')} is taken for tissue, and cells are outside of it "
            f"({listed(sentences, 5, quoted=False)}). Statistics and tiles are of the tissue alone. Pass "
            "tissue='all', or tissue=<labels element or mask> if that is wrong."
        )
