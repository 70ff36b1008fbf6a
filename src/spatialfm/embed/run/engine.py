"""The run: blocks are read while the model works on the one before; every finished block is kept."""

from __future__ import annotations

import copy
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import torch

from ..._errors import RunError, counted
from ..._logging import logger
from ...pp.measure import one_thread
from ..pixels.reader import SampleReader
from ..result.rows import Rows
from ..windows.pool import encode_windows
from .block import Block
from .progress import Progress
from .store import BlockStore

if TYPE_CHECKING:
    from ...models.encoder import Encoder, EncoderOutput
    from ...models.recipe import Recipe


B = TypeVar("B", bound=Block)


@dataclass(frozen=True)
class Job(Generic[B]):
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
    window, background, outputs
        Side in model pixels; ``"zero"`` or ``"keep"``; ``"marker"``, ``"patch"`` or both.
    autocast
        Whether the encoder computes in bfloat16 where that is safe.
    compile
        Whether the encoder is compiled before its first batch.
    recipe
        How the encoder is used; None: as on its card.
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
    outputs: tuple[str, ...]
    autocast: bool = False
    compile: bool = False
    recipe: Recipe | None = None

    unit = "cell"
    made_by = "sfm.tl.embed_cells"  # what the user calls
    side_argument = "window"  # what the user calls the side of a window
    layout = ""  # to be changed with what an array of a block holds: a block of another is never read
    block_side = 1024  # model pixels that are read at a time; decides memory and speed, never the numbers

    def plan(self, side: int) -> list[B]:
        """Blocks of about `side` model pixels that hold all windows."""
        raise NotImplementedError

    def encode_block(
        self,
        block: B,
        pixels: np.ndarray,
        labels: np.ndarray,
        batch_size: int,
        advance: Callable[[int], object] = lambda n: None,
    ) -> dict[str, np.ndarray]:
        """What is stored of a block, from its pixels ``(M, h, w)`` and labels ``(h, w)``."""
        raise NotImplementedError

    def own(self, block: B) -> object:
        """What decides the arrays of a block besides its image, its region and what all blocks share.

        None: an array holds what only this run understands, so that no other may take it.
        """
        return None

    def rows(self, blocks: Sequence[B], store: BlockStore) -> Mapping[str, Rows]:
        """Each output's rows ``(n, columns)``, in the order of `labels`, once all blocks are finished."""
        raise NotImplementedError

    @cached_property
    def module(self) -> Callable:
        """What is called: the encoder, or its compiled form."""
        return torch.compile(self.encoder) if self.compile else self.encoder

    def encode(self, windows: torch.Tensor, masks: torch.Tensor | None) -> EncoderOutput:
        """Outputs of the encoder for scaled windows ``(B, M, side, side)``."""
        with torch.autocast(windows.device.type, torch.bfloat16, enabled=self.autocast):
            return encode_windows(
                self.encoder,
                windows,
                masks,
                self.markers,
                self.mean,
                self.std,
                background=self.background,
                outputs=self.wanted_outputs,
                module=self.module,
                recipe=self.recipe,
            )

    @property
    def wanted_outputs(self) -> tuple[str, ...]:
        """Outputs of the encoder that are needed for `outputs`."""
        return self.outputs

    def to(self, device: torch.device | str) -> Job:
        """The job on another device, with its own encoder."""

        def moved(value: Any) -> Any:
            return value.to(device) if isinstance(value, torch.Tensor) else value

        return replace(
            self,
            encoder=copy.deepcopy(self.encoder).to(device),
            markers=moved(self.markers),
            mean=moved(self.mean),
            std=moved(self.std),
        )

    def refuse_nan(self, rows: np.ndarray, labels: np.ndarray, sample: int) -> None:
        """Stop if the model returned NaN, and name the cell."""
        bad = ~np.isfinite(rows).all(axis=1)
        if bad.any():
            raise RunError(
                f"The model returned NaN for {self.unit} {labels[int(np.argmax(bad))]} of image "
                f"{self.readers[sample].name!r}. Look at the pixels there, or check the weights."
            )


def choose_batch_size(encoder: Encoder, n_markers: int, window: int, memory: int) -> int:
    """Windows in a batch whose pixels and activations take about `memory` bytes, see `window_bytes`."""
    # a model that takes any window is given small batches of cells of like size: the largest sets the cost of all
    most = 32 if encoder.card.recipe.window is None else 256
    return int(np.clip(memory // window_bytes(encoder, n_markers, window), 1, most))


def window_bytes(encoder: Encoder, n_markers: int, window: int) -> float:
    """Bytes that the pixels and activations of one window take.

    Counts 4 bytes for each of 8 copies of a window's pixels and, for a transformer, 16 activations of width ``D`` a
    token (input, normed, three projections, attention, feed-forward of four widths, residuals).
    """
    values: float = 8 * window**2
    if encoder.token_spacing and encoder.card.embedding_dim:
        values += 16 * encoder.card.embedding_dim * (window / encoder.token_spacing) ** 2
    return 4 * values * n_markers


def run(
    jobs: Sequence[Job], blocks: Sequence[Block], store: BlockStore, *, batch_size: int, spread: Callable | None = None
) -> float:
    """Encode all blocks, keeping each in `store`.

    Parameters
    ----------
    jobs
        The job, once for each device that takes blocks.
    blocks
        Of ``job.plan``.
    store
        Where finished blocks are kept; those that are there are not done again.
    batch_size
        Windows a batch; halved where memory does not suffice.
    spread
        Runs blocks elsewhere: called with the job, the blocks, the numbers to do, the store, and what to call with each
        number that is done.

    Returns
    -------
    Seconds spent.

    Raises
    ------
    RunError
        If reading, encoding or writing fails; what is finished stays in the store.
    """
    started = time.perf_counter()
    todo = store.unfinished(len(blocks))
    if others := store.others():
        logger.info("the same call is at work (%s): the blocks are shared with it", others[0])
        todo.reverse()  # it began at the other end
    names = [reader.name for reader in jobs[0].readers]
    with Progress(blocks, todo, names, jobs[0].unit) as progress:
        if progress.n_done:
            logger.info(
                "resuming: %d of %s are there already (%s)",
                progress.n_done,
                counted(progress.n_total, jobs[0].unit),
                store.path,
            )
        try:
            if spread is not None:
                spread(jobs[0], blocks, todo, store, progress.block)
            else:
                _run_here(jobs, blocks, todo, store, batch_size, progress)
        except KeyboardInterrupt:
            logger.warning("stopped; finished blocks are kept in %s, and the same call goes on from there", store.path)
            raise
    return time.perf_counter() - started


def _run_here(
    jobs: Sequence[Job],
    blocks: Sequence[Block],
    todo: Sequence[int],
    store: BlockStore,
    batch_size: int,
    progress: Progress,
) -> None:
    """One thread per device; each takes the next block that is not taken."""
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in todo:
        waiting.put(number)
    stop = threading.Event()

    def taken(number: int) -> bool:
        """Whether another process has finished a block meanwhile."""
        if there := store.has(number):
            progress.block(number)
        return there

    def work(job: Job) -> None:
        size = batch_size
        with _WriteBehind(store) as behind:
            for number, pixels, labels in _read_ahead(job, blocks, waiting, stop, taken):
                tell = progress.windows(blocks[number])
                arrays, size = encode_block(job, blocks[number], pixels, labels, size, tell)
                behind.write(number, arrays)

    if len(jobs) == 1:  # in the caller's thread, so that Ctrl-C stops it between two batches
        return work(jobs[0])
    with ThreadPoolExecutor(len(jobs), thread_name_prefix="spatialfm-device") as pool:
        futures = [pool.submit(work, job) for job in jobs]
        try:
            wait(futures, return_when="FIRST_EXCEPTION")
        finally:  # an error of one device, or Ctrl-C: the others finish their block and take no other
            stop.set()
        for future in futures:
            future.result()


class _WriteBehind:
    """Writes a finished block while the next is encoded; leaving waits for the last, also after Ctrl-C or an error."""

    def __init__(self, store: BlockStore) -> None:
        self.store = store
        self.pending: Future[None] | None = None
        self.pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spatialfm-write")

    def write(self, number: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Wait for the block before (its error is raised here), and begin with this one."""
        if self.pending is not None:
            self.pending.result()
        self.pending = self.pool.submit(self.store.write, number, **arrays)

    def __enter__(self) -> _WriteBehind:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.pool.shutdown(wait=True)
        if kind is None and self.pending is not None:
            self.pending.result()


def read_block(job: Job, block: Block) -> tuple[np.ndarray, np.ndarray]:
    """Pixels ``(M, h, w)`` and labels ``(h, w)`` of a block.

    Raises
    ------
    RunError
        If the image or the labels cannot be read; names them and the place.
    """
    reader, region = job.readers[block.sample], (block.y0, block.y1, block.x0, block.x1)
    try:
        # on a CPU the model has all cores; on a GPU it may be faster than one thread can decode
        with one_thread() if job.encoder.device.type == "cpu" else nullcontext():
            return reader.pixels(*region), reader.label_image(*region)
    except RunError:
        raise
    except Exception as error:
        raise RunError(
            f"Cannot read image {reader.name!r} or labels {reader.labels_name!r} at rows {block.y0} to {block.y1}, "
            f"columns {block.x0} to {block.x1}: {error}. Finished blocks are kept: correct the file and repeat the "
            "call."
        ) from error


def encode_block(
    job: Job,
    block: Block,
    pixels: np.ndarray,
    labels: np.ndarray,
    batch_size: int,
    advance: Callable[[int], object] = lambda n: None,
) -> tuple[dict[str, np.ndarray], int]:
    """Arrays of a block, with batches halved until they fit into memory; and the size that did."""
    while True:
        done = [0]  # what the bar has counted of this try

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
                    f"Finished blocks are kept. Pass fewer markers=, or a smaller {job.side_argument}="
                    + ("." if job.encoder.device.type == "cpu" else ", or device='cpu'.")
                ) from error
            batch_size //= 2
            advance(-done[0])
            logger.warning("out of memory: going on with batches of %d", batch_size)


def _is_out_of_memory(error: Exception) -> bool:
    # CUDA has its own class (a RuntimeError); the allocators of CPU and MPS only have the text
    text = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text


def _read_ahead(
    job: Job,
    blocks: Sequence[Block],
    waiting: queue.SimpleQueue[int],
    stop: threading.Event,
    taken: Callable[[int], bool],
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Blocks with their pixels and labels; the next is read while the caller works on this one."""

    def following() -> tuple[int, Future] | None:
        try:
            while taken(number := waiting.get_nowait()):
                pass
        except queue.Empty:
            return None
        return number, pool.submit(read_block, job, blocks[number])

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="spatialfm-read") as pool:
        coming = following()
        while coming is not None and not stop.is_set():
            number, future = coming
            pixels, labels = future.result()
            coming = following()
            yield number, pixels, labels
