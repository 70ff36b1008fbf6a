"""Objects of a map of logits, tile by tile, and the phenotype of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..._errors import counted, warn
from ..._identity import fingerprint
from ..._squares import squares_of
from ...pp.measure import loaded
from ...pp.segment_run import Kept, SegmentJob, keep_tiles, read_tile, stitched
from ...pp.stitch import numbered

if TYPE_CHECKING:
    from .logits import Box, LogitMap

_LEVELS = 2**16 - 1  # probabilities are kept in 16 bits, to 8 parts in a million
_SIDE = 2048  # pixels to a side of labels that are looked at together


@dataclass(frozen=True)
class Phenotypes:
    """What each cell is; rows are cells 1 to n.

    Attributes
    ----------
    probability
        ``(n, A)``: mean over the cell's pixels of the probability of each answer.
    pixels
        ``(n, A)``: pixels at which each answer is the most probable one.
    unknown
        ``(n,)``: mean probability of no answer.
    """

    probability: np.ndarray
    pixels: np.ndarray
    unknown: np.ndarray

    @property
    def best(self) -> np.ndarray:
        """Place of the answer of most pixels ``(n,)``; of equal ones the first."""
        return self.pixels.argmax(axis=1)

    def take(self, rows: np.ndarray) -> Phenotypes:
        """Of some cells."""
        return Phenotypes(self.probability[rows], self.pixels[rows], self.unknown[rows])


def find_objects(
    job: SegmentJob,
    logits: LogitMap,
    identity: Mapping[str, object],
    kept: Kept,
    step: Callable[[], object],
    names: list[str],
    in_memory: bool,
) -> tuple[object, int, Phenotypes | None]:
    """Label image of `job` at the network's pixel size, number of cells, and their phenotypes if the head has any.

    Parameters
    ----------
    identity
        What decides the numbers of the image, besides the tile.
    kept, step, names
        As `spatialfm.pp.segment_run.keep_tiles` takes them.
    in_memory
        Whether labels are held, or stay on disk.
    """
    image = fingerprint(dict(identity))

    def made_of(core: Box) -> tuple[str, Callable[[], dict[str, np.ndarray]]]:
        what = fingerprint({"image": image, "tile": list(job.grid.outer(core)), "core": list(core)})
        return what, lambda: tile_arrays(logits, core, job.grid.outer(core))

    keep_tiles(job.grid.cores(), made_of, kept, step, names)
    labels, n = stitched(job, kept, names, in_memory)
    if not logits.segmenter.answers:
        return labels, n, None
    return labels, n, _phenotypes(job, labels, n, kept, names, len(logits.segmenter.answers))


def tile_arrays(logits: LogitMap, core: Box, outer: Box) -> dict[str, np.ndarray]:
    """Labels of a tile with its margin; of its core, the probability of each answer and of none, and the best one."""
    segmenter = logits.segmenter
    values = logits.region(outer)
    labels = segmenter.instances(values[: segmenter.objects], logits.shape)
    arrays = {"labels": numbered(labels)}
    if segmenter.answers:
        y0, y1, x0, x1 = core[0] - outer[0], core[1] - outer[0], core[2] - outer[2], core[3] - outer[2]
        probability, unknown = segmenter.probabilities(values[segmenter.objects :, y0:y1, x0:x1])
        every = np.concatenate([probability, unknown[None]])
        arrays["probability"] = np.rint(every.clip(0, 1) * _LEVELS).astype(np.uint16)
        arrays["best"] = probability.argmax(axis=0).astype(np.uint8)
    return arrays


def _phenotypes(
    job: SegmentJob, labels: object, n: int, kept: Kept, names: Sequence[str], n_answers: int
) -> Phenotypes:
    """Sums over the pixels of each cell as they were drawn in the end; the cores of tiles cover each pixel once."""
    sums, pixels, area = np.zeros((n_answers + 1, n + 1)), np.zeros((n_answers, n + 1), np.int64), np.zeros(n + 1)
    for (y0, y1, x0, x1), what in zip(job.grid.cores(), names, strict=True):
        arrays = read_tile(job, kept, what)
        of_pixels = loaded(labels[y0:y1, x0:x1]).ravel().astype(np.int64)  # type: ignore[index]
        inside = np.flatnonzero(of_pixels)
        cells, local = np.unique(of_pixels[inside], return_inverse=True)
        area[cells] += np.bincount(local, minlength=len(cells))
        for row, values in zip(sums, arrays["probability"], strict=True):
            row[cells] += np.bincount(local, values.ravel()[inside].astype(np.float64) / _LEVELS, minlength=len(cells))
        best = arrays["best"].ravel()[inside]
        for place, counts in enumerate(pixels):
            counts[cells] += np.bincount(local[best == place], minlength=len(cells))
    mean = (sums / np.maximum(area, 1))[:, 1:].T
    return Phenotypes(mean[:, :-1], pixels[:, 1:].T, mean[:, -1])


def on_image_grid(
    labels: object, n: int, ratio: float, shape: tuple[int, int], name: str, in_memory: bool
) -> tuple[object, np.ndarray | None]:
    """Labels at the pixels of the image, nearest neighbour; and the cells that are left, if some have no pixel there.

    Parameters
    ----------
    labels
        ``(h, w)`` at the network's pixel size, cells 1 to `n`.
    ratio
        Pixels of the image per pixel of the network.
    shape
        Height and width of the image.
    name
        Of the image, for a warning.
    in_memory
        Whether the result is an array; otherwise it is read when it is needed.
    """
    import dask.array as da

    height, width = labels.shape  # type: ignore[attr-defined]
    if ratio == 1 and (height, width) == shape:
        return labels, None
    rows, columns = (
        np.clip(np.floor((np.arange(size) + 0.5) / ratio).astype(np.int64), 0, here - 1)
        for size, here in zip(shape, (height, width), strict=True)
    )
    if in_memory:
        out: object = np.asarray(labels)[np.ix_(rows, columns)]
    else:
        lazy = labels if isinstance(labels, da.Array) else da.from_array(labels, chunks=_SIDE)
        out = lazy[rows][:, columns]
    if ratio >= 1:  # every pixel of the network has one of the image
        return out, None
    parts = [np.unique(loaded(out[y0:y1, x0:x1])) for y0, y1, x0, x1 in squares_of(shape, _SIDE)]  # type: ignore[index]
    there = np.unique(np.concatenate(parts))
    there = there[there > 0].astype(np.int64)
    if len(there) == n:
        return out, None
    warn(
        f"Image {name!r} has larger pixels than the network: {counted(n - len(there), 'cell')} of {n:,} are smaller "
        "than one of them and are left out."
    )
    number = np.zeros(n + 1, np.uint32)
    number[there] = np.arange(1, len(there) + 1)
    renumbered = number[out] if isinstance(out, np.ndarray) else out.map_blocks(number.__getitem__, dtype=np.uint32)  # type: ignore[attr-defined]
    return renumbered, there - 1
