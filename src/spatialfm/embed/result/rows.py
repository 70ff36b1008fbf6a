"""Rows of a run gathered from its finished blocks, a range at a time: a run need never be whole in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch

from ..run.store import BlockStore


class Rows(Protocol):
    """An embedding ``(n, columns)`` that is read range by range."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows ``start`` to ``stop``, float32 ``(stop - start, columns)``."""


class WindowRows:
    """Every row is in one block.

    Parameters
    ----------
    store
        Finished blocks.
    members
        Rows of the result that each block holds, in its order.
    name
        Array of a block.
    """

    def __init__(self, store: BlockStore, members: Sequence[np.ndarray], name: str) -> None:
        n = sum(map(len, members))
        self.store, self.name = store, name
        self.block, self.place = np.empty(n, np.int32), np.empty(n, np.int64)
        for number, rows in enumerate(members):
            self.block[rows], self.place[rows] = number, np.arange(len(rows))
        self.shape = (n, store.read(0, name).shape[1])

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows ``start`` to ``stop``, float32."""
        out = np.empty((stop - start, self.shape[1]), np.float32)
        for number, rows in _by_block(self.block[start:stop]):
            out[rows] = self.store.read(number, self.name)[self.place[start + rows]]
        return out


class SharedRows:
    """Every row is a sum over the blocks whose tiles hold the cell, divided by the pixels counted.

    Parameters
    ----------
    store
        Finished blocks: ``cells`` (numbers within the sample), ``pixels`` and the array `name` of sums.
    members
        Of each block the rows of the result that are its sample's, by these numbers.
    n_rows
        Rows of the result.
    name
        Array of a block.
    lost
        Rows of cells that no pixel of any tile hits.
    """

    def __init__(
        self,
        store: BlockStore,
        members: Sequence[np.ndarray],
        n_rows: int,
        name: str,
        lost: dict[int, np.ndarray] | None = None,
    ) -> None:
        cells = [rows[store.read(number, "cells")] for number, rows in enumerate(members)]
        block = np.repeat(np.arange(len(members), dtype=np.int32), [len(part) for part in cells])
        place = np.concatenate([np.arange(len(part)) for part in cells])
        cell = np.concatenate(cells)
        order = np.argsort(cell, kind="stable")  # sums are always made in the order of the blocks
        self.store, self.name, self.lost = store, name, lost or {}
        self.cell, self.block, self.place = cell[order], block[order], place[order]
        self.pixels = count_pixels(store, members, n_rows)
        self.shape = (n_rows, store.read(0, name).shape[1])

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows ``start`` to ``stop``, float32."""
        out = np.zeros((stop - start, self.shape[1]), np.float32)
        first, last = np.searchsorted(self.cell, (start, stop))
        cell, place = self.cell[first:last] - start, self.place[first:last]
        summed = torch.from_numpy(out)
        for number, entries in _by_block(self.block[first:last]):
            part = self.store.read(number, self.name)[place[entries]]
            summed.index_add_(0, torch.from_numpy(cell[entries]), torch.from_numpy(part))
        out /= np.maximum(self.pixels[start:stop], 1)[:, None].astype(np.float32)
        for row, values in self.lost.items():
            if start <= row < stop:
                out[row - start] = values
        return out


def count_pixels(store: BlockStore, members: Sequence[np.ndarray], n_rows: int) -> np.ndarray:
    """Pixels that all tiles together count of each cell, ``(n_rows,)``."""
    pixels = np.zeros(n_rows)
    for number, rows in enumerate(members):
        pixels[rows[store.read(number, "cells")]] += store.read(number, "pixels")
    return pixels


def _by_block(blocks: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Each block number with its ascending positions."""
    order = np.argsort(blocks, kind="stable")
    edges = np.flatnonzero(np.diff(blocks[order])) + 1
    for part in np.split(order, edges):
        if len(part):
            yield int(blocks[part[0]]), part
