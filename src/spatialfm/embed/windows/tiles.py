"""Windows laid over a whole image, and their tokens shared out to the cells below."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..._types import present
from ...pp.measure import rows_of
from ..result.rows import Rows, SharedRows, count_pixels
from ..run.engine import Job
from ..run.store import BlockStore
from .blocks import window_starts
from .pool import cut_windows

if TYPE_CHECKING:
    from ...models.encoder import EncoderOutput


def tile_starts(size: int, window: int, stride: int, padding: int = 0) -> np.ndarray:
    """First pixel of each tile along one axis; the last one ends at the edge.

    Parameters
    ----------
    size
        Length of the axis.
    window, stride
        Side of a tile, and distance of one to the next.
    padding
        Pixels by which the tiles reach beyond both ends.

    Examples
    --------
    >>> tile_starts(170, 128, 42), tile_starts(150, 128, 42), tile_starts(100, 128, 42)
    (array([ 0, 42]), array([ 0, 22]), array([0]))
    """
    first, last = -padding, size + padding - window
    if last <= first:
        return np.array([first])
    starts = np.arange(first, last + 1, stride)
    return starts if starts[-1] == last else np.append(starts, last)


def share_out(tokens: Sequence[Tensor], labels: Tensor, n_cells: int) -> tuple[Tensor, list[Tensor], Tensor]:
    """Sum the tokens over each cell, a token as often as it has pixels of the cell (VirTues, Methods, Aggregation).

    Parameters
    ----------
    tokens
        Of each output ``(B, h, w, D)``, with the same grid; each token is over an equal part of its window.
    labels
        ``(B, H, W)``, int64: 0 is background, ``i + 1`` the cell of number ``i``.
    n_cells
        Cells that there may be.

    Returns
    -------
    Numbers of the cells that these windows hold ``(k,)``, ascending, their sums ``(k, D)`` of each output, and pixels
    counted ``(k,)``; the ratio is the cell's embedding.

    Examples
    --------
    >>> import torch
    >>> tokens = torch.tensor([[[[1.0], [5.0]]]])  # one window, two tokens side by side
    >>> cells, (sums,), pixels = share_out([tokens], torch.tensor([[[1, 1, 1, 2]]]), 2)
    >>> sums.flatten().tolist(), pixels.tolist()  # cell 0: two pixels of the first token, one of the second
    ([7.0, 5.0], [3, 1])
    """
    n_windows, h, w, _ = tokens[0].shape
    rows = torch.arange(labels.shape[1], device=labels.device) * h // labels.shape[1]
    columns = torch.arange(labels.shape[2], device=labels.device) * w // labels.shape[2]
    position = (rows[:, None] * w + columns).expand_as(labels)
    window = torch.arange(n_windows, device=labels.device)[:, None, None]
    # which cell is in which window, then a histogram of each such pair over the window's tokens: nothing is sorted
    pair = (labels * n_windows + window).flatten()
    meets = torch.zeros((n_cells + 1) * n_windows, dtype=torch.bool, device=labels.device)
    meets[pair] = True
    meets[:n_windows] = True  # so that background takes the first places
    pairs = meets.nonzero()[n_windows:, 0]
    number = torch.cumsum(meets, 0) - 1
    histogram = torch.bincount(number[pair] * (h * w) + position.flatten(), minlength=(len(pairs) + n_windows) * h * w)
    histogram = histogram[n_windows * h * w :]
    filled = histogram.nonzero()[:, 0]
    pixels, pair = histogram[filled], pairs[filled // (h * w)]
    cells = meets.reshape(n_cells + 1, n_windows)[1:].any(1).nonzero()[:, 0]
    row = torch.searchsorted(cells, pair // n_windows - 1)
    token = pair % n_windows * (h * w) + filled % (h * w)
    overlap = torch.sparse_coo_tensor(
        torch.stack([row, token]),
        pixels.to(tokens[0].dtype),
        (len(cells), n_windows * h * w),
        device=labels.device,
        is_coalesced=True,  # by cell, then window, then token
        check_invariants=True,
    )
    sums = [torch.sparse.mm(overlap, part.reshape(-1, part.shape[-1])) for part in tokens]
    return cells, sums, torch.zeros(len(cells), dtype=torch.int64, device=labels.device).index_add_(0, row, pixels)


@dataclass(frozen=True)
class TileBlock:
    """Tiles of one image that are read together.

    Attributes
    ----------
    sample
        Number of the sample.
    starts
        First row and column of each tile in model pixels, ``(k, 2)``.
    n_rows
        Cells that it counts for on the bar: those whose centroid is in its square.
    y0, y1, x0, x1
        Region that covers the tiles; may leave the image.
    """

    sample: int
    starts: np.ndarray
    n_rows: int
    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def n_windows(self) -> int:
        """Tiles to encode."""
        return len(self.starts)


@dataclass(frozen=True)
class TileJob(Job[TileBlock]):
    """Overlapping tiles over whole images; every token is shared out to the cells below it.

    Attributes
    ----------
    stride, padding
        Distance of one tile to the next, and how far tiles reach beyond the image, in model pixels.
    """

    stride: int = 42
    padding: int = 120

    layout = "cells numbered within the sample"
    block_side = 512  # the sums of a block's cells are held at once: 1,300 cells in dense tissue

    @property
    def wanted_outputs(self) -> tuple[str, ...]:
        """Tokens of each marker, or of each position where the model has those."""
        pooled = "summary" if "summary" in self.encoder.card.outputs else "token"
        return tuple(dict.fromkeys("token" if name == "marker" else pooled for name in self.outputs))

    def plan(self, side: int) -> list[TileBlock]:
        """Tiles by the square of `side` model pixels that they begin in."""
        blocks = []
        for number, reader in enumerate(self.readers):
            members, _ = self._members[number]
            if not len(members):
                continue
            axes = [tile_starts(size, self.window, self.stride, self.padding) for size in reader.shape]
            squares = [np.floor_divide(starts, side) for starts in axes]
            rows, columns = (np.unique(part) for part in squares)
            # a cell counts where tiles that begin half a window before it do, or in the nearest such square
            centers = np.floor_divide(self.centers[members] - self.window / 2, side).astype(np.int64)
            places = [
                np.clip(np.searchsorted(known, centers[:, axis]), 0, len(known) - 1)
                for axis, known in enumerate((rows, columns))
            ]
            counts = np.bincount(places[0] * len(columns) + places[1], minlength=len(rows) * len(columns))
            for place, n_cells in enumerate(counts):
                row, column = rows[place // len(columns)], columns[place % len(columns)]
                ys, xs = axes[0][squares[0] == row], axes[1][squares[1] == column]
                starts = np.stack(np.meshgrid(ys, xs, indexing="ij"), axis=-1).reshape(-1, 2)
                (y0, x0), (y1, x1) = starts.min(axis=0), starts.max(axis=0) + self.window
                blocks.append(TileBlock(number, starts, int(n_cells), int(y0), int(y1), int(x0), int(x1)))
        return blocks

    def encode_block(
        self,
        block: TileBlock,
        pixels: np.ndarray,
        labels: np.ndarray,
        batch_size: int,
        advance: Callable[[int], object] = lambda n: None,
    ) -> dict[str, np.ndarray]:
        """Cells that the block's tiles hold, the sums of their tokens, and the pixels counted."""
        device = self.encoder.device
        cells, local = self._cells_of(labels, block.sample)
        region, label_image = torch.from_numpy(pixels).to(device), torch.from_numpy(local).to(device)
        sums: dict[str, torch.Tensor] = {}
        counted = torch.zeros(len(cells), dtype=torch.int64, device=device)
        with torch.inference_mode():
            for first in range(0, len(block.starts), batch_size):
                corners = block.starts[first : first + batch_size] - (block.y0, block.x0)
                starts = torch.from_numpy(corners).to(device)
                outputs = self.encode(cut_windows(region, starts, self.window), None)
                below = cut_windows(label_image, starts, self.window)
                tokens = [self.tokens_of(outputs, name).float() for name in self.outputs]
                present, shares, pixels_of = share_out(tokens, below, len(cells))
                for name, part in zip(self.outputs, shares, strict=True):
                    if name not in sums:
                        sums[name] = torch.zeros((len(cells), part.shape[1]), device=device)
                    sums[name].index_add_(0, present, part)
                counted.index_add_(0, present, pixels_of)
                advance(len(starts))
        arrays = {name: values.cpu().numpy() for name, values in sums.items()}
        for values in arrays.values():
            self.refuse_nan(values, self.labels[cells], block.sample)
        # numbered within the sample: another run, of more samples, may take the block
        of_sample = np.searchsorted(self._members[block.sample][1], self.labels[cells])
        return {"cells": of_sample, "pixels": counted.cpu().numpy().astype(np.float64), **arrays}

    def own(self, block: TileBlock) -> object:
        """The tiles, and the labels of the sample's cells, by which sums are numbered."""
        return [block.starts, self._members[block.sample][1]]

    def rows(self, blocks: Sequence[TileBlock], store: BlockStore) -> Mapping[str, Rows]:
        """Averages over all tiles; a cell that no pixel of the grid hits takes the token at its centroid."""
        members = [self._members[block.sample][0] for block in blocks]
        lost = np.flatnonzero(count_pixels(store, members, len(self.labels)) == 0)
        tokens = [self._token_at(int(cell)) for cell in lost]
        return {
            name: SharedRows(
                store,
                members,
                len(self.labels),
                name,
                {int(cell): token[name] for cell, token in zip(lost, tokens, strict=True)},
            )
            for name in self.outputs
        }

    @cached_property
    def _members(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Cells of each sample, by their label: positions in the run, and labels."""
        members = [np.flatnonzero(self.sample == number) for number in range(len(self.readers))]
        members = [part[np.argsort(self.labels[part])] for part in members]
        return [(part, self.labels[part]) for part in members]

    def _cells_of(self, labels: np.ndarray, sample: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions in the run of the cells of a region, and the region with their numbers from 1 on."""
        members, ids = self._members[sample]
        place = rows_of(ids, labels.ravel()).reshape(labels.shape)
        present = np.unique(place[place >= 0])
        local = np.zeros(len(members) + 1, np.int64)
        local[present] = np.arange(1, len(present) + 1)
        return members[present], local[place]  # the last entry, where place is -1, stays 0

    def tokens_of(self, outputs: EncoderOutput, name: str) -> torch.Tensor:
        """``(B, h, w, columns)``: all markers side by side, or one vector per position."""
        if name != "marker" and outputs.summary is not None:
            return outputs.summary
        tokens = present(outputs.token, "token of the encoder's output")
        return tokens.permute(0, 2, 3, 1, 4).flatten(3) if name == "marker" else tokens.mean(1)

    def _token_at(self, cell: int) -> dict[str, np.ndarray]:
        y, x = window_starts(self.centers[cell], self.window)
        region = self.readers[self.sample[cell]].pixels(y, y + self.window, x, x + self.window)
        with torch.inference_mode():
            outputs = self.encode(torch.from_numpy(region)[None].to(self.encoder.device), None)
        tokens = {name: self.tokens_of(outputs, name)[0] for name in self.outputs}
        return {
            name: part[part.shape[0] // 2, part.shape[1] // 2].float().cpu().numpy() for name, part in tokens.items()
        }
