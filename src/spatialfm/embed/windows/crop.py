"""One window a cell: cut around its centroid, masked to the cell, one row each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..result.rows import Rows, WindowRows
from ..run.engine import Job
from ..run.store import BlockStore
from .blocks import CellBlock, fitting_window, plan_blocks, window_starts
from .pool import cell_masks, cut_windows

_AT_ONCE = 1024  # cells between two steps of the bar


@dataclass(frozen=True)
class CropJob(Job[CellBlock]):
    """Windows centred on cells.

    Attributes
    ----------
    extents
        Side that each cell needs in model pixels, ``(n,)``, where the model takes any window that holds the cell: a
        batch is then cut no larger than its largest cell, and one merged giant does not set the cost of all others.
    """

    extents: np.ndarray | None = None
    of_cells = True  # whether a window is masked to its cell; False for a job whose windows are measured whole

    @property
    def starts(self) -> np.ndarray:
        """First row and column of each window, ``(n, 2)``."""
        starts = window_starts(self.centers, self.window)
        if not self.encoder.card.pads:  # windows stay inside; those of cells at the edge are moved
            last = np.array([reader.shape for reader in self.readers])[self.sample] - self.window
            starts = np.clip(starts, 0, last)
        return starts

    def plan(self, side: int) -> list[CellBlock]:
        """Cells by the square of `side` model pixels of their centroid."""
        starts, blocks = self.starts, []
        for number in range(len(self.readers)):
            members = np.flatnonzero(self.sample == number)
            blocks += plan_blocks(number, members, starts[members], self.window, side)
        return blocks

    def encode_block(
        self,
        block: CellBlock,
        pixels: np.ndarray,
        labels: np.ndarray,
        batch_size: int,
        advance: Callable[[int], object] = lambda n: None,
    ) -> dict[str, np.ndarray]:
        """Rows of the block's cells."""
        if self.measures:
            return self._measured(block, pixels, labels, advance)
        device = self.encoder.device
        region, label_image = torch.from_numpy(pixels).to(device), torch.from_numpy(labels).to(device)
        order = np.arange(len(block.cells))
        if self.extents is not None:
            order = np.argsort(self.extents[block.cells], kind="stable")
        corners = self.starts[block.cells] - (block.y0, block.x0)
        rows: dict[str, np.ndarray] = {}
        with torch.inference_mode():
            for first in range(0, len(order), batch_size):
                part = order[first : first + batch_size]
                cells = block.cells[part]
                side = self.window if self.extents is None else fitting_window(self.extents[cells], self.window)
                starts = torch.from_numpy(corners[part] + (self.window // 2 - side // 2)).to(device)
                masks = self._masks(label_image, starts, torch.from_numpy(self.labels[cells]).to(device), side)
                outputs = self.encode(cut_windows(region, starts, side), masks)
                for name in self.outputs:
                    # `marker`: (B, M, D) becomes (B, M * D), marker by marker
                    encoded = getattr(outputs, name).flatten(1)
                    if name not in rows:
                        rows[name] = np.empty((len(order), encoded.shape[1]), np.float32)
                    rows[name][part] = encoded.float().cpu().numpy()
                advance(len(part))
        for values in rows.values():
            self.refuse_nan(values, self.labels[block.cells], block.sample)
        return rows

    @property
    def measures(self) -> bool:
        """Whether the encoder measures cells on a block's pixels, without windows."""
        return (
            self.of_cells
            and hasattr(self.encoder, "measure_cells")
            and self.encoder.device.type == "cpu"
            and not self.compile
        )

    def _measured(
        self, block: CellBlock, pixels: np.ndarray, labels: np.ndarray, advance: Callable[[int], object]
    ) -> dict[str, np.ndarray]:
        sides = np.full(len(block.cells), self.window)
        if self.extents is not None:
            sides = np.minimum(np.maximum(2 * np.ceil(self.extents[block.cells] / 2), 2), self.window).astype(np.int64)
        starts = self.starts[block.cells] - (block.y0, block.x0) + (self.window // 2 - sides // 2)[:, None]
        std, parts = self.std.numpy(), []
        for first in range(0, len(sides), _AT_ONCE):
            part = slice(first, first + _AT_ONCE)
            cells = self.labels[block.cells[part]]
            encoder: Any = self.encoder  # one that measures cells
            parts.append(encoder.measure_cells(pixels, labels, cells, starts[part], sides[part], std))
            advance(len(cells))
        rows = np.concatenate(parts)
        self.refuse_nan(rows, self.labels[block.cells], block.sample)
        return {"patch": rows}

    def _masks(self, labels: torch.Tensor, starts: torch.Tensor, cells: torch.Tensor, side: int) -> torch.Tensor:
        return cell_masks(labels, starts, cells, side)

    def own(self, block: CellBlock) -> object:
        """The block's cells: their labels, where windows are masked to them, centres and sizes, in their order."""
        cells = block.cells
        return [
            self.labels[cells] if self.of_cells else None,
            self.centers[cells],
            None if self.extents is None else self.extents[cells],
        ]

    def rows(self, blocks: Sequence[CellBlock], store: BlockStore) -> Mapping[str, Rows]:
        """Each output's rows, gathered from the blocks."""
        members = [block.cells for block in blocks]
        return {name: WindowRows(store, members, name) for name in self.outputs}


@dataclass(frozen=True)
class PointJob(CropJob):
    """Windows around cells without outline: nothing is masked."""

    of_cells = False

    def _masks(self, labels: torch.Tensor, starts: torch.Tensor, cells: torch.Tensor, side: int) -> torch.Tensor:
        return torch.ones((len(starts), side, side), dtype=torch.bool, device=starts.device)
