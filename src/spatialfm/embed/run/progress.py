"""Bars of a run: cells over all images, and below it the windows of the image at hand."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from ..._progress import progress_bar

if TYPE_CHECKING:
    from tqdm.auto import tqdm

    from .block import Block


class Progress:
    """Two nested bars; several threads may tell them.

    Parameters
    ----------
    blocks
        All blocks of the run.
    todo
        Numbers of those that are not finished.
    names
        Name of each image.
    unit
        What the rows are, ``"cell"`` or ``"tile"``.
    """

    def __init__(self, blocks: Sequence[Block], todo: Sequence[int], names: Sequence[str], unit: str) -> None:
        waiting = set(todo)
        self.blocks, self.names, self.unit = blocks, names, unit
        self.n_total = sum(block.n_rows for block in blocks)
        self.n_done = sum(block.n_rows for number, block in enumerate(blocks) if number not in waiting)
        self.left = [[0, 0] for _ in names]  # windows of each image: done, all
        for number, block in enumerate(blocks):
            self.left[block.sample][0] += block.n_windows if number not in waiting else 0
            self.left[block.sample][1] += block.n_windows
        self.lock, self.sample = threading.Lock(), -1
        self.inner: tqdm | None = None

    def __enter__(self) -> Progress:
        self.outer = progress_bar(
            total=self.n_total,
            initial=self.n_done,
            desc=f"{self.unit}s",
            unit=self.unit,
            smoothing=0.1,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.inner is not None:
            self.inner.close()
        self.outer.close()

    def windows(self, block: Block) -> Callable[[int], None]:
        """What to call with the number of windows done of a block; fewer than none where a batch is taken back."""
        done = [0]

        def tell(n: int) -> None:
            with self.lock:
                before, done[0] = done[0], done[0] + n
                share = block.n_rows / max(block.n_windows, 1)
                self.outer.update(round(done[0] * share) - round(before * share))
                self._show(block.sample, n)

        return tell

    def block(self, number: int) -> None:
        """A whole block is done."""
        self.windows(self.blocks[number])(self.blocks[number].n_windows)

    def _show(self, sample: int, n: int) -> None:
        self.left[sample][0] += n
        if sample != self.sample:
            if self.inner is not None:
                self.inner.close()
            self.sample = sample
            done, total = self.left[sample]
            self.inner = progress_bar(
                total=total,
                initial=done - n,
                desc=self.names[sample],
                unit="window",
                position=1,
                leave=False,
            )
        if self.inner is not None:
            self.inner.update(n)
