"""The run: blocks are read while the model works on the one before; every finished block is kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from tqdm.auto import tqdm

from .._errors import RunError
from .._logging import logger
from .._settings import settings
from .pool import encode_windows
from .reader import SampleReader
from .store import BlockStore

if TYPE_CHECKING:
    from ..models.encoder import Encoder


class Block(Protocol):
    """A part of one image, read at once; the region may leave the image."""

    sample: int
    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def n_units(self) -> int:
        """Windows to encode."""


@dataclass(frozen=True)
class Job:
    """All that is needed to turn blocks into rows; how it is done is the subclass's (`CropJob`, `TileJob`).

    Attributes
    ----------
    encoder
        On the device where it is to run.
    readers
        One a sample.
    labels
        Label of each cell of the run, ``(n,)``.
    sample
        Number of the sample of each cell, ``(n,)``.
    centers
        Centroid (y, x) of each cell in model pixels, ``(n, 2)``.
    markers
        Ids, names or embeddings of the markers, or None.
    mean, std
        Statistics of the markers, ``(M,)``.
    window, background, output
        Side in model pixels; ``"zero"`` or ``"keep"``; ``"marker"`` or ``"patch"``.
    autocast
        Whether the encoder computes in bfloat16 where that is safe.
    """

    encoder: Encoder
    readers: Sequence[SampleReader]
    labels: np.ndarray
    sample: np.ndarray
    centers: np.ndarray
    markers: torch.Tensor | list[str] | None
    mean: torch.Tensor
    std: torch.Tensor
    window: int
    background: str
    output: str
    autocast: bool = False

    unit = "window"

    def plan(self, side: int) -> list[Block]:
        """Blocks of about `side` model pixels that hold all windows."""
        raise NotImplementedError

    def encode_block(
        self,
        block: Block,
        pixels: np.ndarray,
        labels: np.ndarray,
        batch_size: int,
        advance: Callable[[int], object] = lambda n: None,
    ) -> dict[str, np.ndarray]:
        """What is stored of a block, from its pixels ``(M, h, w)`` and labels ``(h, w)``."""
        raise NotImplementedError

    def collect(self, blocks: Sequence[Block], store: BlockStore) -> np.ndarray:
        """Rows ``(n, columns)``, float32, in the order of `labels`."""
        raise NotImplementedError

    def encode(self, windows: torch.Tensor, masks: torch.Tensor | None):
        """Outputs of the encoder for scaled windows ``(B, M, side, side)``."""
        with torch.autocast(windows.device.type, torch.bfloat16, enabled=self.autocast):
            return encode_windows(
                self.encoder, windows, masks, self.markers, self.mean, self.std, background=self.background
            )

    def refuse_nan(self, rows: np.ndarray, labels: np.ndarray, sample: int) -> None:
        """Stop where the model returned NaN, and say for which cell."""
        bad = ~np.isfinite(rows).all(axis=1)
        if bad.any():
            raise RunError(
                f"The model returned NaN for cell {labels[int(np.argmax(bad))]} of image "
                f"{self.readers[sample].name!r}. "
                "Check the pixels there with sfm.pl.cells, or the weights."
            )


def choose_batch_size(encoder: Encoder, n_markers: int, window: int, memory: int) -> int:
    """Windows in a batch whose pixels and activations take about `memory` bytes.

    Counts 4 bytes for each of 8 copies of a window's pixels and, for a transformer, 16 activations of width ``D`` a
    token (input, normed, three projections, attention, feed-forward of four widths, residuals).
    """
    values = 8 * window**2
    if encoder.card.patch_size and encoder.card.embedding_dim:
        stride = encoder.card.patch_size // (2 if encoder.options.get("token_overlap") else 1)
        values += 16 * encoder.card.embedding_dim * (window / stride) ** 2
    # a model that takes any window is given small batches of cells of like size: the largest sets the cost of all
    return int(np.clip(memory // (4 * values * n_markers), 1, 32 if encoder.card.window is None else 256))


def run(job: Job, blocks: Sequence[Block], store: BlockStore, *, batch_size: int) -> tuple[np.ndarray, float]:
    """Encode all blocks, keeping each in `store`, and put the rows together.

    Returns
    -------
    Rows ``(n, columns)``, float32, in the order of ``job.labels``, and the seconds spent.

    Raises
    ------
    RunError
        If reading or writing fails; what is finished stays in the store.
    """
    started = time.perf_counter()
    todo = [number for number in range(len(blocks)) if not store.has(number)]
    total = sum(block.n_units for block in blocks)
    n_done = total - sum(blocks[number].n_units for number in todo)
    if n_done:
        logger.info("resuming: %d of %d %ss are there already (%s)", n_done, total, job.unit, store.path)
    bar = tqdm(
        total=total,
        initial=n_done,
        desc=f"{job.unit}s",
        unit=job.unit,
        smoothing=0.1,
        disable=not settings.progress,
    )
    try:
        with bar:
            for number, pixels, labels in _read_ahead(job, blocks, todo):
                arrays, batch_size = _encode(job, blocks[number], pixels, labels, batch_size, bar.update)
                store.write(number, **arrays)
    except KeyboardInterrupt:
        logger.warning("stopped; finished blocks are kept in %s, and the same call goes on from there", store.path)
        raise
    return job.collect(blocks, store), time.perf_counter() - started


def _encode(
    job: Job,
    block: Block,
    pixels: np.ndarray,
    labels: np.ndarray,
    batch_size: int,
    advance: Callable[[int], object],
) -> tuple[dict[str, np.ndarray], int]:
    """Arrays of a block, with batches halved until they fit into memory; and the size that did."""
    while True:
        done = [0]  # what the bar has been told of this try

        def tell(n: int, done: list[int] = done) -> None:
            done[0] += n
            advance(n)

        try:
            return job.encode_block(block, pixels, labels, batch_size, tell), batch_size
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            if batch_size == 1:
                raise RunError(
                    f"One window of {job.window} pixels does not fit into the memory of {job.encoder.device}: {error}. "
                    "Finished blocks are kept. Pass fewer markers=, a smaller window=, or device='cpu'."
                ) from error
            batch_size //= 2
            advance(-done[0])
            logger.warning("out of memory: going on with batches of %d", batch_size)


def _is_out_of_memory(error: Exception) -> bool:
    # CUDA has a class of its own (a RuntimeError); the allocators of CPU and MPS only say it
    text = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text


def _read_ahead(job: Job, blocks: Sequence[Block], todo: Sequence[int]) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Blocks with their pixels and labels; the next is read while the caller works on this one."""

    def read(number: int) -> tuple[np.ndarray, np.ndarray]:
        block, reader = blocks[number], job.readers[blocks[number].sample]
        region = (block.y0, block.y1, block.x0, block.x1)
        try:
            return reader.pixels(*region), reader.label_image(*region)
        except RunError:
            raise
        except Exception as error:
            raise RunError(
                f"Cannot read image {reader.name!r} or labels {reader.labels_name!r} at rows {block.y0} to {block.y1}, "
                f"columns {block.x0} to {block.x1}: {error}. Finished blocks are kept: mend the file and repeat the "
                "call."
            ) from error

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="spatialfm-read") as pool:
        coming: Future | None = pool.submit(read, todo[0]) if todo else None
        for place, number in enumerate(todo):
            pixels, labels = coming.result()
            coming = pool.submit(read, todo[place + 1]) if place + 1 < len(todo) else None
            yield number, pixels, labels
