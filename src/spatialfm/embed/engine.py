"""The run: blocks are read while the model works on the one before; every finished block is kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from tqdm.auto import tqdm

from .._errors import ModelError, RunError
from .._logging import logger
from .._settings import settings
from .pool import cell_masks, cut_windows, encode_windows
from .reader import SampleReader
from .store import BlockStore
from .windows import Block, fitting_window

if TYPE_CHECKING:
    from ..models.encoder import Encoder


@dataclass(frozen=True)
class Job:
    """All that is needed to turn blocks into rows.

    Attributes
    ----------
    encoder
        On the device where it is to run.
    readers
        One a sample.
    labels
        Label of each cell of the run, ``(n,)``.
    starts
        First row and column of each window in model pixels, ``(n, 2)``.
    markers
        Ids or embeddings of the markers, or None.
    mean, std
        Statistics of the markers, ``(M,)``.
    window, background, output
        Side in model pixels; ``"zero"`` or ``"keep"``; which output becomes the row.
    extents
        Side that each cell needs in model pixels, ``(n,)``, where the model takes any window that holds the cell: a
        batch is then cut no larger than its largest cell, and one merged giant does not set the cost of all others.
    """

    encoder: Encoder
    readers: Sequence[SampleReader]
    labels: np.ndarray
    starts: np.ndarray
    markers: torch.Tensor | None
    mean: torch.Tensor
    std: torch.Tensor
    window: int
    background: str
    output: str
    extents: np.ndarray | None = None


def resolve_device(device: str | None) -> torch.device:
    """The torch device meant by ``"auto"`` (cuda, mps, cpu) or named outright."""
    name = str(device or settings.device)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # torch without CUDA raises the latter
        raise ModelError(f"Device {name!r} cannot be used here: {error}. Pass device='cpu' or 'auto'.") from error


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
    n_done = len(job.labels) - sum(len(blocks[number].cells) for number in todo)
    if n_done:
        logger.info("resuming: %d of %d cells are there already (%s)", n_done, len(job.labels), store.path)
    bar = tqdm(
        total=len(job.labels), initial=n_done, desc="cells", unit="cell", smoothing=0.1, disable=not settings.progress
    )
    try:
        with bar:
            for number, pixels, labels in _read_ahead(job, blocks, todo):
                rows = encode_block(job, blocks[number], pixels, labels, batch_size, bar.update)
                store.write(number, rows)
    except KeyboardInterrupt:
        logger.warning("stopped; finished blocks are kept in %s, and the same call goes on from there", store.path)
        raise
    rows = None
    for number, block in enumerate(blocks):
        part = store.read(number)
        if rows is None:
            rows = np.empty((len(job.labels), part.shape[1]), np.float32)
        rows[block.cells] = part
    return rows, time.perf_counter() - started


def encode_block(
    job: Job,
    block: Block,
    pixels: np.ndarray,
    labels: np.ndarray,
    batch_size: int,
    advance: Callable[[int], object] = lambda n: None,
) -> np.ndarray:
    """Rows of the cells of one block, float32 ``(n, columns)``."""
    device = job.encoder.device
    region, label_image = torch.from_numpy(pixels).to(device), torch.from_numpy(labels).to(device)
    order = np.arange(len(block.cells)) if job.extents is None else np.argsort(job.extents[block.cells], kind="stable")
    rows: np.ndarray | None = None
    with torch.inference_mode():
        for first in range(0, len(order), batch_size):
            part = order[first : first + batch_size]
            cells = block.cells[part]
            side = job.window if job.extents is None else fitting_window(job.extents[cells], job.window)
            corner = job.starts[cells] - (block.y0, block.x0) + (job.window // 2 - side // 2)
            starts = torch.from_numpy(corner).to(device)
            encoded = encode_windows(
                job.encoder,
                cut_windows(region, starts, side),
                cell_masks(label_image, starts, torch.from_numpy(job.labels[cells]).to(device), side),
                job.markers,
                job.mean,
                job.std,
                background=job.background,
                output=job.output,
            )
            if rows is None:
                rows = np.empty((len(order), encoded.shape[1]), np.float32)
            rows[part] = encoded.float().cpu().numpy()
            advance(len(encoded))
    if not np.isfinite(rows).all():
        cell = job.labels[block.cells[int(np.argmax(~np.isfinite(rows).all(axis=1)))]]
        raise RunError(
            f"The model returned NaN for cell {cell} of image {job.readers[block.sample].name!r}. Check the pixels "
            "there "
            "with sfm.pl.cells, or the weights."
        )
    return rows


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
