"""What a model predicts of the cells of some tiles while it sees a part of the markers: any part, as often as asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from ..._errors import ElementError
from ...pp.measure import rows_of
from .job import PaintJob

if TYPE_CHECKING:
    from ..inputs import Inputs
    from ..plan import RunPlan
    from ..windows.cells import Cells
    from ..windows.tiles import TileBlock


@dataclass(frozen=True)
class Tile:
    """A tile as the model takes it, and its cells.

    Attributes
    ----------
    place
        Number of the sample, row and column.
    window
        ``(M, side, side)``, normalised.
    means
        Sparse ``(cells, side * side)``, of which each row averages the pixels of a cell.
    rows
        ``(cells,)`` places of the cells among those of the run.
    """

    place: tuple[int, int, int]
    window: torch.Tensor
    means: Any
    rows: np.ndarray


@dataclass(frozen=True)
class PartlySeen:
    """Cells of some tiles, in memory, whose markers are predicted from whichever are seen.

    Attributes
    ----------
    job
        Of the run.
    tiles
        Those that hold cells.
    batch_size
        Tiles that the model is given at once.
    """

    job: PaintJob
    tiles: list[Tile]
    batch_size: int

    @property
    def rows(self) -> np.ndarray:
        """Places of the cells among those of the run ``(n,)``, tile by tile."""
        return np.concatenate([tile.rows for tile in self.tiles])

    def measured(self) -> np.ndarray:
        """Means of the markers over the cells as the model would see them ``(n, M)``."""
        return np.concatenate([tile.means @ _flat(tile.window.numpy()) for tile in self.tiles])

    def predicted(self, seen: Sequence[int], asked: Sequence[int]) -> np.ndarray:
        """Means ``(n, k)`` of the markers that are asked for, with all tokens hidden but those of the seen ones."""
        device, n = self.job.encoder.device, self.job.n_tokens
        means = []
        with torch.inference_mode():
            for first in range(0, len(self.tiles), self.batch_size):
                part = self.tiles[first : first + self.batch_size]
                masks = np.ones((len(part), self.job.n_channels, n, n), bool)
                masks[:, list(seen)] = False
                windows = torch.stack([tile.window for tile in part]).to(device)
                pixels = self.job.predict(windows, masks, list(asked)).float().cpu().numpy()
                for tile, one in zip(part, pixels, strict=True):
                    number, y, x = tile.place
                    self.job.refuse_nan(one.reshape(1, -1), np.array([f"at row {y}, column {x}"]), number)
                    means.append(tile.means @ _flat(one))
        return np.concatenate(means)


def _flat(pixels: np.ndarray) -> np.ndarray:
    return pixels.reshape(len(pixels), -1).T.astype(np.float64)


def places_of_tiles(plan: RunPlan, inputs: Inputs, cells: Cells) -> np.ndarray:
    """Sample, row and column ``(n, 3)`` of the tiles in which cells lie as a whole."""
    job = cast(PaintJob, plan.job)
    places = []
    for block in cast("list[TileBlock]", plan.blocks):
        shape = inputs.raw[block.sample].shape
        y0, y1, x0, x1 = (cells.boxes[cells.sample == block.sample] / inputs.ratios[block.sample]).T
        for y, x in block.starts:
            inside = np.ones(len(y0), bool)
            for low, high, start, size in ((y0, y1, y, shape[0]), (x0, x1, x, shape[1])):
                stop = start + job.window  # a cell at an edge within the image may go on beyond it
                inside &= ((low > start) | (start == 0)) & ((high < stop) | (stop >= size))
                inside &= (low >= start) & (high <= max(stop, size))
            if inside.any():
                places.append((block.sample, int(y), int(x)))
    return np.array(sorted(places), np.int64).reshape(-1, 3)


def read_tiles(plan: RunPlan, inputs: Inputs, cells: Cells, places: np.ndarray, batch_size: int) -> PartlySeen:
    """Tiles at some places, with the cells that lie in them as a whole; a cell in two tiles is of the first.

    Raises
    ------
    ElementError
        If no cell does.
    """
    job, taken, tiles = cast(PaintJob, plan.job), np.zeros(len(cells.rows), bool), []
    for number, y, x in places.tolist():
        box = (y, y + job.window, x, x + job.window)
        own = np.flatnonzero((cells.sample == number) & ~taken)
        labels = inputs.raw[number].label_image(*box)
        order = own[np.argsort(cells.labels[own], kind="stable")]
        index = rows_of(cells.labels[order], labels.ravel())
        index[np.isin(labels.ravel(), _cut(labels, box, inputs.raw[number].shape))] = -1
        pixels = np.flatnonzero(index >= 0)
        if not pixels.size:
            continue
        there, local = np.unique(index[pixels], return_inverse=True)
        taken[order[there]] = True
        with torch.inference_mode():
            raw = torch.from_numpy(job.readers[number].pixels(*box))[None].to(job.encoder.device)
            window = job.normalized(raw)[0].float().cpu()
        tiles.append(Tile((number, y, x), window, _averages(local, pixels, labels.size), order[there]))
    if not tiles:
        raise ElementError(
            f"No cell lies within one of the {len(places)} tiles of {job.window} pixels that were drawn. Pass a larger "
            "max_tiles=, or recipe={'window': ...}."
        )
    return PartlySeen(job, tiles, batch_size)


def _cut(labels: np.ndarray, box: tuple[int, int, int, int], shape: tuple[int, int]) -> np.ndarray:
    """Labels at edges of a tile that are not borders of the image: a part of these cells may lie outside."""
    y0, y1, x0, x1 = box
    edges = [(labels[0], y0 > 0), (labels[-1], y1 < shape[0]), (labels[:, 0], x0 > 0), (labels[:, -1], x1 < shape[1])]
    return np.unique(np.concatenate([np.zeros(1, labels.dtype), *(edge for edge, inside in edges if inside)]))


def _averages(local: np.ndarray, pixels: np.ndarray, n_pixels: int) -> Any:
    from scipy.sparse import csr_array

    counts = np.bincount(local)
    return csr_array((1 / counts[local], (local, pixels)), shape=(len(counts), n_pixels))
