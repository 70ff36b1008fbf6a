"""Tiles as separate units: a grid of squares over the tissue, one row each, no segmentation needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..._errors import ModelError
from ..inputs import Inputs
from ..pixels.reader import SampleReader
from ..pixels.tissue import find_tissue, share_of_tissue, tissue_notes
from ..plan import OF_WINDOWS, RunPlan, check_window, choose_outputs, finish_plan
from .blocks import choose_window
from .crop import PointJob
from .tiles import tile_starts

WINDOW = 64  # model pixels of a tile, of models whose recipe has no window


@dataclass(frozen=True)
class Grid:
    """Tiles of all samples, sample by sample, row by row.

    Attributes
    ----------
    sample
        Number of the sample, ``(n,)``.
    starts
        First row and column in model pixels, ``(n, 2)``.
    coverage
        Share of the tile that is tissue, ``(n,)``.
    """

    sample: np.ndarray
    starts: np.ndarray
    coverage: np.ndarray


@dataclass(frozen=True)
class GridJob(PointJob):
    """Whole windows: nothing is masked."""

    unit = "tile"
    made_by = "sfm.tl.embed_tiles"
    side_argument = "size"


def tissue_grid(readers: Sequence[SampleReader], size: int, stride: int, min_tissue: float) -> Grid:
    """Tiles of `size` model pixels at `stride` of which at least `min_tissue` is tissue.

    The last row and column of tiles end at the image's edge. A side of the image that is shorter than a tile takes one
    tile, which reaches beyond it.
    """
    samples, starts, coverage = [], [], []
    for number, reader in enumerate(readers):
        rows, columns = (tile_starts(length, size, stride) for length in reader.shape)
        corners = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)
        share = share_of_tissue(*find_tissue(reader), reader.shape, corners, size)
        has_tissue = share >= min_tissue
        samples.append(np.full(has_tissue.sum(), number))
        starts.append(corners[has_tissue])
        coverage.append(share[has_tissue])
    return Grid(np.concatenate(samples), np.concatenate(starts), np.concatenate(coverage))


def plan_grid(inputs: Inputs, size: int | None, stride: int | None, min_tissue: float) -> tuple[RunPlan, Grid]:
    """One window a tile of the grid.

    Raises
    ------
    ModelError
        If the model has no output for whole windows, sizes make no sense, or no tile holds enough tissue.
    """
    card, recipe = inputs.encoder.card, inputs.request.recipe
    offered = [name for name in card.outputs if name in OF_WINDOWS]
    outputs = choose_outputs(inputs.encoder, inputs.request, offered, "tiles")
    size = choose_window(size or recipe.window or WINDOW, card.patch_size, np.zeros(0), argument="size")
    check_window(inputs, size, argument="size")
    stride = size if stride is None else stride
    if stride < 1 or not 0 <= min_tissue <= 1:
        raise ModelError(f"stride={stride} must be 1 or more, and min_tissue={min_tissue} from 0 to 1.")
    grid = tissue_grid(inputs.raw, size, stride, min_tissue)
    if not len(grid.sample):
        raise ModelError(
            f"No tile of {size} pixels holds {min_tissue:.0%} of tissue. Pass a smaller size= or min_tissue=."
        )
    job = GridJob(
        **inputs.job_arguments(outputs, "keep", size),
        labels=np.arange(len(grid.sample)),
        sample=grid.sample,
        centers=grid.starts + size // 2,
    )
    notes = inputs.notes | tissue_notes(list(inputs.notes["channels"]), inputs.raw, used=True)
    notes |= {"mode": "grid", "background": "keep", "window": size, "stride": stride}
    return finish_plan(inputs, job, notes | {"min_tissue": min_tissue}), grid
